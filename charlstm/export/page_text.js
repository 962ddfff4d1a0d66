// The text of the page: its letters, how astonishing each was, and how they are drawn. Text enters as text nodes only.
const EDGES = [0.5, 1.5, 2.5, 3.75, 5.25]; // nats at which the next colour begins
const VERDICTS = ['expected', 'likely', 'one of several', 'a surprise', 'rare', 'astonishing'];
const NUM_LIKELIEST = 5;
const MOST_TINTED = 100000; // characters with a colour; later ones have none
const BLOCK = 800; // characters after which a line end begins a new block: only the last one is laid out again

const make = (tag, className = '', text = undefined) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const levelOf = (surprise) => EDGES.filter((edge) => surprise >= edge).length;

// The letters of one text. `given` is what it continues; figures are of what follows that.
class Letters {
  constructor(given) {
    this.given = given;
    this.chars = [];
    this.likeliest = [];
    this.surprises = new Float32Array(1024);
    this.shares = new Float32Array(1024 * NUM_LIKELIEST);
  }

  get length() { return this.chars.length; }

  append({ text, surprises, likeliest, probabilities }) {
    let at = this.length;
    for (const char of text) this.chars.push(char);
    this.grow(this.length);
    for (let index = 0; at < this.length; index += 1, at += 1) {
      this.surprises[at] = surprises[index];
      this.likeliest.push(likeliest[index] ?? '');
      this.shares.set(Array.from(probabilities[index] ?? []).slice(0, NUM_LIKELIEST), at * NUM_LIKELIEST);
    }
  }

  grow(length) {
    if (length <= this.surprises.length) return;
    const room = 2 ** Math.ceil(Math.log2(length));
    for (const [name, width] of [['surprises', 1], ['shares', NUM_LIKELIEST]]) {
      const larger = new Float32Array(room * width);
      larger.set(this[name]);
      this[name] = larger;
    }
  }

  // What else was likely at a place, the likeliest first.
  options(index) {
    return Array.from(this.likeliest[index], (char, rank) => ({ char, share: this.shares[index * NUM_LIKELIEST + rank] }));
  }

  share(index) { return Math.exp(-this.surprises[index]); }

  before(index) { return this.given + this.chars.slice(0, index).join(''); }

  toString() { return this.before(this.length); }
}

// Draws letters into `box`. A stretch of one colour is one element, which knows where it begins.
class TextView {
  constructor(box) {
    this.box = box;
    this.caret = make('span', 'caret');
    this.show(new Letters(''));
  }

  show(letters) {
    this.letters = letters;
    this.spans = [];
    this.drawn = 0;
    this.level = -1;
    this.box.replaceChildren();
    this.startBlock();
    if (letters.given) this.block.append(make('b', '', letters.given));
    this.grow();
  }

  // Draw what has come since the last time.
  grow() {
    const { chars, surprises } = this.letters;
    let pending = '';
    const flush = () => {
      if (pending) this.spans.at(-1).firstChild.appendData(pending);
      pending = '';
    };
    for (; this.drawn < chars.length; this.drawn += 1) {
      const level = this.drawn < MOST_TINTED ? levelOf(surprises[this.drawn]) : 0;
      if (this.inBlock > BLOCK && chars[this.drawn - 1] === '\n') {
        flush();
        this.startBlock();
      }
      if (level !== this.level) {
        flush();
        this.startSpan(level);
      }
      pending += chars[this.drawn];
      this.inBlock += 1;
    }
    flush();
    this.block.append(this.caret);
    this.box.classList.toggle('is-empty', !this.letters.given && !chars.length);
  }

  startBlock() {
    this.block = make('div', 'block');
    this.box.append(this.block);
    this.inBlock = 0;
    this.level = -1;
  }

  startSpan(level) {
    const span = make('span', `s${level}`, '');
    span.append('');
    span.begin = this.drawn;
    this.spans.push(span);
    this.block.append(span);
    this.level = level;
  }

  // The place of a letter on the screen; null where it has none.
  boxOf(index) {
    let low = 0, high = this.spans.length - 1;
    if (high < 0 || index < 0 || index >= this.drawn) return null;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.spans[middle].begin <= index) low = middle; else high = middle - 1;
    }
    const { firstChild: node, begin } = this.spans[low], range = document.createRange();
    const start = this.letters.chars.slice(begin, index).join('').length;
    range.setStart(node, start);
    range.setEnd(node, start + this.letters.chars[index].length);
    return range.getClientRects()[0] ?? null;
  }

  isUnder(index, x, y) {
    const place = this.boxOf(index);
    return Boolean(place) && x >= place.left - 1 && x <= place.right + 1 && y >= place.top - 3 && y <= place.bottom + 3;
  }

  // The letter under a point of the window, or -1.
  indexAt(x, y) {
    const caret = document.caretPositionFromPoint?.(x, y);
    const range = caret ? null : document.caretRangeFromPoint?.(x, y);
    const node = caret ? caret.offsetNode : range?.startContainer, offset = caret ? caret.offset : range?.startOffset;
    const begin = node?.parentElement?.begin;
    if (begin === undefined || !this.box.contains(node)) return -1;
    const after = begin + Array.from(node.data.slice(0, offset)).length; // a caret stands between two letters
    return [after, after - 1].find((index) => this.isUnder(index, x, y)) ?? -1;
  }
}
