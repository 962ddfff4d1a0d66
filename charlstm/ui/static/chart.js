// A line chart with reference lines, a lane of events, a lane of samples, a cursor and zoom. Colours come from style sheets.
(() => {
  const SVG = 'http://www.w3.org/2000/svg';
  const TOP = 12, LEFT = 46, AXIS = 20, LANE = 18;  // pixels
  const WIDE = 620;  // from this width on, names of reference lines stand beside the lines, not on them
  const LABEL_HEIGHT = 13, NEAR = 12;  // pixels; marks nearer than that are one
  const LEAST_ROWS = 5;  // parts of the y axis, also of a low chart: rounded up, they leave two labels at least

  const node = (name, attributes, parent) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  };
  const textNode = (text, attributes, parent) => { node('text', attributes, parent).textContent = text; };

  // Return round values (multiples of 1, 2 or 5 times a power of ten) that divide `from`..`to` into about `count` parts.
  const ticks = (from, to, count) => {
    const raw = (to - from) / Math.max(1, count);
    if (!(raw > 0) || !Number.isFinite(raw)) return [];
    const power = 10 ** Math.floor(Math.log10(raw));
    return multiples([1, 2, 5, 10].find((each) => each * power >= raw) * power, from, to);
  };
  const multiples = (size, from, to) => {
    const values = [];
    for (let i = Math.ceil(from / size - 1e-9); i * size <= to + size * 1e-9; i++) values.push(i * size);
    return values;
  };
  // Return the number of decimals that distinguishes neighbouring ticks.
  const decimals = (values) => (values.length < 2 ? 1 : Math.max(1, Math.min(6, -Math.floor(Math.log10(values[1] - values[0]) + 1e-9))));

  // Return the index of the point in `points` (ascending in x) that is nearest to `x`; -1 if there is none.
  const nearest = (points, x) => {
    let low = 0, high = points.length - 1;
    if (high < 0) return -1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < x) low = middle + 1; else high = middle;
    }
    return low > 0 && x - points[low - 1][0] < points[low][0] - x ? low - 1 : low;
  };

  const EMPTY = {
    series: [], refs: [], marks: [], samples: [], star: null, most: 0, leastSpan: 0, focus: null, xTitle: '',
    columns: ticks, formatX: String, formatY: String, details: () => [],
  };

  class Chart {
    // `onMove(x or null)` reports the cursor, `onZoom([from, to] or null)` the visible part, in units of x. A chart with
    // `hasLanes` draws events and samples below its axis. `strip` shows the values at the cursor, outside of the lines.
    constructor(host, { height, label, strip, hasLanes = false, onMove = () => {}, onZoom = () => {} }) {
      Object.assign(this, { host, height, strip, hasLanes, onMove, onZoom, data: EMPTY, zoom: null, cursor: null, playhead: null, drag: null });
      host.classList.add('chart');
      host.tabIndex = 0;
      host.setAttribute('role', 'application');
      host.setAttribute('aria-roledescription', 'chart');
      host.setAttribute('aria-label', `${label}. Arrow keys read values, plus and minus zoom, Escape shows all.`);
      this.svg = node('svg', { height, 'aria-hidden': 'true' }, host);
      this.clip = `clip-${Math.random().toString(36).slice(2)}`;
      this.window = node('rect', {}, node('clipPath', { id: this.clip }, node('defs', {}, this.svg)));
      this.grid = node('g', { class: 'chart-grid' }, this.svg);
      this.below = node('g', { 'clip-path': `url(#${this.clip})` }, this.svg);
      this.lines = node('g', { 'clip-path': `url(#${this.clip})` }, this.svg);
      this.names = node('g', { class: 'chart-names' }, this.svg);
      this.lane = node('g', { class: 'chart-lane' }, this.svg);
      this.selection = node('rect', { class: 'chart-selection', visibility: 'hidden' }, this.svg);
      this.hair = node('line', { class: 'chart-hair', visibility: 'hidden' }, this.svg);
      this.head = node('line', { class: 'chart-playhead', visibility: 'hidden' }, this.svg);
      this.dots = node('g', {}, this.svg);
      this.paths = new Map();
      this.listen();
      new ResizeObserver(() => this.draw()).observe(host);
    }

    get right() { return this.hasLanes && this.width >= WIDE ? 138 : 14; }

    get bottom() { return this.height - AXIS - (this.hasLanes ? 2 * LANE : 14); }

    listen() {
      const at = (event) => this.value(event.clientX - this.svg.getBoundingClientRect().left);
      this.svg.addEventListener('pointerdown', (event) => {
        if (event.button) return;
        this.drag = { from: at(event), left: event.clientX };
      });
      this.svg.addEventListener('pointermove', (event) => {
        if (this.drag && event.pointerType === 'mouse' && Math.abs(event.clientX - this.drag.left) > 4) {
          this.svg.setPointerCapture(event.pointerId);
          this.drag.to = at(event);
        }
        this.move(at(event));
      });
      this.svg.addEventListener('pointerup', () => {
        const { from, to } = this.drag || {};
        this.drag = null;
        if (to !== undefined && from !== to) this.show([Math.min(from, to), Math.max(from, to)]);
        else this.draw();
      });
      this.svg.addEventListener('pointerleave', () => { if (!this.drag) this.move(null); });
      this.svg.addEventListener('pointercancel', () => { this.drag = null; this.move(null); });
      this.svg.addEventListener('dblclick', () => this.show(null));
      this.host.addEventListener('blur', () => this.move(null));
      this.host.addEventListener('keydown', (event) => this.onKey(event));
    }

    onKey(event) {
      if (event.target !== this.host) return;  // a slider over the lanes has keys of its own
      const [from, to] = this.range();
      const middle = this.cursor ?? (from + to) / 2;
      const step = (to - from) / (event.shiftKey ? 10 : 60);
      const near = (factor) => [middle - (middle - from) * factor, middle + (to - middle) * factor];
      const acts = {
        ArrowLeft: () => this.move(Math.max(from, (this.cursor ?? to) - step)),
        ArrowRight: () => this.move(Math.min(to, (this.cursor ?? from) + step)),
        Home: () => this.move(from),
        End: () => this.move(to),
        '+': () => this.show(near(0.5)),
        '=': () => this.show(near(0.5)),
        '-': () => this.show(near(2)),
        Escape: () => { this.show(null); this.move(null); },
      };
      if (event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
      event.preventDefault();
      acts[event.key]();
    }

    set(data) {
      this.data = { ...EMPTY, ...data };
      this.draw();
    }

    // Show only `zoom` = [from, to], or everything.
    show(zoom, notifies = true) {
      const [least, most] = this.extent();
      if (zoom) zoom = [Math.max(least, zoom[0]), Math.min(most, zoom[1])];
      this.zoom = zoom && zoom[1] - zoom[0] > 0 && zoom[1] - zoom[0] < (most - least) * 0.999 ? zoom : null;
      this.draw();
      if (notifies) this.onZoom(this.zoom);
    }

    move(x, notifies = true) {
      this.cursor = x;
      this.drawCursor();
      if (notifies) this.onMove(x);
    }

    // Draw a line at `x`, the moment of the sample that is shown; none for null.
    setPlayhead(x) {
      this.playhead = x;
      this.drawPlayhead();
    }

    extent() {
      let { most } = this.data;
      for (const { points } of this.data.series) if (points.length) most = Math.max(most, points[points.length - 1][0]);
      return [0, most || 1];
    }

    range() { return this.zoom || this.extent(); }

    // Return the range of y: `focus`, or that of the lines in view and, unless zoomed in, of the reference lines.
    valueRange() {
      const [from, to] = this.range();
      let least = Infinity, most = -Infinity;
      for (const { points } of this.data.series) {
        for (const [x, y] of points) {
          if (x < from || x > to || !Number.isFinite(y)) continue;
          least = Math.min(least, y);
          most = Math.max(most, y);
        }
      }
      this.peak = most;
      if (this.data.focus && !this.zoom) return this.data.focus;
      if (!this.zoom) {
        for (const { y } of this.data.refs) {
          least = Math.min(least, y);
          most = Math.max(most, y);
        }
      }
      if (least > most) return [0, 1];
      if (this.data.hasZero) least = 0;
      if (!this.zoom && most - least < this.data.leastSpan) { // downwards, where the line is going
        least = Math.max(0, most - this.data.leastSpan);
        most = Math.max(most, least + this.data.leastSpan);
      }
      const margin = (most - least) * 0.06 || Math.abs(most) * 0.1 || 1;
      return [this.data.hasZero ? 0 : least - margin, most + margin];
    }

    value(left) {
      const [from, to] = this.range();
      const share = (left - LEFT) / Math.max(1, this.width - LEFT - this.right);
      return from + (to - from) * Math.min(1, Math.max(0, share));
    }

    draw() {
      this.width = this.host.clientWidth;
      if (!this.width) return;
      const inner = { width: this.width - LEFT - this.right, height: this.bottom - TOP };
      const [from, to] = this.range(), [least, most] = this.valueRange();
      this.x = (value) => LEFT + ((value - from) / (to - from)) * inner.width;
      this.y = (value) => TOP + inner.height - ((value - least) / (most - least)) * inner.height;
      this.svg.setAttribute('width', this.width);
      const box = { x: LEFT - 4, y: TOP - 4, width: inner.width + 8, height: inner.height + 8 };
      for (const [key, value] of Object.entries(box)) this.window.setAttribute(key, value);
      this.drawGrid(inner, this.data.columns(from, to, inner.width / 90), ticks(least, most, Math.max(LEAST_ROWS, inner.height / 45)));
      this.drawReferences(inner, least, most);
      this.drawLanes(inner);
      this.drawLines();
      this.drawStar(least, most);
      this.drawPlayhead();
      this.drawCursor();
    }

    drawGrid(inner, columns, rows) {
      const digits = decimals(rows), end = LEFT + inner.width;
      this.grid.replaceChildren();
      this.isCut = this.data.focus && !this.zoom && this.peak > this.data.focus[1];
      if (!this.data.series.some((series) => series.points.length)) return;
      for (const y of rows) {
        const at = this.y(y);
        node('line', { x1: LEFT, x2: end, y1: at, y2: at }, this.grid);
        if (at > TOP + 12 || !this.isCut) textNode(this.data.formatY(y, digits), { x: LEFT - 6, y: at + 4, 'text-anchor': 'end' }, this.grid);
      }
      const title = this.hasLanes ? this.bottom + 15 : this.height - 3, half = 3.5 * this.data.xTitle.length;
      for (const x of columns) {
        const text = this.data.formatX(x), wide = 3.5 * text.length;  // pixels: the last label must not be cut off
        const at = Math.min(this.x(x), this.width - wide);
        if (!this.hasLanes || this.right < 100 || at < end + 8) textNode(text, { x: at, y: this.bottom + 15, 'text-anchor': 'middle' }, this.grid);
      }
      if (this.hasLanes && this.right > 2 * half) textNode(this.data.xTitle, { x: this.width - 4, y: title, 'text-anchor': 'end' }, this.grid);
      else if (!this.hasLanes) textNode(this.data.xTitle, { x: end, y: title, 'text-anchor': 'end' }, this.grid);
      if (this.isCut) textNode(`${this.data.formatY(this.peak, 1)} ↑`, { class: 'chart-cut', x: LEFT - 6, y: TOP + 2, 'text-anchor': 'end' }, this.grid);
    }

    // Names of reference lines and last values of compared lines stand at the right ends, moved apart where they meet.
    drawReferences(inner, least, most) {
      this.below.replaceChildren();
      this.names.replaceChildren();
      const end = LEFT + inner.width, isBeside = this.right > 100, labels = [];
      for (const { y, name } of this.data.refs) {
        if (y < least || y > most) continue;
        const at = this.y(y);
        node('line', { class: 'chart-ref', x1: LEFT, x2: end, y1: at, y2: at }, this.below);
        labels.push({ at: isBeside ? at + 4 : at - 4, text: name, look: '' });
      }
      for (const { points, end: text, look } of this.data.series) {
        const last = points[points.length - 1];
        if (text && last && last[1] >= least && last[1] <= most) labels.push({ at: this.y(last[1]) + 4, text, look: `chart-end ${look}` });
      }
      labels.sort((a, b) => a.at - b.at);
      labels.forEach((label, i) => { if (i) label.at = Math.max(label.at, labels[i - 1].at + LABEL_HEIGHT); });
      for (const { at, text, look } of labels) {
        textNode(text, isBeside ? { class: look, x: end + 8, y: at } : { class: look, x: end, y: at, 'text-anchor': 'end' }, this.names);
      }
    }

    // Draw the events, several at one place as one number, and below them a tick for each sample.
    drawLanes(inner) {
      this.lane.replaceChildren();
      if (!this.hasLanes) return;
      const end = LEFT + inner.width, top = this.bottom + AXIS, groups = [];
      for (const mark of this.data.marks) {
        const at = this.x(mark.x), last = groups[groups.length - 1];
        if (at < LEFT - 1 || at > end + 1) continue;
        if (last && at - last.at < NEAR) last.marks.push(mark); else groups.push({ at, marks: [mark] });
      }
      for (const { at, marks } of groups) {
        const look = [...new Set(marks.map(({ kind }) => `is-${kind}`)), ...(marks.length > 1 ? ['is-several'] : [])].join(' ');
        node('line', { class: `chart-mark ${look}`, x1: at, x2: at, y1: this.bottom, y2: this.bottom + 4 }, this.lane);
        textNode(marks.length > 1 ? String(marks.length) : marks[0].sign, { class: `chart-event ${look}`, x: at, y: top + 12, 'text-anchor': 'middle' }, this.lane);
        const phase = marks.filter(({ kind }) => kind === 'phase').pop(), next = groups[groups.findIndex((each) => each.at === at) + 1]?.at ?? this.width;
        if (phase && at + 12 + 6 * phase.text.length < next - 8) textNode(phase.text, { class: 'chart-phase', x: at + 10, y: top + 12 }, this.lane);
      }
      const middle = top + 1.5 * LANE;
      node('line', { class: 'chart-rail', x1: LEFT, x2: end, y1: middle, y2: middle }, this.lane);
      let path = '', before = -9;
      for (const x of this.data.samples) {
        const at = this.x(x);
        if (at < LEFT - 1 || at > end + 1 || at - before < 1) continue;
        path += `M${at.toFixed(1)} ${middle - 4}v8`;
        before = at;
      }
      node('path', { class: 'chart-tick', d: path }, this.lane);
    }

    drawLines() {
      const drawn = new Set();
      const pathOf = (key) => {
        const path = this.paths.get(key) || node('path', {}, this.lines);
        this.paths.set(key, path);
        drawn.add(key);
        this.lines.append(path);
        return path;
      };
      for (const { id, look, points, hasDots } of this.data.series) {
        const path = pathOf(id);
        path.setAttribute('class', `chart-line ${look}`);
        path.setAttribute('d', this.outline(points));
        if (!hasDots) continue;
        const dots = pathOf(`${id} dots`);
        dots.setAttribute('class', `chart-dot ${look}`);
        const circle = ([x, y]) => `M${(this.x(x) - 2.4).toFixed(1)} ${this.y(y).toFixed(1)}a2.4 2.4 0 1 0 4.8 0a2.4 2.4 0 1 0 -4.8 0`;
        dots.setAttribute('d', points.filter(([, y]) => Number.isFinite(y)).map(circle).join(''));
      }
      for (const [id, path] of this.paths) {
        if (drawn.has(id)) continue;
        path.remove();
        this.paths.delete(id);
      }
    }

    drawStar(least, most) {
      const { star } = this.data;
      if (!star || star[1] < least || star[1] > most) return;
      const [from, to] = this.range();
      if (star[0] >= from && star[0] <= to) textNode('★', { class: 'chart-star is-best', x: this.x(star[0]), y: this.y(star[1]) + 5, 'text-anchor': 'middle' }, this.names);
    }

    outline(points) {
      let path = '', isDrawing = false;
      for (const [x, y] of points) {
        if (!Number.isFinite(y)) { isDrawing = false; continue; }
        path += `${isDrawing ? 'L' : 'M'}${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`;
        isDrawing = true;
      }
      return path;
    }

    drawPlayhead() {
      const [from, to] = this.range(), isVisible = this.x && this.playhead !== null && this.playhead >= from && this.playhead <= to;
      this.head.setAttribute('visibility', isVisible ? 'visible' : 'hidden');
      if (isVisible) this.placeLine(this.head, this.x(this.playhead), this.hasLanes ? this.height - 4 : this.bottom);
    }

    placeLine(line, x, bottom) {
      for (const [key, value] of Object.entries({ x1: x, x2: x, y1: TOP, y2: bottom })) line.setAttribute(key, value);
    }

    drawCursor() {
      const isVisible = this.cursor !== null && this.x && this.data.series.some((series) => series.points.length);
      this.hair.setAttribute('visibility', isVisible ? 'visible' : 'hidden');
      this.dots.replaceChildren();
      const { from, to } = this.drag || {};
      this.selection.setAttribute('visibility', to === undefined ? 'hidden' : 'visible');
      if (to !== undefined) {
        const [left, right] = [this.x(Math.min(from, to)), this.x(Math.max(from, to))];
        for (const [key, value] of Object.entries({ x: left, width: right - left, y: TOP, height: this.bottom - TOP })) this.selection.setAttribute(key, value);
      }
      if (isVisible) this.placeLine(this.hair, this.x(this.cursor), this.bottom);
      if (this.strip) this.strip(isVisible ? `${this.data.formatX(this.cursor, true)} ${this.data.xTitle}`.trim() : null, this.values(isVisible ? this.cursor : null));
    }

    // Return the value of each line at `x`, or its last one, as [name, value, look].
    values(x) {
      const rows = [], [least, most] = this.x ? this.valueRange() : [0, 0];
      for (const { points, name, look, isNamed = true } of this.data.series) {
        const point = points[x === null ? points.length - 1 : nearest(points, x)];
        const isKnown = point && Number.isFinite(point[1]);
        if (x !== null && isKnown && point[1] >= least && point[1] <= most) node('circle', { class: `chart-dot ${look}`, cx: this.x(point[0]), cy: this.y(point[1]), r: 3.5 }, this.dots);
        if (isNamed) rows.push([name, isKnown ? this.data.formatY(point[1], 2) : '', look]);
      }
      return x === null ? rows : [...rows, ...this.data.details(x).map(([name, value]) => [name, value, ''])];
    }
  }

  window.charlstm = Object.assign(window.charlstm || {}, { Chart, nearest, ticks, multiples, chartMargins: { LEFT } });
})();
