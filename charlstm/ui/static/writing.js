// Writing: Write and Stop, the text on arrival, Back and the strip of earlier texts, which the browser keeps.
(() => {
  const { h, setText, setVisible, scrollTo } = window.charlstm;
  const KEY = 'charlstm-texts', MOST_TEXTS = 8, LONGEST_STORED = 300000, EXCERPT = 28;
  const SLOW = 500; // milliseconds without an answer, after which the text before must not be taken for it
  const STOP_PATIENCE = 5000; // milliseconds for the answer to Stop
  const PATIENCE = 15000, MIX_PATIENCE = 5000, TAB_PATIENCE = 10000; // milliseconds for the first letters; for the list of second models; for the tab to open
  const ARRIVALS = ['arrival', 'linked']; // a new text, or that of the address
  const BEGIN = '#write, #same-again, #another, #continue-writing';
  const ANSWERS = ['#copied', '#generate-problem'];
  const FORM = '#write-row, #write-controls, #folds', CHANGES = '#examples button:not(.facts-button), #folds button:not(.info-button, .label-wrap), #mix-fold > button';
  const text = () => window.charlstm.text;
  const find = (name) => document.querySelector(name);

  // Texts --------------------------------------------------------------------------------------------------------------

  const readTexts = () => {
    try {
      const stored = JSON.parse(localStorage.getItem(KEY));
      return Array.isArray(stored) ? stored.filter((page) => typeof page?.id === 'string' && Array.isArray(page.texts)) : [];
    } catch { return []; }
  };
  let texts = readTexts().filter((page) => !page.is_arrival); // the newest first; nobody asked for those of earlier visits
  let arrival = null; // the id of the text that wrote itself on arrival
  const keep = (page) => {
    if (!page?.id || !page.texts?.some((each) => each.text[0])) return;
    const kept = JSON.parse(JSON.stringify({ ...page, is_writing: false, is_live: false, is_arrival: page.id === arrival }));
    texts = texts.filter((each) => each.id === page.id || !page.link || each.link !== page.link); // written again from its address
    const place = texts.findIndex((each) => each.id === page.id);
    if (place >= 0) texts[place] = kept; else texts.unshift(kept);
    texts = texts.slice(0, MOST_TEXTS + 1); // one of them is in view
    const small = texts.filter((each) => JSON.stringify(each).length <= LONGEST_STORED);
    try { localStorage.setItem(KEY, JSON.stringify(small)); } catch { /* a private window, or full storage */ }
    drawStrip();
  };

  let strip = null;
  const drawStrip = () => {
    if (!strip?.isConnected) return;
    const earlier = texts.filter((page) => page.id !== text()?.page()?.id).slice(0, MOST_TEXTS);
    setVisible(strip, earlier.length > 0);
    strip.replaceChildren(h('span', {}, 'Earlier:'), ...earlier.map((page) => {
      const whole = ((page.given || '') + page.texts[0].text.join('').slice(0, 2 * EXCERPT)).replace(/\s+/g, ' ').trim();
      const excerpt = whole.length > EXCERPT ? `${whole.slice(0, EXCERPT)}…` : whole;
      return h('button', { type: 'button', class: 'earlier-text', title: page.caption || '', onclick: () => open(page.id, true) }, `“${excerpt}”`);
    }));
  };

  // Addresses: each text is an entry of the browser's history, so that Back undoes a branch or a new text. -----------------

  let kind = null, isOpening = false, waiting = null, left = null; // the id of the text that was in view before
  let closeUndo = () => {}; // takes the offer to undo a branch away: it is about the newest text only
  const addressOf = (page) => {
    if (!page.link) return location.href;
    const address = new URLSearchParams(page.link), now = new URLSearchParams(location.search);
    for (const [name, each] of now) if (name.startsWith('__')) address.set(name, each);
    return `${location.pathname}?${address}${location.hash}`;
  };
  const remember = (page, isNew) => {
    if (!page.texts?.length || isOpening) return;
    const how = kind, address = how === 'arrival' || history.state?.isArrival && !isNew ? location.href : addressOf(page);
    const state = { ...history.state, text: page.id, isArrival: how === 'arrival' || (!isNew && Boolean(history.state?.isArrival)) };
    if (isNew) {
      const isFirst = !history.state?.text || ARRIVALS.includes(how);
      if (how === 'arrival') arrival = page.id;
      if (isFirst) history.replaceState(state, '', address); else history.pushState(state, '', address);
      if (how === 'branch') {
        const before = left, undo = () => { window.charlstm.store.openTab('Write'); open(before, true); };
        closeUndo = window.charlstm.toast('Went on from another letter.', { action: 'Undo', onAction: undo, seconds: 8 });
      }
      kind = null;
    } else if (history.state?.text === page.id && new URL(address, location).href !== location.href) history.replaceState(state, '', address);
  };

  // Show a text as it was. While one is being written, that one ends first.
  const open = (id, isNewEntry) => {
    const page = texts.find((each) => each.id === id);
    if (!page) return;
    if (isBusy) {
      waiting = () => open(id, isNewEntry);
      find('#stop-writing')?.click();
      return;
    }
    text().stop();
    text().settle();
    keep(text().page());
    if (isNewEntry) history.pushState({ ...history.state, text: id, isArrival: false }, '', addressOf(page));
    for (const answer of ANSWERS) find(answer)?.classList.add('is-stale'); // they were about the other text
    isOpening = true;
    text().open(page);
    isOpening = false;
    drawStrip();
  };
  window.addEventListener('popstate', (event) => {
    const id = event.state?.text;
    closeUndo();
    if (!id || id === text()?.page()?.id) return;
    if (!texts.some((each) => each.id === id)) { window.charlstm.toast?.('That text is no longer kept.'); return; }
    window.charlstm.store.openTab('Write');
    open(id, false);
  });

  // Write and Stop -----------------------------------------------------------------------------------------------------

  let isBusy = false; // the server is asked for a text
  let turn = 0, isHeard = false; // the number of the question, and whether anything of its answer came
  // What stands there until a slow model has begun is not its text.
  const showWaiting = (isWaiting) => {
    find('#write-tab')?.classList.toggle('is-waiting', isWaiting);
    const words = find('#text .reader-waiting');
    if (words) setText(words, isWaiting ? 'The model is about to begin…' : '');
  };
  const update = () => {
    find('#write-tab')?.classList.toggle('is-writing', isBusy || Boolean(text()?.isActive()));
    const isEmpty = !text()?.page()?.texts?.some((each) => each.text[0]);
    if (isHeard || !isBusy) showWaiting(false);
    for (const name of ['#continue-writing', '#check-copied']) if (find(name)) find(name).disabled = isEmpty;
  };
  const begin = (how) => {
    isBusy = true;
    isHeard = false;
    kind = how;
    text()?.begin();
    update();
    const own = ++turn;
    if (how !== 'more') setTimeout(() => { if (isBusy && !isHeard && own === turn) showWaiting(true); }, SLOW);
    setTimeout(() => { // a question that got lost must not hide Write for ever
      if (!isBusy || isHeard || own !== turn) return;
      isBusy = false;
      kind = null;
      update();
    }, PATIENCE);
  };
  document.addEventListener('click', (event) => {
    const { target } = event;
    const button = target.closest?.(BEGIN);
    if (button && isMixComing() && !isLate && !ARRIVALS.includes(kind)) {
      event.stopPropagation();
      clickOnceMixed(button);
      return;
    }
    if (button || target.closest?.('#check-copied')) find('#copied')?.classList.remove('is-stale');
    if (button) begin(ARRIVALS.includes(kind) ? kind : button.id === 'continue-writing' ? 'more' : 'button');
    else if (target.closest?.('#stop-writing')) {
      text()?.stop();
      if (!isBusy) text()?.settle();
      update();
      const own = turn;
      setTimeout(() => { if (isBusy && own === turn) done(''); }, STOP_PATIENCE);
    }
  }, true);
  document.addEventListener('charlstm:branch', () => begin('branch'));
  // The second of two models is known once the server has told which ones there are.
  const isMixComing = () => Boolean(find('#mix-fold > button.open')) && !find('#crossfader .mix.is-filled');
  let pressed = null, isLate = false; // the button that was pressed last meanwhile
  const holdButton = (button) => {
    pressed?.removeAttribute('aria-busy');
    pressed = button;
    pressed?.setAttribute('aria-busy', 'true');
  };
  const clickOnceMixed = (button) => {
    const isWaiting = pressed !== null;
    holdButton(button);
    if (isWaiting) return;
    const until = Date.now() + MIX_PATIENCE;
    const look = () => {
      if (isMixComing() && Date.now() < until) { setTimeout(look, 50); return; }
      const last = pressed;
      holdButton(null);
      isLate = true;
      last.click();
      isLate = false;
    };
    look();
  };
  document.addEventListener('charlstm:left', ({ detail }) => { left = detail.id; keep(detail); });
  document.addEventListener('charlstm:page', ({ detail }) => {
    isHeard = true;
    if (detail.isNew) closeUndo();
    remember(detail.page, detail.isNew);
    if (detail.isNew) drawStrip();
    if (isAwaited && !hasArrived) setTimeout(arrive, 0, '');
    update();
  });
  document.addEventListener('charlstm:settled', ({ detail }) => {
    update();
    if (!isBusy) keep(detail);
  });
  // Show where the problem is: its sentence begins with the name of a field, if it is about one.
  const mark = (problem) => {
    for (const field of document.querySelectorAll('#write-tab .is-wrong')) field.classList.remove('is-wrong');
    if (!problem) return;
    const name = problem.split(':')[0];
    const title = [...document.querySelectorAll('#write-tab [data-testid="block-info"]')].find((each) => each.textContent.trim() === name);
    title?.closest('.block.padded')?.classList.add('is-wrong');
    find('#generate-problem')?.scrollIntoView({ block: 'nearest' });
  };
  // A problem is told no longer once something was changed.
  const edited = () => { if (find('#generate-problem')?.textContent.trim()) find('#generate-problem').classList.add('is-stale'); };
  document.addEventListener('input', ({ target }) => {
    target.closest?.('.is-wrong')?.classList.remove('is-wrong');
    if (target.closest?.(FORM)) edited();
  });
  document.addEventListener('click', ({ target }) => { if (target.closest?.(CHANGES)) edited(); });

  // The server has ended, with a text or a problem.
  const done = (problem) => {
    isBusy = false;
    if (problem) kind = null;
    find('#generate-problem')?.classList.remove('is-stale'); // what it says now is the server's answer
    text()?.settle();
    update();
    mark(problem);
    const next = waiting;
    waiting = null;
    next?.();
  };

  // Gradio tells nobody that the connection broke in the middle of an answer: Stop would stand there for ever.
  window.charlstm.store.onChange((changed) => { if (isBusy && window.charlstm.store.isLost && changed?.has('lost')) done(''); });

  // On arrival a text writes itself: that of the address, or a new one.
  const isForText = new URLSearchParams(location.search).has('seed');
  let hasArrived = false, isAwaited = false;
  const arrive = (problem) => {
    if (problem || hasArrived || isBusy || text()?.page()?.texts?.length) return;
    const button = find(isForText ? '#same-again' : '#write');
    isAwaited = !button; // the tab has not been opened yet
    if (!button) return;
    hasArrived = true;
    isAwaited = false;
    kind = isForText ? 'linked' : 'arrival';
    button.click();
  };
  // Another model is about to write: what stands there is not its text.
  const prepare = () => {
    showWaiting(true);
    setTimeout(update, PATIENCE);
  };
  // Write with the model that the form shows now, also where the tab has just been opened.
  let opening = 0;
  const writeNow = () => {
    hasArrived = true;
    clearTimeout(opening);
    const until = Date.now() + TAB_PATIENCE;
    const look = () => {
      const button = find('#write'), page = find('#text');
      if (button && page?.getClientRects().length) {
        button.click();
        scrollTo(page, 'end');
        page.querySelector('.reader').focus({ preventScroll: true }); // what was pressed is out of sight
      } else if (Date.now() < until) opening = setTimeout(look, 50);
    };
    look();
  };

  // Gradio's dropdown takes Tab for typing, and opens its list again over the field that one goes to.
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Tab' && event.target.matches?.('input[role="combobox"]')) event.stopPropagation();
  }, true);

  const earlier = (element) => {
    strip = h('div', { class: 'earlier', role: 'group', 'aria-label': 'Earlier texts' });
    element.replaceChildren(strip);
    drawStrip();
    update();
    explainForm();
  };
  // For whoever has written nothing here yet: what else there is.
  const firstTime = () => {
    const { store, showForm } = window.charlstm;
    const offer = (words, onclick) => h('button', { type: 'button', class: 'first-try', onclick }, words);
    return h('div', { class: 'earlier first-time', role: 'group', 'aria-label': 'First time here?', hidden: texts.length > 0 }, h('span', {}, 'First time here?'),
      offer('Watch one learn in a minute', () => store.openTab('Train')),
      offer('Teach one your own text', () => { store.openTab('Train'); showForm(true); }),
      offer('How does it do that?', () => find('[data-how=pictures]').click()));
  };
  // An explanation beside each word that needs one.
  const explain = () => {
    for (const term of ['temperature', 'top-p', 'top-k', 'seed']) {
      const title = find(`#${term} [data-testid="block-info"]`);
      if (title && !find(`#${term} .info-button`)) title.after(window.charlstm.infoButton(term));
    }
  };
  // Gradio makes the form after what stands below it, and the fields of a fold once that is opened.
  const explainForm = () => {
    const more = find('#more');
    if (!more || !find('#temperature label')) { setTimeout(explainForm, 50); return; }
    explain();
    new MutationObserver(explain).observe(more, { childList: true, subtree: true });
  };

  // Units that the address holds, each a button that lets go of it: `710=3.1,1:20=-2`. Nothing where none is held.
  const held = (element, props, watch) => {
    const draw = () => {
      const parts = String(props.value || '').split(',').filter(Boolean);
      element.replaceChildren(h('div', { class: 'held' }, ...parts.map((part) => {
        const [place, value] = part.split('='), [unit, layer] = place.split(':').reverse();
        const words = `unit ${unit}${layer > 0 ? ` of layer ${layer}` : ''} held at ${value.replace('-', '\u2212')}`;
        const free = () => { props.value = parts.filter((each) => each !== part).join(','); draw(); find('#write')?.focus(); };
        return h('button', { type: 'button', class: 'earlier-text held-unit', title: `${words}: let it go`, onclick: free }, `${words} ×`);
      })));
    };
    watch('value', draw);
    draw();
  };

  window.charlstm = Object.assign(window.charlstm || {}, { held, writing: { arrive, prepare, writeNow, done, edited, earlier, firstTime } });
})();
