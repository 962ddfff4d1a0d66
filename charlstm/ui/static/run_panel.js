// The panel of the shown run: its state, its actions, its curves. The samples are in samples.js.
(() => {
  const { h, setText, setVisible, ask, copyLink, store, Chart, nearest } = window.charlstm;
  const LN2 = Math.log(2);
  const LINES = { training: 'training', smoothed: 'smoothed', validation: 'validation' };
  const SMALL = [['learning_rate', 'learning rate'], ['grad_norm', 'gradient norm'], ['chars_per_second', 'characters per second']];
  const X = { step: 'steps', passes: 'passes', minutes: 'minutes' };
  const SIGNS = { saved: '▾', resumed: '↻', rewound: '↶', rate: '×', paused: '‖', continued: '▸', extended: '＋', best: '★' };

  // Return a function from steps to positions on an axis, interpolated between the clock's entries.
  const stepToAxis = (clock, axis) => {
    if (axis === 'step') return (step) => step;
    const column = axis === 'passes' ? 1 : 2;
    return (step) => {
      const i = nearest(clock, step);
      if (i < 0) return 0;
      const low = clock[i][0] > step && i > 0 ? i - 1 : Math.min(i, Math.max(0, clock.length - 2));
      const [a, b] = [clock[low], clock[low + 1] || clock[low]];
      if (b[0] === a[0]) return a[column];
      return a[column] + ((step - a[0]) / (b[0] - a[0])) * (b[column] - a[column]);
    };
  };
  // Invert `toAxis`, which increases with the step, by bisection up to step `most`.
  const axisToStep = (toAxis, x, most) => {
    let low = 0, high = most;
    for (let i = 0; i < 50; i++) {
      const middle = (low + high) / 2;
      if (toAxis(middle) < x) low = middle; else high = middle;
    }
    return Math.round(high);
  };
  const formatShort = (value) => (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3))));
  const formatX = (axis) => (x, isExact) => (axis === 'step' ? (Math.round(x) || 0).toLocaleString('en') : isExact ? x.toFixed(2) : formatShort(x));

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
      this.parts = {
        badge: h('span', { class: 'badge' }), sign: h('span', { 'aria-hidden': 'true' }), word: h('span'),
        name: h('b'), story: h('span', { class: 'story' }), notes: h('p', { class: 'notes' }),
        share: h('progress', { class: 'share', max: 1, 'aria-label': 'share of the planned run' }),
        figures: h('dl', { class: 'figures' }), rate: this.buildRateBox(),
        legend: h('div', { class: 'legend' }), whole: h('button', { type: 'button', class: 'quiet', onclick: () => this.zoom(null) }, 'Show all'),
        log: h('details', { class: 'log' }, h('summary', {}, 'The end of its log'), h('pre', { tabindex: 0, 'aria-label': 'The end of its log' })),
        plot: h('div'), marks: h('p', { class: 'notes' }),
      };
      const { badge, sign, word, name, story, share, figures, rate, legend, whole, log, plot, marks, notes } = this.parts;
      badge.append(sign, ' ', word);
      this.small = h('details', { class: 'small-charts', ontoggle: () => this.drawCurves() }, h('summary', {}, 'Learning rate, gradient, speed'));
      element.replaceChildren(
        h('div', { class: 'run-state', id: 'run-state' }, badge, name, story),
        h('div', { class: 'buttons steering' }, ...this.buildControls(), rate),
        this.problem, log, share, figures,
        h('div', { class: 'chart-tools' }, legend, whole, this.buildChoice('Over', 'x', X), this.buildChoice('In', 'unit', { nats: 'nats per character', bits: 'bits per character' })),
        plot, marks, this.small, h('div', { class: 'samples' }), notes,
        h('div', { class: 'buttons belongings' }, ...this.buildOtherActions()));
      window.charlstm.samples(element.querySelector('.samples'));
      this.buildCharts(plot);
    }

    buildCharts(plot) {
      const handlers = { onMove: (x) => this.charts.forEach((chart) => chart.cursor === x || chart.move(x, false)), onZoom: (zoom) => this.zoom(zoom) };
      this.main = new Chart(plot, { height: 250, label: 'Loss', ...handlers });
      this.minis = SMALL.map(([, name]) => {
        const box = h('div');
        this.small.append(h('h3', {}, name), box);
        return new Chart(box, { height: 120, label: name, ...handlers });
      });
      this.charts = [this.main, ...this.minis];
    }

    zoom(zoom) {
      if (zoom) store.pin();
      for (const chart of this.charts) chart.show(zoom, false);
      setVisible(this.parts.whole, Boolean(this.main.zoom));
      this.detail = null;
      this.fetchDetail();
    }

    // Fetch the visible part of the curves in as many points as the whole ones have; again whenever it grows.
    async fetchDetail() {
      const run = store.shown, own = store.sections[`curves/${run}`], zoom = this.main.zoom;
      if (!zoom || !own) { this.drawCurves(); return; }
      const toAxis = stepToAxis(own.clock, store.view.x), most = Math.max(1, own.lines.smoothed.steps.at(-1) || 0);
      const range = zoom.map((x) => axisToStep(toAxis, x, most));
      const answer = await store.call('zoom', { run, range });
      if (!answer?.lines || run !== store.shown || zoom !== this.main.zoom) return;
      this.detail = { lines: answer.lines, range };
      this.drawCurves();
    }

    buildChoice(label, key, options) {
      const select = h('select', { onchange: () => { if (key === 'x') this.zoom(null); store.setView({ [key]: select.value }); } },
        ...Object.entries(options).map(([value, text]) => h('option', { value, selected: value === store.view[key] }, text)));
      return h('label', {}, h('span', {}, label), ' ', select);
    }

    buildButton(action, text, onclick, look = '') {
      return h('button', { type: 'button', class: look, 'data-action': action, hidden: true, onclick }, text);
    }

    // Mark the button as busy until the app has answered, which takes a while on a slow line.
    async act(action, values) {
      store.pin();
      const pressed = this.problem.parentElement.querySelector(`[data-action=${action}]`);
      pressed?.setAttribute('aria-busy', 'true');
      const problem = await store.act(action, values);
      pressed?.removeAttribute('aria-busy');
      setText(this.problem, problem);
    }

    // Trigger an event that the rest of the page handles for this run.
    emit(action) {
      store.pin();
      this.trigger(action, { run: store.shown });
    }

    buildControls() {
      const actionButton = (action, text, look) => this.buildButton(action, text, () => this.act(action), look);
      return [
        actionButton('pause', 'Pause'), actionButton('continue', 'Continue', 'main'), actionButton('stop', 'Stop', 'stop'),
        actionButton('save', 'Save now'), actionButton('unqueue', 'Leave the queue'), actionButton('resume', 'Resume', 'main'),
        this.buildButton('write', 'Write with it', () => this.emit('write')), this.buildButton('extend', 'Train longer', () => this.extend()),
      ];
    }

    buildRateBox() {
      this.factor = h('input', { type: 'number', min: 0.01, max: 10, step: 'any', value: 1, 'aria-label': 'Learning-rate factor' });
      const set = (value) => { this.factor.value = value; this.act('rate', { factor: Number(value) }); };
      return h('form', { class: 'rate-box', 'data-action': 'rate', hidden: true, onsubmit: (event) => { event.preventDefault(); set(this.factor.value); } },
        h('span', {}, 'Learning rate ×'), this.factor, h('button', { type: 'submit' }, 'Set'));
    }

    buildOtherActions() {
      const eventButton = (action, text) => this.buildButton(action, text, () => this.emit(action));
      const link = (event) => copyLink(event.target, '', `run=${encodeURIComponent(store.shown)}`);
      this.link = h('button', { type: 'button', hidden: true, onclick: link }, 'Copy link');
      return [
        this.link,
        eventButton('adapt', 'Start from this model on another text'), eventButton('duplicate', 'Use its settings again'),
        this.buildButton('download', 'Download the model', () => this.download()),
        this.buildButton('rename', 'Rename', () => this.rename()), this.buildButton('delete', 'Delete', () => this.act('delete')),
      ];
    }

    async extend() {
      const values = await ask('Train longer', 'The run goes on from where it stands; the learning rate starts again and sinks over the added time.',
        [['minutes', 'Minutes more', { type: 'number', min: 0.01, max: 100000, step: 'any', value: 1, required: true }]], 'Train longer');
      if (values) this.act('extend', { minutes: Number(values.minutes) });
    }

    async rename() {
      const values = await ask('Rename', 'The name that people read; its folder keeps its own.',
        [['label', 'Name', { type: 'text', maxlength: 80, value: store.sections.state.label, required: true }]], 'Rename');
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
      const link = h('a', { href: URL.createObjectURL(new Blob(parts, { type: 'application/octet-stream' })), download: `${run}.safetensors` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      this.drawState();
    }

    draw(changed) {
      const has = (...names) => changed === null || names.some((name) => changed.has(name));
      if (changed === null || changed.has('shown')) {
        this.charts.forEach((chart) => chart.show(null, false));
        this.zoom(null);
        setText(this.problem, '');
      }
      if (has('state', 'may', 'lost', 'shown')) this.drawState();
      const isCurves = changed !== null && [...changed].some((name) => name.startsWith('curves/'));
      if (isCurves || has('shown', 'view', 'compared', 'refs', 'marks')) this.drawCurves();
      const end = store.sections[`curves/${store.shown}`]?.lines.smoothed.steps.at(-1);
      if (isCurves && this.detail && this.detail.range[1] >= this.detail.lines.smoothed.steps.at(-1) && end > this.detail.range[0]) this.fetchDetail();
    }

    drawState() {
      const state = store.sections.state, { badge, sign, word, name, story, share, figures, notes, log } = this.parts;
      const element = badge.parentElement;
      element.className = `run-state is-${state?.status || 'none'}`;
      setVisible(badge, Boolean(state));
      setVisible(this.link, Boolean(state));
      setText(name, state?.label || '');
      const nothing = state === null ? 'No run yet: choose a text, press Start training, and the curve grows here.' : '';
      setText(story, store.isLost ? 'The app does not answer; trying again.' : state ? state.story : nothing);
      setVisible(figures, Boolean(state));
      setVisible(share, Boolean(state));
      setText(sign, state?.sign || '');
      setText(word, state?.word || '');
      setText(notes, state?.facts || '');
      share.value = state?.fraction || 0;
      const rows = state?.figures || [];
      if (figures.children.length !== rows.length) figures.replaceChildren(...rows.map(() => h('div', {}, h('dt'), h('dd', {}, h('span'), h('small')))));
      rows.forEach(([title, value, unit], i) => {
        const [dt, dd] = figures.children[i].children;
        setText(dt, title);
        setText(dd.children[0], value);
        setText(dd.children[1], unit);
      });
      setVisible(log, Boolean(state?.log));
      setText(log.querySelector('pre'), state?.log || '');
      const can = new Set(state?.can || []), may = store.sections.may !== false;
      for (const button of element.parentElement.querySelectorAll('[data-action]')) {
        const action = button.dataset.action;
        const isForAll = ['write', 'adapt', 'duplicate', 'download'].includes(action);
        setVisible(button, can.has(action) && (may || isForAll));
        if (button.tagName === 'BUTTON') button.disabled = !isForAll && Boolean(state?.is_asked) && !['stop', 'rename'].includes(action);
      }
      if (state && document.activeElement !== this.factor) this.factor.value = state.rate_factor;
    }

    toPoints(curve, toAxis, unit) {
      if (!curve) return [];
      const scale = unit === 'bits' ? LN2 : 1;
      return curve.steps.map((step, i) => [toAxis(step), curve.values[i] === null ? NaN : curve.values[i] / scale]);
    }

    drawCurves() {
      const { x: axis, unit } = store.view, names = Object.keys(store.compared).filter((name) => store.sections[`curves/${name}`]);
      const whole = store.sections[`curves/${store.shown}`];
      const own = whole && this.detail ? { ...whole, lines: this.detail.lines } : whole;
      const isOverlaid = names.some((name) => name !== store.shown);
      const toAxis = stepToAxis(own?.clock || [], axis), scale = unit === 'bits' ? LN2 : 1;
      const series = isOverlaid ? this.overlaidSeries(names, axis, unit) : Object.keys(LINES).map((name) => ({
        id: name, name, look: `line-${name}`, points: this.toPoints(own?.lines[name], toAxis, unit), hasDots: name === 'validation' && (own?.lines[name].steps.length || 0) < 80, isFaint: name === 'training',
      }));
      const marks = (store.sections.marks || []).filter((mark) => mark.kind !== 'saved' || !isOverlaid).map((mark) => ({ ...mark, x: toAxis(mark.step), sign: SIGNS[mark.kind] || '|' }));
      const ends = series.map(({ points }) => (points.length ? points[points.length - 1][0] : 0));
      const last = isOverlaid ? 0 : toAxis(whole?.lines.training.steps.at(-1) || 0);
      const most = Math.max(0, last, ...ends, ...marks.map(({ x }) => x));
      const common = { xTitle: X[axis], formatX: formatX(axis), marks, most, isWhole: axis === 'step' };
      this.main.set({
        ...common, series, refs: (store.sections.refs || []).map(({ name, value }) => ({ name, y: value / scale })),
        formatY: (y, digits) => y.toFixed(digits), details: (at) => this.details(at, own, toAxis, marks),
      });
      this.drawLegend(isOverlaid ? series.filter((each) => each.isNamed) : series);
      if (!this.small.open) return;
      SMALL.forEach(([key, name], i) => this.minis[i].set({
        ...common, marks: key === 'learning_rate' ? marks.filter((mark) => mark.kind === 'rate') : [],
        hasZero: true, formatY: (y) => formatShort(y), series: [{ id: key, name, look: 'line-small', points: this.toPoints(own?.lines[key], toAxis, 'nats') }],
      }));
    }

    // Each compared run has its own colour: validation with dots, smoothed training loss as a thin line.
    overlaidSeries(names, axis, unit) {
      return names.flatMap((name) => {
        const compared = store.sections[`curves/${name}`], toAxis = stepToAxis(compared.clock, axis), look = `run-colour-${store.compared[name]}`;
        const label = store.sections[`row/${name}`]?.label || name;
        return [
          { id: `${name}/smoothed`, name: `${label}, smoothed`, look: `${look} is-thin`, points: this.toPoints(compared.lines.smoothed, toAxis, unit) },
          { id: `${name}/validation`, name: label, look, points: this.toPoints(compared.lines.validation, toAxis, unit), hasDots: true, isNamed: true },
        ];
      });
    }

    details(at, own, toAxis, marks) {
      if (!own) return [];
      const rows = SMALL.map(([key, name]) => {
        const points = this.toPoints(own.lines[key], toAxis, 'nats'), point = points[nearest(points, at)];
        return point && [name, formatShort(point[1])];
      });
      const [from, until] = this.main.range();
      const near = marks.filter((mark) => Math.abs(mark.x - at) < (until - from) / 100).slice(-2).map((mark) => [mark.sign, mark.text]);
      return [...rows.filter(Boolean), ...near];
    }

    drawLegend(series) {
      const key = JSON.stringify(series.map(({ name, look }) => [name, look]));
      if (key === this.legendKey) return;
      this.legendKey = key;
      this.parts.legend.replaceChildren(...series.map(({ name, look }) => h('span', {}, h('i', { class: look }), name)));
    }
  }

  window.charlstm.stage = (element, trigger) => new RunPanel(element, trigger);
})();
