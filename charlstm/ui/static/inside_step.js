// One step of an LSTM cell as a picture, with numbers; a stage of it can be lit.
import { decimal, digitsFor, line, shownChar, svg, words } from './inside_shared.js';

const WIDTH = 360, HEIGHT = 292, BELT = 62, BUS = 246;
const FORGET = 96, ADD = 186, OUT = 288; // columns: where the old is scaled, the new is added, and the memory is shown
const IN = [158, 216], GATE_Y = 196, GATE_WIDTH = 50, GATE_HEIGHT = 40, MEET = 130;

export const STAGES = ['forget', 'input', 'candidate', 'cell', 'output'];

const knot = (x, y, sign) => svg('g', {}, svg('circle', { cx: x, cy: y, r: 11, class: 'step-knot' }), words(x, y + 5, sign, 'step-sign'));
// A box with its value, filled from below as far as the gate is open.
const createGate = (x, y, name) => {
  const fill = svg('rect', { x: x - GATE_WIDTH / 2, y, width: GATE_WIDTH, height: GATE_HEIGHT, rx: 4, class: 'step-fill' }), value = words(x, y + 33, '', 'step-value');
  const element = svg('g', {}, svg('rect', { x: x - GATE_WIDTH / 2, y, width: GATE_WIDTH, height: GATE_HEIGHT, rx: 4, class: 'step-box' }), fill, words(x, y + 15, name, 'step-name'), value);
  return { element, show(number, share) {
    value.textContent = decimal(number);
    const height = GATE_HEIGHT * Math.min(1, Math.max(0, share));
    fill.setAttribute('y', y + GATE_HEIGHT - height);
    fill.setAttribute('height', height);
  } };
};
const figure = (x, y, label, anchor = 'middle') => {
  const value = words(x, y, '', 'step-value', anchor);
  return { parts: [words(x, y - 17, label, 'step-name', anchor), value], show(number, digits) { value.textContent = decimal(number, digits); } };
};

export const createStep = () => {
  const part = (...shapes) => svg('g', { class: 'step-part' }, ...shapes);
  const gates = { forget: createGate(FORGET, GATE_Y, 'keep'), input: createGate(IN[0], GATE_Y, 'let in'), candidate: createGate(IN[1], GATE_Y, 'new'), output: createGate(OUT, GATE_Y, 'show') };
  const old = figure(8, BELT - 16, 'memory before', 'start'), cell = figure(WIDTH - 8, BELT - 16, 'memory after', 'end'), hidden = figure(WIDTH - 6, 150, 'shown', 'end');
  const kept = words((FORGET + ADD) / 2 + 2, BELT - 9, '', 'step-value'), added = words(ADD + 8, (BELT + MEET) / 2 + 6, '', 'step-value', 'start'), letter = words(WIDTH / 2, HEIGHT - 8, '', 'step-letter');
  const parts = {
    forget: part(line(8, BELT, FORGET, BELT, 'step-belt'), line(FORGET, BELT, ADD, BELT, 'step-belt'), line(FORGET, GATE_Y, FORGET, BELT + 11, 'step-line'), line(FORGET, BUS, FORGET, GATE_Y + GATE_HEIGHT, 'step-line'), gates.forget.element, knot(FORGET, BELT, '×'), ...old.parts, kept),
    input: part(svg('path', { d: `M${IN[0]} ${GATE_Y}V${MEET}H${ADD - 11}`, class: 'step-line' }), line(IN[0], BUS, IN[0], GATE_Y + GATE_HEIGHT, 'step-line'), gates.input.element),
    candidate: part(svg('path', { d: `M${IN[1]} ${GATE_Y}V${MEET}H${ADD + 11}`, class: 'step-line' }), line(IN[1], BUS, IN[1], GATE_Y + GATE_HEIGHT, 'step-line'), gates.candidate.element),
    cell: part(line(ADD, MEET - 11, ADD, BELT + 11, 'step-line'), line(ADD, BELT, WIDTH - 16, BELT, 'step-belt'), svg('path', { d: `M${WIDTH - 18} ${BELT - 6}L${WIDTH - 8} ${BELT}L${WIDTH - 18} ${BELT + 6}`, class: 'step-belt' }), knot(ADD, MEET, '×'), knot(ADD, BELT, '+'), added, ...cell.parts),
    output: part(line(OUT, BELT, OUT, 158 - 11, 'step-line'), svg('rect', { x: OUT - 20, y: 86, width: 40, height: 24, rx: 4, class: 'step-box' }), words(OUT, 102, 'tanh', 'step-name'), line(OUT, GATE_Y, OUT, 158 + 11, 'step-line'), line(OUT, BUS, OUT, GATE_Y + GATE_HEIGHT, 'step-line'), gates.output.element, line(OUT + 11, 158, WIDTH - 16, 158, 'step-line'), svg('path', { d: `M${WIDTH - 18} 152L${WIDTH - 8} 158L${WIDTH - 18} 164`, class: 'step-line' }), knot(OUT, 158, '×'), ...hidden.parts),
  };
  const element = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'step', role: 'img' },
    line(FORGET, BUS, OUT, BUS, 'step-line'), line(WIDTH / 2, BUS, WIDTH / 2, HEIGHT - 26, 'step-line'), letter, ...Object.values(parts));
  return {
    element,
    show(step) {
      for (const name of ['forget', 'input', 'output']) gates[name].show(step[name], step[name]);
      gates.candidate.show(step.candidate, Math.abs(step.candidate));
      gates.candidate.element.classList.toggle('is-minus', step.candidate < 0);
      const digits = digitsFor(step.old, step.cell);
      old.show(step.old, digits);
      cell.show(step.cell, digits);
      hidden.show(step.hidden, digits);
      kept.textContent = decimal(step.forget * step.old, digits);
      const fresh = step.input * step.candidate;
      added.textContent = `${fresh < 0 ? '' : '+'}${decimal(fresh, digits)}`;
      letter.textContent = `reads ${shownChar(step.character)} and what was shown before`;
      element.setAttribute('aria-label', `One step: memory before ${decimal(step.old)}, keeps ${decimal(step.forget)} of it, lets in ${decimal(step.input)} of the new ${decimal(step.candidate)}, memory after ${decimal(step.cell)}, shows ${decimal(step.output)} of its tanh, ${decimal(step.hidden)}`);
    },
    light(stage) { for (const [name, group] of Object.entries(parts)) group.classList.toggle('is-lit', name === stage); },
  };
};
