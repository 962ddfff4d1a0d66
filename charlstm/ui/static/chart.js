// A line chart with reference lines, marks, hover and zoom, all in the browser. Colours come from style sheets.
(() => {
  const SVG = 'http://www.w3.org/2000/svg';
  const MARGIN = { top: 10, right: 12, bottom: 34, left: 46 };
  const LABEL_HEIGHT = 13;

  const node = (name, attributes, parent) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  };

  // Return round values (multiples of 1, 2 or 5 times a power of ten) that divide `from`..`to` into about `count` parts.
  const ticks = (from, to, count) => {
    const raw = (to - from) / Math.max(1, count);
    if (!(raw > 0) || !Number.isFinite(raw)) return [];
    const power = 10 ** Math.floor(Math.log10(raw));
    const size = [1, 2, 5, 10].find((each) => each * power >= raw) * power;
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

  const EMPTY = { series: [], refs: [], marks: [], most: 0, isWhole: false, xTitle: '', formatX: String, formatY: String, details: () => [] };

  class Chart {
    // `onMove(x or null)` reports the cursor, `onZoom([from, to] or null)` the visible part, in units of x.
    constructor(host, { height, label, onMove = () => {}, onZoom = () => {} }) {
      Object.assign(this, { host, height, onMove, onZoom, data: EMPTY, zoom: null, cursor: null, drag: null });
      host.classList.add('chart');
      host.tabIndex = 0;
      host.setAttribute('role', 'application');
      host.setAttribute('aria-roledescription', 'chart');
      host.setAttribute('aria-label', `${label}. Arrow keys read values, plus and minus zoom, Escape shows all.`);
      this.svg = node('svg', { height, 'aria-hidden': 'true' }, host);
      this.clip = `clip-${Math.random().toString(36).slice(2)}`;
      const clip = node('clipPath', { id: this.clip }, node('defs', {}, this.svg));
      this.window = node('rect', {}, clip);
      this.grid = node('g', { class: 'chart-grid' }, this.svg);
      this.below = node('g', { 'clip-path': `url(#${this.clip})` }, this.svg);
      this.lines = node('g', { 'clip-path': `url(#${this.clip})` }, this.svg);
      this.names = node('g', { class: 'chart-names' }, this.svg);
      this.selection = node('rect', { class: 'chart-selection', visibility: 'hidden' }, this.svg);
      this.hair = node('line', { class: 'chart-hair', visibility: 'hidden' }, this.svg);
      this.dots = node('g', {}, this.svg);
      this.tip = document.createElement('div');
      this.tip.className = 'chart-tip';
      this.tip.hidden = true;
      this.tip.setAttribute('role', 'status');
      host.append(this.tip);
      this.paths = new Map();
      this.listen();
      new ResizeObserver(() => this.draw()).observe(host);
    }

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

    extent() {
      let { most } = this.data;
      for (const { points } of this.data.series) if (points.length) most = Math.max(most, points[points.length - 1][0]);
      return [0, most || 1];
    }

    range() { return this.zoom || this.extent(); }

    // Return the range of y: that of the lines and, unless zoomed in, the reference lines.
    valueRange() {
      const [from, to] = this.range();
      let least = Infinity, most = -Infinity;
      for (const { points, isFaint } of this.data.series) {
        for (const [x, y] of points) {
          if (x < from || x > to || !Number.isFinite(y)) continue;
          if (isFaint && this.zoom === null && this.data.refs.length) { least = Math.min(least, y); continue; }
          least = Math.min(least, y);
          most = Math.max(most, y);
        }
      }
      if (!this.zoom) {
        for (const { y } of this.data.refs) {
          least = Math.min(least, y);
          most = Math.max(most, y);
        }
      }
      if (least > most) return [0, 1];
      if (this.data.hasZero) least = 0;
      const margin = (most - least) * 0.06 || Math.abs(most) * 0.1 || 1;
      return [this.data.hasZero ? 0 : least - margin, most + margin];
    }

    value(left) {
      const [from, to] = this.range();
      const share = (left - MARGIN.left) / Math.max(1, this.width - MARGIN.left - MARGIN.right);
      return from + (to - from) * Math.min(1, Math.max(0, share));
    }

    draw() {
      this.width = this.host.clientWidth;
      if (!this.width) return;
      const inner = { width: this.width - MARGIN.left - MARGIN.right, height: this.height - MARGIN.top - MARGIN.bottom };
      const [from, to] = this.range(), [least, most] = this.valueRange();
      this.x = (value) => MARGIN.left + ((value - from) / (to - from)) * inner.width;
      this.y = (value) => MARGIN.top + inner.height - ((value - least) / (most - least)) * inner.height;
      this.svg.setAttribute('width', this.width);
      const box = { x: MARGIN.left - 4, y: MARGIN.top - 4, width: inner.width + 8, height: inner.height + 8 };
      for (const [key, value] of Object.entries(box)) this.window.setAttribute(key, value);
      const columns = ticks(from, to, inner.width / 90).filter((x) => !this.data.isWhole || Number.isInteger(x));
      this.drawGrid(inner, columns, ticks(least, most, inner.height / 45));
      this.drawReferences(inner, least, most);
      this.drawLines();
      this.drawCursor();
    }

    drawGrid(inner, columns, rows) {
      const bottom = MARGIN.top + inner.height, digits = decimals(rows);
      this.grid.replaceChildren();
      if (!this.data.series.some((series) => series.points.length)) return;
      for (const y of rows) {
        const at = this.y(y);
        node('line', { x1: MARGIN.left, x2: MARGIN.left + inner.width, y1: at, y2: at }, this.grid);
        const name = node('text', { x: MARGIN.left - 6, y: at + 4, 'text-anchor': 'end' }, this.grid);
        name.textContent = this.data.formatY(y, digits);
      }
      for (const x of columns) {
        const text = this.data.formatX(x), half = 3.5 * text.length; // pixels: the last label must not be cut off
        const name = node('text', { x: Math.min(this.x(x), this.width - half), y: bottom + 15, 'text-anchor': 'middle' }, this.grid);
        name.textContent = text;
      }
      const title = node('text', { x: MARGIN.left + inner.width, y: bottom + 30, 'text-anchor': 'end' }, this.grid);
      title.textContent = this.data.xTitle;
    }

    drawReferences(inner, least, most) {
      this.below.replaceChildren();
      this.names.replaceChildren();
      const right = MARGIN.left + inner.width, taken = [];
      for (const { y, name } of this.data.refs) {
        if (y < least || y > most) continue;
        const at = this.y(y);
        node('line', { class: 'chart-ref', x1: MARGIN.left, x2: right, y1: at, y2: at }, this.below);
        let place = at - 4;
        while (taken.some((each) => Math.abs(each - place) < LABEL_HEIGHT)) place += LABEL_HEIGHT + 4;
        taken.push(place);
        node('text', { x: right, y: place, 'text-anchor': 'end' }, this.names).textContent = name;
      }
      for (const { x, sign, kind } of this.data.marks) {
        const at = this.x(x);
        if (at < MARGIN.left - 1 || at > right + 1) continue;
        node('line', { class: `chart-mark is-${kind}`, x1: at, x2: at, y1: MARGIN.top, y2: MARGIN.top + inner.height }, this.below);
        node('text', { class: `is-${kind}`, x: at, y: MARGIN.top + inner.height - 3, 'text-anchor': 'middle' }, this.names).textContent = sign;
      }
    }

    drawLines() {
      const drawn = new Set();
      for (const series of this.data.series) {
        let path = this.paths.get(series.id);
        if (!path) {
          path = node('path', {}, this.lines);
          this.paths.set(series.id, path);
        }
        drawn.add(series.id);
        path.setAttribute('class', `chart-line ${series.look}`);
        path.setAttribute('d', this.outline(series.points));
        this.lines.append(path);
        if (series.hasDots) this.drawDots(series, drawn);
      }
      for (const [id, path] of this.paths) {
        if (!drawn.has(id)) {
          path.remove();
          this.paths.delete(id);
        }
      }
    }

    drawDots({ id, look, points }, drawn) {
      const key = `${id} dots`, path = this.paths.get(key) || node('path', {}, this.lines);
      this.paths.set(key, path);
      drawn.add(key);
      path.setAttribute('class', `chart-dot ${look}`);
      const circle = ([x, y]) => `M${(this.x(x) - 2.4).toFixed(1)} ${this.y(y).toFixed(1)}a2.4 2.4 0 1 0 4.8 0a2.4 2.4 0 1 0 -4.8 0`;
      path.setAttribute('d', points.filter(([, y]) => Number.isFinite(y)).map(circle).join(''));
      this.lines.append(path);
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

    drawCursor() {
      const isVisible = this.cursor !== null && this.x && this.data.series.some((series) => series.points.length);
      this.hair.setAttribute('visibility', isVisible ? 'visible' : 'hidden');
      this.dots.replaceChildren();
      const { from, to } = this.drag || {};
      this.selection.setAttribute('visibility', to === undefined ? 'hidden' : 'visible');
      if (to !== undefined) {
        const [left, right] = [this.x(Math.min(from, to)), this.x(Math.max(from, to))];
        const box = { x: left, width: right - left, y: MARGIN.top, height: this.height - MARGIN.top - MARGIN.bottom };
        for (const [key, value] of Object.entries(box)) this.selection.setAttribute(key, value);
      }
      if (!isVisible) { this.tip.hidden = true; return; }
      const at = this.x(this.cursor);
      const hair = { x1: at, x2: at, y1: MARGIN.top, y2: this.height - MARGIN.bottom };
      for (const [key, value] of Object.entries(hair)) this.hair.setAttribute(key, value);
      this.drawTip(at, this.cursorValues());
    }

    // Return the value of each line at the cursor, as [name, value, look].
    cursorValues() {
      const rows = [];
      for (const { points, name, look } of this.data.series) {
        const point = points[nearest(points, this.cursor)];
        if (!point || !Number.isFinite(point[1])) continue;
        node('circle', { class: `chart-dot ${look}`, cx: this.x(point[0]), cy: this.y(point[1]), r: 3.5 }, this.dots);
        rows.push([name, this.data.formatY(point[1], 3), look]);
      }
      return [...rows, ...this.data.details(this.cursor).map(([name, value]) => [name, value, ''])];
    }

    drawTip(at, rows) {
      this.tip.replaceChildren();
      const head = document.createElement('b');
      head.textContent = `${this.data.formatX(this.cursor, true)} ${this.data.xTitle}`;
      this.tip.append(head);
      for (const [name, value, look] of rows) {
        const row = document.createElement('span');
        const key = document.createElement('i');
        key.className = look;
        row.append(key, `${name} `, Object.assign(document.createElement('em'), { textContent: value }));
        this.tip.append(row);
      }
      this.tip.hidden = false;
      const isRight = at > this.width / 2;
      this.tip.style.left = isRight ? '' : `${at + 12}px`;
      this.tip.style.right = isRight ? `${this.width - at + 12}px` : '';
    }
  }

  window.charlstm = Object.assign(window.charlstm || {}, { Chart, nearest });
})();
