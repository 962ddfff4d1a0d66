// The units that are held: a row for each with what it tells and a slider from its lowest usual value to its highest.
import { decimal } from './inside_shared.js';
import { capital, findNamed, isSame, unitName } from './inside_words.js';

export const MOST_HELD = 5;
const STEPS = 200;
const SILENT = 0;

// What a unit tells, as a short statement: "whether this is verse, each line …" is "this is verse".
export const statementOf = (named) => (named?.sentence || '').replace(/^whether /, '').replace(/, .*/s, '');

// Where on its slider a value lies, in words.
export const stanceOf = (held) => {
  if (held.value === null) return 'free';
  if (held.value === SILENT) return 'silenced';
  const share = (held.value - held.low) / Math.max(1e-9, held.high - held.low), towards = held.named ? held.named.sign * (share - 0.5) : share - 0.5;
  if (!held.named) return towards > 0 ? 'high' : 'low';
  return towards > 0.25 ? 'always' : towards < -0.25 ? 'never' : 'in between';
};

// `change(isMoved)` is called after any change; `rows.held` are [{layer, unit, low, high, value, named}].
export const createHeld = (h, server, context, change) => {
  const rows = { held: [] }, list = h('div', { class: 'holding-list' });
  const add = h('button', { type: 'button', class: 'inside-button', onclick: () => addNext() }, '+ Hold another unit');
  let asked = 0;
  const problem = h('p', { class: 'inside-problem', role: 'status' });
  const isTaken = (place) => rows.held.some((each) => isSame(each, place));

  // The usual range of a unit: known for those with a name, else what it takes in the text that is looked at. `problem` is why
  // there is none.
  const rangeOf = async (place) => {
    const named = findNamed(context, place);
    if (named && named.high > named.low) return { named, low: named.low, high: named.high };
    let answer = null;
    try {
      answer = await server.inside_trace({ model: context.model(), age: context.age(), text: null, layer: place.layer, first: place.unit, count: 1, quantity: 'cell' });
    } catch { /* the server did not answer */ }
    if (!answer?.ranges) return { problem: answer?.problem || 'The app does not answer; try again in a moment.' };
    const [[low, high]] = answer.ranges;
    return { named, low, high: Math.max(high, low + 1e-3) };
  };
  const take = async (number, place, value) => {
    const model = context.model(), range = await rangeOf(place);
    if (model !== context.model()) return;
    problem.textContent = range.problem || '';
    if (range.problem) { draw(); return; } // the row says again which unit is held
    rows.held[number] = { layer: place.layer, unit: place.unit, ...range, value: value === undefined ? (range.named?.sign ?? 1) > 0 ? range.high : range.low : value };
    draw();
    change(true);
  };
  // The unit to hold next, null where all are held.
  const nextFree = () => {
    const named = context.units().find((each) => each.acts !== false && !isTaken(each));
    if (named) return named;
    const { hidden_size: size = Infinity, num_layers: layers = 1 } = context.table();
    for (let layer = 0; layer < layers; layer += 1) for (let unit = 0; unit < size; unit += 1) if (!isTaken({ layer, unit })) return { layer, unit };
    return null;
  };
  const addNext = () => {
    const next = nextFree();
    if (next && rows.held.length < MOST_HELD) take(rows.held.length, next).then(() => list.lastElementChild?.querySelector('select')?.focus());
  };

  const choiceOf = (held, number) => {
    const { hidden_size: size = 1, num_layers: layers = 1, keepers = [] } = context.table();
    const option = ({ layer, unit }, label) => h('option', { value: `${layer}:${unit}` }, label);
    const acting = context.units().filter((each) => each.acts), others = context.units().filter((each) => !each.acts);
    const group = (label, options) => (options.length ? [h('optgroup', { label }, ...options)] : []);
    const ofNamed = (each) => option(each, `${each.label} · ${unitName(each, layers)}`);
    const known = [...acting, ...others], isKnown = known.some((each) => isSame(each, held));
    const keeping = keepers.map(([layer, unit, count]) => ({ layer, unit, count })).filter((each) => !known.some((one) => isSame(one, each))).slice(0, 6);
    const select = h('select', { 'aria-label': `What to hold, ${number + 1}`, class: 'holding-choice' },
      ...group('Changes what is written', acting.map(ofNamed)), ...group('Goes with', others.map(ofNamed)),
      ...group('No name, but a long memory', keeping.map((each) => option(each, capital(unitName(each, layers))))),
      ...(isKnown || keeping.some((each) => isSame(each, held)) ? [] : [option(held, capital(unitName(held, layers)))]), h('option', { value: '' }, 'Another unit, by number …'));
    select.value = `${held.layer}:${held.unit}`;
    const own = h('input', { type: 'number', min: 0, max: size - 1, step: 1, hidden: true, 'aria-label': `Number of the unit, of ${size}`, placeholder: `0 to ${size - 1}` });
    own.addEventListener('change', () => { const unit = Math.round(Number(own.value)); if (own.value !== '' && unit >= 0 && unit < size) take(number, { layer: held.layer, unit }); });
    select.addEventListener('change', () => {
      own.hidden = select.value !== '';
      if (!own.hidden) { own.focus(); return; }
      const [layer, unit] = select.value.split(':').map(Number);
      take(number, { layer, unit });
    });
    return [select, own];
  };

  const rowOf = (held, number) => {
    const name = unitName(held, context.table().num_layers), statement = statementOf(held.named), isUp = (held.named?.sign ?? 1) > 0;
    const [left, right] = held.named ? (isUp ? ['never', 'always'] : ['always', 'never']) : ['lowest', 'highest'];
    const output = h('output', { class: 'holding-value' }), row = h('div', { class: 'holding-row', role: 'group', 'aria-label': capital(name) });
    const slider = h('input', { type: 'range', min: held.low, max: held.high, step: 'any', 'aria-label': `Value of ${name}` });
    const free = h('button', { type: 'button', class: 'inside-button', title: 'Let the network decide' }, 'Free'), silent = h('button', { type: 'button', class: 'inside-button', title: 'Keep it at 0' }, 'Silenced');
    const show = () => {
      const stance = stanceOf(held);
      row.classList.toggle('is-free', held.value === null);
      free.setAttribute('aria-pressed', String(held.value === null));
      silent.setAttribute('aria-pressed', String(held.value === SILENT));
      output.textContent = held.value === null ? 'free' : `held at ${decimal(held.value)}`;
      slider.setAttribute('aria-valuetext', held.value === null ? 'free' : `${decimal(held.value)}${statement ? `, ${statement}: ${stance}` : ''}`);
    };
    const set = (value) => { held.value = value; if (value !== null) slider.value = value; show(); change(true); };
    slider.value = held.value ?? Math.min(held.high, Math.max(held.low, 0));
    slider.addEventListener('input', () => { held.value = Math.round(1000 * slider.valueAsNumber) / 1000; show(); change(true); });
    slider.addEventListener('keydown', (event) => { // "any" has no steps of its own
      const way = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 20, PageDown: -20, Home: -STEPS, End: STEPS }[event.key];
      if (!way) return;
      event.preventDefault();
      event.stopPropagation();
      set(Math.min(held.high, Math.max(held.low, slider.valueAsNumber + (2 * way * (held.high - held.low)) / STEPS)));
    });
    free.addEventListener('click', () => set(null));
    silent.addEventListener('click', () => set(SILENT));
    const away = h('button', { type: 'button', class: 'inside-button held-away', 'aria-label': `Take ${name} away`, onclick: () => { rows.held.splice(number, 1); draw(); change(true); add.focus(); } }, '×');
    show();
    row.append(
      h('div', { class: 'holding-head' }, ...choiceOf(held, number), away),
      h('p', { class: 'holding-says' }, statement ? `${capital(name)} tells ${held.named.sentence}.` : `${capital(name)} has no name yet.`),
      h('div', { class: 'holding-slide' }, h('span', {}, left), slider, h('span', {}, right)),
      h('div', { class: 'holding-foot' }, output, free, silent));
    return row;
  };
  const draw = () => {
    list.replaceChildren(...rows.held.map(rowOf));
    add.hidden = rows.held.length >= MOST_HELD || !nextFree();
  };
  return Object.assign(rows, {
    element: h('div', { class: 'holding' }, list, problem, add), draw, take,
    // Hold these instead: [{layer, unit, value}].
    async hold(wanted) {
      const mine = ++asked, model = context.model(), ranges = await Promise.all(wanted.map(rangeOf));
      if (mine !== asked || model !== context.model()) return;
      problem.textContent = ranges.find((each) => each.problem)?.problem || '';
      rows.held = wanted.map(({ layer, unit, value }, i) => ({ layer, unit, ...ranges[i], value: value === undefined ? (ranges[i].named?.sign ?? 1) > 0 ? ranges[i].high : ranges[i].low : value })).filter((each) => !each.problem);
      draw();
      change(true);
    },
    holds: () => rows.held.filter(({ value }) => value !== null).map(({ layer, unit, value }) => [layer, unit, value]),
    // Names came in: say them, unless somebody is at a slider.
    refresh() {
      for (const each of rows.held) each.named = findNamed(context, each);
      if (!list.contains(document.activeElement)) draw();
    },
  });
};
