// What is said of the unit that is shown: the claim and its evidence, how to leaf on, where it is strongest, figures.
import { formatValue } from './inside_scale.js';
import { characters, describe, names, unitName } from './inside_words.js';

const MOST_PLACES = 6, ASK_EVERY = 900; // of each end; milliseconds while the text is being read
const COLUMNS = [ // title, field, decimals
  ['property', 'label'], ['layer', 'layer', 0], ['unit', 'unit', 0], ['part', 'part'], ['sign', 'sign', 0], ['score', 'score', 3], ['untrained', 'twin', 3], ['last 4', 'last4', 3],
  ['keeps (characters)', 'memory', 1], ['0.5 %', 'low', 2], ['99.5 %', 'high', 2], ['effect (KL)', 'kl', 4], ['other units', 'control_kl', 4],
  ['turn', 'turn', 4], ['turn of others', 'control_turn', 4],
  ['changes most', 'measure'], ['before', 'before', 4], ['after', 'after', 4],
];
const cellOf = (unit, name) => (name in (unit.effect || {}) ? unit.effect[name] : unit[name]);
const shown = (value, digits = 3) => (typeof value === 'number' ? value.toFixed(digits).replace('-', '−') : value ?? '');
const csvCell = (value) => { const text = String(value ?? ''); return /[",\n]|^[=+@]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text; };

const MEASURED_ON = { 'text kept for validation': 'the text kept for validation, which it did not learn from', 'text it wrote itself': 'a text it wrote itself' };

export const createSide = (h, context, { choose, flip, server, quantity }) => {
  const claim = h('p', { class: 'claim-text' }), evidence = h('p', { class: 'claim-evidence' }), others = h('p', { class: 'claim-evidence claim-others' }), measured = h('p', { class: 'claim-evidence claim-measured' }), acts = h('p', { class: 'claim-acts' });
  const said = h('p', { class: 'inside-unseen', role: 'status' });
  const hold = h('button', { type: 'button', class: 'inside-button', onclick: () => { context.toHold = context.unit(); context.show('hold'); } }, 'Hold it and see →');
  const name = h('input', { type: 'text', maxlength: 60, 'aria-label': 'Your name for this unit', placeholder: 'your name for it', autocomplete: 'off' });
  const naming = h('form', { class: 'naming', onsubmit: (event) => { event.preventDefault(); keep(); } }, name, h('button', { type: 'submit', class: 'inside-button' }, 'Call it so'));
  const number = h('input', { type: 'number', min: 0, step: 1, 'aria-label': 'Unit', onchange: () => choose(context.unit().layer, Math.max(0, Math.min((context.table().hidden_size || 1) - 1, Math.round(Number(number.value)) || 0))) });
  const layer = h('select', { 'aria-label': 'Layer', onchange: () => choose(Number(layer.value), context.unit().unit) }), of = h('span', {});
  const corners = h('div', { class: 'corners' }), more = h('div', { class: 'more' });
  const table = h('table', { class: 'numbers-table' }), numbers = h('section', { class: 'numbers', 'aria-label': 'Figures of all units with a name', hidden: true },
    h('h3', {}, 'Figures'), h('p', { class: 'claim-evidence' }, 'Score: the share of pairs of places, one with the property and one without, that the unit puts in the right order; chosen on one half of the text, reported on the other. Untrained: the best unit of three untrained networks, chosen alike.'),
    h('div', { class: 'numbers-scroll', tabindex: 0, role: 'region', 'aria-label': 'Table of the units' }, table), h('button', { type: 'button', class: 'inside-button', onclick: () => saveTable() }, 'Download as CSV'));

  const keep = () => {
    names.set(context.model(), context.unit(), name.value);
    document.dispatchEvent(new Event('charlstm:unit-named'));
    refresh();
  };
  const saveTable = () => {
    const rows = [COLUMNS.map(([title]) => title), ...context.units().map((unit) => COLUMNS.map(([, field]) => cellOf(unit, field)))];
    window.charlstm.files.save(new Blob([rows.map((row) => row.map(csvCell).join(',')).join('\n') + '\n'], { type: 'text/csv' }), `${context.model()}-units.csv`);
  };
  const flat = (text) => text.replaceAll('\n', '⏎');
  const quote = ({ before, at, after, value }, look) => h('li', {}, h('span', { class: 'corner-value' }, formatValue(value)),
    h('span', { class: 'corner-text quote-line' }, h('span', { class: 'quote-before' }, h('bdi', {}, flat(before))), h('mark', { class: look }, at === ' ' ? '␣' : flat(at)), h('span', { class: 'quote-after' }, flat(after))));
  let asked = 0, timer = 0;
  // Where in the text it was measured on it is strongest; asked for once a unit has been looked at for a moment.
  const findCorners = () => {
    clearTimeout(timer);
    const mine = ++asked;
    corners.classList.add('is-stale');
    const find = async () => {
      if (!corners.isConnected || !context.isVisible()) return;
      let answer;
      try { answer = await server.inside_corners({ model: context.model(), age: context.age(), ...context.unit(), quantity: quantity() }); } catch { answer = {}; }
      if (mine !== asked) return;
      if (answer.state === 'working') { timer = setTimeout(find, ASK_EVERY); return; }
      const places = (answer.places || []).sort((a, b) => b.value - a.value), middle = places.length ? (places[0].value + places[places.length - 1].value) / 2 : 0;
      const highest = places.filter(({ value }) => value > middle).slice(0, MOST_PLACES), lowest = places.filter(({ value }) => value <= middle).reverse().slice(0, MOST_PLACES);
      corners.replaceChildren(...[['Where it is highest', 'is-plus', highest], ['Where it is lowest', 'is-minus', lowest]].flatMap(([title, look, rows]) => (rows.length ? [h('h4', {}, title), h('ol', {}, ...rows.map((row) => quote(row, look)))] : [])));
      corners.hidden = !places.length;
      corners.classList.remove('is-stale');
    };
    timer = setTimeout(find, 350);
  };
  // What stands below the fold lines is drawn only when it is another: the answers come again and again.
  const folds = ['Units that keep longest', 'Looked for, and not found'].map((title) => { const body = h('div', {}); return Object.assign(h('details', { hidden: true }, h('summary', {}, title), body), { body_: body }); });
  more.append(...folds);
  const fold = (which, rows, draw) => {
    const state = JSON.stringify(rows);
    if (folds[which].state_ === state) return;
    folds[which].state_ = state;
    folds[which].hidden = !rows.length;
    folds[which].body_.replaceChildren(...draw());
  };
  const drawMore = () => {
    const { keepers = [], absent = [], num_layers: numLayers } = context.table(), longest = keepers.slice(0, 12);
    fold(0, longest, () => [h('div', { class: 'chips' }, ...longest.map(([at, unit, count]) => h('button', { type: 'button', class: 'chip', onclick: () => choose(at, unit) }, `${unitName({ layer: at, unit }, numLayers)} · ${characters(count)}`)))]);
    fold(1, absent, () => [h('p', { class: 'claim-evidence' }, 'No unit tells these well enough; that is a finding too.'), h('ul', {}, ...absent.map((each) => h('li', {}, each.sentence || each.label, h('span', { class: 'only-numbers' }, ` (best: ${shown(each.score)}, untrained: ${shown(each.twin)})`))))]);
  };
  const drawTable = () => {
    numbers.hidden = !context.numbers() || !context.units().length;
    const state = JSON.stringify(context.units());
    if (numbers.hidden || table.state_ === state) return;
    table.state_ = state;
    table.replaceChildren(h('thead', {}, h('tr', {}, ...COLUMNS.map(([title]) => h('th', { scope: 'col' }, title)))),
      h('tbody', {}, ...context.units().map((unit) => h('tr', {}, ...COLUMNS.map(([, field, digits]) => h('td', {}, shown(cellOf(unit, field), digits)))))));
  };
  let resting = 0;
  const refresh = () => {
    clearTimeout(resting);
    resting = setTimeout(() => { said.textContent = claim.textContent; }, 700); // not each one that is passed
    const found = describe(context.table(), context.unit(), quantity()), own = names.get(context.model(), context.unit()), { unit } = context.unit();
    claim.textContent = own && !found.isNamed ? `You call ${unitName(context.unit(), context.table().num_layers)} “${own}”.` : found.claim;
    evidence.textContent = found.evidence;
    acts.textContent = found.acts;
    acts.hidden = !found.acts;
    const { source } = context.table();
    measured.hidden = !found.unit || !source;
    measured.textContent = measured.hidden ? '' : `Measured on ${Object.hasOwn(MEASURED_ON, source) ? MEASURED_ON[source] : source}.`;
    others.hidden = !found.others.length;
    others.replaceChildren('The same is told by ', ...found.others.flatMap((each, i) => [...(i ? [' '] : []), h('button', { type: 'button', class: 'inside-link', onclick: () => choose(each.layer, each.unit) }, unitName(each, context.table().num_layers))]));
    naming.hidden = found.isNamed;
    if (document.activeElement !== name) name.value = own;
    const { hidden_size: size, num_layers: numLayers = 1 } = context.table();
    if (document.activeElement !== number) number.value = unit;
    if (size) number.max = size - 1;
    of.textContent = size ? `of ${size.toLocaleString('en')}` : '';
    layer.hidden = numLayers < 2;
    if (layer.options.length !== numLayers) layer.replaceChildren(...Array.from({ length: numLayers }, (_, i) => h('option', { value: i }, `layer ${i}`)));
    layer.value = context.unit().layer;
  };
  context.on('numbers', drawTable);
  context.on('units', () => { drawTable(); drawMore(); refresh(); });
  context.on('model', () => { corners.replaceChildren(); });
  for (const each of [drawTable, drawMore, refresh]) each();
  return {
    claim: h('div', { class: 'claim' }, claim, evidence, measured, acts, others, said),
    element: h('div', { class: 'side' },
      h('div', { class: 'stepper', role: 'group', 'aria-label': 'Leaf through the units' },
        h('button', { type: 'button', class: 'inside-button', 'aria-label': 'Previous unit', onclick: () => flip(-1) }, '‹'), h('label', { class: 'inside-field' }, h('span', {}, 'Unit'), number), of, layer,
        h('button', { type: 'button', class: 'inside-button', 'aria-label': 'Next unit', onclick: () => flip(1) }, '›'), hold),
      naming, corners, more),
    numbers, refresh,
    draw: () => findCorners(),
  };
};
