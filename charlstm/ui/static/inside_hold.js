// The screen "Hold it": units are held at a value of the visitor's choosing while the network writes with the same dice.
import { loadLook } from './inside_look.js';
import { createMeter } from './inside_meter.js';
import { createTwoTexts } from './inside_two_texts.js';
import { capital, isSame, names, unitName } from './inside_words.js';

const MOST_HELD = 5, FIRST_PART = 120, WHOLE = 600; // units; characters of the first answer, and of all
const WIDEST = 4; // from minus to plus: the slider of a unit whose values nobody has measured
const REST = 5000, BEFORE_WHOLE = 300; // milliseconds
const TEMPERATURE = 0.7, MOST_SEED = 2 ** 31 - 1;
const isStill = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
const shown = (value) => value.toFixed(2).replace('-', '−');
const inAddress = ({ layer, unit, value }) => `${layer ? `${layer}:` : ''}${unit}=${Number(value.toFixed(4))}`;

// What is held, beyond the elements of the page, which Gradio makes anew.
const kept = { model: null, rows: [], seed: 1, prompt: '', isTouched: false };

const bounds = (unit) => (unit && unit.high > unit.low ? { low: Math.min(0, unit.low), high: Math.max(0, unit.high) } : { low: -WIDEST, high: WIDEST });
const fact = (sentence) => sentence.replace(/^(whether|if|that) /, '');

// Three things to try: the units that change most of what is written, as if what they tell were always, or never, so.
export const findDemos = (units) => {
  const force = ({ effect }) => effect.kl / Math.max(effect.control_kl, 1e-9), demos = [], isSeen = new Set();
  const acting = units.filter((each) => each.acts && each.effect).sort((a, b) => force(b) - force(a));
  const at = (unit, isHigh) => ({ unit, value: isHigh ? unit.high : unit.low, words: `${isHigh === unit.sign > 0 ? 'As if always' : 'As if never'}: ${fact(unit.sentence)}` });
  const isHigh = ({ effect, low, high }) => effect.value > (low + high) / 2;
  for (const unit of acting) {
    if (isSeen.has(unit.property)) continue;
    isSeen.add(unit.property);
    demos.push(at(unit, isHigh(unit)));
  }
  const opposites = acting.map((unit) => at(unit, !isHigh(unit)));
  return [...demos, ...opposites].slice(0, 3);
};

export const build = (h, element, server, context) => {
  loadLook('inside_hold.css');
  let asked = 0, working = null, wake = () => {}, isWanted = false, resting = 0, last = null, active = null, drawnDemos = '', isByNumber = false;
  const isSeen = () => context.isVisible() && context.screen() === 'hold';
  const texts = createTwoTexts(h, { isVisible: isSeen, onRest: () => rest() }), meter = createMeter(h, server);
  const demos = h('div', { class: 'chips', role: 'group', 'aria-label': 'Ready to try' }), list = h('div', { class: 'hold-rows' });
  const problem = h('p', { class: 'inside-problem', role: 'alert' });
  const again = h('button', { type: 'button', class: 'inside-button', onclick: () => { touch(); replay(); } }, '↻ Write again');
  const dice = h('button', { type: 'button', class: 'inside-button', onclick: () => { touch(); kept.seed = (kept.seed % MOST_SEED) + 1; replay(); } }, 'Other dice');
  const prompt = h('input', { type: 'text', maxlength: 300, 'aria-label': 'Begin with', placeholder: 'its own beginning', autocomplete: 'off', onchange: () => { touch(); kept.prompt = prompt.value; replay(); } });
  const write = h('a', { class: 'hold-write', href: '?' }, 'Go on in Write →');
  const choice = h('select', { 'aria-label': 'Unit to hold', onchange: () => { isByNumber = choice.value === ''; showNumber(); } });
  const number = h('input', { type: 'number', min: 0, step: 1, value: 0, 'aria-label': 'Number of the unit' }), layer = h('input', { type: 'number', min: 0, step: 1, value: 0, 'aria-label': 'Layer of the unit', hidden: true });
  const adding = h('form', { class: 'hold-adding', onsubmit: (event) => { event.preventDefault(); add(); } }, h('span', {}, 'Hold another:'), choice, number, layer, h('button', { type: 'submit', class: 'inside-button' }, 'Hold'));

  const showNumber = () => { number.hidden = choice.value !== ''; layer.hidden = number.hidden || (context.table().num_layers || 1) < 2; };
  const known = (place) => context.units().find((each) => isSame(each, place)) || (context.table().nearly || []).find((each) => isSame(each, place));
  const labelOf = (place) => known(place)?.label || names.get(context.model(), place);
  const held = () => kept.rows.filter(({ value }) => value !== null);
  const touch = () => { kept.isTouched = true; clearTimeout(resting); };

  // What is written ----------------------------------------------------------------------------------------------

  const request = (count) => ({ model: context.model(), prompt: kept.prompt, holds: held().map(({ layer: at, unit, value }) => [at, unit, value]), seed: kept.seed, temperature: TEMPERATURE, num_chars: count });
  const askFor = async (count, mine) => {
    let answer;
    try { answer = await server.inside_hold(request(count)); } catch { answer = { problem: 'The server did not answer. Try again in a moment.' }; }
    if (mine !== asked || !element.isConnected) return false;
    problem.textContent = answer.problem || '';
    if (answer.problem) return false;
    last = answer;
    texts.show(answer, count < WHOLE, context.isOwn() ? context.text() : '');
    link();
    return true;
  };
  // The first characters at once, then all of them; a slider in motion waits for the answer before.
  const pause = (time) => new Promise((resolve) => { wake = resolve; setTimeout(resolve, time); });
  const ask = () => {
    isWanted = true;
    asked += 1;
    wake();
    working ||= (async () => {
      while (isWanted) {
        isWanted = false;
        const mine = asked;
        if (!await askFor(FIRST_PART, mine)) continue;
        await pause(BEFORE_WHOLE);
        if (mine === asked) await askFor(WHOLE, mine);
      }
      working = null;
    })();
    return working;
  };
  const replay = () => { texts.restart(); ask(); };
  const link = () => {
    const query = new URLSearchParams({ model: context.model(), prompt: last?.opening ?? kept.prompt, seed: kept.seed, temperature: TEMPERATURE, num_chars: WHOLE });
    const holds = held().map(inAddress).join(',');
    write.href = `?${query}${holds && `&hold=${holds}`}`;
  };
  const change = () => {
    const now = held();
    const title = now.length ? `With ${now.map((row) => `${unitName(row, context.table().num_layers)} at ${shown(row.value)}`).join(', ')}` : 'With nothing held';
    texts.setHeldTitle(title);
    const measured = kept.rows.includes(active) && active.value !== null ? active : now[now.length - 1];
    markDemos();
    meter.show(measured ? { ...measured, model: context.model(), name: `${unitName(measured, context.table().num_layers)}${now.length > 1 ? ' alone' : ''}` } : null, ask()); // the texts come first
  };

  // The held units -----------------------------------------------------------------------------------------------

  const drawRow = (row) => {
    const { low, high } = bounds(known(row)), name = unitName(row, context.table().num_layers), words = labelOf(row);
    const said = h('output', { class: 'hold-value' });
    const slider = h('input', { type: 'range', min: low, max: high, step: 'any', 'aria-label': `Value of ${name}`, oninput: () => set(Math.round(100 * Number(slider.value)) / 100) });
    const free = h('button', { type: 'button', class: 'inside-button', onclick: () => set(null) }, 'free'), silent = h('button', { type: 'button', class: 'inside-button', onclick: () => set(0) }, 'silenced');
    const refresh = () => {
      const text = row.value === null ? 'free' : row.value === 0 ? '0, silenced' : shown(row.value);
      said.textContent = text;
      slider.value = row.value ?? 0;
      slider.setAttribute('aria-valuetext', text);
      slider.classList.toggle('is-free', row.value === null);
      free.setAttribute('aria-pressed', String(row.value === null));
      silent.setAttribute('aria-pressed', String(row.value === 0));
    };
    const set = (value) => { touch(); row.value = value; active = row; refresh(); change(); };
    const drop = h('button', { type: 'button', class: 'inside-button', 'aria-label': `Remove ${name}`, onclick: () => { touch(); kept.rows = kept.rows.filter((each) => each !== row); drawRows(); change(); list.querySelector('input')?.focus(); } }, '×');
    refresh();
    return h('div', { class: 'hold-row', role: 'group', 'aria-label': name },
      h('span', { class: 'hold-name' }, h('b', {}, words || capital(name)), ...(words ? [h('span', {}, name)] : [])),
      h('span', { class: 'hold-slide' }, h('span', { class: 'hold-end', 'aria-hidden': 'true' }, shown(low)), slider, h('span', { class: 'hold-end', 'aria-hidden': 'true' }, shown(high))),
      said, h('span', { class: 'hold-buttons' }, free, silent, drop));
  };
  const drawRows = () => {
    list.replaceChildren(...kept.rows.map(drawRow));
    adding.hidden = kept.rows.length >= MOST_HELD;
    const isTaken = (each) => kept.rows.some((row) => isSame(row, each)), value = choice.value, options = [];
    for (const each of [...context.units()].sort((a, b) => Number(b.acts === true) - Number(a.acts === true))) {
      const key = `${each.layer}/${each.unit}`;
      if (!isTaken(each) && !options.some((option) => option.value === key)) options.push(h('option', { value: key }, `${each.label} (${each.unit})${each.acts ? '' : ', no effect shown'}`));
    }
    choice.replaceChildren(...options, h('option', { value: '' }, 'by its number'));
    if (isByNumber || options.some((option) => option.value === value)) choice.value = isByNumber ? '' : value;
    showNumber();
    if (context.table().hidden_size) number.max = context.table().hidden_size - 1;
    layer.max = (context.table().num_layers || 1) - 1;
  };
  const extreme = (place) => {
    const unit = known(place);
    if (!unit) return WIDEST / 2;
    return unit.effect ? (unit.effect.value > (unit.low + unit.high) / 2 ? unit.high : unit.low) : unit.high;
  };
  const rowOf = (place, value = extreme(place)) => ({ layer: place.layer || 0, unit: place.unit, value: Number(value.toFixed(4)) });
  const add = () => {
    const [at, unit] = choice.value ? choice.value.split('/').map(Number) : [Math.round(Number(layer.value)) || 0, Math.round(Number(number.value)) || 0];
    const place = { layer: at, unit };
    if (kept.rows.length >= MOST_HELD || kept.rows.some((row) => isSame(row, place))) return;
    touch();
    active = rowOf(place);
    kept.rows.push(active);
    drawRows();
    change();
  };
  const hold = (place, value) => {
    active = rowOf(place, value);
    kept.rows = [active];
    drawRows();
    texts.restart();
    change();
  };

  // Ready demos, one after another until somebody takes over -------------------------------------------------------

  const found = () => findDemos(context.units());
  const isOn = ({ unit, value }) => kept.rows.length === 1 && isSame(kept.rows[0], unit) && Math.abs(kept.rows[0].value - value) < 1e-3;
  const markDemos = () => { const all = found(); [...demos.querySelectorAll('.chip')].forEach((chip, i) => chip.setAttribute('aria-pressed', String(Boolean(all[i]) && kept.rows[0]?.value !== null && isOn(all[i])))); };
  const drawDemos = () => {
    const all = found(), state = JSON.stringify([context.model(), all.map(({ words, value }) => [words, value]), context.table().state]);
    if (state === drawnDemos) return;
    drawnDemos = state;
    const chips = all.map((each) => h('button', { type: 'button', class: 'chip', onclick: () => { touch(); hold(each.unit, each.value); } }, each.words));
    const words = context.table().state === 'working' ? 'Looking for units that change what is written …' : 'No unit was shown to change what is written; hold any of them by its number.';
    demos.replaceChildren(...(chips.length ? chips : [h('span', { class: 'chips-word' }, words)]));
    markDemos();
  };
  const rest = () => {
    clearTimeout(resting);
    if (kept.isTouched || isStill() || kept.prompt) return;
    resting = setTimeout(() => {
      const all = found(), next = all[(all.findIndex(isOn) + 1) % (all.length || 1)];
      if (kept.isTouched || !element.isConnected) return;
      if (!isSeen() || !next) { rest(); return; }
      hold(next.unit, next.value);
    }, REST);
  };
  const begin = () => {
    clearTimeout(resting);
    if (kept.model !== context.model()) Object.assign(kept, { model: context.model(), rows: [], prompt: '', isTouched: false });
    prompt.value = kept.prompt;
    drawDemos();
    if (kept.rows.length) { [active] = kept.rows; drawRows(); texts.restart(); change(); return; }
    const [first] = found(), [keeper] = context.table().keepers || [];
    if (first) hold(first.unit, first.value); else hold(keeper ? { layer: keeper[0], unit: keeper[1] } : context.unit());
  };
  const onUnits = () => {
    drawDemos();
    const [first] = found();
    if (!kept.isTouched && first && !found().some(isOn)) hold(first.unit, first.value);
    else if (!list.contains(document.activeElement) && !adding.contains(document.activeElement)) drawRows();
  };
  // Somebody asked on another screen to hold the unit that was looked at.
  const take = () => {
    const place = context.toHold;
    context.toHold = null;
    if (!place) return false;
    touch();
    hold(place);
    return true;
  };

  element.replaceChildren(
    h('p', { class: 'inside-lead' }, 'Fix a unit at one value and let the network write with the same dice as before: what changes is what the unit is for.'),
    demos,
    h('div', { class: 'hold-desk' },
      h('div', { class: 'hold-controls' }, list, adding, h('div', { class: 'hold-bar' }, again, dice, h('label', { class: 'inside-field' }, h('span', {}, 'Begin with'), prompt), write)),
      meter.element),
    problem,
    texts.element, meter.tables);
  context.on('units', onUnits);
  context.on('model', () => { asked += 1; last = null; texts.clear(); begin(); });
  begin();
  take();
  return { shown: () => { if (!take() && last && !working && !texts.isWriting()) rest(); }, hidden: () => clearTimeout(resting) };
};
