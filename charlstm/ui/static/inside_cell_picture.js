// The picture of one step of an LSTM unit: a memory that runs along the top, and gates that decide what happens to it.
import { svg } from './inside_curves.js';
import { describeChar } from './inside_scale.js';

export const STAGES = ['forget', 'input', 'candidate', 'cell', 'output'];
export const shown = (value, digits = 2) => value.toFixed(digits).replace(/^-(0\.?0*)$/, '$1').replace('-', '−');
const NARROW = 560; // pixels

// Boxes as [x, y of their middle, width, height], nodes as [x, y, sign]; paths belong to stages.
const WIDE = {
  width: 800, height: 316,
  boxes: { old: [72, 52, 124, 56], forget: [210, 178, 118, 60], input: [350, 178, 118, 60], candidate: [484, 178, 118, 60], cell: [610, 52, 124, 56], output: [610, 214, 118, 60], hidden: [734, 136, 116, 56], letter: [72, 264, 124, 62] },
  nodes: { forget: [210, 52, '×'], candidate: [417, 116, '×'], cell: [417, 52, '+'], output: [610, 136, '×'] },
  paths: {
    forget: ['M134 52H196', 'M210 148V66'], input: ['M350 148V116H403'], candidate: ['M484 148V116H431'],
    cell: ['M224 52H403', 'M417 102V66', 'M431 52H548'], output: ['M610 80V122', 'M610 184V150', 'M624 136H676'],
    always: ['M134 264H610V244', 'M210 264V208', 'M350 264V208', 'M484 264V208', 'M672 52H796'],
  },
  ends: [[796, 52]],
};
const TALL = {
  width: 360, height: 400,
  boxes: { old: [52, 40, 98, 54], forget: [58, 172, 98, 58], input: [166, 172, 98, 58], candidate: [274, 172, 98, 58], cell: [292, 40, 104, 54], output: [166, 276, 98, 58], hidden: [292, 362, 104, 54], letter: [62, 362, 106, 60] },
  nodes: { forget: [132, 40, '×'], candidate: [196, 104, '×'], cell: [196, 40, '+'], output: [292, 276, '×'] },
  paths: {
    forget: ['M101 40H118', 'M58 143V104H132V54'], input: ['M166 143V104H182'], candidate: ['M274 143V104H210'],
    cell: ['M146 40H182', 'M196 90V54', 'M210 40H240'], output: ['M335 67V276H306', 'M215 276H278', 'M292 290V335'],
    always: ['M24 332V224H274V201', 'M58 224V201', 'M166 224V201', 'M24 276H117'],
  },
  ends: [],
};
const TITLES = { old: 'old memory', forget: 'forget gate', input: 'input gate', candidate: 'new content', cell: 'new memory', output: 'output gate', hidden: 'what it shows', letter: 'it reads' };
const STAGE_OF = { old: 'forget', hidden: 'output', letter: 'always' };
const GATES = new Set(['forget', 'input', 'output']);
const RADIUS = 14, PAD = 9;

// `choose(stage)` is called for a part of the picture that is touched.
export const createPicture = (h, choose) => {
  const element = h('div', { class: 'cell-picture' });
  let drawn = null, groups = new Map(), values = new Map(), bars = new Map(), step = null, stage = STAGES[0], isWide = null;
  const group = (name) => {
    if (!groups.has(name)) {
      const made = svg('g', { class: 'cell-part' });
      if (name !== 'always') made.addEventListener('click', () => choose(name));
      groups.set(name, made);
    }
    return groups.get(name);
  };
  const drawBox = (name, [x, y, width, height]) => {
    const left = x - width / 2, top = y - height / 2, value = svg('text', { x, y: y + 17, class: name === 'letter' ? 'cell-letter' : 'cell-value' });
    const parts = [svg('rect', { x: left, y: top, width, height, rx: 8, class: GATES.has(name) ? 'cell-box is-gate' : 'cell-box' })];
    if (GATES.has(name)) {
      const bar = svg('rect', { x: left + PAD, y: top + height - 10, width: 0, height: 4, rx: 2, class: 'cell-bar' });
      parts.push(svg('rect', { x: left + PAD, y: top + height - 10, width: width - 2 * PAD, height: 4, rx: 2, class: 'cell-track' }), bar);
      bars.set(name, [bar, width - 2 * PAD]);
      value.setAttribute('y', y + 11);
    }
    values.set(name, value);
    group(STAGE_OF[name] || name).append(...parts, svg('text', { x, y: top + (GATES.has(name) ? 19 : 21), class: 'cell-title' }, TITLES[name]), value);
  };
  const draw = (layout) => {
    groups = new Map();
    values = new Map();
    bars = new Map();
    for (const [name, lines] of Object.entries(layout.paths)) group(name).append(...lines.map((d) => svg('path', { d, class: 'cell-line' })));
    for (const [x, y] of layout.ends) group('always').append(svg('path', { d: `M${x - 9} ${y - 6}L${x} ${y}L${x - 9} ${y + 6}`, class: 'cell-line' }));
    for (const [name, box] of Object.entries(layout.boxes)) drawBox(name, box);
    for (const [name, [x, y, sign]] of Object.entries(layout.nodes)) group(name).append(svg('circle', { cx: x, cy: y, r: RADIUS, class: 'cell-node' }), svg('text', { x, y: y + 6, class: 'cell-sign' }, sign));
    drawn = svg('svg', { viewBox: `0 0 ${layout.width} ${layout.height}`, role: 'img' }, ...groups.values());
    element.replaceChildren(drawn);
    refresh();
  };
  const refresh = () => {
    if (!drawn) return;
    for (const [name, each] of groups) each.classList.toggle('is-lit', name === stage);
    if (!step) return;
    for (const [name, text] of values) text.textContent = name === 'letter' ? ({ '\n': '⏎', ' ': '␣', '\t': '⇥' })[step.character] || step.character : shown(step[name]);
    for (const [name, [bar, width]] of bars) bar.setAttribute('width', Math.max(0, Math.min(1, step[name])) * width);
    drawn.setAttribute('aria-label', `One step of the unit at ${describeChar(step.character)}: forget gate ${shown(step.forget)} times old memory ${shown(step.old)}, plus input gate ${shown(step.input)} times new content ${shown(step.candidate)}, is new memory ${shown(step.cell)}; output gate ${shown(step.output)}, so it shows ${shown(step.hidden)}.`);
  };
  new ResizeObserver(() => {
    const isNow = element.clientWidth >= NARROW;
    if (!element.clientWidth || isNow === isWide) return;
    isWide = isNow;
    draw(isWide ? WIDE : TALL);
  }).observe(element);
  return {
    element,
    show(now) { step = now; refresh(); },
    light(name) { stage = name; refresh(); },
  };
};
