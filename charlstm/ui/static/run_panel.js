// The run that is shown: its state, what can be done with it, its curve. The samples are in samples.js.
(() => {
  const { h, say, show, ask, copyLink, store, Chart, nearest } = window.charlstm;
  const LN2 = Math.log(2);
  const LINES = { training: 'training', smoothed: 'smoothed', validation: 'validation' };
  const SMALL = [['learning_rate', 'learning rate'], ['grad_norm', 'gradient norm'], ['chars_per_second', 'characters per second']];
  const X = { step: 'steps', passes: 'passes', minutes: 'minutes' };
  const SIGNS = { saved: '▾', resumed: '↻', rewound: '↶', rate: '×', paused: '‖', continued: '▸', extended: '＋', best: '★' };

  // Where a step lies on the chosen axis: between the two entries of the clock around it.
  const place = (clock, axis) => {
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
  // The step that lies at `x` of an axis that grows with the steps.
  const stepAt = (to, x, most) => {
    let low = 0, high = most;
    for (let i = 0; i < 50; i++) {
      const middle = (low + high) / 2;
      if (to(middle) < x) low = middle; else high = middle;
    }
    return Math.round(high);
  };
  const short = (value) => (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3))));
  const formatX = (axis) => (x, isExact) => (axis === 'step' ? (Math.round(x) || 0).toLocaleString('en') : isExact ? x.toFixed(2) : short(x));

  class Stage {
    constructor(element, trigger) {
      this.trigger = trigger;
      this.problem = h('p', { class: 'problem', role: 'alert' });
      this.build(element);
      const redraw = (changed) => this.draw(changed);
      store.onChange((changed) => {
        if (!element.isConnected) return false;
        redraw(changed);
        return true;
      });
    }

    build(element) {
      this.parts = {
        badge: h('span', { class: 'badge' }), sign: h('span', { 'aria-hidden': 'true' }), word: h('span'),
        name: h('b'), story: h('span', { class: 'story' }), notes: h('p', { class: 'notes' }),
        share: h('progress', { class: 'share', max: 1, 'aria-label': 'share of the planned run' }),
        figures: h('dl', { class: 'figures' }), rate: this.rateBox(),
        legend: h('div', { class: 'legend' }), whole: h('button', { type: 'button', class: 'quiet', onclick: () => this.zoom(null) }, 'Show all'),
        log: h('details', { class: 'log' }, h('summary', {}, 'The end of its log'), h('pre', { tabindex: 0, 'aria-label': 'The end of its log' })),
        plot: h('div'), marks: h('p', { class: 'notes' }),
      };
      const { badge, sign, word, name, story, share, figures, rate, legend, whole, log, plot, marks, notes } = this.parts;
      badge.append(sign, ' ', word);
      this.small = h('details', { class: 'small-charts', ontoggle: () => this.drawCurves() }, h('summary', {}, 'Learning rate, gradient, speed'));
      element.replaceChildren(
        h('div', { class: 'run-state', id: 'run-state' }, badge, name, story),
        h('div', { class: 'buttons steering' }, ...this.steering(), rate),
        this.problem, log, share, figures,
        h('div', { class: 'chart-tools' }, legend, whole, this.choice('Over', 'x', X), this.choice('In', 'unit', { nats: 'nats per character', bits: 'bits per character' })),
        plot, marks, this.small, h('div', { class: 'samples' }), notes,
        h('div', { class: 'buttons belongings' }, ...this.belongings()));
      window.charlstm.samples(element.querySelector('.samples'));
      this.buildCharts(plot);
    }

    buildCharts(plot) {
      const together = { onMove: (x) => this.charts.forEach((chart) => chart.cursor === x || chart.move(x, false)), onZoom: (zoom) => this.zoom(zoom) };
      this.main = new Chart(plot, { height: 250, label: 'Loss', ...together });
      this.minis = SMALL.map(([, name]) => {
        const box = h('div');
        this.small.append(h('h3', {}, name), box);
        return new Chart(box, { height: 120, label: name, ...together });
      });
      this.charts = [this.main, ...this.minis];
    }

    zoom(zoom) {
      if (zoom) store.pin();
      for (const chart of this.charts) chart.show(zoom, false);
      show(this.parts.whole, Boolean(this.main.zoom));
      this.detail = null;
      this.magnify();
    }

    // The part that is shown, in as many points as the whole had: asked for once more while it grows.
    async magnify() {
      const run = store.shown, own = store.sections[`curves/${run}`], zoom = this.main.zoom;
      if (!zoom || !own) { this.drawCurves(); return; }
      const to = place(own.clock, store.view.x), most = Math.max(1, own.lines.smoothed.steps.at(-1) || 0);
      const range = zoom.map((x) => stepAt(to, x, most));
      const answer = await store.call('zoom', { run, range });
      if (!answer?.lines || run !== store.shown || zoom !== this.main.zoom) return;
      this.detail = { lines: answer.lines, range };
      this.drawCurves();
    }

    choice(label, key, options) {
      const select = h('select', { onchange: () => { if (key === 'x') this.zoom(null); store.setView({ [key]: select.value }); } },
        ...Object.entries(options).map(([value, text]) => h('option', { value, selected: value === store.view[key] }, text)));
      return h('label', {}, h('span', {}, label), ' ', select);
    }

    button(action, text, act, look = '') {
      const made = h('button', { type: 'button', class: look, 'data-action': action, hidden: true, onclick: act }, text);
      return made;
    }

    // Until the app has answered, which takes a while on a slow line, the button says that it was pressed.
    async act(action, values) {
      store.pin();
      const pressed = this.problem.parentElement.querySelector(`[data-action=${action}]`);
      pressed?.setAttribute('aria-busy', 'true');
      const problem = await store.act(action, values);
      pressed?.removeAttribute('aria-busy');
      say(this.problem, problem);
    }

    // For what the rest of the page does with this run.
    tell(action) {
      store.pin();
      this.trigger(action, { run: store.shown });
    }

    steering() {
      const plainly = (action, text, look) => this.button(action, text, () => this.act(action), look);
      return [
        plainly('pause', 'Pause'), plainly('continue', 'Continue', 'main'), plainly('stop', 'Stop', 'stop'),
        plainly('save', 'Save now'), plainly('unqueue', 'Leave the queue'), plainly('resume', 'Resume', 'main'),
        this.button('write', 'Write with it', () => this.tell('write')), this.button('extend', 'Train longer', () => this.extend()),
      ];
    }

    rateBox() {
      this.factor = h('input', { type: 'number', min: 0.01, max: 10, step: 'any', value: 1, 'aria-label': 'Learning-rate factor' });
      const set = (value) => { this.factor.value = value; this.act('rate', { factor: Number(value) }); };
      return h('form', { class: 'rate-box', 'data-action': 'rate', hidden: true, onsubmit: (event) => { event.preventDefault(); set(this.factor.value); } },
        h('span', {}, 'Learning rate ×'), this.factor, h('button', { type: 'submit' }, 'Set'));
    }

    belongings() {
      const told = (action, text) => this.button(action, text, () => this.tell(action));
      const link = (event) => copyLink(event.target, '', `run=${encodeURIComponent(store.shown)}`);
      this.link = h('button', { type: 'button', hidden: true, onclick: link }, 'Copy link');
      return [
        this.link,
        told('adapt', 'Start from this model on another text'), told('duplicate', 'Use its settings again'),
        this.button('download', 'Download the model', () => this.download()),
        this.button('rename', 'Rename', () => this.rename()), this.button('delete', 'Delete', () => this.act('delete')),
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
        if (!piece || piece.problem) { say(this.problem, piece?.problem || 'The app does not answer; try again in a moment.'); return; }
        if (stamp !== null && piece.stamp !== stamp) { // a better model took its place meanwhile
          [parts, stamp, offset] = [[], null, 0];
          continue;
        }
        stamp = piece.stamp;
        const bytes = Uint8Array.from(atob(piece.data), (char) => char.charCodeAt(0));
        parts.push(bytes);
        total = piece.total;
        offset += bytes.length;
        say(this.parts.story, `downloading: ${Math.round((100 * offset) / total)} %`);
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
        say(this.problem, '');
      }
      if (has('state', 'may', 'lost', 'shown')) this.drawState();
      const isCurves = changed !== null && [...changed].some((name) => name.startsWith('curves/'));
      if (isCurves || has('shown', 'view', 'compared', 'refs', 'marks')) this.drawCurves();
      const end = store.sections[`curves/${store.shown}`]?.lines.smoothed.steps.at(-1);
      if (isCurves && this.detail && this.detail.range[1] >= this.detail.lines.smoothed.steps.at(-1) && end > this.detail.range[0]) this.magnify();
    }

    drawState() {
      const state = store.sections.state, { badge, sign, word, name, story, share, figures, notes, log } = this.parts;
      const element = badge.parentElement;
      element.className = `run-state is-${state?.status || 'none'}`;
      show(badge, Boolean(state));
      show(this.link, Boolean(state));
      say(name, state?.label || '');
      const nothing = state === null ? 'No run yet: choose a text, press Start training, and the curve grows here.' : '';
      say(story, store.isLost ? 'The app does not answer; trying again.' : state ? state.story : nothing);
      show(figures, Boolean(state));
      show(share, Boolean(state));
      say(sign, state?.sign || '');
      say(word, state?.word || '');
      say(notes, state?.facts || '');
      share.value = state?.fraction || 0;
      const rows = state?.figures || [];
      if (figures.children.length !== rows.length) figures.replaceChildren(...rows.map(() => h('div', {}, h('dt'), h('dd', {}, h('span'), h('small')))));
      rows.forEach(([title, value, unit], i) => {
        const [dt, dd] = figures.children[i].children;
        say(dt, title);
        say(dd.children[0], value);
        say(dd.children[1], unit);
      });
      show(log, Boolean(state?.log));
      say(log.querySelector('pre'), state?.log || '');
      const can = new Set(state?.can || []), may = store.sections.may !== false;
      for (const button of element.parentElement.querySelectorAll('[data-action]')) {
        const action = button.dataset.action;
        const isFree = ['write', 'adapt', 'duplicate', 'download'].includes(action);
        show(button, can.has(action) && (may || isFree));
        if (button.tagName === 'BUTTON') button.disabled = !isFree && Boolean(state?.is_asked) && !['stop', 'rename'].includes(action);
      }
      if (state && document.activeElement !== this.factor) this.factor.value = state.rate_factor;
    }

    points(curve, to, unit) {
      if (!curve) return [];
      const scale = unit === 'bits' ? LN2 : 1;
      return curve.steps.map((step, i) => [to(step), curve.values[i] === null ? NaN : curve.values[i] / scale]);
    }

    drawCurves() {
      const { x: axis, unit } = store.view, names = Object.keys(store.compared).filter((name) => store.sections[`curves/${name}`]);
      const whole = store.sections[`curves/${store.shown}`];
      const own = whole && this.detail ? { ...whole, lines: this.detail.lines } : whole;
      const isOverlaid = names.some((name) => name !== store.shown);
      const to = place(own?.clock || [], axis), scale = unit === 'bits' ? LN2 : 1;
      const series = isOverlaid ? this.overlaid(names, axis, unit) : Object.keys(LINES).map((name) => ({
        id: name, name, look: `line-${name}`, points: this.points(own?.lines[name], to, unit), hasDots: name === 'validation' && (own?.lines[name].steps.length || 0) < 80, isFaint: name === 'training',
      }));
      const marks = (store.sections.marks || []).filter((mark) => mark.kind !== 'saved' || !isOverlaid).map((mark) => ({ ...mark, x: to(mark.step), sign: SIGNS[mark.kind] || '|' }));
      const ends = series.map(({ points }) => (points.length ? points[points.length - 1][0] : 0));
      const last = isOverlaid ? 0 : to(whole?.lines.training.steps.at(-1) || 0);
      const most = Math.max(0, last, ...ends, ...marks.map(({ x }) => x));
      const common = { xTitle: X[axis], formatX: formatX(axis), marks, most, isWhole: axis === 'step' };
      this.main.set({
        ...common, series, refs: (store.sections.refs || []).map(({ name, value }) => ({ name, y: value / scale })),
        formatY: (y, digits) => y.toFixed(digits), details: (at) => this.details(at, own, to, marks),
      });
      this.drawLegend(isOverlaid ? series.filter((each) => each.isNamed) : series);
      if (!this.small.open) return;
      SMALL.forEach(([key, name], i) => this.minis[i].set({
        ...common, marks: key === 'learning_rate' ? marks.filter((mark) => mark.kind === 'rate') : [],
        hasZero: true, formatY: (y) => short(y), series: [{ id: key, name, look: 'line-small', points: this.points(own?.lines[key], to, 'nats') }],
      }));
    }

    // Each run in a colour of its own: its validation with dots, its smoothed training loss thin.
    overlaid(names, axis, unit) {
      return names.flatMap((name) => {
        const held = store.sections[`curves/${name}`], to = place(held.clock, axis), look = `run-colour-${store.compared[name]}`;
        const label = store.sections[`row/${name}`]?.label || name;
        return [
          { id: `${name}/smoothed`, name: `${label}, smoothed`, look: `${look} is-thin`, points: this.points(held.lines.smoothed, to, unit) },
          { id: `${name}/validation`, name: label, look, points: this.points(held.lines.validation, to, unit), hasDots: true, isNamed: true },
        ];
      });
    }

    details(at, own, to, marks) {
      if (!own) return [];
      const rows = SMALL.map(([key, name]) => {
        const points = this.points(own.lines[key], to, 'nats'), point = points[nearest(points, at)];
        return point && [name, short(point[1])];
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

  window.charlstm.stage = (element, trigger) => new Stage(element, trigger);
})();
