// The page's state of the runs. Polls the server about once a second for changes, and notifies the listeners.
(() => {
  const TICK = 1000, HURRY = 150, PATIENCE = 10000, PATIENCE_FOR_DATA = 60000, LOST_AFTER = 2;
  const TICK_UNSEEN = 15000; // while a run goes on and nobody looks: for the page's title alone
  const OVERLAID = 6;
  const KEYS = { visitor: 'charlstm-visitor', chosen: 'charlstm-compared', view: 'charlstm-view', form: 'charlstm-form', tab: 'charlstm-tab', lost: 'charlstm-lost' };
  const LONGEST_STORED = 1000000; // characters of a pasted text that the browser keeps

  const readStored = (key, fallback) => {
    try { return JSON.parse(localStorage.getItem(key)) ?? fallback; } catch { return fallback; }
  };
  const writeStored = (key, value) => {
    try { localStorage.setItem(key, JSON.stringify(value)); return true; } catch { return false; } // a private window, or full storage
  };

  // Token of this browser, a secret that only it and the server know: it may control the runs that it started.
  const newToken = () => Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const stored = readStored(KEYS.visitor, '');
  const visitor = /^[0-9a-f]{48}$/.test(stored) ? stored : newToken();
  writeStored(KEYS.visitor, visitor);

  // A copied link has the run before the #, so that a preview can be of it; the page writes it behind.
  const runInAddress = () => {
    const linked = new URLSearchParams(location.search).get('run') || null;
    try { return decodeURIComponent((location.hash.match(/^#run=(.+)$/) || [])[1] || '') || linked; } catch { return linked; }
  };

  const store = {
    visitor,
    run: runInAddress(), // the run that the visitor chose; null: the one in progress, the newest, or one that was recorded
    preset: 'minute', // in the form of a new run
    shown: null, // the run that is displayed
    sections: {}, // name -> latest value from the server
    compared: readStored(KEYS.chosen, {}), // run -> index of its colour
    view: { x: 'minutes', unit: 'nats', y: 'focus', ...readStored(KEYS.view, {}) },
    tags: {},
    listeners: [],
    deleted: 0, // index of the first deleted run listed
    texts: new Map(), // of samples, by number
    isLost: false,
    missing: null, // the run that the address names, if there is no such run
  };
  let isPinned = false; // whether the shown run was chosen by a click on it alone
  let addressed = store.run; // the run that the address names, until it has been seen
  let server = null, timer = 0, failures = 0, isAsking = false, isTickPending = false;

  // A reloaded page opens its last tab; an address that asks for a text opens the first one, and one that names a run the
  // tab of runs. A browser calls it no reload after it had shown that the app does not answer.
  const RENAMED = { Generate: 'Write', Hub: 'Share' }; // tabs, as older pages stored them
  const tabs = () => [...document.querySelectorAll('button[role="tab"]')];
  const openTab = (name) => { // waits for the tabs, which are created later
    const found = tabs();
    if (found.length) found.find((each) => each.textContent.trim() === (RENAMED[name] ?? name))?.click();
    else requestAnimationFrame(() => openTab(name));
  };
  const readLast = (key) => { try { return sessionStorage.getItem(key); } catch { return null; } };
  const lastTab = readLast(KEYS.tab);
  const isForText = new URLSearchParams(location.search).has('prompt');
  const isReload = performance.getEntriesByType('navigation')[0]?.type === 'reload' || readLast(KEYS.lost) === location.href;
  try { sessionStorage.removeItem(KEYS.lost); } catch { /* a private window */ } // which holds for one load
  const addressedTab = isForText ? 'Write' : store.run === null ? null : 'Train';
  const initialTab = isReload ? lastTab ?? addressedTab : addressedTab ?? lastTab;
  window.addEventListener('pagehide', () => {
    const open = tabs().find((each) => each.getAttribute('aria-selected') === 'true');
    if (!open || !server) return; // before it is connected, the tab of a page is not the one that it will open
    try {
      sessionStorage.setItem(KEYS.tab, open.textContent.trim());
      if (failures) sessionStorage.setItem(KEYS.lost, location.href);
    } catch { /* a private window */ }
  });
  store.openTab = openTab;

  const withTimeout = (promise, milliseconds) => Promise.race([promise, new Promise((resolve) => setTimeout(resolve, milliseconds))]);

  // Call a server function; undefined if the server could not be reached.
  store.call = async (name, values) => {
    if (!server) return undefined;
    const patience = name === 'download' ? PATIENCE_FOR_DATA : PATIENCE;
    try { return await withTimeout(server[name]({ ...values, visitor }), patience); } catch { return undefined; }
  };

  store.connect = (functions) => {
    server = functions;
    if (initialTab) openTab(initialTab);
    tick();
  };
  store.onChange = (listener) => {
    store.listeners.push(listener);
    listener(null);
  };
  // A listener that fails must not prevent the others or the next tick.
  const notify = (changed) => {
    store.listeners = store.listeners.filter((listener) => {
      try { return listener(changed) !== false; } catch (error) { console.error(error); return true; }
    });
  };

  store.notify = notify;

  // Lists arrive as the number of entries to keep and the entries to append.
  const mergeList = (before, { keep, add }) => (before || []).slice(0, keep).concat(add);
  const mergeLine = (before, { keep, steps, values }) => ({
    steps: mergeList(before?.steps, { keep, add: steps }),
    values: mergeList(before?.values, { keep, add: values }),
  });
  const mergeCurves = (before, value) => ({
    clock: value.clock,
    lines: Object.fromEntries(Object.entries(value.lines).map(([name, each]) => [name, mergeLine(before?.lines[name], each)])),
  });
  const mergeSamples = (before, value) => {
    if (value.keep === 0) store.texts.clear();
    for (const number of store.texts.keys()) if (number >= value.keep && value.keep > 0) store.texts.delete(number);
    return { list: mergeList(before?.list, value), epoch: value.epoch, latest: value.latest };
  };

  const dropSection = (name) => {
    delete store.tags[name];
    delete store.sections[name];
  };
  const applyAnswer = (answer) => {
    const changed = new Set();
    if (answer.run !== undefined && answer.run !== store.shown) {
      store.shown = answer.run;
      store.texts.clear();
      dropSection('samples');
      changed.add('shown');
    }
    for (const [name, [tag, value]] of Object.entries(answer.sections || {})) {
      const before = store.sections[name];
      const isCurves = name.startsWith('curves/');
      store.sections[name] = isCurves ? mergeCurves(before, value) : name === 'samples' ? mergeSamples(before, value) : value;
      store.tags[name] = tag;
      changed.add(name);
    }
    for (const name of Object.keys(store.tags)) { // curves of runs that are no longer displayed
      if (name.startsWith('curves/') && name !== `curves/${store.shown}` && !(name.slice(7) in store.compared)) dropSection(name);
    }
    if (changed.has('runs')) {
      const existing = new Set(store.sections.runs);
      for (const name of Object.keys(store.compared)) if (!existing.has(name)) delete store.compared[name];
      existing.add(store.shown); // a recorded run is in no list
      for (const name of Object.keys(store.tags)) if (name.startsWith('row/') && !existing.has(name.slice(4))) dropSection(name);
    }
    if (store.run !== null && answer.run !== undefined) checkRun(answer.run);
    return changed;
  };

  // The chosen run may be gone. One that was shown has just been deleted; one that only the address names stays there, so
  // that whoever followed a link can see what it was.
  const checkRun = (run) => {
    if (run === store.run) {
      addressed = store.missing = null;
    } else if (store.run !== addressed) {
      store.run = null;
      updateAddress();
    } else if (store.missing !== store.run) {
      store.missing = store.run;
      const shown = run === null ? 'There is no run yet.' : `Shown instead: ${store.sections[`row/${run}`]?.label || run}.`;
      window.charlstm.toast(`The run “${store.missing}” of this link is not here: it was deleted, or trained elsewhere. ${shown}`, { seconds: 0 });
    }
  };

  const requestTick = () => store.call('tick', {
    run: store.run,
    preset: store.preset,
    shown: store.shown,
    compared: Object.keys(store.compared).filter((name) => name !== store.shown),
    deleted: store.deleted,
    tags: store.tags,
    samples: [store.sections.samples?.epoch ?? null, store.sections.samples?.list.length ?? 0],
  });

  async function tick() {
    clearTimeout(timer);
    if (isAsking) { isTickPending = true; return; }
    if (document.hidden && !store.sections.house?.run) return;
    isAsking = true;
    const began = Date.now(), run = store.run;
    const answer = await requestTick();
    isAsking = false;
    failures = answer === undefined ? failures + 1 : 0;
    const wasLost = store.isLost;
    store.isLost = failures >= LOST_AFTER;
    let changed = new Set();
    if (answer && run === store.run) changed = applyAnswer(answer);
    if (wasLost !== store.isLost) changed.add('lost');
    if (changed.size) notify(changed);
    const pause = isTickPending || answer?.more ? 0 : document.hidden ? TICK_UNSEEN : store.sections.state?.is_asked ? HURRY : TICK;
    isTickPending = false;
    timer = setTimeout(tick, Math.max(0, pause - (Date.now() - began)));
  }
  store.refresh = tick;
  document.addEventListener('visibilitychange', () => { if (!document.hidden) tick(); });

  const updateAddress = () => {
    const url = new URL(location.href);
    url.searchParams.delete('run');
    url.hash = store.run === null ? '' : `run=${encodeURIComponent(store.run)}`;
    history.replaceState(history.state, '', url);
  };

  // Show `run` from now on, also after a reload.
  store.show = (run) => {
    isPinned = false;
    if (run === store.run) return;
    store.run = run;
    addressed = store.missing = null;
    updateAddress();
    tick();
  };
  store.pin = () => { if (store.run === null && store.shown !== null) { store.run = store.shown; isPinned = true; updateAddress(); } };

  // Take note of the preset in the form: where nobody has trained yet, a run that was recorded with it is shown.
  store.choosePreset = (preset) => {
    if (preset === store.preset) return;
    store.preset = preset;
    if (isPinned && store.sections.state?.word === 'recorded') { store.run = null; updateAddress(); }
    tick();
  };
  window.addEventListener('hashchange', () => { if (runInAddress() !== store.run) { store.run = addressed = runInAddress(); store.missing = null; if (store.run !== null) openTab('Train'); tick(); } });

  store.showDeleted = (begin) => {
    store.deleted = begin;
    tick();
  };

  // The form of a new run: stored here, checked by the server when the page is opened again.
  store.saveForm = (values) => {
    const upTo = (most) => values.map((each) => (typeof each === 'string' && each.length > most ? '' : each));
    return writeStored(KEYS.form, upTo(LONGEST_STORED)) || writeStored(KEYS.form, upTo(1000)); // without a text that is too long
  };
  store.storedForm = () => JSON.stringify(readStored(KEYS.form, null));

  store.setView = (values) => {
    Object.assign(store.view, values);
    writeStored(KEYS.view, store.view);
    notify(new Set(['view']));
  };

  // Add or remove the run's curve in the comparison, in a colour that it keeps; false if there are six already.
  store.compare = (run, isCompared) => {
    if (!isCompared) delete store.compared[run];
    else {
      const taken = new Set(Object.values(store.compared));
      if (taken.size >= OVERLAID) return false;
      let colour = [...run].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 9973, 7) % OVERLAID;
      while (taken.has(colour)) colour = (colour + 1) % OVERLAID;
      store.compared[run] = colour;
    }
    writeStored(KEYS.chosen, store.compared);
    notify(new Set(['compared']));
    tick();
    return true;
  };

  // Ask the server to perform an action on a run; resolves to a sentence if it refuses, else ''.
  store.act = async (action, values = {}) => {
    const about = { run: store.shown, ...values };
    const answer = await store.call('act', { ...about, action });
    if (answer === undefined) return 'The app does not answer; try again in a moment.';
    if (answer.show) store.show(answer.show);
    if (answer.sections && about.run === store.shown) { // unless another run was chosen meanwhile
      const changed = applyAnswer({ ...answer, run: undefined });
      if (changed.size) notify(changed);
    }
    tick();
    return answer.problem || '';
  };

  window.charlstm = Object.assign(window.charlstm || {}, { store });
})();
