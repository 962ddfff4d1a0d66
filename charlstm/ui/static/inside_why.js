// The screen "Why this letter?": what each earlier character is worth to one, found by erasing them one at a time.
import { createHorizon } from './inside_horizon.js';
import { loadLook } from './inside_look.js';
import { describeChar } from './inside_scale.js';
import { isStill, LOST, percent, shownChar, svg } from './inside_shared.js';
import { TintedText } from './inside_text.js';

const STROLL = 5500, SOON = 200; // milliseconds between two letters; and in which an answer is to come
const FIRST = 50, ALL = 100; // characters back that are tried first, where all take longer than that; and in all
const FULL_TINT = 2; // nats: what is worth so much, or more, has the full colour
const FAINTEST = 0.04; // of the full colour that is still drawn
export const build = (h, element, server, context) => {
  loadLook('inside_why.css');
  let chars = [], asked = 0, strolling = 0, isOurs = !isStill(), answer = null, changed = null, tookAll = Infinity;
  const text = new TintedText(h, { label: 'Text; go to a letter to see why it was likely', onPlace: (place) => { takeOver(); choose(place); } });
  const arcs = svg('svg', { class: 'why-arcs', 'aria-hidden': 'true' });
  text.element.classList.add('is-plain', 'why-text');
  text.sheet.append(arcs);
  const stroll = h('button', { type: 'button', class: 'inside-button mind-play', onclick: () => { if (isOurs) takeOver(); else { isOurs = true; setStroll(); wander(); } } });
  const sentence = h('p', { class: 'why-sentence', 'aria-live': 'polite' }), problem = h('p', { class: 'inside-problem', role: 'status' });
  const bars = h('div', { class: 'why-bars' }), reasons = h('ol', { class: 'why-reasons', 'aria-label': 'What speaks for it most' });
  const table = h('button', { type: 'button', class: 'inside-button only-numbers', onclick: () => saveTable() }, 'All worths as CSV');
  const horizon = createHorizon(h, server, context);
  const legend = h('p', { class: 'why-legend' }, h('span', { class: 'why-key is-for' }, 'speaks for it'), h('span', { class: 'why-key is-against' }, 'speaks against it'), h('span', {}, 'the stronger the colour, the more'));
  element.replaceChildren(
    h('p', { class: 'inside-lead' }, 'Touch a letter. The network reads on without one of the letters before it, then without another one; where its chance falls most, there the reason stands.'),
    h('div', { class: 'mind' },
      h('div', { class: 'mind-left' }, h('div', { class: 'mind-bar' }, stroll, h('span', {}, 'Touch a letter, or walk with the arrow keys.')), text.element, legend),
      h('section', { class: 'why-side', 'aria-label': 'The reasons' }, sentence, problem, h('h4', {}, 'What it expected here'), bars, h('h4', {}, 'What if an earlier letter were another?'), reasons, table, horizon.element)));

  const request = () => ({ model: context.model(), age: context.age(), text: context.isOwn() ? null : context.text(), place: context.place() });
  const ask = async (extra) => { try { return await server.inside_explain({ ...request(), ...extra }); } catch { return LOST; } };

  const barRow = ([char, share], before, target) => h('div', { class: `why-bar${char === target ? ' is-target' : ''}` },
    h('span', { class: 'why-char' }, shownChar(char)), h('span', { class: 'why-track' }, h('span', { class: 'why-fill', style: `width: ${Math.max(0.5, 100 * share)}%` }),
      ...(before === undefined ? [] : [h('span', { class: 'why-before', style: `left: ${100 * before}%`, title: `before: ${percent(before)}` })])), h('span', { class: 'why-share' }, percent(share)));
  const drawBars = () => {
    const rows = (changed?.bars || answer.bars).map(([char, share]) => [char, share]), before = new Map(answer.bars);
    const target = answer.target, chance = changed ? changed.chance : answer.chance;
    if (!rows.some(([char]) => char === target)) rows.splice(rows.length - 1, 1, [target, chance]);
    bars.replaceChildren(...rows.map((row) => barRow(row, changed ? before.get(row[0]) ?? (row[0] === target ? answer.chance : 0) : undefined, target)),
      h('p', { class: 'why-note', role: 'status' }, changed ? `${changed.note} The chance of ${describeChar(target)} goes from ${percent(answer.chance)} to ${percent(chance)}.` : ''));
  };

  // Read on with another character, or none, in one place.
  const change = async (place, to) => {
    takeOver();
    const mine = asked, found = await ask({ characters: 1, change: { place, to } });
    if (mine !== asked) return;
    problem.textContent = found.problem || '';
    if (found.problem) return;
    const what = describeChar(chars[place]);
    changed = { ...found.changed, note: to ? `With ${describeChar(to)} in place of ${what}.` : `Without ${what}.` };
    drawBars();
  };
  const reasonRow = (place) => {
    const back = context.place() - place, worth = answer.worths[answer.worths.length - back], what = describeChar(chars[place]);
    const input = h('input', { type: 'text', maxlength: 2, size: 2, class: 'why-other', 'aria-label': `Another character in place of ${what}`, placeholder: '…', oninput: () => { const [to] = Array.from(input.value); if (to) change(place, to); } });
    return h('li', {}, h('span', { class: 'why-char' }, shownChar(chars[place])), h('span', { class: 'why-back' }, `${back} back`),
      h('span', { class: 'why-worth', title: `worth ${worth.toFixed(2)} nats` }, times(worth), h('span', { class: 'only-numbers' }, ` (${worth.toFixed(2)} nats)`)),
      h('button', { type: 'button', class: 'inside-button', 'aria-label': `Leave out ${what}`, onclick: () => change(place, '') }, 'Leave out'), input);
  };
  const times = (nats) => (Math.exp(nats) < 9.5 ? `${Math.exp(nats).toFixed(1)} × likelier` : `${Math.round(Math.exp(nats)).toLocaleString('en')} × likelier`);
  const drawReasons = () => {
    const first = context.place() - answer.worths.length;
    const places = answer.largest.length ? answer.largest : answer.worths.map((worth, i) => [worth, first + i]).sort(([a], [b]) => b - a).slice(0, 2).map(([, place]) => place);
    reasons.replaceChildren(...places.filter((place) => place >= 0).map(reasonRow));
  };
  const drawArcs = () => {
    text.measure();
    arcs.replaceChildren();
    const boxes = text.boxes, to = boxes?.[context.place()];
    if (!to || !answer?.worths) return;
    for (const [rank, place] of answer.largest.entries()) {
      const from = boxes[place];
      if (!from) continue;
      const [x1, x2] = [from, to].map((box) => box.left + box.width / 2), top = Math.min(from.top, to.top), lift = Math.min(26, 8 + Math.abs(x2 - x1) / 6);
      arcs.append(svg('path', { class: `why-arc is-${rank}`, d: `M${x1} ${from.top + 2}C${x1} ${top - lift} ${x2} ${top - lift} ${x2} ${to.top + 2}` }));
    }
  };
  const draw = () => {
    const places = new Array(chars.length).fill(0), first = context.place() - answer.worths.length;
    answer.worths.forEach((worth, i) => {
      const tint = Math.max(-1, Math.min(1, worth / FULL_TINT));
      places[first + i] = Math.abs(tint) < FAINTEST ? 0 : Math.sign(tint) * Math.sqrt(Math.abs(tint));
    });
    text.show(places);
    text.mark(context.place());
    sentence.textContent = answer.sentence;
    drawBars();
    drawReasons();
    drawArcs();
  };
  const explain = async () => {
    const mine = ++asked;
    if (chars.length < 2) return;
    if (context.place() < 1) { context.setPlace(Math.min(chars.length - 1, 60)); if (mine !== asked) return; }
    text.mark(context.place());
    for (const characters of tookAll < SOON ? [ALL] : [FIRST, ALL]) {
      const began = performance.now(), found = await ask({ characters });
      if (mine !== asked || !element.isConnected) return;
      problem.textContent = found.problem || '';
      if (found.problem) return;
      answer = found;
      changed = null;
      draw();
      if (context.place() <= FIRST) return;
      if (characters === ALL) tookAll = performance.now() - began;
    }
  };
  const choose = (place) => { context.setPlace(Math.max(1, place)); explain(); };
  const saveTable = () => {
    if (!answer) return;
    const first = context.place() - answer.worths.length, quote = (char) => `"${char === '"' ? '""' : char}"`;
    const rows = answer.worths.map((worth, i) => [context.place() - first - i, quote(chars[first + i]), worth].join(','));
    window.charlstm.files.saveText(`characters back,character,nats\n${rows.join('\n')}\n`, `why ${context.model()}.csv`, 'text/csv');
  };

  const setStroll = () => { stroll.textContent = isOurs ? '❚❚ Stop' : '▶ Wander'; };
  const takeOver = () => { isOurs = false; clearTimeout(strolling); setStroll(); };
  // Go on to the beginning of a word: that is where a text can take several ways.
  const goOn = () => {
    const from = Math.max(30, context.place() + 17) % chars.length, next = chars.findIndex((char, i) => i > Math.max(30, from) && /\s/.test(chars[i - 1]) && /\S/.test(char));
    context.setPlace(next > 1 ? next : Math.min(chars.length - 1, 40));
    text.mark(context.place(), true);
    explain();
  };
  const isHere = () => context.isVisible() && context.screen() === 'why';
  const wander = () => {
    clearTimeout(strolling);
    if (!isOurs || !element.isConnected) return;
    if (isHere() && chars.length && answer) goOn();
    strolling = setTimeout(wander, STROLL);
  };
  const load = async () => {
    const model = context.model();
    let found = context.text();
    if (!found) {
      const trace = await server.inside_trace({ model, age: null, text: null, layer: 0, first: 0, count: 1, quantity: 'cell' }).catch(() => LOST);
      if (model !== context.model()) return;
      if (trace.problem) { problem.textContent = trace.problem; return; }
      found = trace.text;
      context.setText(found, true);
    }
    if (found === chars.join('')) return;
    chars = Array.from(found);
    answer = null;
    text.setText(found);
    text.show(null);
    arcs.replaceChildren();
    if (context.screen() === 'why') { if (context.place() < 2) goOn(); else explain(); }
  };
  new ResizeObserver(() => drawArcs()).observe(text.sheet);
  context.on('text', load);
  context.on('model', () => { asked += 1; chars = []; answer = null; load(); });
  context.on('age', () => { if (context.screen() === 'why') explain(); });
  context.on('place', () => { if (context.screen() !== 'why') asked += 1; });
  setStroll();
  load();
  strolling = setTimeout(wander, STROLL);
  return { shown: () => { horizon.shown(); if (chars.length) explain(); }, hidden: () => { asked += 1; horizon.hidden(); } };
};
