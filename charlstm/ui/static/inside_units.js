// The screen "What it keeps in mind": a text coloured by one unit, read letter by letter until somebody takes over.
import { createAges } from './inside_age.js';
import { createChips } from './inside_chips.js';
import { createScale } from './inside_scale.js';
import { createSide } from './inside_side.js';
import { TintedText } from './inside_text.js';
import { createValues, QUANTITIES } from './inside_values.js';
import { byProperty, findNamed, isSame } from './inside_words.js';
import { isStill } from './inside_shared.js';

const PACE = 55, STEP = 40; // characters a second; milliseconds between two looks
const REST = 2200; // milliseconds that a text read to its end stays before the next unit
const ADVICE = 'Touch a letter to read its value; then ← and → walk from letter to letter. Without a letter chosen they leaf through the units.';
const isControl = (target) => Boolean(target?.closest?.('input, select, textarea, [contenteditable], [role=tab], dialog'));

export const build = (h, element, server, context) => {
  // The range that what is said of a unit was measured in: its own passage may lack what it tells.
  const rangeOf = ({ age, layer, quantity }, unit) => {
    const named = quantity === 'cell' && age === null ? findNamed(context, { layer, unit }) : null;
    return named && named.high > named.low ? [named.low, named.high] : null;
  };
  const values = createValues(server, rangeOf);
  let quantity = 'cell', own = null, shown = null, wanted = 0, direction = 1, head = Infinity, timer = 0, resting = 0, isTouring = !isStill(), isTyping = false, isChosen = context.unit().unit !== 0;
  const view = () => ({ model: context.model(), age: context.age(), version: context.version(), text: own, layer: context.unit().layer, quantity });
  const size = () => context.table().hidden_size || Infinity;

  const scale = createScale(h);
  const problem = h('p', { class: 'inside-problem', role: 'status' }), source = h('p', { class: 'mind-source' });
  const text = new TintedText(h, {
    label: 'Text coloured by a unit',
    onPlace: (place) => { takeOver(); context.setPlace(place); scale.point(place, true); },
    onPoint: (place) => { if (!timer) scale.point(place ?? context.place()); },
    onType: (typed, place) => { own = typed; context.setPlace(Math.max(0, place)); load(); },
  });
  const play = h('button', { type: 'button', class: 'inside-button mind-play', onclick: () => (timer || resting ? takeOver() : beginReading(0)) });
  const mine = h('button', { type: 'button', class: 'inside-button', onclick: () => setOwn(own === null) });
  const kind = h('select', { onchange: () => { quantity = kind.value; takeOver(); side.refresh(); load(); } }, ...QUANTITIES.map(([name, words]) => h('option', { value: name }, words)));

  // What is shown ------------------------------------------------------------------------------------------------

  const draw = () => {
    if (!shown) return;
    text.show(shown.places, head);
    scale.show(shown, quantity);
    scale.point(Number.isFinite(head) ? Math.floor(head) - 1 : context.place());
    side.draw(shown, quantity);
  };
  const sayQuantity = () => (quantity === 'cell' ? '' : `The colours are ${QUANTITIES.find(([name]) => name === quantity)[2]}. `);
  const take = (found) => {
    problem.textContent = found.problem || '';
    if (found.problem) return;
    shown = { ...found, chars: Array.from(found.text) };
    if (!isTyping || text.text.textContent === found.text) text.setText(found.text);
    const then = context.age() === null ? '' : 'The colours are those of the network as it was then; the words are about it as it is now. ';
    source.textContent = own === null ? `${then}${sayQuantity()}This is ${found.source === 'text it wrote' ? 'a text it wrote itself' : found.source}. ${ADVICE}` : 'Type anything: each letter is coloured as the network reads it.';
    context.setText(found.text, own === null);
    if (!Number.isFinite(head)) text.mark(context.place());
    draw();
  };
  // Show the unit that is wanted now: at once where its values are here, else when they come, unless another is wanted by then.
  const load = async () => {
    const mineNow = ++wanted, now = view(), { unit } = context.unit();
    const known = values.peek(now, unit);
    if (known) take(known); else {
      const found = await values.get(now, unit);
      if (mineNow !== wanted) return;
      take(found);
    }
    if (!isTyping && !context.isLive()) values.ahead(now, unit, direction, size());
  };

  // Reading ------------------------------------------------------------------------------------------------------

  const setPlay = () => {
    const isOn = Boolean(timer || resting);
    play.textContent = isOn ? '❚❚ Stop' : '▶ Read it';
    play.setAttribute('aria-label', isOn ? 'Stop reading' : 'Read the text letter by letter');
  };
  const stopReading = () => {
    clearInterval(timer);
    clearTimeout(resting);
    timer = resting = 0;
    head = Infinity;
    setPlay();
  };
  const takeOver = () => {
    const wasReading = timer || resting;
    isTouring = false;
    if (!wasReading) return;
    stopReading();
    draw();
    text.mark(context.place());
  };
  const nextOnTour = () => {
    const groups = byProperty(context.units()), worth = groups.filter((each) => each.acts || each.remembers), tour = (worth.length ? worth : groups).map((each) => each.units[0]);
    const next = tour[(tour.findIndex((each) => isSame(each, context.unit())) + 1) % (tour.length || 1)];
    if (next && tour.length > 1) context.setUnit(next.layer, next.unit);
    beginReading(0);
  };
  const advance = () => {
    if (!element.isConnected) { stopReading(); return; }
    if (!shown || !context.isVisible()) return;
    const end = shown.chars.length;
    head = Math.min(end, head + (PACE * STEP) / 1000);
    const place = Math.floor(head) - 1;
    text.place = place;
    text.show(shown.places, head);
    text.mark(place, true);
    scale.point(place);
    if (head < end) return;
    clearInterval(timer);
    timer = 0;
    if (isTouring) resting = setTimeout(nextOnTour, REST); else takeOver();
    setPlay();
  };
  const beginReading = (from) => {
    stopReading();
    head = from;
    text.element.scrollTop = 0;
    timer = setInterval(advance, STEP);
    setPlay();
  };

  // What a visitor does ------------------------------------------------------------------------------------------

  const setOwn = (isOwn) => {
    takeOver();
    own = isOwn ? shown?.chars.slice(0, 300).join('') ?? '' : null;
    isTyping = isOwn;
    text.setEditable(isOwn);
    mine.textContent = isOwn ? 'Its own text again' : 'Type your own text';
    load();
    if (!isOwn) return;
    text.setText(own);
    text.text.focus();
    getSelection().selectAllChildren(text.text);
  };
  const choose = (layer, unit, way = 1) => {
    isChosen = true;
    takeOver();
    direction = way;
    context.setUnit(layer, unit);
  };
  const flip = (way) => {
    const { layer, unit } = context.unit(), count = size();
    const next = Number.isFinite(count) ? (unit + way + count) % count : Math.max(0, unit + way);
    choose(layer, next, way);
  };
  const side = createSide(h, context, { choose, flip, server, quantity: () => quantity });
  const chips = createChips(h, context, choose), ages = createAges(h, server, context);
  element.addEventListener('keydown', (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || isControl(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    flip(way);
  });
  const onPageKey = (event) => { // also where nothing has the focus
    if (!element.isConnected) { document.removeEventListener('keydown', onPageKey); return; }
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way && event.target === document.body && context.screen() === 'mind' && context.isVisible() && !event.ctrlKey && !event.metaKey && !event.altKey) flip(way);
  };
  document.addEventListener('keydown', onPageKey);

  element.replaceChildren(
    h('p', { class: 'inside-lead' }, 'The network’s memory is a row of numbers, called units. The colours show one of them after each letter that it has read.'),
    chips.element,
    h('div', { class: 'mind' },
      h('div', { class: 'mind-left' },
        h('div', { class: 'mind-bar' }, play, mine, h('label', { class: 'inside-field' }, h('span', {}, 'Show its'), kind)),
        text.element, problem, source, ages.element),
      h('aside', { class: 'mind-side', 'aria-label': 'The unit that is shown' }, h('div', { class: 'mind-said' }, side.claim, scale.element), side.element)),
    side.numbers);
  mine.textContent = 'Type your own text';
  setPlay();

  context.on('unit', () => { load(); side.refresh(); });
  context.on('age', load);
  const chooseFirst = () => {
    const first = byProperty(context.units())[0]?.units[0];
    if (first && !isChosen) { isChosen = true; context.setUnit(first.layer, first.unit); }
  };
  context.on('units', chooseFirst);
  context.on('units', () => { // names came in
    const known = shown && values.peek(view(), context.unit().unit);
    if (known && (known.scale.centre !== shown.scale.centre || known.scale.size !== shown.scale.size)) take(known);
  });
  context.on('model', () => { isChosen = false; own = null; isTyping = false; text.setEditable(false); mine.textContent = 'Type your own text'; load(); });
  chooseFirst();
  load();
  if (isTouring) beginReading(0);
  return { hidden: takeOver };
};
