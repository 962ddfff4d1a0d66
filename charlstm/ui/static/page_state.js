// What the page knows of the runs. Asks the server about once a second for what has changed, and tells whoever draws it.
(() => {
  const TICK = 1000, HURRY = 150, PATIENCE = 10000, PATIENCE_FOR_DATA = 60000, LOST_AFTER = 2;
  const OVERLAID = 6;
  const KEYS = { visitor: 'charlstm-visitor', chosen: 'charlstm-compared', view: 'charlstm-view', form: 'charlstm-form', tab: 'charlstm-tab' };
  const LONGEST_KEPT = 1000000; // characters of a pasted text that the browser keeps

  const kept = (key, otherwise) => {
    try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; }
  };
  const keep = (key, value) => {
    try { localStorage.setItem(key, JSON.stringify(value)); return true; } catch { return false; } // a private window, or full
  };

  // Who this browser is: a secret that only it and the server know. Whoever starts a run may steer it.
  const made = () => Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const known = kept(KEYS.visitor, '');
  const visitor = /^[0-9a-f]{48}$/.test(known) ? known : made();
  keep(KEYS.visitor, visitor);

  const runInAddress = () => {
    try { return decodeURIComponent((location.hash.match(/^#run=(.+)$/) || [])[1] || '') || null; } catch { return null; }
  };

  const store = {
    visitor,
    run: runInAddress(), // the run that the visitor chose; null: whichever is going on, or the newest
    shown: null, // the run that is drawn
    sections: {}, // name -> what the server said of it
    compared: kept(KEYS.chosen, {}), // run -> its colour's number
    view: { x: 'step', unit: 'nats', ...kept(KEYS.view, {}) },
    tags: {},
    drawers: [],
    deleted: 0, // how many of the deleted runs come before those that are listed
    texts: new Map(), // of samples, by their number
    isLost: false,
  };
  let server = null, timer = 0, failures = 0, isAsking = false, isWanted = false;

  // A page that is loaded again opens the tab that it was left with, but an address that asks for a text is for the first,
  // and one that names a run for the tab of runs.
  const tabs = () => [...document.querySelectorAll('button[role="tab"]')];
  const openTab = (name) => { // waits for the tabs, which come later than this
    const found = tabs();
    if (found.length) found.find((each) => each.textContent.trim() === name)?.click();
    else requestAnimationFrame(() => openTab(name));
  };
  const lastTab = () => { try { return sessionStorage.getItem(KEYS.tab); } catch { return null; } };
  const isForText = new URLSearchParams(location.search).has('prompt');
  const wanted = isForText ? null : lastTab() ?? (store.run === null ? null : 'Train');
  window.addEventListener('pagehide', () => {
    const open = tabs().find((each) => each.getAttribute('aria-selected') === 'true');
    try { if (open) sessionStorage.setItem(KEYS.tab, open.textContent.trim()); } catch { /* a private window */ }
  });
  store.openTab = openTab;

  const within = (promise, milliseconds) => Promise.race([promise, new Promise((done) => setTimeout(done, milliseconds))]);

  // Calls a function of the server; undefined where it could not be reached.
  store.call = async (name, values) => {
    if (!server) return undefined;
    const patience = name === 'download' ? PATIENCE_FOR_DATA : PATIENCE;
    try { return await within(server[name]({ ...values, visitor }), patience); } catch { return undefined; }
  };

  store.connect = (functions) => {
    server = functions;
    if (wanted) openTab(wanted);
    tick();
  };
  store.onChange = (draw) => {
    store.drawers.push(draw);
    draw(null);
  };
  // What fails to draw must not keep the others, and the next tick, from coming.
  const tell = (changed) => {
    store.drawers = store.drawers.filter((draw) => {
      try { return draw(changed) !== false; } catch (error) { console.error(error); return true; }
    });
  };

  // Lists arrive as a number of entries to keep and the entries to add.
  const grown = (before, { keep, add }) => (before || []).slice(0, keep).concat(add);
  const line = (before, { keep, steps, values }) => ({
    steps: grown(before?.steps, { keep, add: steps }),
    values: grown(before?.values, { keep, add: values }),
  });
  const curves = (before, value) => ({
    clock: value.clock,
    lines: Object.fromEntries(Object.entries(value.lines).map(([name, each]) => [name, line(before?.lines[name], each)])),
  });
  const samples = (before, value) => {
    if (value.keep === 0) store.texts.clear();
    for (const number of store.texts.keys()) if (number >= value.keep && value.keep > 0) store.texts.delete(number);
    return { list: grown(before?.list, value), epoch: value.epoch, latest: value.latest };
  };

  const forget = (name) => {
    delete store.tags[name];
    delete store.sections[name];
  };
  const take = (answer) => {
    const changed = new Set();
    if (answer.run !== undefined && answer.run !== store.shown) {
      store.shown = answer.run;
      store.texts.clear();
      forget('samples');
      changed.add('shown');
    }
    for (const [name, [tag, value]] of Object.entries(answer.sections || {})) {
      const before = store.sections[name];
      const isCurves = name.startsWith('curves/');
      store.sections[name] = isCurves ? curves(before, value) : name === 'samples' ? samples(before, value) : value;
      store.tags[name] = tag;
      changed.add(name);
    }
    for (const name of Object.keys(store.tags)) { // of runs that are no longer drawn
      if (name.startsWith('curves/') && name !== `curves/${store.shown}` && !(name.slice(7) in store.compared)) forget(name);
    }
    if (changed.has('runs')) {
      const there = new Set(store.sections.runs);
      for (const name of Object.keys(store.compared)) if (!there.has(name)) delete store.compared[name];
      for (const name of Object.keys(store.tags)) if (name.startsWith('row/') && !there.has(name.slice(4))) forget(name);
    }
    if (store.run !== null && answer.run !== undefined && answer.run !== store.run) { // it is gone
      store.run = null;
      address();
    }
    return changed;
  };

  const ask = () => store.call('tick', {
    run: store.run,
    shown: store.shown,
    compared: Object.keys(store.compared).filter((name) => name !== store.shown),
    deleted: store.deleted,
    tags: store.tags,
    samples: [store.sections.samples?.epoch ?? null, store.sections.samples?.list.length ?? 0],
  });

  async function tick() {
    clearTimeout(timer);
    if (isAsking) { isWanted = true; return; }
    if (document.hidden) return;
    isAsking = true;
    const began = Date.now(), run = store.run;
    const answer = await ask();
    isAsking = false;
    failures = answer === undefined ? failures + 1 : 0;
    const wasLost = store.isLost;
    store.isLost = failures >= LOST_AFTER;
    let changed = new Set();
    if (answer && run === store.run) changed = take(answer);
    if (wasLost !== store.isLost) changed.add('lost');
    if (changed.size) tell(changed);
    const pause = isWanted || answer?.more ? 0 : store.sections.state?.is_asked ? HURRY : TICK;
    isWanted = false;
    timer = setTimeout(tick, Math.max(0, pause - (Date.now() - began)));
  }
  store.refresh = tick;
  document.addEventListener('visibilitychange', () => { if (!document.hidden) tick(); });

  const address = () => {
    const url = new URL(location.href);
    url.hash = store.run === null ? '' : `run=${encodeURIComponent(store.run)}`;
    history.replaceState(history.state, '', url);
  };

  // Show `run` from now on, here and after a reload.
  store.show = (run) => {
    if (run === store.run) return;
    store.run = run;
    address();
    tick();
  };
  store.pin = () => { if (store.run === null && store.shown !== null) { store.run = store.shown; address(); } };
  window.addEventListener('hashchange', () => { if (runInAddress() !== store.run) { store.run = runInAddress(); tick(); } });

  store.showDeleted = (begin) => {
    store.deleted = begin;
    tick();
  };

  // The form of a new run: kept here, checked by the server when the page is opened again.
  store.keepForm = (values) => {
    const upTo = (most) => values.map((each) => (typeof each === 'string' && each.length > most ? '' : each));
    return keep(KEYS.form, upTo(LONGEST_KEPT)) || keep(KEYS.form, upTo(1000)); // all but the text where that is too much
  };
  store.formKept = () => JSON.stringify(kept(KEYS.form, null));

  store.setView = (values) => {
    Object.assign(store.view, values);
    keep(KEYS.view, store.view);
    tell(new Set(['view']));
  };

  // Lay the run's curve over the others, in a colour that it keeps; false where there are six already.
  store.compare = (run, isWished) => {
    if (!isWished) delete store.compared[run];
    else {
      const taken = new Set(Object.values(store.compared));
      if (taken.size >= OVERLAID) return false;
      let colour = [...run].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 9973, 7) % OVERLAID;
      while (taken.has(colour)) colour = (colour + 1) % OVERLAID;
      store.compared[run] = colour;
    }
    keep(KEYS.chosen, store.compared);
    tell(new Set(['compared']));
    tick();
    return true;
  };

  // Ask the server to do something to a run; returns a sentence where it refuses, else ''.
  store.act = async (action, values = {}) => {
    const about = { run: store.shown, ...values };
    const answer = await store.call('act', { ...about, action });
    if (answer === undefined) return 'The app does not answer; try again in a moment.';
    if (answer.show) store.show(answer.show);
    if (answer.sections && about.run === store.shown) { // or another run was chosen while the line was slow
      const changed = take({ ...answer, run: undefined });
      if (changed.size) tell(changed);
    }
    tick();
    return answer.problem || '';
  };

  window.charlstm = Object.assign(window.charlstm || {}, { store });
})();
