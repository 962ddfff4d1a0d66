// What becomes of a text when the network's state is exchanged for that of another place: h is the next letter, c the memory.
import { aboutNow, createProgress, decimal, follow, line, svg, words } from './inside_shared.js';

const WIDTH = 420, HEIGHT = 216, LEFT = 46, RIGHT = 96, TOP = 18, BOTTOM = 38;
const LEAST = 0.01, TICKS = [0.01, 0.1, 1, 10];
const KINDS = [['whole', 'both'], ['only_h', 'only h'], ['only_c', 'only c']];
const GAP = 14; // between names at the ends of the curves

const draw = (answer) => {
  const { characters } = answer, all = KINDS.flatMap(([name]) => answer[name]), most = Math.max(1, ...all) * 1.3;
  const x = (count) => LEFT + ((WIDTH - LEFT - RIGHT) * Math.log(count)) / Math.log(characters.at(-1)), y = (value) => TOP + ((HEIGHT - TOP - BOTTOM) * Math.log(most / Math.max(LEAST, value))) / Math.log(most / LEAST);
  return svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'carry', role: 'img', 'aria-label': KINDS.map(([name, label]) => `${label} exchanged: ${characters.map((count, i) => `${decimal(answer[name][i])} after ${count}`).join(', ')}`).join('; ') },
    ...TICKS.filter((value) => value <= most).flatMap((value) => [line(LEFT, y(value), WIDTH - RIGHT, y(value), 'carry-grid'), words(LEFT - 6, y(value) + 4, value === LEAST ? `≤ ${value}` : String(value), '', 'end')]),
    ...characters.filter((count) => ['1', '2', '5'].includes(String(count)[0])).map((count) => words(x(count), HEIGHT - BOTTOM + 17, String(count))),
    words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, 'characters after the exchange'), words(LEFT - 30, TOP - 6, 'nats above normal', '', 'start'),
    ...KINDS.map(([name]) => svg('path', { class: `carry-line is-${name}`, d: `M${answer[name].map((value, i) => `${x(characters[i]).toFixed(1)} ${y(value).toFixed(1)}`).join('L')}` })),
    ...KINDS.flatMap(([name, label], i) => [svg('path', { class: `carry-line is-${name}`, d: `M${WIDTH - RIGHT + 12} ${TOP + 12 + i * (GAP + 8)}h22` }), words(WIDTH - RIGHT + 40, TOP + 16 + i * (GAP + 8), label, '', 'start')]));
};
const sentenceOf = ({ characters, only_h: h, only_c: c }) => {
  const crossing = characters.find((_, i) => i > 0 && c[i] > h[i] && c[i] >= LEAST);
  return `It got the state of another place that ends in the same letter. With only h exchanged the very next letter costs ${decimal(h[0], 1)} nats more; with only c exchanged ${decimal(c[0], 1)}${c[0] < 0.05 ? ', nothing' : ''}. ${crossing ? `From ${crossing} letters on it is c that disturbs more: h is the next letter, c is the memory.` : 'Here c never disturbs more than h does: this network keeps little for later.'}`;
};

export const createCarry = (h, server, context, screen) => {
  let round = 0, isBegun = false;
  const progress = createProgress(h, 'Exchanging states'), place = h('div', {}), said = h('p', { class: 'claim-evidence' }), problem = h('p', { class: 'inside-problem', role: 'status' });
  const element = h('section', { class: 'cell-section', 'aria-label': 'Two memories' }, h('h3', {}, 'Why two of them, c and h?'), aboutNow(h, context), place, progress.element, said, problem);
  const begin = () => {
    if (isBegun || context.model() === null) return;
    isBegun = true;
    const mine = ++round;
    follow(server, 'carry', { model: context.model(), age: null }, () => mine === round && element.isConnected, () => context.isVisible() && context.screen() === screen, (answer) => {
      progress.show(answer);
      problem.textContent = answer.problem || '';
      if (!answer.whole) return;
      place.replaceChildren(draw(answer));
      said.textContent = sentenceOf(answer);
    });
  };
  new IntersectionObserver((entries) => { if (entries.some((each) => each.isIntersecting)) begin(); }).observe(element);
  context.on('model', () => { round += 1; isBegun = false; place.replaceChildren(); said.textContent = problem.textContent = ''; progress.show(null); if (element.getClientRects().length) begin(); });
  return element;
};
