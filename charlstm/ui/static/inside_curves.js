// Curves of how well units tell their properties, on a logarithmic clock.
import { svg } from './svg.js';

const WIDTH = 420, HEIGHT = 270, LEFT = 34, RIGHT = 12, TOP = 18, BOTTOM = 34, LEAST = 0.3;
const CLOCK = [[0.1, '0.1 s'], [0.5, '0.5 s'], [1, '1 s'], [2, '2 s'], [5, '5 s'], [10, '10 s'], [30, '30 s'], [60, '1 min'], [300, '5 min'], [900, '15 min'], [3600, '1 h'], [14400, '4 h']];
const MOST_TICKS = 6;

export const clockText = (seconds) => (seconds < 9.95 ? `${seconds.toFixed(1)} s` : seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

// `rows` has the scores of each unit at each of `seconds`; `choose(number)` is called for the curve that is touched.
export const createCurves = (seconds, rows, labels, choose) => {
  const least = (seconds.find((second) => second > 0) || 1) * (seconds[0] > 0 ? 1 : 0.6); // no logarithm has a place for the beginning
  const from = Math.log(least), to = Math.max(from + 0.1, Math.log(seconds[seconds.length - 1]));
  const xOf = (second) => LEFT + ((WIDTH - LEFT - RIGHT) * (Math.log(Math.max(second, least)) - from)) / (to - from);
  const yOf = (score) => TOP + ((HEIGHT - TOP - BOTTOM) * (1 - Math.max(LEAST, Math.min(1, score)))) / (1 - LEAST);
  const ticks = CLOCK.filter(([second]) => xOf(second) >= LEFT - 1 && xOf(second) <= WIDTH - RIGHT + 1), stride = Math.ceil(ticks.length / MOST_TICKS);
  const head = svg('line', { class: 'curves-head', y1: TOP - 6, y2: HEIGHT - BOTTOM, x1: LEFT, x2: LEFT }), dot = svg('circle', { class: 'curves-dot', r: 5 });
  const lines = rows.map((row, number) => {
    const points = row.map((score, i) => [seconds[i], score]).filter(([, score]) => typeof score === 'number');
    const path = svg('path', { class: 'curves-line', d: points.map(([second, score], i) => `${i ? 'L' : 'M'}${xOf(second).toFixed(1)} ${yOf(score).toFixed(1)}`).join('') });
    path.append(svg('title', {}, labels[number]));
    path.addEventListener('click', () => choose(number));
    return path;
  });
  const element = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'curves', role: 'img', 'aria-label': 'How well each unit tells its property, by the time of training' },
    ...[[0.5, '50'], [0.75, '75'], [1, '100']].flatMap(([score, text]) => [svg('line', { class: score === 0.5 ? 'curves-guess' : 'curves-grid', x1: LEFT, x2: WIDTH - RIGHT, y1: yOf(score), y2: yOf(score) }), svg('text', { x: LEFT - 6, y: yOf(score) + 4, 'text-anchor': 'end' }, text)]),
    svg('text', { x: WIDTH - RIGHT, y: yOf(0.5) - 5, 'text-anchor': 'end' }, 'guessing'),
    ...ticks.filter((_, i) => i % stride === 0).map(([second, text]) => svg('text', { x: xOf(second), y: HEIGHT - BOTTOM + 18, 'text-anchor': 'middle' }, text)),
    ...lines, head, dot);
  return {
    element,
    show(number, at) {
      lines.forEach((line, i) => line.classList.toggle('is-chosen', i === number));
      lines[number]?.after(head); // the chosen one above the others
      if (lines[number]) element.append(lines[number], head, dot);
      head.setAttribute('x1', xOf(seconds[at]));
      head.setAttribute('x2', xOf(seconds[at]));
      const score = rows[number]?.[at];
      dot.setAttribute('visibility', typeof score === 'number' ? 'visible' : 'hidden');
      dot.setAttribute('cx', xOf(seconds[at]));
      dot.setAttribute('cy', yOf(score ?? 0.5));
    },
  };
};
