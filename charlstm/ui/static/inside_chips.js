// Chips: the units that have a name, in words; then those that nearly have one, and those that a visitor named.
import { isSame, names } from './inside_words.js';

export const createChips = (h, context, choose) => {
  const row = h('div', { class: 'chips', role: 'group', 'aria-label': 'Units, by what they tell' });
  const progress = h('progress', { max: 1, 'aria-label': 'Looking for what the units tell' }), stage = h('span', {});
  const working = h('p', { class: 'chips-working', role: 'status' }, progress, stage);
  let drawn = '';
  const chip = (place, label, look, title) => {
    const isOn = isSame(place, context.unit());
    return h('button', { type: 'button', class: `chip ${look}`, title, 'aria-pressed': String(isOn), onclick: () => choose(place.layer, place.unit) }, label);
  };
  const draw = () => {
    const table = context.table(), model = context.model();
    working.hidden = table.state === 'done';
    if (table.state === 'failed') { progress.hidden = true; stage.textContent = table.problem || 'The units could not be named.'; }
    else { progress.hidden = false; progress.value = table.progress || 0; stage.textContent = `Looking for what each unit tells${table.stage ? ` · ${table.stage}` : ''} …`; }
    const named = names.all(model), state = JSON.stringify([model, context.unit(), context.units().map((each) => [each.layer, each.unit, each.label, each.acts]), table.nearly, named, table.state]);
    if (state === drawn) return;
    drawn = state;
    const isTaken = new Set(), once = (each) => { const key = `${each.layer}/${each.unit}`; if (isTaken.has(key)) return false; isTaken.add(key); return true; };
    const labels = new Map(); // a property may have several units: the second and third say which
    const labelOf = (each) => {
      const count = (labels.get(each.label) || 0) + 1;
      labels.set(each.label, count);
      return count > 1 ? `${each.label} (${count})` : each.label;
    };
    const focused = row.contains(document.activeElement) ? [...row.children].indexOf(document.activeElement) : -1;
    const chips = [
      ...context.units().filter(once).map((each) => chip(each, labelOf(each), each.acts ? 'is-acting' : '', each.acts ? `unit ${each.unit}; held fixed, it changes what is written` : `unit ${each.unit}`)),
      ...named.filter(once).map((each) => chip(each, `“${each.name}”`, 'is-yours', `unit ${each.unit}, as you call it`)),
    ];
    const nearly = (table.nearly || []).filter(once).map((each) => chip(each, labelOf(each), 'is-nearly', `unit ${each.unit}; not sure enough to call it so`));
    row.replaceChildren(...chips, ...(nearly.length ? [h('span', { class: 'chips-word' }, 'nearly:'), ...nearly] : []));
    if (!row.children.length && table.state === 'done') row.append(h('span', { class: 'chips-word' }, 'Nothing here follows one property alone. Leaf through the units all the same: some are worth a name.'));
    if (focused >= 0) row.children[Math.min(focused, row.children.length - 1)]?.focus({ preventScroll: true });
  };
  for (const event of ['units', 'unit', 'model']) context.on(event, draw);
  document.addEventListener('charlstm:unit-named', draw);
  draw();
  return { element: h('div', { class: 'chips-box' }, row, working) };
};
