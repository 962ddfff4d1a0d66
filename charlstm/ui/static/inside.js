// The tab Look inside: its frame, its screens as tabs, and what they share. Loaded when somebody opens it.
//
// A screen exports `build(h, element, server, context)`. It may return {shown(), hidden()}, called when its tab is opened
// and left. The context:
//   model() name | age() step, null for the network as it is | version() of a network in training, which grows | table() the last answer of `inside_units`, {} before
//   units() its list of named units | unit() {layer, unit} that is looked at | text() what is read, '' before it has come
//   isOwn() whether that is the network's own passage | place() of the character that is looked at | numbers() switch
//   screen() name of the open tab | isVisible() whether anybody can see it | isLive() whether the network is in training
//   ageLabel() of that age, such as "4 s" | setAge(age, label), setUnit(layer, unit), setText(text, isOwn), setPlace(place), show(screen)
//   on(event, listener): 'model', 'renamed', 'age', 'units', 'unit', 'text', 'place', 'numbers', 'screen'; returns how to stop
// 'renamed' is of a network that has ended its training: what is shown stays.
import { loadLook } from './inside_look.js';
import { names } from './inside_words.js';

const ASK_EVERY = 700, LOOK_EVERY = 1500; // milliseconds, while units are being named; while the tab is out of sight
const LIVE_EVERY = 3000; // milliseconds after which a network in training is shown as it is then
const BUSY_EVERY = 5000; // milliseconds, when the server could not answer just then
const LEARNS_EVERY = 30_000; // milliseconds after which the units of a network in training are looked for again
const LIVE = 'live: '; // begins the names of networks in training
const NUMBERS_KEY = 'charlstm-inside-numbers';
const SCREENS = [
  ['mind', 'What it keeps in mind', './inside_units.js'],
  ['hold', 'Hold it', './inside_hold.js'],
  ['why', 'Why this letter?', './inside_why.js'],
  ['cell', 'The cell, explained', './inside_cell.js'],
  ['birth', 'Being born', './inside_film.js'],
  ['moments', 'Moments like this', './inside_moments.js'],
];
const OF_AN_AGE = ['hold', 'why', 'cell', 'moments']; // screens that show the network at the age that was chosen
const isStored = (key) => { try { return localStorage.getItem(key) === '1'; } catch { return false; } };
const store = (key, isOn) => { try { localStorage.setItem(key, isOn ? '1' : '0'); } catch { /* a private window */ } };

// What a visitor looks at; it outlives the elements, which Gradio makes anew when its tab is opened again.
const kept = { model: null, age: null, ageLabel: '', layer: 0, unit: 0, place: 0, screen: 'mind' };

const createContext = (element) => {
  const listeners = new Map(), now = { table: {}, text: '', isOwn: true, version: 0, numbers: isStored(NUMBERS_KEY) };
  const tell = (event) => { for (const each of [...(listeners.get(event) || [])]) each(); };
  const context = {
    model: () => kept.model, age: () => kept.age, ageLabel: () => kept.ageLabel || `step ${kept.age}`, version: () => now.version, table: () => now.table, units: () => now.table.units || [],
    unit: () => ({ layer: kept.layer, unit: kept.unit }), text: () => now.text, isOwn: () => now.isOwn, place: () => kept.place,
    isLive: () => kept.model?.startsWith(LIVE) === true, numbers: () => now.numbers, screen: () => kept.screen,
    isVisible: () => element.isConnected && element.getClientRects().length > 0 && document.visibilityState === 'visible',
    setModel(name) {
      if (name === kept.model) return;
      Object.assign(kept, { model: name, age: null, layer: 0, unit: 0, place: 0 });
      Object.assign(now, { table: {}, text: '', isOwn: true });
      for (const event of ['model', 'units']) tell(event);
    },
    rename(name) {
      names.move(kept.model, name);
      kept.model = name;
      now.version += 1;
      for (const event of ['renamed', 'age']) tell(event);
    },
    setTable(table) { now.table = table; tell('units'); },
    setVersion(version) { if (version !== now.version) { now.version = version; tell('age'); } },
    setAge(age, label = '') { if (age !== kept.age) { Object.assign(kept, { age, ageLabel: label }); tell('age'); } },
    setUnit(layer, unit) {
      if (layer === kept.layer && unit === kept.unit) return;
      Object.assign(kept, { layer, unit });
      tell('unit');
    },
    setText(text, isOwn) {
      if (text === now.text && isOwn === now.isOwn) return;
      Object.assign(now, { text, isOwn });
      kept.place = Math.max(0, Math.min(kept.place, Array.from(text).length - 1));
      tell('text');
    },
    setPlace(place) { if (place !== kept.place) { kept.place = place; tell('place'); } },
    setNumbers(isOn) { now.numbers = isOn; store(NUMBERS_KEY, isOn); tell('numbers'); },
    show(screen) { if (screen !== kept.screen) { kept.screen = screen; tell('screen'); } },
    on(event, listener) {
      if (!listeners.has(event)) listeners.set(event, new Set());
      listeners.get(event).add(listener);
      return () => listeners.get(event).delete(listener);
    },
  };
  return context;
};

// Ask for the units until all are named; whoever looks away stops asking, and the server gives the search up.
const followUnits = (element, server, context) => {
  let round = 0;
  const ask = async (mine) => {
    if (mine !== round || !element.isConnected) return;
    if (!context.isVisible()) { setTimeout(() => ask(mine), LOOK_EVERY); return; }
    let table;
    try { table = await server.inside_units({ model: context.model(), age: null }); } catch { table = null; }
    if (mine !== round) return;
    const isBusy = Boolean(table?.problem) && table.state !== 'failed';
    if (isBusy) { if (context.table().state !== 'done') context.setTable({ ...context.table(), state: 'working', stage: table.problem }); }
    else if (table) context.setTable(table.problem ? { state: 'failed', problem: table.problem, units: [] } : latest(table));
    const again = !table ? LOOK_EVERY : isBusy ? BUSY_EVERY : table.state === 'working' ? ASK_EVERY : context.isLive() ? LEARNS_EVERY : 0;
    if (again) setTimeout(() => ask(mine), again);
  };
  // A network in training is searched again and again: what was found stays until as much is known of it anew.
  let found = null;
  const latest = (table) => {
    if (table.state === 'working' && found && (found.state === 'done' || !table.units?.length)) return { ...found, state: table.state, progress: table.progress, stage: table.stage };
    found = table.state === 'done' || table.units?.length ? table : null;
    return table;
  };
  const begin = () => { round += 1; if (context.model() !== null) ask(round); };
  context.on('model', () => { found = null; begin(); });
  context.on('renamed', () => { context.setTable({ ...context.table(), state: 'working', progress: 0, stage: '' }); begin(); });
  begin();
};

// A network in training changes with every save: show it as it is now, and once that has ended under its run's name, which
// the list has then.
const followLive = (element, server, context, refresh) => {
  const look = async () => {
    const model = context.model();
    if (!element.isConnected) return;
    if (context.isLive() && context.isVisible()) {
      const answer = await server.inside_version({ model }).catch(() => ({}));
      if (model === context.model() && (answer.problem || answer.model !== model)) await refresh(); else if (model === context.model()) context.setVersion(answer.version);
    }
    setTimeout(look, LIVE_EVERY);
  };
  look();
};

const screenTabs = (h, server, context) => {
  const panels = new Map(), tabs = new Map(), built = new Map();
  const build = async (name) => {
    const panel = panels.get(name), file = SCREENS.find(([each]) => each === name)[2];
    panel.setAttribute('aria-busy', 'true');
    try {
      const { build: make } = await import(file);
      panel.replaceChildren();
      built.set(name, make(h, panel, server, context) || {});
    } catch (error) {
      reportError(error);
      panel.replaceChildren(h('p', { class: 'inside-problem', role: 'alert' }, 'This part could not be fetched. Reload the page to try again.'));
      built.delete(name);
    }
    panel.removeAttribute('aria-busy');
    if (context.screen() === name) built.get(name)?.shown?.();
  };
  let open = null;
  const refresh = () => {
    const name = context.screen();
    if (name === open) return;
    built.get(open)?.hidden?.();
    open = name;
    for (const [each, tab] of tabs) {
      tab.setAttribute('aria-selected', String(each === name));
      tab.tabIndex = each === name ? 0 : -1;
      panels.get(each).hidden = each !== name;
    }
    tabs.get(name).scrollIntoView?.({ block: 'nearest', inline: 'nearest' });
    if (!built.has(name)) { built.set(name, null); build(name); } else built.get(name)?.shown?.();
  };
  const onKey = (event) => {
    const names = SCREENS.map(([name]) => name), at = names.indexOf(context.screen());
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    context.show(names[(to + names.length) % names.length]);
    tabs.get(context.screen()).focus();
  };
  for (const [name, label] of SCREENS) {
    const panel = h('div', { role: 'tabpanel', id: `inside-${name}`, 'aria-labelledby': `inside-tab-${name}`, class: 'inside-panel', hidden: true }, 'Loading …');
    tabs.set(name, h('button', { type: 'button', role: 'tab', id: `inside-tab-${name}`, 'aria-controls': `inside-${name}`, 'aria-selected': 'false', class: 'inside-tab', onclick: () => context.show(name) }, label));
    panels.set(name, panel);
  }
  context.on('screen', refresh);
  const list = h('div', { role: 'tablist', 'aria-label': 'Ways to look inside', class: 'inside-tabs', onkeydown: onKey }, ...tabs.values());
  return { parts: [list, ageNote(h, context), ...panels.values()], refresh };
};

// The choice of a model. Runs begin and end while the page is open, so the list is asked for again when it is looked at.
const modelChoice = (h, server, context) => {
  let shown = '';
  const select = h('select', { id: 'inside-model', 'aria-label': 'Model to look into', onchange: () => context.setModel(select.value), onfocus: () => refresh() });
  const fill = (models) => {
    const state = JSON.stringify(models);
    if (state === shown) return;
    shown = state;
    if (!models.some(({ name }) => name === kept.model)) {
      const label = kept.model?.startsWith(LIVE) ? kept.model.slice(LIVE.length) : kept.model; // a run that has ended
      const written = document.querySelector('#model input')?.value; // the one that the tab Write shows, by its label
      const ended = kept.model === label ? null : models.find((each) => each.label === label);
      const same = models.find((each) => [label, written].includes(each.name) || [label, written].includes(each.label));
      if (ended) context.rename(ended.name); else context.setModel((same || models[0]).name);
    }
    select.replaceChildren(...models.map(({ name, label }) => h('option', { value: name }, label || name)));
    select.value = kept.model;
  };
  const refresh = async () => {
    const { models = [] } = await server.inside_models({}).catch(() => ({}));
    if (models.length) fill(models);
  };
  return { select, fill, refresh };
};

// Which network it is, where it is one of the past.
const ageNote = (h, context) => {
  const note = h('p', { class: 'inside-then', role: 'status', hidden: true });
  const refresh = () => {
    note.hidden = context.age() === null || !OF_AN_AGE.includes(context.screen());
    note.textContent = note.hidden ? '' : `The network as it was after ${context.ageLabel()} of training.`;
  };
  for (const event of ['age', 'model', 'screen']) context.on(event, refresh);
  refresh();
  return note;
};

// The server's functions, told whose questions they are: visitors take turns.
const asVisitor = (server) => new Proxy({}, { get: (_, name) => (request) => server[name]({ ...request, visitor: window.charlstm.store?.visitor }) });

export const open = async (h, element, functions) => {
  const server = asVisitor(functions);
  const context = createContext(element), choice = modelChoice(h, server, context), screens = screenTabs(h, server, context);
  const numbers = h('input', { type: 'checkbox', onchange: () => context.setNumbers(numbers.checked) });
  numbers.checked = context.numbers();
  const listed = server.inside_models({}).catch(() => ({ problem: 'The models could not be listed. Reload the page to try again.' }));
  await loadLook('inside.css');
  const { models = [], problem } = await listed;
  element.removeAttribute('aria-busy');
  if (!models.length) {
    element.replaceChildren(h('p', { class: 'inside-problem', role: 'alert' }, problem || 'There is no model here yet: train one first, on the tab Train.'));
    return;
  }
  choice.fill(models);
  const shell = h('div', { class: 'inside-shell' },
    h('div', { class: 'inside-head' },
      h('p', { class: 'inside-lead' }, 'See what this network has learned to notice in a text, and check that it is so.'),
      h('div', { class: 'inside-choices' },
        h('label', { class: 'inside-field' }, h('span', {}, 'Model'), choice.select),
        h('label', { class: 'inside-switch', title: 'Scores, controls, intervals and tables for those who want them' }, numbers, h('span', {}, 'Numbers')))),
    ...screens.parts);
  const mark = () => shell.classList.toggle('has-numbers', context.numbers());
  context.on('numbers', mark);
  mark();
  element.replaceChildren(shell);
  new IntersectionObserver((entries) => { if (entries.some((each) => each.isIntersecting)) choice.refresh(); }).observe(shell);
  followUnits(element, server, context);
  followLive(element, server, context, choice.refresh);
  screens.refresh();
};
