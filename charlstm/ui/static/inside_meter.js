// The meter of a held unit: how likely some things are, beside 20 random units held the same way; and the proof.
import { capital } from './inside_words.js';

const ASK_EVERY = 700, SETTLED = 220; // milliseconds: of a proof at work; that a slider must have rested
const MOST_NAMED = 3; // of what the proof has shown
const percent = (value) => `${value < 0.95 ? value.toFixed(2) : value < 9.95 ? value.toFixed(1) : Math.round(value)}`;
const figure = (value) => (typeof value === 'number' ? (Math.abs(value) >= 99.5 ? Math.round(value) : Number(value.toPrecision(3))).toLocaleString('en').replace('-', '−') : '');
const isBeyond = ({ held, low, high }) => held < low || held > high;
const unitText = ({ unit_text: text }) => (text ? `\u00a0${text}` : '');

export const createMeter = (h, server) => {
  let timer = 0, asked = 0, proving = 0, hold = null;
  const words = h('p', { class: 'meter-words', 'aria-live': 'polite' }), bar = h('div', { class: 'meter-bar', role: 'img' });
  const band = h('span', { class: 'meter-band' }), plainTick = h('span', { class: 'meter-plain' }), heldTick = h('span', { class: 'meter-held' });
  const ends = h('div', { class: 'meter-ends', 'aria-hidden': 'true' }), legend = h('p', { class: 'meter-legend', hidden: true }, h('span', { class: 'meter-key is-band' }), '20 random units held', h('span', { class: 'meter-key is-plain' }), 'nothing held', h('span', { class: 'meter-key is-held' }), 'this unit held');
  const table = h('table', { class: 'numbers-table' }), scroll = h('div', { class: 'numbers-scroll only-numbers', tabindex: 0, role: 'region', 'aria-label': 'All that was measured while the unit is held' }, table);
  const prove = h('button', { type: 'button', class: 'inside-button', onclick: () => beginProof() }, 'Prove it');
  const proof = h('section', { class: 'proof', 'aria-label': 'The proof', hidden: true });
  bar.append(band, plainTick, heldTick);
  const gauge = h('div', { class: 'meter-gauge', hidden: true }, bar, ends), told = h('div', { class: 'proof-told', role: 'status' });
  const element = h('section', { class: 'meter', 'aria-label': 'What holding it does' }, words, gauge, h('div', { class: 'meter-foot' }, legend, prove), told);
  const tables = h('div', { class: 'hold-tables' }, proof, scroll);

  const draw = ({ measures = [], fitting }) => {
    const main = measures.find(({ key }) => key === fitting) || measures[0];
    gauge.hidden = legend.hidden = !main;
    if (!main) { words.textContent = 'Nothing that can be counted was found in its text.'; return; }
    const most = 1.12 * Math.max(main.plain, main.held, main.high, 1e-6), at = (value) => `${(100 * Math.max(0, value)) / most}%`, unit = unitText(main);
    band.style.left = at(main.low);
    band.style.width = `calc(${(100 * (main.high - main.low)) / most}% + 2px)`;
    plainTick.style.left = at(main.plain);
    heldTick.style.left = at(main.held);
    ends.replaceChildren(h('span', {}, '0'), h('span', {}, `${percent(most)}${unit}`));
    const change = `While ${hold.name} is held there, the ${main.label} is ${percent(main.held)}${unit} instead of ${percent(main.plain)}${unit}.`;
    words.textContent = isBeyond(main)
      ? `${change} None of 20 random units held the same way does that: with them it is from ${percent(main.low)} to ${percent(main.high)}${unit}.`
      : `${change} Random units held the same way do as much (${percent(main.low)} to ${percent(main.high)}${unit}), so this shows nothing.`;
    bar.setAttribute('aria-label', words.textContent);
    table.replaceChildren(
      h('thead', {}, h('tr', {}, ...['in percent', 'nothing held', 'held', 'random: from', 'to', ''].map((title) => h('th', { scope: 'col' }, title)))),
      h('tbody', {}, ...measures.map((each) => h('tr', {}, h('td', {}, each.label), ...['plain', 'held', 'low', 'high'].map((name) => h('td', {}, each[name].toFixed(2))), h('td', {}, isBeyond(each) ? 'beyond' : '')))));
  };
  const ask = async (mine) => {
    const now = hold;
    if (mine !== asked) return; // another value by now
    let answer;
    try { answer = await server.inside_meter({ model: now.model, layer: now.layer, unit: now.unit, value: now.value }); } catch { answer = { problem: 'The server did not answer. Move the slider to try again.' }; }
    if (mine !== asked) return;
    element.removeAttribute('aria-busy');
    if (answer.problem) { gauge.hidden = legend.hidden = true; words.textContent = answer.problem; table.replaceChildren(); } else draw(answer);
  };
  const row = (each) => h('tr', { class: each.is_beyond ? 'is-beyond' : '' }, h('td', {}, each.label), h('td', {}, figure(each.before)), h('td', {}, figure(each.after)),
    h('td', {}, `${figure(each.difference)} (${figure(each.low)} to ${figure(each.high)})`), h('td', {}, `${figure(each.control_low)} to ${figure(each.control_high)}`), h('td', {}, each.is_beyond ? 'shown' : ''));
  const drawProof = ({ rows = [], texts = 20, characters = 500 }) => {
    const proven = rows.filter((each) => each.is_beyond), sorted = [...proven, ...rows.filter((each) => !each.is_beyond)];
    const first = proven.slice(0, MOST_NAMED).map(({ label }) => label.split(' per ')[0]).join(', '), more = proven.length > MOST_NAMED ? ` and ${proven.length - MOST_NAMED} more` : '';
    told.replaceChildren(h('p', {}, proven.length ? `Shown for: ${first}${more}. There the change is larger than chance, and than what any of 20 random units does.` : 'Nothing is shown: no change is larger than both chance and what 20 random units do.'));
    proof.hidden = false;
    proof.replaceChildren(
      h('h3', {}, `${capital(hold.name)} at ${hold.value.toFixed(2).replace('-', '−')}: what changed in 20 texts`),
      h('div', { class: 'numbers-scroll', tabindex: 0, role: 'region', 'aria-label': 'Table of the proof' }, h('table', { class: 'numbers-table' },
        h('thead', {}, h('tr', {}, ...['', 'nothing held', 'held', 'difference (95 % interval)', 'random units', ''].map((title) => h('th', { scope: 'col' }, title)))), h('tbody', {}, ...sorted.map(row)))),
      h('p', { class: 'meter-legend' }, `${texts} pairs of texts of ${characters.toLocaleString('en')} characters, each pair with the same dice.`));
  };
  const beginProof = async () => {
    const mine = ++proving, now = hold, progress = h('progress', { max: 1, 'aria-label': 'Writing the texts' }), stage = h('span', {});
    prove.disabled = true;
    proof.hidden = true;
    told.replaceChildren(h('p', { class: 'chips-working' }, progress, stage));
    while (mine === proving && element.isConnected) {
      let answer;
      try { answer = await server.inside_prove({ model: now.model, layer: now.layer, unit: now.unit, value: now.value }); } catch { answer = { problem: 'The server did not answer. Try again in a moment.' }; }
      if (mine !== proving) return;
      if (answer.state === 'working' && !answer.problem) {
        progress.value = answer.progress || 0;
        stage.textContent = `${answer.stage ? answer.stage[0].toUpperCase() + answer.stage.slice(1) : 'Writing 20 pairs of texts'} …`;
        await new Promise((resolve) => { setTimeout(resolve, ASK_EVERY); });
        continue;
      }
      prove.disabled = false;
      if (answer.problem) told.replaceChildren(h('p', { class: 'inside-problem' }, answer.problem)); else drawProof(answer);
      return;
    }
  };
  return {
    element, tables,
    // Measure `held` ({model, layer, unit, value, name}) once it has rested and `first` is over; null where nothing is held.
    show(held, first = Promise.resolve()) {
      const isSame = held && hold && ['model', 'layer', 'unit', 'value'].every((each) => held[each] === hold[each]);
      const isOther = !held || !hold || ['model', 'layer', 'unit'].some((each) => held[each] !== hold[each]);
      hold = held;
      prove.hidden = !held || typeof server.inside_prove !== 'function';
      if (isSame) return;
      clearTimeout(timer);
      const mine = ++asked;
      proving += 1;
      proof.hidden = true;
      told.replaceChildren();
      prove.disabled = false;
      if (isOther) { gauge.hidden = legend.hidden = true; table.replaceChildren(); }
      if (held) {
        if (gauge.hidden) words.textContent = 'Measuring …';
        element.setAttribute('aria-busy', 'true');
        timer = setTimeout(() => first.then(() => ask(mine)), SETTLED);
        return;
      }
      element.removeAttribute('aria-busy');
      words.textContent = 'Nothing is held, so both texts are the same. Move a slider.';
    },
  };
};
