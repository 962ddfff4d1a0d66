// The curves of the shown run, and of those compared with it: their axes, the values at the cursor, and files of them.
(() => {
  const { h, setText, setVisible, store, infoButton, Chart, nearest, ticks, multiples } = window.charlstm;
  const LN2 = Math.log(2);
  const LINES = { training: 'training', smoothed: 'training, smoothed', validation: 'validation' };
  const SMALL = [['learning_rate', 'learning rate'], ['grad_norm', 'gradient norm'], ['chars_per_second', 'characters per second']];
  const AXES = { minutes: 'time', step: 'steps', passes: 'passes', log: 'steps, logarithmic' };
  const TITLES = { minutes: '', step: 'steps', passes: 'passes', log: 'steps' };
  const SIGNS = { resumed: '↻', rewound: '↶', rate: '×', paused: '‖', continued: '▸', extended: '+', phase: '◆' };
  const SPANS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];  // seconds between two labels
  const EARLY = 0.05;  // share of a run
  const LEAST_SPAN = 1;  // nats, of the axis until the reference lines are known: the chance of two points is no curve
  const FOCUS_BELOW = 0.05, FOCUS_ABOVE = 0.04;  // nats around what the focused axis shows

  // Return a function from steps to positions on an axis, interpolated between the clock's entries.
  const stepToAxis = (clock, axis) => {
    if (axis === 'step') return (step) => step;
    if (axis === 'log') return (step) => Math.log10(Math.max(1, step));
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
  const whole = (value) => (Math.round(value) || 0).toLocaleString('en');
  const formatShort = (value) => (Math.abs(value) >= 1000 ? whole(value) : String(Number(value.toPrecision(3))));
  const formatClock = (minutes) => {
    const seconds = Math.round(60 * minutes), two = (number) => String(number).padStart(2, '0');
    const [hours, rest] = [Math.floor(seconds / 3600), seconds % 3600];
    return hours ? `${hours}:${two(Math.floor(rest / 60))}:${two(rest % 60)}` : `${Math.floor(rest / 60)}:${two(rest % 60)}`;
  };
  const FORMATS = {
    minutes: formatClock,
    step: whole,
    passes: (x, isExact) => (isExact ? x.toFixed(2) : formatShort(x)),
    log: (x) => whole(10 ** x),
  };
  const timeTicks = (from, to, count) => {
    const raw = (60 * (to - from)) / Math.max(1, count);
    return multiples((SPANS.find((span) => span >= raw) || 86400 * Math.ceil(raw / 86400)) / 60, from, to);
  };
  const wholeTicks = (from, to, count) => ticks(from, to, count).filter(Number.isInteger);
  const COLUMNS = { minutes: timeTicks, step: wholeTicks, passes: ticks, log: wholeTicks };

  // Return the exponential mean of the points, divided by the weight that it has so far, so that it starts unbiased.
  const smooth = (points, share) => {
    let mean = 0, weight = 0;
    return points.map(([x, y]) => {
      if (!Number.isFinite(y)) return [x, y];
      mean = share * mean + (1 - share) * y;
      weight = share * weight + (1 - share);
      return [x, mean / weight];
    });
  };

  class RunCurves {
    // `onMoment(step or null)` reports the step at the cursor.
    constructor(host, onMoment) {
      this.onMoment = onMoment;
      this.strip = h('div', { class: 'chart-tip legend', 'aria-live': 'off' });
      this.whole = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => this.zoom(null) }, 'Show all');
      this.note = h('p', { class: 'notes' });
      this.differences = h('table', { class: 'differences' });
      this.scroller = h('div', { class: 'wide-table', tabindex: 0, role: 'region', 'aria-label': 'Settings of the compared runs', hidden: true }, this.differences);
      this.plot = h('div');
      this.about = infoButton('five-gram');
      this.terms = h('span', { class: 'chart-terms' }, '5-gram ', this.about);
      this.small = h('details', { class: 'small-charts', ontoggle: () => this.draw() }, h('summary', {}, 'Learning rate, gradient, speed'));
      const tools = h('div', { class: 'chart-tools' },
        this.buildChoice('Horizontal', 'x', AXES), this.buildChoice('Vertical', 'y', { focus: 'where it learns', all: 'all values' }),
        this.buildChoice('Unit', 'unit', { nats: 'nats', bits: 'bits' }), this.buildSmoothing());
      host.append(h('div', { class: 'chart-head' }, this.strip, this.whole, this.terms), this.plot, h('details', { class: 'chart-settings' }, h('summary', {}, 'Axes, smoothing'), tools), this.small, this.note, this.scroller);
      this.buildCharts();
    }

    buildCharts() {
      const onMove = (x) => {
        this.charts.forEach((chart) => chart.cursor === x || chart.move(x, false));
        this.onMoment(x === null ? null : this.stepAt(x));
      };
      const handlers = { onMove, onZoom: (zoom) => this.zoom(zoom) };
      this.main = new Chart(this.plot, { height: 240, label: 'Loss', hasLanes: true, strip: (head, rows) => this.drawStrip(head, rows), ...handlers });
      this.minis = SMALL.map(([, name]) => {
        const box = h('div');
        this.small.append(h('h3', {}, name), box);
        return new Chart(box, { height: 120, label: name, ...handlers });
      });
      this.charts = [this.main, ...this.minis];
    }

    buildChoice(label, key, options) {
      const select = h('select', { onchange: () => { if (key === 'x') this.zoom(null); store.setView({ [key]: select.value }); } },
        ...Object.entries(options).map(([value, text]) => h('option', { value }, text)));
      select.value = store.view[key] in options ? store.view[key] : Object.keys(options)[0];
      return h('label', {}, h('span', {}, label), ' ', select);
    }

    buildSmoothing() {
      const slider = h('input', { type: 'range', min: 0, max: 0.99, step: 0.01, value: store.view.smoothing ?? 0.9, 'aria-label': 'Smoothing' });
      const own = h('button', { type: 'button', class: 'quiet', onclick: () => { slider.value = 0.9; store.setView({ smoothing: null }); } }, 'Reset');
      slider.addEventListener('input', () => store.setView({ smoothing: Number(slider.value) }));
      return h('span', { class: 'smoothing' }, h('span', {}, 'Smoothing'), ' ', slider, ' ', own);
    }

    get own() { return store.sections[`curves/${store.shown}`]; }

    get axis() { return store.view.x in AXES ? store.view.x : 'minutes'; }

    get isOver() { return !['starting', 'running', 'paused', 'queued'].includes(store.sections.state?.status); }

    get toAxis() { return stepToAxis(this.own?.clock || [], this.axis); }

    stepAt(x) {
      const most = Math.max(1, store.sections.samples?.list.at(-1)?.[0] || 0, this.own?.lines.training.steps.at(-1) || 0);
      return axisToStep(this.toAxis, x, most);
    }

    // Draw a line at the sample of `step`; none for null.
    point(step) { this.main.setPlayhead(step === null ? null : this.toAxis(step)); }

    // Explain the reference lines by the run's own figures; `loss` is its validation, where that is known.
    explain(loss) {
      const five = (store.sections.refs || []).find(({ name }) => name === '5-gram');
      setVisible(this.terms, Boolean(five));
      this.about.dataset.facts = JSON.stringify({ ...loss, five_gram: five?.value });
    }

    zoom(zoom) {
      if (zoom) store.pin();
      for (const chart of this.charts) chart.show(zoom, false);
      setVisible(this.whole, Boolean(this.main.zoom));
      this.detail = null;
      this.fetchDetail();
    }

    // Fetch the visible part of the curves in as many points as the whole ones have; again whenever it grows.
    async fetchDetail() {
      const run = store.shown, { own } = this, zoom = this.main.zoom;
      if (!zoom || !own) { this.draw(); return; }
      const most = Math.max(1, own.lines.smoothed.steps.at(-1) || 0);
      const range = zoom.map((x) => axisToStep(this.toAxis, x, most));
      const answer = await store.call('zoom', { run, range });
      if (!answer?.lines || run !== store.shown || zoom !== this.main.zoom) return;
      this.detail = { lines: answer.lines, range };
      this.draw();
    }

    // Take note of new records of the run; its visible part may have grown.
    grow() {
      const end = this.own?.lines.smoothed.steps.at(-1);
      this.draw();
      if (this.detail && this.detail.range[1] >= this.detail.lines.smoothed.steps.at(-1) && end > this.detail.range[0]) this.fetchDetail();
    }

    toPoints(curve, toAxis, unit) {
      if (!curve) return [];
      const scale = unit === 'bits' ? LN2 : 1;
      return curve.steps.map((step, i) => [toAxis(step), curve.values[i] === null ? NaN : curve.values[i] / scale]);
    }

    draw() {
      const { axis } = this, { unit } = store.view, scale = unit === 'bits' ? LN2 : 1, { toAxis } = this;
      const textOf = (name) => store.sections[`row/${name}`]?.cells[0];
      const compared = Object.keys(store.compared).filter((name) => store.sections[`curves/${name}`]);
      const text = textOf(store.shown) ?? textOf(compared[0]);
      const names = compared.filter((name) => textOf(name) === text);
      const isOverlaid = names.some((name) => name !== store.shown);
      const own = this.own && this.detail ? { ...this.own, lines: this.detail.lines } : this.own;
      const series = isOverlaid ? this.overlaidSeries(names, axis, unit) : this.ownSeries(own, toAxis, unit);
      const refs = (store.sections.refs || []).map(({ name, value }) => ({ name: `${name} ${(value / scale).toFixed(2)}`, y: value / scale, value, plain: name }));
      const marks = (store.sections.marks || []).filter(({ kind }) => kind !== 'saved' && kind !== 'best').map((mark) => ({ ...mark, x: toAxis(mark.step), sign: SIGNS[mark.kind] || '|' }));
      const best = store.sections.state?.best;
      const common = { xTitle: TITLES[axis], formatX: FORMATS[axis], columns: COLUMNS[axis], marks, most: this.plannedEnd(isOverlaid, toAxis, series, marks) };
      this.moments = (store.sections.marks || []).map((mark) => ({ ...mark, x: toAxis(mark.step) }));
      this.main.set({
        ...common, series, refs, focus: store.view.y === 'all' ? null : this.focus(series, refs, scale), formatY: (y, digits) => y.toFixed(digits),
        leastSpan: refs.length ? 0 : LEAST_SPAN / scale,
        samples: isOverlaid ? [] : (store.sections.samples?.list || []).map(([step]) => toAxis(step)),
        star: best?.step && !isOverlaid ? [toAxis(best.step), best.loss / scale] : null, details: (x) => this.details(x, own, toAxis),
      });
      setText(this.note, compared.length > names.length ? 'Runs on other texts are left out: their losses can’t be compared with these.' : '');
      this.drawDifferences(compared);
      if (!this.small.open) return;
      SMALL.forEach(([key, name], i) => this.minis[i].set({
        ...common, marks: [], hasZero: true, formatY: (y) => formatShort(y),
        series: [{ id: key, name, look: 'line-small', points: this.toPoints(own?.lines[key], toAxis, 'nats').filter(([x]) => x > 0) }], // before the first step nothing was measured
      }));
    }

    // List the settings in which the compared runs differ.
    drawDifferences(compared) {
      const { runs = [], rows = [] } = store.sections.differences || {}, isShown = runs.length > 1 && compared.some((name) => name !== store.shown);
      setVisible(this.scroller, isShown);
      const labels = runs.map((name) => store.sections[`row/${name}`]?.label || name), key = JSON.stringify([labels, rows, store.compared]);
      if (!isShown || key === this.differencesKey) return;
      this.differencesKey = key;
      const colours = runs.map((name) => (store.compared[name] === undefined ? 'run-key' : `run-key run-colour-${store.compared[name]}`));
      this.differences.replaceChildren(h('caption', {}, rows.length ? 'Settings that differ' : 'Their settings are the same'),
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Setting'), ...labels.map((label, i) => h('th', { scope: 'col' }, h('i', { class: colours[i] }), ' ', label)))),
        h('tbody', {}, ...rows.map(([name, ...values]) => h('tr', {}, h('th', { scope: 'row' }, name), ...values.map((value) => h('td', {}, value))))));
    }

    // Return the end of the horizontal axis: where the run will end, or has.
    plannedEnd(isOverlaid, toAxis, series, marks) {
      const planned = store.sections.state?.plan_end || {};
      const end = { minutes: planned.minutes, passes: planned.passes, step: planned.steps, log: planned.steps && Math.log10(planned.steps) }[this.axis];
      const last = isOverlaid ? 0 : toAxis(this.own?.lines.training.steps.at(-1) || 0);
      const ends = series.map(({ points }) => (points.length ? points[points.length - 1][0] : 0));
      return Math.max(0, last, this.isOver ? 0 : end || 0, ...ends, ...marks.map(({ x }) => x));
    }

    // Return the range of y from a little below the best value to the loss of knowing letters' frequencies alone, or null
    // while nothing is below that. Once a run is over, its first twentieth no longer counts: most of it happened below.
    focus(series, refs, scale) {
      const letters = refs.find(({ plain }) => plain === 'letter frequencies')?.y, five = refs.find(({ plain }) => plain === '5-gram')?.y;
      let least = Infinity;
      for (const { points } of series) for (const [, y] of points) if (y < least) least = y;
      if (letters === undefined || !(least < letters)) return null;
      const end = Math.max(...series.map(({ points }) => (points.length ? points[points.length - 1][0] : 0)));
      const later = series.flatMap(({ points, isRough }) => (isRough ? [] : points.filter(([x, y]) => x >= EARLY * end && Number.isFinite(y)).map(([, y]) => y)));
      const top = !this.isOver || this.axis === 'log' ? letters : Math.max(...later, five < letters ? five : -Infinity);
      return [Math.min(least, five < letters ? five : Infinity) - FOCUS_BELOW / scale, Math.min(top, letters) + FOCUS_ABOVE / scale];
    }

    ownSeries(own, toAxis, unit) {
      const pointsOf = (name) => this.toPoints(own?.lines[name], toAxis, unit);
      const { smoothing } = store.view;
      return Object.entries(LINES).map(([id, name]) => ({
        id, name, look: `line-${id}`, isRough: id === 'training', hasDots: id === 'validation' && (own?.lines[id].steps.length || 0) < 80,
        points: id === 'smoothed' && typeof smoothing === 'number' ? smooth(pointsOf('training'), smoothing) : pointsOf(id),
      }));
    }

    // Each compared run has its own colour and dashes: validation with dots, smoothed training loss as a thin line.
    overlaidSeries(names, axis, unit) {
      return names.flatMap((name) => {
        const { clock, lines } = store.sections[`curves/${name}`], toAxis = stepToAxis(clock, axis), look = `run-colour-${store.compared[name]}`;
        const label = store.sections[`row/${name}`]?.label || name, points = this.toPoints(lines.validation, toAxis, unit);
        const last = points.length ? points[points.length - 1][1] : NaN, short = label.length > 12 ? `${label.slice(0, 11)}…` : label;
        return [
          { id: `${name}/smoothed`, name: label, look: `${look} is-thin`, points: this.toPoints(lines.smoothed, toAxis, unit), isNamed: false },
          { id: `${name}/validation`, name: label, look, points, hasDots: true, end: Number.isFinite(last) ? `${last.toFixed(2)} ${short}` : '' },
        ];
      });
    }

    details(at, own, toAxis) {
      if (!own) return [];
      const rows = SMALL.map(([key, name]) => {
        const points = this.toPoints(own.lines[key], toAxis, 'nats'), point = points[nearest(points, at)];
        return point && [name, formatShort(point[1])];
      });
      const [from, until] = this.main.range();
      const near = this.moments.filter((mark) => Math.abs(mark.x - at) < (until - from) / 100).slice(-3).map((mark) => [SIGNS[mark.kind] || '▾', mark.text]);
      const step = this.axis === 'step' || this.axis === 'log' ? [] : [['step', whole(this.stepAt(at))]];
      return [...step, ...rows.filter(Boolean), ...near];
    }

    // Show the values at the cursor, or the latest ones beside the legend.
    drawStrip(head, rows) {
      const key = JSON.stringify([head, rows]);
      if (key === this.stripKey) return;
      this.stripKey = key;
      this.strip.setAttribute('aria-live', head === null ? 'off' : 'polite');
      const items = rows.map(([name, value, look]) => h('span', {}, ...(look ? [h('i', { class: look })] : []), `${name} `, h('em', {}, value)));
      this.strip.replaceChildren(...(head === null ? [] : [h('b', {}, head)]), ...items);
    }

    // Return the shown values as rows of a CSV file, losses in nats per character.
    toCsv() {
      const { own } = this, toMinutes = stepToAxis(own.clock, 'minutes'), names = [...Object.keys(LINES), ...SMALL.map(([key]) => key)];
      const steps = [...new Set(names.flatMap((name) => own.lines[name].steps))].sort((a, b) => a - b);
      const columns = names.map((name) => new Map(own.lines[name].steps.map((step, i) => [step, own.lines[name].values[i]])));
      const rows = steps.map((step) => [step, toMinutes(step).toFixed(4), ...columns.map((column) => column.get(step) ?? '')].join(','));
      return [['step', 'minutes', ...names].join(','), ...rows].join('\n') + '\n';
    }
  }

  window.charlstm = Object.assign(window.charlstm, { RunCurves, formatClock, stepToAxis });
})();
