// The legend of the colours, which is a meter at the same time: five steps with their values, and where the unit is now.
import { EDGES, isGate } from './inside_values.js';

const shown = (value, size) => {
  const digits = size >= 10 ? 0 : size >= 0.95 ? 1 : 2;
  return `${value < 0 && Number(value.toFixed(digits)) !== 0 ? '−' : ''}${Math.abs(value).toFixed(digits)}`;
};
export const formatValue = (value, size = 1) => shown(value, size / 10);
export const describeChar = (char) => ({ '\n': 'the line end', ' ': 'the space', '\t': 'the tab' })[char] || `“${char}”`;

const STEPS = ['minus-2', 'minus-1', 'none', 'plus-1', 'plus-2'];

export const createScale = (h) => {
  const needle = h('span', { class: 'scale-needle', hidden: true });
  const edges = [-EDGES[1], -EDGES[0], EDGES[0], EDGES[1]].map((at) => [at, h('span', { style: `left: ${50 * (at + 1)}%` })]);
  const ends = { low: h('span', { class: 'scale-low' }), high: h('span', { class: 'scale-high' }) };
  const words = h('p', { class: 'scale-words' }), said = h('p', { class: 'inside-unseen', 'aria-live': 'polite' });
  const bar = h('div', { class: 'scale-bar' }, ...STEPS.map((name) => h('i', { class: `is-${name}` }, 'a')), needle);
  const element = h('div', { class: 'scale', role: 'group', 'aria-label': 'What the colours mean' },
    h('div', { class: 'scale-ends' }, ends.low, ends.high), bar, h('div', { class: 'scale-edges', 'aria-hidden': 'true' }, ...edges.map(([, each]) => each)), words, said);
  let timer = 0, view = null;
  return {
    element,
    // Show the scale of a unit.
    show(unit, quantity) {
      view = unit;
      const { centre, size } = unit.scale;
      for (const [at, edge] of edges) edge.textContent = shown(centre + at * size, size);
      const [low, high] = isGate(quantity) ? ['closed', 'open'] : ['low', 'high'];
      ends.low.textContent = low;
      ends.high.textContent = high;
    },
    // Point at the value after character `place`; `isSaid` tells a screen reader once the place has been kept for a while.
    point(place, isSaid = false) {
      const isThere = view && place !== null && place >= 0 && place < view.places.length;
      needle.hidden = !isThere;
      clearTimeout(timer);
      if (!isThere) { words.textContent = '\u00a0'; return; }
      needle.style.transform = `translateX(${50 * (view.places[place] + 1)}cqw)`;
      const text = `after ${describeChar(view.chars[place])}: ${formatValue(view.valueAt(place), view.scale.size)}`;
      words.textContent = text;
      if (isSaid) timer = setTimeout(() => { said.textContent = text; }, 600);
    },
  };
};
