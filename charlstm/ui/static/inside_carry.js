// What the two halves of a state are for: how long that of another place disturbs, whole, only h, only c.
import { svg } from './inside_curves.js';

const ASK_EVERY = 700, LOOK_EVERY = 1500; // milliseconds, while it is measured; while the screen is out of sight
const WIDTH = 380, HEIGHT = 220, LEFT = 44, RIGHT = 14, TOP = 14, BOTTOM = 40;
const LINES = [['only_h', 'only h', 'is-h'], ['only_c', 'only c', 'is-c'], ['whole', 'both', 'is-whole']];
const shown = (value) => Math.max(0, value).toFixed(2);

// The middle of the characters that each figure is about: those after the edge before it, up to its own.
const middles = (edges) => edges.map((edge, i) => Math.sqrt(edge * ((edges[i - 1] || 0) + 1)));

export const describeCarried = ({ characters, only_h: onlyH, only_c: onlyC }) => {
  const last = characters.length - 1, isMemory = (i) => onlyC[i] > onlyH[i];
  let at = last + 1;
  while (at > 0 && isMemory(at - 1)) at -= 1;
  const first = `A foreign h makes the next character ${shown(onlyH[0])} nats worse, a foreign c ${shown(onlyC[0])}.`;
  if (at > last || at === 0) return `${first} In this network neither of them clearly outlasts the other.`;
  return `${first} From the ${ordinal((characters[at - 1] || 0) + 1)} character on it is the other way round: what is still wrong comes from c.`;
};
const ordinal = (number) => {
  const tens = number % 100, ending = tens > 10 && tens < 14 ? 'th' : ({ 1: 'st', 2: 'nd', 3: 'rd' })[number % 10] || 'th';
  return `${number}${ending}`;
};

const draw = (found) => {
  const { characters } = found, at = middles(characters), most = Math.max(0.1, ...LINES.flatMap(([name]) => found[name])), end = Math.log(at[at.length - 1]);
  const xOf = (count) => LEFT + ((WIDTH - LEFT - RIGHT) * Math.log(count)) / end, yOf = (nats) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.sqrt(Math.max(0, nats) / most)); // a root: the long tail is small
  const ticks = [1, 2, 5, 10, 20, 50].filter((count) => count <= at[at.length - 1]), levels = [0, 0.1, 0.5, 1, 2, 4, 8].filter((nats) => nats <= most);
  const line = ([name, , look]) => svg('path', { class: `carry-line ${look}`, d: found[name].map((nats, i) => `${i ? 'L' : 'M'}${xOf(at[i]).toFixed(1)} ${yOf(nats).toFixed(1)}`).join('') });
  return svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'curves carry-chart', role: 'img', 'aria-label': 'Nats a character above normal, by the number of characters since the state was exchanged' },
    ...levels.flatMap((nats) => [svg('line', { class: 'curves-grid', x1: LEFT, x2: WIDTH - RIGHT, y1: yOf(nats), y2: yOf(nats) }), svg('text', { x: LEFT - 7, y: yOf(nats) + 4, 'text-anchor': 'end' }, `+${nats}`)]),
    ...ticks.map((count) => svg('text', { x: xOf(count), y: HEIGHT - BOTTOM + 17, 'text-anchor': 'middle' }, count)),
    svg('text', { x: WIDTH - RIGHT, y: HEIGHT - 4, 'text-anchor': 'end' }, 'characters since the state was exchanged'),
    ...[...LINES].reverse().map(line));
};

// Ask and draw while `isSeen()`; a model is asked about once.
export const createCarry = (h, server, context, isSeen) => {
  const words = h('p', { class: 'carry-words', role: 'status' }), plot = h('div', { class: 'carry-plot' }), legend = h('p', { class: 'meter-legend' }, ...LINES.flatMap(([, label, look]) => [h('span', { class: `carry-key ${look}` }), `${label} from another place`]));
  const table = h('table', { class: 'numbers-table' });
  const element = h('section', { class: 'carry', 'aria-label': 'What h and c are for' }, h('h3', {}, 'h is for the next letter, c is the memory'),
    h('p', {}, 'A unit carries two numbers along: what it shows, h, and what it remembers, c. Give the network those of another place in the text, after the same letter, and see how long it is led astray.'),
    words, plot, legend, h('div', { class: 'numbers-scroll only-numbers', tabindex: 0, role: 'region', 'aria-label': 'Table of exchanged states' }, table));
  let round = 0, done = null;
  const show = (found) => {
    words.textContent = describeCarried(found);
    plot.replaceChildren(draw(found));
    legend.hidden = false;
    table.replaceChildren(h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'character'), ...LINES.map(([, label]) => h('th', { scope: 'col' }, `${label}, nats`)))),
      h('tbody', {}, ...found.characters.map((edge, i) => { const from = (found.characters[i - 1] || 0) + 1; return h('tr', {}, h('td', {}, from === edge ? edge : `${from} to ${edge}`), ...LINES.map(([name]) => h('td', {}, found[name][i].toFixed(3).replace('-', '−')))); })));
  };
  const ask = async (mine) => {
    if (mine !== round || !element.isConnected) return;
    if (!isSeen()) { setTimeout(() => ask(mine), LOOK_EVERY); return; }
    let answer;
    try { answer = await server.inside_carry({ model: context.model() }); } catch { answer = { problem: 'The server did not answer. Reload the page to try again.' }; }
    if (mine !== round) return;
    if (answer.problem) { words.textContent = answer.problem; return; }
    if (answer.characters) { done = context.model(); show(answer); return; }
    words.textContent = `Exchanging states, ${Math.round(100 * (answer.progress || 0))} % …`;
    setTimeout(() => ask(mine), ASK_EVERY);
  };
  return {
    element,
    begin() {
      if (done === context.model()) return;
      round += 1;
      done = null;
      plot.replaceChildren();
      table.replaceChildren();
      legend.hidden = true;
      words.textContent = 'Exchanging states …';
      ask(round);
    },
  };
};
