// The form of a new run: what is marked in it, the queue, a file dropped anywhere, and the way to the stage and back.
(() => {
  const { h, setText, setVisible, scrollTo, store } = window.charlstm;
  const PATIENCE = 5000; // milliseconds for a field that is about to be shown
  const SETTLED = 120; // milliseconds without a change, after which the form is judged
  const byId = (id) => document.getElementById(id);

  // Resolve to what `find` returns, as soon as it returns something.
  const appearing = (find) => new Promise((resolve) => {
    const until = Date.now() + PATIENCE;
    const look = () => {
      const found = find();
      if (found || Date.now() > until) resolve(found);
      else requestAnimationFrame(look);
    };
    look();
  });

  // On a phone the run comes first, and the form is folded into a line above it: from the beginning where there is a run
  // already, and once one was started. It opens and closes by its line alone, so that nobody loses a form under the thumb.
  let setFolded = () => {}, isTouched = false; // then what others start no longer folds it
  window.charlstm.formFold = (element) => {
    const button = element.querySelector('button'), panel = element.closest('[role=tabpanel]');
    setFolded = (isFolded) => {
      panel.classList.toggle('is-folded', isFolded);
      if (isFolded) panel.classList.add('can-fold');
      button.setAttribute('aria-expanded', String(!isFolded));
    };
    button.addEventListener('click', () => setFolded(button.getAttribute('aria-expanded') === 'true'));
    for (const kind of ['pointerdown', 'focusin', 'click']) panel.addEventListener(kind, () => { isTouched = true; });
    store.onChange(() => {
      const { state } = store.sections;
      if (state === undefined) return true;
      panel.classList.add('is-known');
      if (!isTouched) setFolded(Boolean(state) && state.word !== 'recorded');
      return !isTouched;
    });
  };

  // A run that waits for its turn stays where it is, and the one in progress in view; any other one is shown.
  window.charlstm.runStarted = (told) => {
    if (!told) return;
    const [run, isWaiting] = JSON.parse(told);
    if (isWaiting && store.shown !== null) { store.refresh(); return; }
    store.show(run);
    setFolded(true);
    if (!byId('start').getClientRects().length) byId('run-state').focus({ preventScroll: true }); // what was pressed is folded away
    scrollTo(byId('stage'));
  };

  // Scroll to the form, and to the choice of a text if that is asked for.
  window.charlstm.showForm = async (isTextWanted = false) => {
    isTouched = true;
    setFolded(false);
    const corpus = await appearing(() => (byId('corpus')?.getClientRects().length ? byId('corpus') : null)); // its tab may not be open yet
    if (!corpus) return;
    scrollTo(byId('train-form'));
    corpus.classList.toggle('is-asked', isTextWanted);
    if (isTextWanted) corpus.querySelector('input')?.focus({ preventScroll: true });
    corpus.addEventListener('focusout', () => corpus.classList.remove('is-asked'), { once: true });
  };

  const acceptDrops = (panel, trigger) => {
    const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes('Files');
    const isInBox = (event) => Boolean(event.target.closest?.('#text-file'));
    panel.addEventListener('dragover', (event) => {
      if (!hasFiles(event) || isInBox(event)) return;
      event.preventDefault();
      panel.classList.add('is-drop-target');
    });
    panel.addEventListener('dragleave', (event) => { if (!panel.contains(event.relatedTarget)) panel.classList.remove('is-drop-target'); });
    panel.addEventListener('drop', async (event) => {
      panel.classList.remove('is-drop-target');
      if (!hasFiles(event) || isInBox(event)) return;
      event.preventDefault();
      const taken = new DataTransfer();
      if (event.dataTransfer.files.length) taken.items.add(event.dataTransfer.files[0]);
      trigger('dropped');
      const box = await appearing(() => byId('text-file'));
      box?.querySelector('button[aria-label="Clear"], button[aria-label="Remove this file"]')?.click();
      const input = await appearing(() => byId('text-file')?.querySelector('input[type=file]'));
      if (!input) return;
      input.files = taken.files;
      input.dispatchEvent(new Event('change', { bubbles: true }));
    });
  };

  // Tell beside Start what a run that is started now waits for; empty while nothing trains.
  const queueWords = () => {
    const { run, text = '' } = store.sections.house || {};
    if (!run) return '';
    const name = store.sections[`row/${run}`]?.label || 'the run in progress';
    const left = text.match(/([^·]+) left/)?.[1].trim();
    return `A new run starts when ${name} is done${left ? `, in about ${left}` : ''}.`;
  };

  // The events of `trigger` are named where this is called, as Gradio wants.
  window.charlstm.trainForm = (element, props, watch, trigger) => {
    const sheet = window.charlstm.settingsSheet(trigger);
    window.charlstm.openSheet = () => sheet.open();
    const queue = h('p', { class: 'queue-note' });
    element.replaceChildren(queue);
    let isFull = false, lastRun = store.sections.house?.run;

    const draw = () => {
      let marks = null;
      try { marks = JSON.parse(props.value || 'null'); } catch { /* the value of an older page */ }
      if (!marks) return;
      isFull = marks.is_full;
      store.choosePreset(marks.preset);
      if (!queue.isConnected) element.replaceChildren(queue);
      sheet.mark(marks);
      drawQueue();
    };
    const drawQueue = () => {
      const words = isFull ? queueWords() : '';
      setText(queue, words);
      setVisible(queue, Boolean(words));
    };
    watch('value', draw);
    draw();
    let timer = 0;
    window.charlstm.formChanged = () => {
      clearTimeout(timer);
      timer = setTimeout(() => trigger('refresh'), SETTLED);
    };
    // Gradio's own event of a text field passes over pasted text, the browser's over what is chosen from a list.
    const edited = () => { if (byId('train-problem').textContent.trim()) trigger('edited'); };
    window.charlstm.formEdited = () => { window.charlstm.formChanged(); edited(); };
    trigger('refresh');
    store.onChange((changed) => {
      if (!queue.isConnected && !element.isConnected) return false;
      const run = store.sections.house?.run;
      if (changed?.has('house') && run !== lastRun) {
        lastRun = run;
        trigger('refresh');
      }
      drawQueue();
      return true;
    });
    byId('train-form').addEventListener('input', edited);
    document.addEventListener('click', (event) => {
      const toRun = event.target.closest?.('#train-form .to-run'), toField = event.target.closest?.('#train-form .to-field');
      if (toRun) { store.show(toRun.dataset.run); scrollTo(byId('stage')); }
      if (toField) sheet.open(toField.dataset.field);
    });
    acceptDrops(byId('train-form').closest('[role=tabpanel]') || byId('train-form'), trigger);
  };
})();
