// The panel of the shown run: its state, what can be done with it, and its figures. Curves and samples have scripts of their own.
(() => {
  const { h, setText, setVisible, ask, copyLink, store, infoButton, RunCurves, Samples } = window.charlstm;
  const STATES = { done: '✓', now: '●', next: '○' };
  const FOR_ALL = ['write', 'adapt', 'duplicate', 'download'];  // of those who may only look
  const RATES = [['½', 0.5], ['1', 1], ['2', 2]];

  class RunPanel {
    constructor(element, trigger) {
      this.trigger = trigger;
      this.problem = h('p', { class: 'problem', role: 'alert' });
      this.build(element);
      store.onChange((changed) => {
        if (!element.isConnected) return false;
        this.draw(changed);
        return true;
      });
    }

    build(element) {
      this.element = element;
      this.parts = {
        badge: h('span', { class: 'badge' }), sign: h('span', { 'aria-hidden': 'true' }), word: h('span'),
        name: h('b'), story: h('span', { class: 'story' }), note: h('span', { class: 'run-note' }), notes: h('p', { class: 'notes' }),
        summary: h('p', { class: 'summary', role: 'status' }), warning: h('p', { class: 'warning', role: 'status' }),
        share: h('progress', { class: 'share', max: 1, 'aria-label': 'share of the planned run' }),
        preparation: h('ol', { class: 'preparation', 'aria-label': 'Preparation' }),
        figures: h('dl', { class: 'figures' }), rate: this.buildRateBox(), undo: this.buildUndo(),
        log: h('details', { class: 'log' }, h('summary', {}, 'The end of its log'), h('pre', { tabindex: 0, 'aria-label': 'The end of its log' })),
      };
      const { badge, sign, word, name, story, share, figures, rate, log, notes, summary, warning, preparation, undo, note } = this.parts;
      badge.append(sign, ' ', word);
      const samples = h('div', { class: 'samples' }), curves = h('div', { class: 'curves' });
      this.film = h('div', { class: 'film-box' }, h('div', { class: 'moment' }, samples, figures), curves);
      element.replaceChildren(
        h('div', { class: 'run-head' }, h('div', { class: 'run-state', id: 'run-state', tabindex: -1 }, badge, name, story, note),
          h('div', { class: 'buttons steering' }, ...this.buildControls())),
        undo, h('div', { class: 'run-line' }, share, preparation, summary, rate), warning, this.problem, log, this.film, notes,
        h('div', { class: 'buttons belongings' }, ...this.buildOtherActions()));
      this.curves = new RunCurves(curves, (step) => this.samples?.glance(step));
      this.samples = new Samples(samples, this.curves, (step) => this.curves.point(step));
    }

    buildButton(action, text, onclick, look = '') {
      return h('button', { type: 'button', class: look, 'data-action': action, hidden: true, onclick }, text);
    }

    // Mark the button as busy until the app has answered, which takes a while on a slow line.
    async act(action, values) {
      store.pin();
      const pressed = this.element.querySelector(`[data-action=${action}]`);
      pressed?.setAttribute('aria-busy', 'true');
      const problem = await store.act(action, values);
      pressed?.removeAttribute('aria-busy');
      setText(this.problem, problem);
      return problem;
    }

    // Trigger an event that the rest of the page handles for this run.
    emit(action) {
      store.pin();
      this.trigger(action, { run: store.shown });
    }

    buildControls() {
      const actionButton = (action, text, look) => this.buildButton(action, text, () => this.act(action), look);
      this.save = h('button', { type: 'button', hidden: true, 'data-film': '', onclick: () => this.saveFilm() }, 'Save the film');
      return [
        actionButton('pause', 'Pause'), actionButton('continue', 'Continue', 'main'), actionButton('stop', 'Stop', 'stop'),
        actionButton('save', 'Save now'), actionButton('unqueue', 'Leave the queue'), actionButton('resume', 'Resume', 'main'),
        this.buildButton('write', 'Write with it', () => { window.charlstm.writing.prepare(); this.emit('write'); }), this.save, this.buildButton('extend', 'Train longer', () => this.extend()),
      ];
    }

    // Factors of the planned learning rate, and the rate itself.
    buildRateBox() {
      this.factor = h('input', { type: 'number', min: 0.01, max: 10, step: 'any', value: 1, 'aria-label': 'Learning-rate factor' });
      this.rateNow = h('span', { class: 'rate-now' });
      this.rateInfo = infoButton('learning-rate');
      const set = (value) => { this.factor.value = value; this.act('rate', { factor: Number(value) }); };
      const form = h('form', { class: 'rate-form', onsubmit: (event) => { event.preventDefault(); set(this.factor.value); } },
        this.factor, h('button', { type: 'submit' }, 'Set'));
      const quick = RATES.map(([text, value]) => h('button', { type: 'button', 'aria-label': `Learning rate times ${value}`, onclick: () => set(value) }, text));
      return h('div', { class: 'rate-box', 'data-action': 'rate', hidden: true }, h('span', {}, 'Learning rate ×'), ...quick, form, this.rateNow, this.rateInfo);
    }

    buildOtherActions() {
      const eventButton = (action, text) => this.buildButton(action, text, () => this.emit(action));
      const link = (event) => copyLink(event.target, `run=${encodeURIComponent(store.shown)}`);
      this.link = h('button', { type: 'button', hidden: true, onclick: link }, 'Copy link');
      const saving = (text, onclick) => h('button', { type: 'button', onclick }, text);
      const { files } = window.charlstm;
      this.files = h('details', { class: 'menu files' }, h('summary', {}, 'Export'), h('div', { class: 'menu-items' },
        saving('Chart as PNG', () => files.savePng(this.curves.main, this.title())), saving('Chart as SVG', () => files.saveSvg(this.curves.main, this.title())),
        saving('Values as CSV', () => files.saveText(this.curves.toCsv(), `${this.title()}.csv`, 'text/csv')),
        saving('Settings as JSON', () => this.saveSettings())));
      this.files.addEventListener('click', (event) => { if (event.target.closest('button')) this.files.open = false; });
      this.wide = h('button', { type: 'button', onclick: () => (document.fullscreenElement ? document.exitFullscreen() : this.film.requestFullscreen?.()) }, 'Full screen');
      return [
        this.link, this.wide, this.files,
        eventButton('adapt', 'Teach it another text'), eventButton('duplicate', 'New run with these settings'),
        this.buildButton('download', 'Download the model', () => this.download()),
        this.buildButton('rename', 'Rename', () => this.rename()), this.buildButton('note', 'Note', () => window.charlstm.noteRun(store.shown, (text) => setText(this.problem, text))), this.buildButton('delete', 'Delete', () => this.remove()),
      ];
    }

    // What takes the place of a run that was just deleted, so that a second click can't hit another one.
    buildUndo() {
      this.undoText = h('span');
      const undo = async () => { setText(this.problem, await store.act('restore', { run: store.removed.id })); };
      return h('div', { class: 'buttons removed', hidden: true }, this.undoText,
        h('button', { type: 'button', class: 'main', onclick: undo }, 'Undo'),
        h('button', { type: 'button', onclick: () => store.showRemoved(null) }, 'Show the newest run'));
    }

    async remove() {
      const run = store.shown, { label } = store.sections.state;
      await window.charlstm.removeRun(run, label, (text) => setText(this.problem, text));
    }

    title() { return store.sections.state?.label || store.shown; }

    async saveSettings() {
      const answer = await store.call('settings', { run: store.shown });
      if (answer?.settings) window.charlstm.files.saveText(`${JSON.stringify(answer.settings, null, 2)}\n`, `${this.title()}.json`, 'application/json');
      else setText(this.problem, answer?.problem || 'The app does not answer; try again in a moment.');
    }

    async saveFilm() {
      const state = store.sections.state, { curves } = this;
      this.save.setAttribute('aria-busy', 'true');
      const tell = (share) => setText(this.save, `Filming: ${Math.round(100 * share)} %`);
      try {
        tell(0);
        const { saveFilm } = await window.charlstm.later('film.js').catch(() => ({}));
        const problem = !saveFilm ? 'The app does not answer; try again in a moment.' : await saveFilm({
          text: store.sections[`row/${store.shown}`]?.cells[0] || '', summary: state.summary || '', facts: state.facts, isCode: state.is_code,
          samples: await this.samples.all(), own: curves.own, refs: store.sections.refs || [], name: this.title(),
        }, tell);
        setText(this.problem, problem);
      } finally {
        this.save.removeAttribute('aria-busy');
        setText(this.save, 'Save the film');
      }
    }

    async extend() {
      const values = await ask('Train longer', 'It goes on learning; for a moment it gets worse, since the learning rate starts high again.',
        [['minutes', 'Minutes more', { type: 'number', min: 0.01, max: 100000, step: 'any', value: 1, required: true }]], 'Train longer');
      if (values) this.act('extend', { minutes: Number(values.minutes) });
    }

    async rename() {
      const values = await ask('Rename', '', [['label', 'Name', { type: 'text', maxlength: 80, value: store.sections.state.label, required: true }]], 'Rename');
      if (values) this.act('rename', { label: values.label });
    }

    async download() {
      const run = store.shown;
      let parts = [], stamp = null;
      for (let offset = 0, total = 1; offset < total;) {
        const piece = await store.call('download', { run, offset });
        if (!piece || piece.problem) { setText(this.problem, piece?.problem || 'The app does not answer; try again in a moment.'); return; }
        if (stamp !== null && piece.stamp !== stamp) { // a better model has replaced it meanwhile
          [parts, stamp, offset] = [[], null, 0];
          continue;
        }
        stamp = piece.stamp;
        const bytes = Uint8Array.from(atob(piece.data), (char) => char.charCodeAt(0));
        parts.push(bytes);
        total = piece.total;
        offset += bytes.length;
        setText(this.parts.story, `downloading: ${Math.round((100 * offset) / total)} %`);
      }
      window.charlstm.files.save(new Blob(parts, { type: 'application/octet-stream' }), `${this.title()}.safetensors`);
      this.drawState();
    }

    draw(changed) {
      const has = (...names) => changed === null || names.some((name) => changed.has(name));
      if (changed === null || changed.has('shown')) {
        this.curves.zoom(null);
        setText(this.problem, '');
      }
      if (has('state', 'may', 'lost', 'shown', 'removed', 'samples', 'refs', `row/${store.shown}`)) this.drawState();
      const isCurves = changed !== null && [...changed].some((name) => name.startsWith('curves/'));
      if (isCurves) this.curves.grow();
      else if (has('shown', 'view', 'compared', 'refs', 'marks', 'samples', 'state', 'differences')) this.curves.draw();
      if (isCurves || has('shown')) this.drawRate();
    }

    drawState() {
      const state = store.removed ? undefined : store.sections.state, { badge, sign, word, name, story, share, notes, log, summary, warning, undo } = this.parts;
      const { status } = state || { status: 'none' };
      this.element.firstChild.firstChild.className = `run-state is-${state?.shown_status || status}`;
      this.element.classList.toggle('is-bundled', state?.word === 'recorded');
      for (const each of [badge, this.link, this.files, share]) setVisible(each, Boolean(state));
      setVisible(share, Boolean(state) && !state.preparation?.length && !['completed', 'stopped', 'failed', 'interrupted', 'measuring'].includes(status));
      setVisible(undo, Boolean(store.removed));
      setVisible(this.film, Boolean(state));
      setVisible(this.wide, Boolean(state) && document.fullscreenEnabled);
      if (store.removed) setText(this.undoText, `${store.removed.label} was deleted.`);
      setText(name, state?.label || '');
      const own = state && store.sections[`row/${store.shown}`]?.note;
      setText(this.parts.note, own ? `“${own}”` : '');
      const missing = store.missing ? 'The run of this address is not here; another one is shown.' : '';
      const nothing = state === null ? 'No run yet: choose a text and press Start.' : '';
      setText(story, store.isLost ? 'The app does not answer; trying again.' : state ? missing || state.story : nothing);
      setText(sign, state?.sign || '');
      setText(word, state?.word === 'recorded' ? 'recorded, not yours' : state?.word || '');
      const alone = { queued: 'it will begin by itself', starting: 'the run goes on', running: 'the run goes on' }[status];
      const lasts = alone ? `You may close this page: ${alone}, and its link leads back to it.` : '';
      setText(notes, [state?.facts, lasts].filter(Boolean).join(' '));
      setText(summary, state?.summary || '');
      setText(warning, state?.warning || '');
      share.value = state?.fraction || 0;
      this.drawFigures(state);
      this.drawPreparation(state?.preparation || []);
      setVisible(log, Boolean(state?.log));
      setText(log.querySelector('pre'), state?.log || '');
      this.drawButtons(state);
    }

    drawFigures(state) {
      const { figures } = this.parts, rows = state?.figures || [], key = JSON.stringify(rows.map(([title, , , term]) => [title, term]));
      if (key !== this.figuresKey) { // else the buttons stay, and with them the focus and an open explanation
        this.figuresKey = key;
        figures.replaceChildren(...rows.map(([title, , , term]) => h('div', {}, h('dt', {}, title, ...(term ? [infoButton(term)] : [])), h('dd', {}, h('span'), h('small')))));
      }
      const { vocabulary, words, characters, passes } = state || {}, loss = Number.parseFloat(rows[0]?.[1]), known = Number.isFinite(loss) ? { loss } : {};
      const facts = JSON.stringify({ ...known, ...(words ? { words } : {}), vocabulary, characters, passes });
      for (const button of figures.querySelectorAll('.info-button')) button.dataset.facts = facts;
      this.curves.explain(rows[0]?.[3] === 'validation' ? known : {});
      rows.forEach(([, value, unit], i) => {
        const dd = figures.children[i].children[1];
        setText(dd.children[0], value);
        setText(dd.children[1], unit);
      });
    }

    drawPreparation(steps) {
      const { preparation } = this.parts, key = JSON.stringify(steps);
      setVisible(preparation, steps.length > 0);
      if (key === this.stepsKey) return;
      this.stepsKey = key;
      preparation.replaceChildren(...steps.map(({ text, state, detail }) => h('li', { class: `is-${state}`, ...(state === 'now' ? { 'aria-current': 'step' } : {}) },
        h('span', { 'aria-hidden': 'true' }, STATES[state] || ''), ' ', text, ...(detail ? [' ', h('small', {}, detail)] : []))));
    }

    drawButtons(state) {
      const can = new Set(state?.can?.flatMap((action) => (action === 'rename' ? ['rename', 'note'] : action))), may = store.sections.may !== false;
      for (const button of this.element.querySelectorAll('[data-action]')) {
        const { action } = button.dataset, isForAll = FOR_ALL.includes(action);
        setVisible(button, can.has(action) && (may || isForAll) && !(action === 'rate' && state.preparation?.length));
        if (button.tagName === 'BUTTON') button.disabled = !isForAll && Boolean(state?.is_asked) && !['stop', 'rename'].includes(action);
      }
      const isOver = Boolean(state) && !['queued', 'starting', 'running', 'paused', 'stopping'].includes(state.status);
      this.element.querySelector('[data-action=write]').classList.toggle('main', isOver);
      setVisible(this.save, isOver && (store.sections.samples?.list.length || 0) > 1);
      if (state && document.activeElement !== this.factor) this.factor.value = state.rate_factor;
      for (const button of this.parts.rate.querySelectorAll('button[aria-label]')) button.setAttribute('aria-pressed', String(button.getAttribute('aria-label').endsWith(` ${state?.rate_factor}`)));
    }

    drawRate() {
      const rates = this.curves.own?.lines.learning_rate.values, rate = rates?.[rates.length - 1];
      setText(this.rateNow, rate ? `${Number(rate.toPrecision(2))} now` : '');
      const most = Math.max(0, ...(rates || []));
      this.rateInfo.dataset.facts = JSON.stringify(most ? { rate: Number(most.toPrecision(2)) } : {});
    }
  }

  window.charlstm.stage = (element, trigger) => new RunPanel(element, trigger);
})();
