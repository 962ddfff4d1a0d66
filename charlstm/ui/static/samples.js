// What the model wrote at one moment of the run, and the film of all these moments. Texts are fetched once.
(() => {
  const { h, setText, setVisible, store, formatClock, chartMargins } = window.charlstm;
  const FRAME = 700, REDUCED_MOTION_FRAME = 1500;  // milliseconds
  const OLD = 6;  // seconds of training, from which on the age of a run's last sample is told
  const PAGE = 5;  // samples for the keys Page Up and Page Down

  // Divide a sample into the last line of its opening, which the model was given, and what it wrote.
  const divide = (text, promptChars) => {
    const chars = Array.from(text), given = chars.slice(0, promptChars || 0).join('');
    const lines = given.replace(/\n+$/, '').split('\n'), tail = given.slice(given.replace(/\n+$/, '').length);
    return { opening: given ? lines[lines.length - 1] + tail : '', written: chars.slice(promptChars || 0).join('') };
  };

  class Samples {
    // `onShow(step or null)` reports the step of the sample on screen while an earlier one than the latest was chosen.
    constructor(host, chart, onShow) {
      Object.assign(this, { chart, onShow, at: null, preview: null, playback: 0, run: null });  // at null: always the latest
      this.play = h('button', { type: 'button', id: 'film-play', class: 'film-play' }, '▶ Play');
      this.origin = h('span', { class: 'origin', 'aria-live': 'off' });
      this.words = h('span', { class: 'words' });
      this.phase = h('span', { class: 'phase' });
      this.opening = h('b');
      this.written = document.createTextNode('');
      this.text = h('div', {
        class: 'sheet sample', role: 'textbox', 'aria-readonly': 'true', 'aria-multiline': 'true', tabindex: 0, 'aria-label': 'Sample text',
      }, this.opening, this.written);
      this.empty = h('p', { class: 'notes' });
      host.replaceChildren(h('div', { class: 'sample-head' }, this.play, this.origin, this.words, this.phase), this.empty, this.text);
      this.slider = h('div', { class: 'chart-slider', role: 'slider', tabindex: 0, 'aria-label': 'Sample', 'aria-valuemin': 1 }, h('span', { class: 'chart-thumb' }));
      chart.main.host.append(this.slider);
      this.listen(host);
    }

    listen(host) {
      this.play.addEventListener('click', () => (this.playback ? this.stop() : this.start()));
      this.slider.addEventListener('keydown', (event) => {
        const last = this.list.length - 1, now = this.at ?? last;
        const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageDown: now - PAGE, PageUp: now + PAGE, Home: 0, End: last }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        this.choose(Math.max(0, Math.min(last, to)));
      });
      const choose = (event) => {
        const number = this.nearestTo(event.clientX);
        if (number !== null) this.choose(number);
      };
      this.slider.addEventListener('pointerdown', (event) => {
        if (event.button) return;
        event.stopPropagation();
        this.slider.setPointerCapture(event.pointerId);
        choose(event);
      });
      this.slider.addEventListener('pointermove', (event) => { if (this.slider.hasPointerCapture(event.pointerId)) choose(event); });
      new ResizeObserver(() => this.place()).observe(this.chart.main.host);
      store.onChange((changed) => {
        if (!host.isConnected && changed !== null) return false;
        if (store.shown !== this.run || (this.at !== null && this.at >= this.list.length)) { this.run = store.shown; this.at = this.preview = null; this.stop(); }
        if (changed === null || ['samples', 'shown', 'state', 'view', 'marks'].some((name) => changed.has(name)) || [...changed].some((name) => name.startsWith('curves/'))) this.draw();
        return true;
      });
    }

    get list() { return store.sections.samples?.list || []; }

    // Return the number of the sample at a horizontal position on the screen.
    nearestTo(left) {
      const { main } = this.chart, inside = left - main.svg.getBoundingClientRect().left;
      return this.list.length && main.x ? this.nearestStep(this.chart.stepAt(main.value(inside))) : null;
    }

    nearestStep(step) {
      let found = 0;
      this.list.forEach(([each], i) => { if (Math.abs(each - step) < Math.abs(this.list[found][0] - step)) found = i; });
      return found;
    }

    choose(number) {
      this.stop();
      store.pin();
      this.at = number >= this.list.length - 1 ? null : number;
      this.draw();
    }

    // Show the sample nearest to `step` while the cursor is in the chart; null shows the chosen one again.
    glance(step) {
      const number = step === null || !this.list.length ? null : this.nearestStep(step);
      if (number === this.preview || this.playback) return;
      this.preview = number;
      this.draw();
    }

    async fetchTexts(number) {
      const { shown } = store, epoch = store.sections.samples?.epoch;
      if (store.texts.has(number)) return;
      const answer = await store.call('samples', { run: shown, number });
      if (answer?.texts && shown === store.shown && epoch === store.sections.samples?.epoch) {
        answer.texts.forEach((each, i) => store.texts.set(number + i, each));
      }
    }

    draw() {
      const all = this.list, last = all.length - 1, number = this.preview ?? this.at ?? last;
      setText(this.empty, `The model writes here as soon as ${store.shown === null ? 'a run begins' : 'the first sample is there'}.`);
      setVisible(this.empty, last < 0);
      for (const each of [this.play, this.text, this.slider]) setVisible(each, last >= 0);
      if (last < 0) { setText(this.origin, ''); setText(this.words, ''); setText(this.phase, ''); this.write('', 0); this.onShow(null); return; }
      const [step, train, validation, seconds, percent, isQuick, promptChars] = all[number];
      const when = typeof seconds === 'number' ? ` · ${formatClock(seconds / 60)}` : '';
      const { unit } = store.view, inUnit = (nats) => `${(nats / (unit === 'bits' ? Math.LN2 : 1)).toFixed(2)} ${unit}`;
      const loss = validation !== null ? ` · ${isQuick ? 'quick estimate' : 'validation'} ${inUnit(validation)}` : train !== null ? ` · training ${inUnit(train)}` : '';
      const state = store.sections.state || {}, age = number === last && state.status === 'running' && typeof seconds === 'number' ? Math.round(state.seconds - seconds) : 0;
      const old = age < OLD ? '' : ` · ${age < 90 ? `${age} s` : `${Math.round(age / 60)} min`} ago`;
      const origin = `step ${step.toLocaleString('en')}${when}${loss}`;
      setText(this.origin, origin + old);
      setText(this.words, typeof percent === 'number' ? `${percent} % real words` : '');
      const phases = (store.sections.marks || []).filter((mark) => mark.kind === 'phase' && mark.step <= step);
      setText(this.phase, phases.length ? phases[phases.length - 1].text : '');
      this.slider.setAttribute('aria-valuemax', all.length);
      this.slider.setAttribute('aria-valuenow', number + 1);
      this.slider.setAttribute('aria-valuetext', `${origin}, sample ${number + 1} of ${all.length}`);
      const known = store.texts.get(number) ?? (number === last ? store.sections.samples.latest : undefined);
      if (known !== undefined && known !== null) this.write(known, promptChars);
      else this.fetchTexts(number).then(() => { if ((this.preview ?? this.at ?? this.list.length - 1) === number && store.texts.has(number)) this.write(store.texts.get(number), promptChars); });
      this.text.classList.toggle('is-code', Boolean(store.sections.state?.is_code));
      this.place();
      this.onShow(number === last && !this.playback ? null : step);
    }

    write(text, promptChars) {
      const { opening, written } = divide(text, promptChars);
      setText(this.opening, opening);
      if (this.written.data !== written) this.written.data = written;
    }

    // Lay the slider over the chart's lane of samples, its thumb at the sample on screen.
    place() {
      const { main } = this.chart;
      if (!main.x || !this.list.length) return;
      const { LEFT } = chartMargins, at = main.x(this.chart.toAxis(this.list[this.preview ?? this.at ?? this.list.length - 1][0]));
      Object.assign(this.slider.style, { left: `${LEFT - 8}px`, right: `${main.right - 8}px` });
      this.slider.firstChild.style.left = `${Math.max(0, Math.min(at, main.width - main.right + 4) - LEFT + 8)}px`;
    }

    stop() {
      clearInterval(this.playback);
      this.playback = 0;
      setText(this.play, '▶ Play');
    }

    async start() {
      store.pin();
      this.preview = null;
      if (this.at === null || this.at >= this.list.length - 1) this.at = 0;
      setText(this.play, '‖ Pause');
      const reducesMotion = matchMedia('(prefers-reduced-motion: reduce)').matches;
      this.playback = setInterval(async () => {
        if (!this.text.isConnected || this.at === null || this.at >= this.list.length - 1) { this.at = null; this.stop(); this.draw(); return; }
        if (!store.texts.has(this.at + 1)) { await this.fetchTexts(this.at + 1); return; }
        this.at += 1;
        this.draw();
      }, reducesMotion ? REDUCED_MOTION_FRAME : FRAME);
      this.draw();
    }

    // Return every sample with its text, for the film.
    async all() {
      for (let number = 0; number < this.list.length; number += 1) {
        if (number === this.list.length - 1 && store.sections.samples.latest) continue;
        for (let tries = 0; !store.texts.has(number) && tries < 3; tries += 1) await this.fetchTexts(number);
      }
      return this.list.map(([step, , validation, seconds, percent, , promptChars], number) => ({
        step, validation, seconds, percent, ...divide(store.texts.get(number) ?? (number === this.list.length - 1 ? store.sections.samples.latest : '') ?? '', promptChars),
      }));
    }
  }

  window.charlstm = Object.assign(window.charlstm, { Samples });
})();
