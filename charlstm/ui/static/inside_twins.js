// Two texts side by side that were written with the same dice, revealed at reading pace; where they part is marked.
import { isStill } from './inside_shared.js';
import { characters } from './inside_words.js';

const PACE = 34, STEP = 40; // characters a second; milliseconds between two looks
const LEAST = 90; // characters that are shown at once when a slider was moved, so that its effect is seen

const firstDifference = (a, b) => {
  const end = Math.min(a.length, b.length);
  for (let i = 0; i < end; i++) if (a[i] !== b[i]) return i;
  return a.length === b.length ? Infinity : end;
};

const createPane = (h, title, look) => {
  const opening = h('b', {}), same = h('span', { class: 'twin-same' }), mark = h('mark', { class: 'twin-mark' }), rest = h('span', { class: 'twin-rest' }), caret = h('span', { class: 'twin-caret', 'aria-hidden': 'true' });
  const letters = h('div', { class: 'twin-letters' }, opening, same, mark, rest, caret);
  const scroll = h('div', { class: 'twin-scroll', tabindex: 0, role: 'region', 'aria-label': title }, letters), note = h('span', { class: 'twin-note' });
  const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  return {
    element: h('section', { class: `twin ${look}` }, h('h3', {}, h('span', {}, title), note), scroll),
    note(text) { put(note, text); },
    show(begun, chars, until, at, isWriting) {
      const end = Math.min(until, chars.length), apart = Math.min(at, end);
      put(opening, begun);
      put(same, chars.slice(0, apart).join(''));
      put(mark, end > at ? (chars[at] === '\n' ? '⏎\n' : chars[at]) : '');
      put(rest, chars.slice(apart + 1, end).join(''));
      caret.hidden = !isWriting;
      if (isWriting) scroll.scrollTop = scroll.scrollHeight;
    },
    setCode(isCode) { letters.classList.toggle('is-code', isCode); },
  };
};

// `onEnd()` is called when both texts have been read to their ends.
export const createTwins = (h, { onEnd = () => {}, onPlay = () => {}, isSeen }) => {
  const plain = createPane(h, 'As it is', 'is-plain'), held = createPane(h, 'Held', 'is-held');
  const verdict = h('p', { class: 'twin-verdict' });
  const element = h('div', { class: 'twins-all' }, h('div', { class: 'twins' }, plain.element, held.element), verdict);
  let texts = { opening: '', plain: [], held: [] }, at = Infinity, head = 0, timer = 0, isWhole = false;
  const draw = () => {
    const until = Math.floor(head), isWriting = Boolean(timer);
    plain.show(texts.opening, texts.plain, until, at, isWriting);
    held.show(texts.opening, texts.held, until, at, isWriting);
    verdict.textContent = !texts.held.length ? ' ' : at < until ? (at ? `The first ${at === 1 ? 'character is' : `${characters(at)} are`} the same; from the mark on the texts go apart.` : 'The texts go apart from the first character on.') : isWriting ? 'The same so far …' : 'No difference in this text: the dice fell the same way each time.';
  };
  const stop = () => { clearInterval(timer); timer = 0; onPlay(false); draw(); };
  const advance = () => {
    if (!element.isConnected) { stop(); return; }
    if (!isSeen()) return;
    const written = Math.max(texts.plain.length, texts.held.length);
    head = Math.min(written, head + (PACE * STEP) / 1000);
    draw();
    if (head < written || !isWhole) return;
    stop();
    onEnd();
  };
  return {
    element,
    isPlaying: () => Boolean(timer),
    // The texts, as far as they are written; `isMoved` shows the beginning at once, `isLast` says that nothing will follow.
    set({ opening, plain: free, held: other }, isMoved, isLast) {
      isWhole = isLast;
      texts = { opening, plain: Array.from(free), held: Array.from(other) };
      at = firstDifference(texts.plain, texts.held);
      const isCode = /^(?: {4}|\t)/m.test(opening + free);
      for (const pane of [plain, held]) pane.setCode(isCode);
      if (isMoved) head = Math.max(head, Math.min(LEAST, texts.held.length));
      if (isStill()) head = texts.held.length;
      draw();
    },
    title(text) { held.note(text); },
    restart() { head = 0; this.play(); },
    play() { if (isStill()) { head = Infinity; draw(); onEnd(); return; } clearInterval(timer); timer = setInterval(advance, STEP); onPlay(true); draw(); },
    finish() { head = Math.max(texts.plain.length, texts.held.length); stop(); },
    stop,
  };
};
