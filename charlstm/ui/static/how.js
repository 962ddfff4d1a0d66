// How it works, in five pictures, each with the lines of code that do it. Loaded when somebody opens it.
import { svg } from './svg.js';

const WIDTH = 340, HEIGHT = 150; // narrow, so that its words can be read on a phone
const picture = (label, ...shapes) => svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label, class: 'how-picture' }, ...shapes);
const text = (x, y, words, look = '', anchor = 'middle') => svg('text', { x, y, class: look, 'text-anchor': anchor }, words);
const line = (x1, y1, x2, y2, look = 'how-line') => svg('line', { x1, y1, x2, y2, class: look });
const arrow = (x1, y1, x2, y2, look = 'how-line') => {
  const turn = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
  return svg('g', { class: look }, line(x1, y1, x2, y2, look), svg('path', { d: 'M-7 -4L0 0L-7 4', transform: `translate(${x2} ${y2}) rotate(${turn})`, class: look }));
};
const box = (x, y, width, height, look = 'how-box') => svg('rect', { x, y, width, height, rx: 5, class: look });
const shownLetter = (letter) => (letter === ' ' ? '␣' : letter === '\n' ? '⏎' : letter);
const percent = (share) => `${(100 * share).toFixed(share < 0.095 ? 1 : 0)} %`;
const whole = (value) => Math.round(value).toLocaleString('en');

const letters = ({ ids }) => {
  const shown = (ids?.length ? ids : [['R', 30], ['O', 27]]).slice(-7), step = Math.min(46, WIDTH / shown.length), left = (WIDTH - step * shown.length) / 2;
  return picture('Each letter becomes a number', ...shown.flatMap(([letter, number], i) => {
    const x = left + step * (i + 0.5);
    return [box(x - 17, 14, 34, 36), text(x, 38, shownLetter(letter), 'how-letter'), arrow(x, 54, x, 90), box(x - 17, 96, 34, 36, 'how-box is-alive'), text(x, 119, String(number), 'how-number')];
  }));
};

const gate = (x, y, sign) => [svg('circle', { cx: x, cy: y, r: 9, class: 'how-gate' }), text(x, y + 5, sign, 'how-sign')];
const cell = () => picture('A memory runs through the cell; gates decide what it forgets, what is added, and what it shows',
  box(86, 10, 172, 112), arrow(6, 36, 334, 36, 'how-line is-alive'), text(42, 27, 'memory'), text(298, 27, 'memory'),
  ...[['forget', 112], ['add', 160], ['show', 208]].flatMap(([name, x]) => [box(x - 21, 66, 42, 22, 'how-box is-alive'), text(x, 81, name)]),
  line(112, 45, 112, 66), line(160, 45, 160, 66), ...gate(112, 36, '×'), ...gate(160, 36, '+'),
  line(243, 36, 243, 68), line(229, 77, 234, 77), svg('path', { d: 'M243 86V104H258', class: 'how-line' }), ...gate(243, 77, '×'),
  arrow(258, 104, 334, 104), text(298, 96, 'output'), arrow(6, 104, 84, 104), text(42, 96, 'last output'), arrow(172, 147, 172, 125), text(182, 145, 'next letter', '', 'start'));

const guess = ({ next, opening }) => {
  const rows = (next || []).slice(0, 5), most = rows[0]?.[1] || 1;
  return picture('Bars: how likely the model finds each next letter', text(110, 81, `…${(opening || '').slice(-10)}`, 'how-letter', 'end'), arrow(118, 75, 142, 75),
    ...rows.flatMap(([letter, chance], i) => {
      const y = 10 + i * 27;
      return [text(160, y + 16, shownLetter(letter), 'how-letter'), svg('rect', { x: 174, y: y + 2, width: Math.max(2, (115 * chance) / most), height: 17, rx: 3, class: 'how-bar' }), text(181 + Math.max(2, (115 * chance) / most), y + 16, percent(chance), '', 'start')];
    }));
};

const loss = ({ next }) => {
  const chance = next?.[0]?.[1] ?? 0.5, left = 40, bottom = 122, width = 292, height = 104, most = 4;
  const x = (share) => left + width * share, y = (nats) => bottom - (height * Math.min(nats, most)) / most;
  const points = Array.from({ length: 100 }, (_, i) => (i + 2) / 101).map((share) => `${x(share).toFixed(1)} ${y(-Math.log(share)).toFixed(1)}`);
  const at = -Math.log(chance);
  return picture('The less chance the right letter had, the larger the loss', line(left, bottom, left + width, bottom), line(left, bottom, left, bottom - height),
    svg('path', { d: `M${points.join('L')}`, class: 'how-curve' }), line(x(chance), bottom, x(chance), y(at), 'how-dash'), line(left, y(at), x(chance), y(at), 'how-dash'),
    svg('circle', { cx: x(chance), cy: y(at), r: 5, class: 'how-dot' }), text(x(chance) + 10, y(at) - 8, `${percent(chance)} → ${at.toFixed(2)} nats`, '', 'start'),
    text(left + width, bottom + 18, 'chance the right letter had', '', 'end'), text(left - 8, bottom - height + 4, 'loss', '', 'end'));
};

const update = () => {
  const height = (x) => 24 + 96 * Math.exp(-(((x - 195) / 82) ** 2)), ball = (x) => height(x) - 7;
  const curve = Array.from({ length: 64 }, (_, i) => 12 + i * 5).map((x) => `${x} ${height(x).toFixed(1)}`);
  const places = [46, 86, 117, 143, 165, 192];
  return picture('Step by step the loss sinks into a valley', svg('path', { d: `M${curve.join('L')}`, class: 'how-curve' }),
    ...places.map((x, i) => svg('circle', { cx: x, cy: ball(x), r: i === places.length - 1 ? 6 : 4, class: 'how-dot' })),
    text(60, 16, 'loss at first', '', 'start'), text(195, 146, 'loss after many steps'));
};

const PARTS = [
  ['letters', '1. Letters become numbers', letters, ({ vocabulary }) => `A computer sees no letters. Each different character of the text${vocabulary ? ` (here ${vocabulary} of them)` : ''} gets a number; the text becomes a row of numbers.`],
  ['cell', '2. A cell reads one letter at a time and remembers', cell, ({ hidden }) => `For every letter the cell decides what to forget, what to add to its memory and what to show. The memory is ${hidden ? `${whole(hidden)} numbers` : 'a row of numbers'}, all it knows of what it has read; there are no words in it.`],
  ['guess', '3. It guesses the next letter', guess, () => 'From its output it gives every character a chance. To write, one is drawn with dice that follow these chances, read as the next letter, and so on: a text grows letter by letter.'],
  ['loss', '4. The loss says how wrong the guess was', loss, () => 'While it learns, the right next letter is known. The smaller the chance it had, the larger the loss. Its mean over many letters is the curve on the tab Train.'],
  ['update', '5. Every number in it moves a little downhill', update, ({ parameters }) => `For each of ${parameters ? `its ${whole(parameters)}` : 'its'} parameters one can work out in which direction the loss sinks. All move a small step that way; after thousands of steps gibberish has become language.`],
];

const code = (h, passage, isOpen) => {
  if (!passage) return [];
  const where = `${passage.file}, lines ${passage.first_line} to ${passage.last_line}`;
  return [h('details', { class: 'how-code', open: isOpen }, h('summary', {}, `The lines that do it: ${where}`),
    ...(passage.address ? [h('p', {}, h('a', { href: passage.address, target: '_blank', rel: 'noopener noreferrer' }, 'See them in their file ↗'))] : []),
    h('pre', { tabindex: 0, 'aria-label': where }, passage.code))];
};

// Open the dialog; `facts` are figures of a model, `passages` the code of each part.
export const open = (h, { passages, facts, showsCode }) => {
  if (document.querySelector('dialog.how')) return;
  const dialog = h('dialog', { class: 'how', 'aria-labelledby': 'how-title' },
    h('div', { class: 'how-head' }, h('h2', { id: 'how-title' }, 'How it works'), h('button', { type: 'button', class: 'how-close', 'aria-label': 'Close', onclick: () => dialog.close() }, '×')),
    h('p', { class: 'how-lead' }, facts.name ? `Five pictures, with numbers of the model ${facts.name}.` : 'Five pictures.'),
    ...PARTS.map(([part, title, draw, words]) => h('section', {}, h('h3', {}, title), h('figure', {}, draw(facts)), h('p', {}, words(facts)),
      ...code(h, passages.find((each) => each.part === part), showsCode))));
  dialog.addEventListener('close', () => {
    dialog.remove();
    if (location.hash === '#how') history.replaceState(history.state, '', location.pathname + location.search);
  });
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  (document.querySelector('.gradio-container') || document.body).append(dialog);
  dialog.showModal();
};
