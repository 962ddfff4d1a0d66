// The card of one letter: what else it might have been, by pointer, touch or keyboard.
const NAMES = { '\n': '↵ line end', ' ': '␣ space', '\t': '⇥ tab' };
const MARGIN = 6; // pixels between a letter and its card

const describeLetter = (char, isBytes) => {
  const code = char.codePointAt(0);
  if (isBytes && code > 127) return `byte ${code.toString(16).toUpperCase()}`;
  if (NAMES[char]) return NAMES[char];
  const isUnseen = /^[\p{C}\p{Z}]$/u.test(char);
  return isUnseen ? `U+${code.toString(16).toUpperCase().padStart(4, '0')}` : /^\p{M}$/u.test(char) ? `\u25cc${char}` : char;
};
const quoteLetter = (char, isBytes) => (NAMES[char] ? NAMES[char].slice(2) : `“${describeLetter(char, isBytes)}”`);
const percent = (share) => {
  const number = 100 * share;
  const digits = number >= 10 ? 0 : number >= 1 ? 1 : 2;
  return `${number >= 0.01 ? number.toFixed(digits) : '< 0.01'} %`;
};

class Card {
  // `view` draws the text in `frame`; `branch(prompt)` writes on from another letter, where `canBranch()`;
  // `recall(index)` tells where it read that letter before, if anywhere.
  constructor(view, frame, { isBytes, canBranch, branch, recall }) {
    Object.assign(this, { view, frame, isBytes, canBranch, branch, recall });
    this.cursor = make('div', 'cursor');
    this.card = make('div', 'card');
    this.card.setAttribute('role', 'group');
    this.card.setAttribute('aria-label', 'What else it might have been');
    this.card.setAttribute('aria-live', 'polite');
    frame.append(this.cursor, this.card);
    this.close();
    this.listen();
  }

  get isOpen() { return this.at >= 0; }

  close() {
    this.at = -1;
    this.isPinned = false;
    this.card.hidden = this.cursor.hidden = true;
  }

  show(index, isPinned) {
    const place = this.view.boxOf(index);
    if (!place) { this.close(); return; }
    this.at = index;
    this.isPinned = isPinned;
    this.fill(this.view.letters, index);
    this.card.hidden = this.cursor.hidden = false;
    this.card.classList.toggle('is-pinned', isPinned);
    this.move(place);
  }

  fill(letters, index) {
    const char = letters.chars[index], canBranch = this.canBranch();
    const options = letters.options(index), share = options.find((each) => each.char === char)?.share ?? letters.share(index);
    const verdict = VERDICTS[levelOf(letters.surprises[index])];
    const rows = options.map((option) => {
      const row = make('button', option.char === char ? 'is-taken' : ''), track = make('span', 'track'), bar = make('span', 'bar');
      row.type = 'button';
      row.choice = option.char;
      row.disabled = !canBranch || (this.isBytes && option.char.codePointAt(0) > 127);
      bar.style.width = `${100 * option.share}%`;
      track.append(bar);
      row.append(make('span', '', describeLetter(option.char, this.isBytes)), track, make('span', 'share', percent(option.share)));
      return row;
    });
    this.card.replaceChildren(make('p', '', `${quoteLetter(char, this.isBytes)} had a chance of ${percent(share)}: ${verdict}`), ...rows);
    const recalled = this.recall(index);
    if (recalled) this.card.append(make('p', 'card-hint', recalled));
    if (canBranch) this.card.append(make('p', 'card-hint', this.isPinned ? 'Choose one to go on from there.' : 'Click to choose another.'));
  }

  move(place) {
    const outer = this.frame.getBoundingClientRect(), { offsetWidth: width, offsetHeight: height } = this.card;
    const left = Math.min(Math.max(0, place.left - outer.left), Math.max(0, outer.width - width));
    const bar = document.querySelector('.bar-below')?.getBoundingClientRect().top ?? innerHeight;
    const isBelow = place.bottom + MARGIN + height < Math.min(innerHeight, bar) || place.top - MARGIN - height < 0;
    const top = isBelow ? place.bottom + MARGIN : place.top - MARGIN - height;
    Object.assign(this.card.style, { left: `${left}px`, top: `${top - outer.top}px` });
    Object.assign(this.cursor.style, { left: `${place.left - outer.left}px`, top: `${place.top - outer.top}px`,
      width: `${Math.max(place.width, 3)}px`, height: `${place.height}px` });
  }

  // Events --------------------------------------------------------------------------------------------------------

  listen() {
    const { box } = this.view;
    box.addEventListener('pointermove', (event) => this.hover(event));
    box.addEventListener('pointerleave', () => { if (!this.isPinned) this.close(); });
    box.addEventListener('click', (event) => this.click(event));
    box.addEventListener('keydown', (event) => this.walk(event));
    box.addEventListener('blur', () => { if (!this.isPinned) this.close(); });
    this.card.addEventListener('click', (event) => this.choose(event));
    this.card.addEventListener('keydown', (event) => this.walkCard(event));
    document.addEventListener('pointerdown', (event) => { if (this.isPinned && !this.frame.contains(event.target)) this.close(); });
    addEventListener('resize', () => this.close());
  }

  hover(event) {
    if (this.isPinned || event.pointerType === 'touch') return;
    if (!this.pending) requestAnimationFrame(() => {
      const index = this.view.indexAt(this.pending.clientX, this.pending.clientY);
      this.pending = null;
      if (this.isPinned || index === this.at) return;
      if (index >= 0) this.show(index, false); else this.close();
    });
    this.pending = event;
  }

  click(event) {
    if (!getSelection().isCollapsed) return; // text is being selected
    const index = this.view.indexAt(event.clientX, event.clientY);
    if (index >= 0) this.show(index, true); else this.close();
  }

  choose(event) {
    const button = event.target.closest('button');
    if (!button || button.disabled || !this.isOpen) return;
    const prompt = this.view.letters.before(this.at) + button.choice;
    this.close();
    this.view.box.focus({ preventScroll: true });
    this.branch(prompt);
  }

  walk(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape') {
      if (!this.isOpen) return;
      this.close();
    } else if (event.key === 'Enter' && this.isOpen) {
      this.show(this.at, true);
      this.card.querySelector('button:enabled')?.focus();
    } else if (/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key) && this.view.drawn) {
      const index = this.isOpen || event.key === 'End' ? this.placeAfter(event.key) : 0;
      this.reveal(index);
      this.show(index, false);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  placeAfter(key) {
    const last = this.view.drawn - 1;
    if (key === 'Home') return 0;
    if (key === 'End') return last;
    if (key === 'ArrowLeft') return Math.max(0, this.at - 1);
    if (key === 'ArrowRight') return Math.min(last, this.at + 1);
    return this.placeInNextLine(key === 'ArrowDown' ? 1 : -1);
  }

  placeInNextLine(step) {
    const here = this.view.boxOf(this.at);
    let best = this.at, line = null;
    for (let index = this.at + step; index >= 0 && index < this.view.drawn; index += step) {
      const place = this.view.boxOf(index);
      if (!place || Math.abs(place.top - here.top) < 4) continue;
      line ??= place;
      if (Math.abs(place.top - line.top) > 4) break;
      if (best === this.at || Math.abs(place.left - here.left) < Math.abs(this.view.boxOf(best).left - here.left)) best = index;
    }
    return best;
  }

  reveal(index) {
    const place = this.view.boxOf(index), above = 60, below = innerHeight - 120;
    if (place && place.top < above) scrollBy(0, place.top - above);
    if (place && place.bottom > below) scrollBy(0, place.bottom - below);
  }

  walkCard(event) {
    const buttons = [...this.card.querySelectorAll('button:enabled')], at = buttons.indexOf(document.activeElement);
    if (event.key === 'ArrowDown') buttons[Math.min(at + 1, buttons.length - 1)]?.focus();
    else if (event.key === 'ArrowUp') buttons[Math.max(at - 1, 0)]?.focus();
    else if (event.key === 'Escape') { this.close(); this.view.box.focus({ preventScroll: true }); } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
