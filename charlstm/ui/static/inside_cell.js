// The screen "The cell, explained": one step of an LSTM with this network's own numbers, in five stages.
import { createCarry } from './inside_carry.js';
import { loadLook } from './inside_look.js';
import { ask, createAsker, decimal, digitsFor, isStill, nameOfChar, percent, shownChar, signed } from './inside_shared.js';
import { createStep, STAGES } from './inside_step.js';
import { capital, characters, isSame, unitName } from './inside_words.js';

await loadLook('inside_cell.css');

const STAY = 1700; // milliseconds at each stage
const AROUND = 48; // letters of the text at each side of the one that is read
const BROKEN = 0.5;
const LEAD = 40; // letters that are read before the first step that is shown: earlier there is little to remember

const TITLES = { forget: 'Forget', input: 'Let in', candidate: 'New content', cell: 'Memory', output: 'Show' };
const factor = (value) => (decimal(value).startsWith('−') ? `(${decimal(value)})` : decimal(value));
const FORMULAS = {
  forget: ({ forget }) => `f = σ(W_f · [x, h′] + b_f) = ${decimal(forget)}`,
  input: ({ input }) => `i = σ(W_i · [x, h′] + b_i) = ${decimal(input)}`,
  candidate: ({ candidate }) => `g = tanh(W_g · [x, h′] + b_g) = ${decimal(candidate)}`,
  cell: ({ forget, old, input, candidate, cell }) => `c = f · c′ + i · g = ${decimal(forget)} · ${factor(old)} + ${decimal(input)} · ${factor(candidate)} = ${decimal(cell)}`,
  output: ({ output, cell, hidden }) => `o = σ(W_o · [x, h′] + b_o) = ${decimal(output)}\nh = o · tanh(c) = ${decimal(output)} · tanh(${decimal(cell)}) = ${decimal(hidden)}`,
};
// The step as it would be with another forget gate in this unit.
const withForget = (step, forget) => {
  const cell = forget * step.old + step.input * step.candidate;
  return { ...step, forget, cell, hidden: step.output * Math.tanh(cell) };
};
// Sums are told with the digits that the picture has; rounded parts need not add up exactly.
const sumOf = ({ old, forget, input, candidate, cell }) => {
  const digits = digitsFor(old, cell), round = (value) => Number(value.toFixed(digits)), kept = forget * old, fresh = input * candidate;
  const isExact = Math.abs(round(kept) + round(fresh) - round(cell)) < 0.1 ** (digits + 1);
  return `${decimal(kept, digits)} ${fresh < 0 ? '−' : '+'} ${decimal(Math.abs(fresh), digits)} ${isExact ? '=' : '≈'} ${decimal(cell, digits)}`;
};
const SENTENCES = {
  forget: ({ forget, old, cell }) => `It keeps ${percent(forget)} of what it remembered: of ${decimal(old, digitsFor(old, cell))} stay ${decimal(forget * old, digitsFor(old, cell))}.`,
  input: ({ input }) => `It lets in ${percent(input)} of whatever is new.`,
  candidate: ({ candidate, input, character, old, cell }) => `After ${nameOfChar(character)} the new would be ${signed(candidate)}; let in, ${signed(candidate * input, digitsFor(old, cell))}.`,
  cell: (step) => `What stays and what came in: ${sumOf(step)}. This is its memory now.`,
  output: ({ output, old, cell, hidden }) => `It shows ${percent(output)} of it, pressed between −1 and 1: ${decimal(hidden, digitsFor(old, cell))}. The next letter is guessed from this alone.`,
};

export const build = (h, element, server, context) => {
  let chars = [], step = null, stage = 0, isShow = !isStill(), timer = 0, isBroken = false;
  const isSeen = () => context.isVisible() && context.screen() === 'cell';
  const problem = h('p', { class: 'inside-problem', role: 'status' }), picture = createStep(), means = h('p', { class: 'claim-evidence' });
  const reel = h('div', { class: 'cell-reel', role: 'group', 'aria-label': 'The text; choose the letter that is read' });
  const play = h('button', { type: 'button', class: 'inside-button mind-play', onclick: () => { if (isShow) takeOver(); else { isShow = true; setPlay(); walk(); } } });
  const setPlay = () => { play.textContent = isShow ? '❚❚ Stop' : '▶ Play'; };
  const takeOver = () => { isShow = false; clearTimeout(timer); setPlay(); };
  const unit = h('select', { 'aria-label': 'Unit', onchange: () => { takeOver(); const [layer, number] = unit.value.split(':').map(Number); context.setUnit(layer, number); } });
  const go = (place) => { takeOver(); context.setPlace(Math.max(0, Math.min(chars.length - 1, place))); };
  const steps = STAGES.map((name, i) => {
    const said = h('span', { class: 'stage-said' }), formula = h('p', { class: 'stage-formula' }), code = h('code', {}), link = h('a', { target: '_blank', rel: 'noopener' }, code), source = h('p', { class: 'stage-code only-numbers' }, link);
    const button = h('button', { type: 'button', class: 'stage-button', onclick: () => { takeOver(); lightStage(i); } }, h('span', { class: 'stage-number', 'aria-hidden': 'true' }, String(i + 1)), h('span', {}, h('b', {}, TITLES[name]), ' ', said));
    return { name, said, formula, code, link, source, button, element: h('li', {}, button, formula, source) };
  });
  const own = h('input', { type: 'range', min: 0, max: 1, step: 0.01, 'aria-label': 'Forget gate of this unit', oninput: () => { takeOver(); if (step) draw(withForget(step, Number(own.value))); } }), ownValue = h('output', {}), ownSaid = h('p', { class: 'claim-evidence' });
  const ownBack = h('button', { type: 'button', class: 'inside-button', disabled: true, onclick: () => { own.value = step.forget; draw(step); own.focus(); } }, 'As it is');
  const lightStage = (i) => {
    stage = i;
    picture.light(STAGES[i]);
    steps.forEach((each, number) => { each.element.classList.toggle('is-lit', number === i); each.button.setAttribute('aria-current', number === i ? 'step' : 'false'); });
  };
  const onStageKey = (event) => {
    const last = STAGES.length - 1, to = { ArrowDown: stage + 1, ArrowRight: stage + 1, ArrowUp: stage - 1, ArrowLeft: stage - 1, Home: 0, End: last }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    takeOver();
    lightStage((to + STAGES.length) % STAGES.length);
    steps[stage].button.focus();
  };
  const drawReel = () => {
    const place = context.place(), first = Math.max(0, Math.min(place - AROUND, chars.length - 2 * AROUND - 1));
    reel.replaceChildren(...chars.slice(first, first + 2 * AROUND + 1).map((char, i) => {
      const at = first + i, isHere = at === place;
      return h('button', { type: 'button', class: 'reel-letter', tabindex: isHere ? 0 : -1, 'aria-label': `${nameOfChar(char)}${isHere ? ', read now' : ''}`, 'aria-pressed': String(isHere), onclick: () => go(at) }, char === '\n' ? '⏎' : char === ' ' ? '\u00a0' : char);
    }));
    const here = reel.querySelector('[aria-pressed="true"]');
    if (here) { const box = reel.getBoundingClientRect(), at = here.getBoundingClientRect(); reel.scrollLeft += at.left + at.width / 2 - box.left - box.width / 2; }
    return here;
  };
  reel.addEventListener('keydown', (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    go(context.place() + way);
    reel.querySelector('[aria-pressed="true"]')?.focus();
  });
  const drawUnits = () => {
    const { num_layers: layers = 1, keepers = [] } = context.table(), now = context.unit();
    const seen = [], listed = [...context.units().map((each) => ({ ...each, words: each.label })), ...keepers.slice(0, 6).map(([layer, number, count]) => ({ layer, unit: number, words: `keeps about ${characters(count)}` }))].filter((each) => !seen.some((one) => isSame(one, each)) && seen.push(each));
    if (!listed.some((each) => isSame(each, now))) listed.unshift({ ...now, words: '' });
    unit.replaceChildren(...listed.map((each) => h('option', { value: `${each.layer}:${each.unit}` }, `${capital(unitName(each, layers))}${each.words ? ` · ${each.words}` : ''}`)));
    unit.value = `${now.layer}:${now.unit}`;
  };
  const draw = (now) => {
    picture.show(now);
    for (const { name, said, formula } of steps) {
      said.textContent = SENTENCES[name](now);
      formula.textContent = FORMULAS[name](now);
    }
    const isOther = now !== step;
    ownValue.textContent = decimal(now.forget);
    ownBack.disabled = !isOther;
    ownSaid.textContent = isOther ? `It would remember ${decimal(now.cell)} instead of ${decimal(step.cell)}, and show ${decimal(now.hidden)} instead of ${decimal(step.hidden)}.` : 'Move it: what would the unit remember then?';
  };
  const take = (answer) => {
    problem.textContent = answer.problem || '';
    if (answer.problem) return;
    step = answer;
    own.value = step.forget;
    draw(step);
    for (const { name, code, link, source } of steps) {
      const passage = step.passages?.[name];
      source.hidden = !passage;
      if (!passage) continue;
      code.textContent = passage.code;
      link.title = `${passage.file}, line ${passage.first_line}`;
      if (passage.address) link.href = passage.address; else link.removeAttribute('href');
    }
    const { mean } = step;
    means.textContent = mean ? `On average its units keep ${percent(mean.forget)} here, let in ${percent(mean.input)} and show ${percent(mean.output)}.` : '';
  };
  const asker = createAsker(server, 'cell', take);
  const request = (forget) => ({ model: context.model(), age: context.age(), text: context.isOwn() ? null : context.text(), place: context.place(), ...context.unit(), forget });
  const look = () => {
    if (!chars.length || context.model() === null) return;
    drawReel();
    asker.ask(request(null));
  };
  // A stage after another, and then the next letter.
  const walk = () => {
    clearTimeout(timer);
    if (!isShow || !element.isConnected) return;
    if (isSeen() && step) {
      if (stage + 1 < STAGES.length) lightStage(stage + 1);
      else { lightStage(0); context.setPlace((context.place() + 1) % chars.length); }
    }
    timer = setTimeout(walk, STAY);
  };

  // Forget gates that may not decide ----------------------------------------------------------------------------
  const value = h('input', { type: 'range', min: 0, max: 1, step: 0.05, value: BROKEN, 'aria-label': 'All forget gates held at' }), shown = h('output', {}, BROKEN.toFixed(2));
  const verdict = h('p', { class: 'claim-evidence', role: 'status' }), rows = h('div', { class: 'broken-bars' });
  const tell = (answer) => {
    if (answer.problem || !answer.fixed) { rows.replaceChildren(); verdict.textContent = answer.problem || 'A single letter has none before it to be guessed from. Two or more are needed.'; return; }
    const { forget, free, held, characters: count } = answer.fixed, most = Math.max(free, held, 0.01);
    const bar = (label, nats, look) => h('div', { class: `broken-row ${look}` }, h('span', {}, label), h('span', { class: 'broken-track', 'aria-hidden': 'true' }, h('i', { style: `transform: scaleX(${nats / most})` })), h('span', {}, `${decimal(nats)} nats`));
    rows.replaceChildren(bar('it decides', free, ''), bar(`held at ${decimal(forget)}`, held, 'is-held'));
    verdict.textContent = `Surprise per letter over ${count} letters of this text. ${held > free + 0.02 ? 'A network that may not choose what to forget reads worse.' : 'At this value it hardly matters.'}`;
    isBroken = true;
  };
  const breaker = createAsker(server, 'cell', tell);
  let settle = 0;
  const breakIt = () => { shown.textContent = Number(value.value).toFixed(2); clearTimeout(settle); verdict.textContent = 'Reading …'; settle = setTimeout(() => breaker.ask(request(Number(value.value))), 250); };
  value.addEventListener('input', breakIt);
  const broken = h('section', { class: 'cell-section', 'aria-label': 'Without forgetting at will' }, h('h3', {}, 'What if it could not choose what to forget?'),
    h('label', { class: 'broken-slider' }, h('span', {}, 'Every forget gate held at'), value, shown), rows, verdict);
  new IntersectionObserver((entries) => { if (entries.some((each) => each.isIntersecting) && !isBroken && chars.length) breakIt(); }).observe(broken);

  const load = async () => {
    const model = context.model();
    let text = context.text();
    if (!text) {
      const answer = await ask(server, 'trace', { model, age: null, text: null, layer: 0, first: 0, count: 1, quantity: 'cell' });
      if (model !== context.model()) return;
      if (answer.problem) { problem.textContent = answer.problem; return; }
      text = answer.text;
      context.setText(text, true);
    }
    if (text === chars.join('')) return;
    chars = Array.from(text);
    if (context.screen() !== 'cell') return;
    if (isShow && context.place() < LEAD) context.setPlace(Math.min(LEAD, chars.length - 1));
    look();
  };
  element.replaceChildren(
    h('p', { class: 'inside-lead' }, 'This is all that happens at one letter in one unit of the memory, with the numbers of this network.'),
    h('div', { class: 'mind-bar' }, play, h('button', { type: 'button', class: 'inside-button', 'aria-label': 'The letter before', onclick: () => go(context.place() - 1) }, '‹'), h('button', { type: 'button', class: 'inside-button', 'aria-label': 'The next letter', onclick: () => go(context.place() + 1) }, '›'), unit),
    reel, problem,
    h('div', { class: 'cell' }, h('div', { class: 'cell-picture' }, picture.element, h('div', { class: 'own-slider' }, h('span', {}, 'Forget gate of this unit'), own, ownValue, ownBack), ownSaid, means), h('ol', { class: 'cell-stages', 'aria-label': 'Stages of the step; the arrow keys go through them', onkeydown: (event) => onStageKey(event) }, ...steps.map((each) => each.element))),
    h('div', { class: 'cell-more' }, broken, createCarry(h, server, context, 'cell')));
  setPlay();
  lightStage(0);
  drawUnits();
  const lookIfOpen = () => { if (context.screen() === 'cell') look(); };
  context.on('place', lookIfOpen);
  context.on('unit', () => { drawUnits(); lookIfOpen(); });
  context.on('age', lookIfOpen);
  context.on('units', drawUnits);
  context.on('text', () => { isBroken = false; load(); });
  context.on('model', () => { asker.forget(); breaker.forget(); chars = []; step = null; isBroken = false; rows.replaceChildren(); verdict.textContent = ''; load(); });
  load();
  if (isShow) timer = setTimeout(walk, STAY);
  return { shown() { if (chars.length) look(); else load(); if (isShow) walk(); }, hidden() { clearTimeout(timer); } };
};
