// How far back the network looks: its loss when it knows only the last few characters, with the line of a 5-gram.
import { svg } from './svg.js';

const WIDTH = 340, HEIGHT = 190, LEFT = 30, RIGHT = 10, TOP = 14, BOTTOM = 34;
const ASK_EVERY = 900, GAIN = 0.02; // milliseconds; nats: contexts that bring less than that bring nothing

export const createHorizon = (h, server, context) => {
  const progress = h('progress', { max: 1, 'aria-label': 'Measuring how far back it looks' }), stage = h('span', {}), working = h('p', { class: 'chips-working', role: 'status', hidden: true }, progress, stage);
  const said = h('p', { class: 'why-note' }), picture = h('div', { class: 'horizon-picture' });
  const begin = h('button', { type: 'button', class: 'inside-button', onclick: () => { isWanted = true; ask(); } }, 'Measure it');
  const element = h('div', { class: 'horizon' }, h('h4', {}, 'How far back does it look?'), said, begin, working, picture);
  let round = 0, done = null, isWanted = false;
  const keyOf = () => JSON.stringify([context.model(), context.age()]);
  let shown = keyOf();

  const draw = ({ contexts, nats, margins = [], full, five_gram: fiveGram }) => {
    const most = Math.max(...nats.map((each, i) => each + (margins[i] || 0)), fiveGram ?? 0) * 1.03, least = Math.min(full, ...nats) * 0.9, last = contexts[contexts.length - 1];
    const x = (count) => LEFT + ((WIDTH - LEFT - RIGHT) * Math.log(count)) / Math.log(last), y = (loss) => TOP + ((HEIGHT - TOP - BOTTOM) * (most - loss)) / (most - least);
    const line = svg('path', { class: 'horizon-line', d: contexts.map((count, i) => `${i ? 'L' : 'M'}${x(count).toFixed(1)} ${y(nats[i]).toFixed(1)}`).join('') });
    const dots = contexts.map((count, i) => { const dot = svg('circle', { class: 'horizon-dot', cx: x(count), cy: y(nats[i]), r: 3 }); dot.append(svg('title', {}, `${count} characters: ${nats[i].toFixed(2)}${margins[i] ? ` ± ${margins[i].toFixed(2)}` : ''} nats`)); return dot; });
    const bars = svg('g', { class: 'only-numbers' }, ...contexts.flatMap((count, i) => (margins[i] ? [svg('line', { class: 'horizon-margin', x1: x(count), x2: x(count), y1: y(nats[i] + margins[i]), y2: y(nats[i] - margins[i]) })] : [])));
    const grams = typeof fiveGram === 'number' ? [svg('line', { class: 'horizon-gram', x1: LEFT, x2: WIDTH - RIGHT, y1: y(fiveGram), y2: y(fiveGram) }), svg('text', { x: WIDTH - RIGHT, y: y(fiveGram) - 5, 'text-anchor': 'end' }, '5-gram (the last four letters)')] : [];
    picture.replaceChildren(svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'curves', role: 'img', 'aria-label': 'Loss by the number of characters that it knows' },
      svg('line', { class: 'curves-grid', x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }), ...grams, line, bars, ...dots,
      ...contexts.filter((count) => [1, 5, 20, 100, 500].includes(count)).map((count) => svg('text', { x: x(count), y: HEIGHT - BOTTOM + 15, 'text-anchor': 'middle' }, String(count))),
      svg('text', { x: WIDTH - RIGHT, y: HEIGHT - 3, 'text-anchor': 'end' }, 'characters that it knows'), svg('text', { x: LEFT, y: TOP - 3 }, 'loss, nats per character')),
      h('p', { class: 'why-note only-numbers' }, margins.length ? `Bars: 95 % intervals. Characters known: ${contexts[0]}: ${nats[0].toFixed(2)} ± ${margins[0].toFixed(2)}; ${last}: ${nats[nats.length - 1].toFixed(2)} ± ${margins[margins.length - 1].toFixed(2)}; all: ${full.toFixed(2)} nats.` : ''));
    const enough = contexts.find((_, i) => nats[i] - full < GAIN) ?? last;
    const better = typeof fiveGram === 'number' ? contexts.find((_, i) => nats[i] < fiveGram) : undefined;
    said.textContent = `It uses about ${enough} characters; more of them help it hardly.${better > 1 ? ` With fewer than ${better}, counting the last four letters does better.` : ''}`;
  };
  const ask = async () => {
    const mine = ++round, model = context.model(), age = context.age();
    begin.hidden = true;
    while (mine === round && element.isConnected) {
      const isHere = context.isVisible() && context.screen() === 'why';
      let answer = null;
      if (isHere) { try { answer = await server.inside_horizon({ model, age }); } catch { /* asked again */ } }
      if (mine !== round) return;
      if (answer?.problem) { said.textContent = answer.problem; working.hidden = true; return; }
      if (answer?.state === 'done') { working.hidden = true; done = keyOf(); draw(answer); return; }
      if (answer) { working.hidden = false; progress.value = answer.progress || 0; stage.textContent = answer.stage || ''; }
      await new Promise((resolve) => { setTimeout(resolve, ASK_EVERY); });
    }
  };
  const clear = () => {
    round += 1;
    shown = keyOf();
    Object.assign(begin, { hidden: false });
    working.hidden = true;
    picture.replaceChildren();
    said.textContent = 'Measured by letting it begin to read at 640 places, without anything before.';
    if (isWanted && context.screen() === 'why') ask();
  };
  context.on('model', clear);
  context.on('age', () => { if (shown !== keyOf()) clear(); }); // not whenever a network in training has grown
  clear();
  return { element, shown: () => { if (isWanted && done !== keyOf()) ask(); }, hidden: () => { round += 1; } };
};
