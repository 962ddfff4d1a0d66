// Two texts side by side, written at reading pace: the network as it is, and the same with units held.
const PACE = 80, STEP = 40; // characters a second; milliseconds between two looks
const isStill = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
const NEAR_END = 48; // pixels from its end within which a text goes on scrolling by itself

export const commonLength = (a, b) => {
  let at = 0;
  while (at < a.length && at < b.length && a[at] === b[at]) at += 1;
  return at;
};
const meanLine = (chars) => {
  const lines = chars.join('').split('\n').slice(0, -1).filter((line) => line.trim()); // the last one is not ended
  return lines.length > 1 ? `${lines.length} lines, ${Math.round(lines.reduce((sum, line) => sum + Array.from(line).length, 0) / lines.length)} characters each on average` : '';
};

class Sheet {
  constructor(h, title, label, ...more) {
    this.opening = h('span', { class: 'hold-opening' });
    this.same = h('span', { class: 'hold-same' });
    this.parting = h('mark', { class: 'hold-parting' });
    this.rest = h('span', {});
    this.caret = h('span', { class: 'hold-caret', 'aria-hidden': 'true' });
    this.page = h('div', { class: 'hold-page', role: 'region', 'aria-label': label, tabindex: 0 }, this.opening, this.same, this.parting, this.rest, this.caret);
    this.title = h('h3', {}, title);
    this.note = h('p', { class: 'hold-note' }, '\u00a0');
    this.element = h('div', { class: 'hold-sheet' }, h('div', { class: 'hold-title' }, this.title, ...more), this.page, this.note);
    this.chars = [];
    this.head = 0;
  }

  show(parting, isWriting) {
    const { chars, page } = this, head = Math.min(this.head, chars.length), isAtEnd = page.scrollHeight - page.scrollTop - page.clientHeight < NEAR_END;
    const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
    set(this.same, chars.slice(0, Math.min(parting, head)).join(''));
    const first = head > parting ? chars[parting] : '';
    set(this.parting, first === '\n' ? '⏎\n' : first);
    set(this.rest, chars.slice(parting + 1, Math.max(parting + 1, head)).join(''));
    this.caret.hidden = !isWriting || head >= chars.length;
    if (isAtEnd && isWriting) page.scrollTop = page.scrollHeight;
    set(this.note, meanLine(chars.slice(0, head)) || '\u00a0');
  }
}

// `onRest()` is called when both texts have been written to their ends.
export const createTwoTexts = (h, { isVisible, onRest = () => {} }) => {
  const verdict = h('p', { class: 'hold-verdict', role: 'status' }, '\u00a0');
  const plain = new Sheet(h, 'As it is', 'The text of the network as it is', verdict), held = new Sheet(h, 'With nothing held', 'The text with units held');
  const element = h('div', { class: 'hold-texts' }, plain.element, held.element);
  let parting = 0, timer = 0, hasMore = false, isReset = true, isCode = false;
  const length = () => Math.max(plain.chars.length, held.chars.length);
  const say = () => {
    const count = Math.min(plain.head, held.head);
    if (!length()) return '\u00a0';
    if (count > parting) return parting ? `The same for ${parting.toLocaleString('en')} character${parting === 1 ? '' : 's'}, then they part.` : 'They part at the first character.';
    return timer || hasMore ? 'The same so far …' : `Not one of ${count.toLocaleString('en')} characters differs.`;
  };
  const draw = () => {
    for (const each of [plain, held]) each.show(parting, Boolean(timer) || hasMore);
    const words = say();
    if (verdict.textContent !== words) verdict.textContent = words;
  };
  const stop = () => { clearInterval(timer); timer = 0; };
  const advance = () => {
    if (!element.isConnected) { stop(); return; }
    if (!isVisible()) return;
    for (const each of [plain, held]) each.head = Math.min(each.chars.length, each.head + (PACE * STEP) / 1000);
    const isDone = plain.head >= plain.chars.length && held.head >= held.chars.length;
    if (isDone && !hasMore) stop();
    draw();
    if (isDone && !hasMore) onRest();
  };
  const start = () => { if (!timer) timer = setInterval(advance, STEP); };
  return {
    element,
    setHeldTitle(title) { held.title.textContent = title; },
    // Begin at the first character again.
    restart() { isReset = true; },
    // Show nothing until another model has answered.
    clear() {
      stop();
      for (const each of [plain, held]) { Object.assign(each, { chars: [], head: 0 }); each.opening.textContent = ''; }
      isReset = true;
      isCode = false;
      hasMore = true;
      draw();
    },
    // Show an answer of `inside_hold`; `more` tells that a longer one is on its way. What was read already stays in sight.
    // `example` is a text of the same kind, which tells code from prose before the first line is indented.
    show({ opening, plain: plainText, held: heldText }, more, example = '') {
      const sheets = [[plain, plainText], [held, heldText]];
      isCode ||= /^(?: {4}|\t)\S/m.test(`${example}\n${plainText}\n${heldText}`);
      hasMore = more;
      element.classList.toggle('is-code', isCode);
      for (const [sheet, text] of sheets) {
        const chars = Array.from(text);
        sheet.opening.textContent = opening;
        if (isReset) { sheet.head = 0; sheet.page.scrollTop = 0; }
        // A moved slider: the new text replaces the old one as far as that had been read, or as far as it has come.
        sheet.head = isStill() ? chars.length : Math.min(sheet.head, chars.length);
        sheet.chars = chars;
      }
      isReset = false;
      parting = commonLength(plain.chars, held.chars);
      if (isStill() || Math.min(plain.head, held.head) >= length()) { if (!more) stop(); } else start();
      draw();
    },
    stop() { stop(); for (const each of [plain, held]) each.head = each.chars.length; draw(); },
    isWriting: () => Boolean(timer),
  };
};
