// Chips: the units that have a name, in words; then those that nearly have one, and those that a visitor named.
import { byProperty, isSame, names } from './inside_words.js';

export const createChips = (h, context, choose) => {
  const row = h('div', { class: 'chips', role: 'group', 'aria-label': 'Units, by what they tell' });
  const progress = h('progress', { max: 1, 'aria-label': 'Looking for what the units tell' }), stage = h('span', {});
  const working = h('p', { class: 'chips-working', role: 'status' }, progress, stage);
  let drawn = '', isOpen = false;
  const isOn = (group) => group.units.some((each) => isSame(each, context.unit()));
  const titleOf = ({ units: [first, ...rest], acts }) => `unit ${first.unit}${rest.length ? ` and ${rest.length} more` : ''}${acts ? '; held fixed, it changes what is written' : ''}`;
  const chip = (group, look) => {
    const [first] = group.units, isOurs = isOn(group);
    return h('button', { type: 'button', class: `chip ${look}`, title: titleOf(group), 'aria-pressed': String(isOurs), onclick: () => choose(first.layer, first.unit) }, group.label);
  };
  const draw = () => {
    const table = context.table(), model = context.model();
    working.hidden = table.state === 'done';
    if (table.state === 'failed') { progress.hidden = true; stage.textContent = table.problem || 'The units could not be named.'; }
    else { progress.hidden = false; progress.value = table.progress || 0; stage.textContent = `Looking for what each unit tells${table.stage ? ` · ${table.stage}` : ''} …`; }
    const named = names.all(model), state = JSON.stringify([model, context.unit(), context.units().map((each) => [each.layer, each.unit, each.label, each.acts, each.remembers]), table.nearly, named, table.state]);
    if (state === drawn) return;
    drawn = state;
    const groups = byProperty(context.units()), main = groups.filter((each) => each.acts || each.remembers), simple = groups.filter((each) => !each.acts && !each.remembers);
    const focused = row.contains(document.activeElement) ? [...row.children].indexOf(document.activeElement) : -1;
    const nearly = byProperty(table.nearly || []).filter(({ property }) => !groups.some((each) => each.property === property));
    const isShown = isOpen || simple.some(isOn) || !main.length;
    const more = simple.length ? [h('button', { type: 'button', class: 'chip is-more', 'aria-expanded': String(isShown), title: 'What the last few letters give away already', onclick: () => { isOpen = !isShown; drawn = ''; draw(); } }, isShown ? 'fewer' : `${simple.length} simpler ${simple.length === 1 ? 'one' : 'ones'}`)] : [];
    row.replaceChildren(
      ...main.map((each) => chip(each, each.acts ? 'is-acting' : '')),
      ...named.map((each) => chip({ label: `“${each.name}”`, units: [each] }, 'is-yours')),
      ...(nearly.length ? [h('span', { class: 'chips-word' }, 'nearly:'), ...nearly.map((each) => chip(each, 'is-nearly'))] : []),
      ...(isShown ? simple.map((each) => chip(each, 'is-simple')) : []), ...(main.length || !simple.length ? more : []));
    if (!row.children.length && table.state === 'done') row.append(h('span', { class: 'chips-word' }, 'Nothing here follows one property alone. Leaf through the units all the same: some are worth a name.'));
    const on = row.querySelector('[aria-pressed="true"]'); // in a row that is wider than a phone
    if (on) row.scrollLeft += Math.max(0, on.offsetLeft + on.offsetWidth - row.scrollLeft - row.clientWidth) || Math.min(0, on.offsetLeft - row.scrollLeft);
    if (focused >= 0) row.children[Math.min(focused, row.children.length - 1)]?.focus({ preventScroll: true });
  };
  for (const event of ['units', 'unit', 'model']) context.on(event, draw);
  document.addEventListener('charlstm:unit-named', draw);
  draw();
  return { element: h('div', { class: 'chips-box' }, row, working) };
};
