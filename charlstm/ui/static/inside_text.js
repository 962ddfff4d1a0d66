// A text on colours: a canvas below the letters holds the tint of each one, a line above or below it for the sign, and a
// strip of bars under each line. Drawing 1,200 letters anew takes about a millisecond, so units can be flipped through.
import { levelOf } from './inside_values.js';

const STRIP_GAP = 4, STRIP_HALF = 5.5; // pixels below the letters; half the height of a strip
const MOST_DENSITY = 2; // device pixels for one of the page's
const NARROWEST = 5; // pixels that a line end takes, so that its value is seen

export class TintedText {
  // `onPlace(place)` is called when a person goes to a character, `onPoint(place or null)` when one is pointed at,
  // `onType(text, place)` when the text was changed, with the character before the cursor.
  constructor(h, { label, onPlace = () => {}, onPoint = () => {}, onType = () => {} }) {
    Object.assign(this, { onPlace, onPoint, onType, chars: [], boxes: null, places: null, until: Infinity, place: -1, paints: [] });
    this.canvas = h('canvas', { class: 'inside-tint', 'aria-hidden': 'true' });
    this.caret = h('div', { class: 'inside-caret', hidden: true });
    this.text = h('div', { class: 'inside-letters', role: 'textbox', 'aria-readonly': 'true', 'aria-multiline': 'true', 'aria-label': label, tabindex: 0, spellcheck: 'false' });
    this.sheet = h('div', { class: 'inside-sheet' }, this.canvas, this.caret, this.text);
    this.element = h('div', { class: 'inside-scroll' }, this.sheet);
    this.listen();
    new ResizeObserver(() => { this.boxes = null; this.draw(); }).observe(this.sheet);
    new MutationObserver(() => this.draw()).observe(document.body, { attributes: true, attributeFilter: ['class'] });
  }

  get isEditable() { return this.text.isContentEditable; }

  setEditable(isEditable) {
    if (isEditable) this.text.setAttribute('contenteditable', 'plaintext-only'); else this.text.removeAttribute('contenteditable');
    this.text.setAttribute('aria-readonly', String(!isEditable));
    this.element.classList.toggle('is-yours', isEditable);
  }

  // Replace the text; one that a person types is left alone.
  setText(text) {
    if (this.text.textContent !== text) this.text.textContent = text;
    const chars = Array.from(text);
    this.element.classList.toggle('is-code', /^(?: {4,}|\t+)\S/m.test(text));
    if (chars.length === this.chars.length && text === this.chars.join('')) return;
    this.chars = chars;
    this.boxes = null;
    this.caret.hidden = true;
  }

  // Colour it by `places` (-1 to 1, one for each character), the first `until` of them.
  show(places, until = Infinity) {
    Object.assign(this, { places, until });
    this.draw();
  }

  // Mark a character; `follows` scrolls it into sight.
  mark(place, follows = false) {
    this.place = place;
    this.measure();
    const box = this.boxes?.[place];
    this.caret.hidden = !box;
    if (!box) return;
    this.caret.style.transform = `translate(${box.left}px, ${box.top}px)`;
    this.caret.style.width = `${box.width}px`;
    this.caret.style.height = `${box.height}px`;
    if (!follows) return;
    const { scrollTop, clientHeight } = this.element;
    if (box.top < scrollTop + 8 || box.top + box.height + 40 > scrollTop + clientHeight) this.element.scrollTop = Math.max(0, box.top - clientHeight / 3);
  }

  // Where each character stands in the sheet; measured once for each text and width.
  measure() {
    if (this.boxes || !this.element.isConnected || !this.sheet.clientWidth) return;
    const sheet = this.sheet.getBoundingClientRect(), boxes = [], range = document.createRange();
    const walker = document.createTreeWalker(this.text, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      let from = 0;
      for (const char of node.data) {
        range.setStart(node, from);
        from += char.length;
        range.setEnd(node, from);
        const rects = range.getClientRects(), rect = rects[rects.length - 1], last = boxes[boxes.length - 1];
        const top = rect ? rect.top - sheet.top : last?.top ?? 0, isNewLine = !last || Math.abs(top - last.top) > 2;
        const left = rect && (rect.width > 0 || isNewLine) ? rect.left - sheet.left : last ? last.left + last.width : 0;
        boxes.push({ left: isNewLine && char === '\n' ? this.text.offsetLeft : left, top, width: char === '\n' ? NARROWEST : rect?.width ?? 0, height: rect?.height || last?.height || 20 });
      }
    }
    const density = Math.min(MOST_DENSITY, window.devicePixelRatio || 1), whole = (length) => Math.round(length * density) / density;
    boxes.forEach((box, i) => { // no seams: a box begins at a whole pixel and reaches to the next one of its line
      const next = boxes[i + 1], end = next && Math.abs(next.top - box.top) < 2 && next.left > box.left ? next.left : box.left + box.width;
      Object.assign(box, { left: whole(box.left), top: whole(box.top), width: whole(end) - whole(box.left), height: whole(box.height) });
    });
    this.boxes = boxes;
    const width = this.sheet.clientWidth, height = this.sheet.clientHeight;
    Object.assign(this.canvas, { width: Math.ceil(width * density), height: Math.ceil(height * density) });
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    this.density = density;
  }

  draw() {
    this.measure();
    if (!this.boxes) return;
    const context = this.canvas.getContext('2d'), style = getComputedStyle(this.element);
    const colour = (name) => style.getPropertyValue(name).trim();
    const tints = { '-2': colour('--minus-2'), '-1': colour('--minus-1'), 1: colour('--plus-1'), 2: colour('--plus-2') };
    const inks = { '-1': colour('--minus-ink'), 1: colour('--plus-ink') }, rule = colour('--line');
    context.setTransform(this.density, 0, 0, this.density, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const count = Math.min(this.places?.length ?? 0, this.boxes.length, this.until);
    for (let i = 0; i < count; i++) {
      const place = this.places[i], { left, top, width, height } = this.boxes[i], level = levelOf(place), sign = Math.sign(place);
      const middle = top + height + STRIP_GAP + STRIP_HALF + 0.5;
      if (level) {
        context.fillStyle = tints[level];
        context.fillRect(left, top, width, height);
        context.fillStyle = inks[sign];
        const thick = Math.abs(level);
        context.fillRect(left, sign > 0 ? top - thick + 1 : top + height - 1, width, thick);
      }
      context.fillStyle = rule;
      context.fillRect(left, middle - 0.5, width, 1);
      context.fillStyle = inks[sign] || rule;
      const size = Math.abs(place) * STRIP_HALF;
      context.fillRect(left, sign > 0 ? middle - size : middle, width, size);
    }
    if (this.place >= 0) this.mark(this.place);
  }

  placeAt(event) {
    this.measure();
    if (!this.boxes?.length) return null;
    const sheet = this.sheet.getBoundingClientRect(), x = event.clientX - sheet.left, y = event.clientY - sheet.top;
    let best = null, least = Infinity;
    this.boxes.forEach(({ left, top, width, height }, i) => {
      const down = y < top - 6 ? top - 6 - y : Math.max(0, y - top - height - 12), across = x < left ? left - x : Math.max(0, x - left - width);
      const distance = 20 * down + across;
      if (distance < least) { least = distance; best = i; }
    });
    return best;
  }

  listen() {
    this.sheet.addEventListener('pointermove', (event) => { if (event.pointerType === 'mouse' && !this.isEditable) this.onPoint(this.placeAt(event)); });
    this.sheet.addEventListener('pointerleave', () => this.onPoint(null));
    this.sheet.addEventListener('click', (event) => {
      const place = this.placeAt(event);
      if (place !== null && !this.isEditable) { this.mark(place); this.onPlace(place); }
    });
    this.text.addEventListener('keydown', (event) => this.onKey(event));
    this.text.addEventListener('input', () => {
      this.text.normalize();
      this.onType(this.text.textContent, this.typedPlace());
    });
    this.text.addEventListener('paste', (event) => { // as text, also where the browser does not know "plaintext-only"
      if (!this.isEditable) return;
      event.preventDefault();
      document.execCommand('insertText', false, event.clipboardData.getData('text/plain'));
    });
  }

  // The character before the cursor.
  typedPlace() {
    const { focusNode: node, focusOffset: offset } = getSelection(), range = document.createRange();
    if (!node || !this.text.contains(node)) return 0;
    range.setStart(this.text, 0);
    range.setEnd(node, offset);
    return Array.from(range.toString()).length - 1;
  }

  onKey(event) {
    if (this.isEditable || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !this.chars.length) return;
    const last = this.chars.length - 1, at = Math.max(0, this.place);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: this.lineAway(at, -1), ArrowDown: this.lineAway(at, 1), Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const place = Math.max(0, Math.min(last, to));
    this.mark(place, true);
    this.onPlace(place);
  }

  // The character above or below `place`.
  lineAway(place, direction) {
    this.measure();
    const box = this.boxes?.[place];
    if (!box) return place;
    const isBeyond = ({ top }) => direction * (top - box.top) > 3;
    const tops = this.boxes.filter(isBeyond).map(({ top }) => top), top = direction > 0 ? Math.min(...tops) : Math.max(...tops);
    let best = place, least = Infinity;
    this.boxes.forEach((each, i) => {
      const distance = Math.abs(each.left - box.left);
      if (Math.abs(each.top - top) < 3 && distance < least) { least = distance; best = i; }
    });
    return best;
  }
}
