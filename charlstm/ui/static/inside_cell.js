// The screen "The cell, explained": one step of one unit with this network's own numbers, in five stages.
import { createCarry } from './inside_carry.js';
import { createPicture, shown, STAGES } from './inside_cell_picture.js';
import { loadLook } from './inside_look.js';
import { describeChar } from './inside_scale.js';
import { TintedText } from './inside_text.js';
import { isSame, unitName } from './inside_words.js';

const STAGE_TIME = 2600, STUCK = 0.5, FIRST_PLACE = 40; // milliseconds; a forget gate; a character with some before it
const LABELS = { forget: 'Forget', input: 'Let in', candidate: 'New', cell: 'Add up', output: 'Show' };
const isStill = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const exact = (value) => shown(value, 3);
const bracketed = (value) => { const text = exact(value); return text.startsWith('−') ? `(${text})` : text; };

// The step that follows from the gates of `step` with another forget gate.
export const withForgetGate = (step, forget) => {
  const cell = forget * step.old + step.input * step.candidate;
  return { ...step, forget, cell, hidden: step.output * Math.tanh(cell) };
};

// What happens in a stage, in words and as a formula, with the numbers of `step`.
export const tellStage = (stage, step) => {
  const kept = step.forget * step.old, added = step.input * step.candidate;
  return {
    forget: [`From ${describeChar(step.character)} and what all units showed before, it decides to keep ${percent(step.forget)} of what it remembered.`, `kept = forget × old = ${exact(step.forget)} × ${bracketed(step.old)} = ${exact(kept)}`],
    input: [`In the same way it decides how much of what is new may come in: ${percent(step.input)}.`, `input gate = ${exact(step.input)}, of 0 (shut) to 1 (open)`],
    candidate: [`What it would like to add is ${shown(step.candidate)}, a number from −1 to 1; the input gate lets ${percent(step.input)} of that in.`, `added = input × new = ${exact(step.input)} × ${bracketed(step.candidate)} = ${exact(added)}`],
    cell: ['Its memory is now what it kept and what it let in, and nothing else.', `c = kept + added = ${exact(kept)} + ${bracketed(added)} = ${exact(step.cell)}`],
    output: [`It shows the others ${percent(step.output)} of its memory, squeezed between −1 and 1; from what all units show, the next letter is guessed.`, `h = output × tanh(c) = ${exact(step.output)} × ${bracketed(Math.tanh(step.cell))} = ${exact(step.hidden)}`],
  }[stage];
};

export const build = (h, element, server, context) => {
  for (const file of ['inside_hold.css', 'inside_cell.css']) loadLook(file);
  const isSeen = () => context.isVisible() && context.screen() === 'cell';
  let step = null, chosen = null, stage = STAGES[0], timer = 0, asked = 0, chars = [], stuckFor = '', isOurs = !isStill();
  const picture = createPicture(h, (name) => { takeOver(); go(name); }), carry = createCarry(h, server, context, isSeen);
  const text = new TintedText(h, { label: 'Text; go to a letter to see the step at it', onPlace: (place) => { takeOver(); context.setPlace(place); } });
  text.element.classList.add('is-plain');
  const problem = h('p', { class: 'inside-problem', role: 'status' });
  const play = h('button', { type: 'button', class: 'inside-button mind-play', onclick: () => { if (isOurs) takeOver(); else { isOurs = true; setPlay(); advance(); } } });
  const unit = h('select', { 'aria-label': 'Unit', onchange: () => { takeOver(); const [layer, number] = unit.value.split('/').map(Number); context.setUnit(layer, number); } });
  const stages = new Map(STAGES.map((name, i) => [name, h('button', { type: 'button', class: 'cell-stage', tabindex: -1, onclick: () => { takeOver(); go(name); } }, h('b', {}, String(i + 1)), ` ${LABELS[name]}`)]));
  const steps = h('div', { class: 'cell-stages', role: 'group', 'aria-label': 'Stages of the step; the arrow keys go through them', onkeydown: (event) => onKey(event) }, ...stages.values());
  const sentence = h('p', { class: 'cell-sentence' }), formula = h('p', { class: 'cell-formula' }), mean = h('p', { class: 'claim-evidence only-numbers' }), code = h('p', { class: 'cell-code' });
  const forget = h('input', { type: 'range', min: 0, max: 1, step: 0.01, 'aria-label': 'Forget gate of this unit', oninput: () => { takeOver(); setForget(Number(forget.value)); } }), said = h('output', { class: 'hold-value' });
  const back = h('button', { type: 'button', class: 'inside-button', onclick: () => { takeOver(); setForget(null); } }, 'as it is'), without = h('p', { class: 'cell-stuck' }, '\u00a0'), what = h('p', { class: 'claim-evidence' }, '\u00a0');

  // The step --------------------------------------------------------------------------------------------------------

  const now = () => (chosen === null ? step : withForgetGate(step, chosen));
  const tell = () => {
    for (const [name, button] of stages) {
      button.setAttribute('aria-pressed', String(name === stage));
      button.tabIndex = name === stage ? 0 : -1;
    }
    picture.light(stage);
    if (!step) return;
    const [words, numbers] = tellStage(stage, now()), passage = step.passages?.[stage], share = step.mean?.[stage];
    sentence.textContent = words;
    formula.textContent = numbers;
    mean.textContent = typeof share === 'number' ? `All units on average: ${shown(share)}.` : '';
    if (!passage) { code.replaceChildren(); return; }
    const place = `${passage.file}, line ${passage.first_line}`;
    code.replaceChildren(h('code', {}, passage.code), passage.address ? h('a', { href: passage.address, target: '_blank', rel: 'noopener' }, place) : h('span', {}, place));
  };
  const draw = () => {
    if (!step) return;
    picture.show(now());
    forget.value = now().forget;
    said.textContent = shown(now().forget);
    back.disabled = chosen === null;
    what.textContent = chosen === null ? 'Move it, and see what this unit would remember.' : `It would remember ${shown(now().cell)} instead of ${shown(step.cell)}, and show ${shown(now().hidden)} instead of ${shown(step.hidden)}.`;
    tell();
  };
  const setForget = (value) => { chosen = value; draw(); };
  const request = (gate) => ({ model: context.model(), age: context.age(), text: context.isOwn() ? null : context.text(), place: context.place(), ...context.unit(), forget: gate });
  const load = async () => {
    const mine = ++asked;
    if (!chars.length || context.screen() !== 'cell') return;
    text.mark(context.place(), true);
    let answer;
    try { answer = await server.inside_cell(request(null)); } catch { answer = { problem: 'The server did not answer. Try again in a moment.' }; }
    if (mine !== asked) return;
    problem.textContent = answer.problem || '';
    if (answer.problem) return;
    step = answer;
    chosen = null;
    draw();
    measureStuck();
  };
  // What the network is worth when no unit may decide what to forget; asked once for a text.
  const measureStuck = async () => {
    const { model, age, text: read } = request(null), key = JSON.stringify([model, age, read]);
    if (key === stuckFor) return;
    stuckFor = key;
    without.textContent = 'And if all of them were stuck half open? Reading the text so …';
    let fixed;
    try { ({ fixed } = await server.inside_cell(request(STUCK))); } catch { fixed = null; }
    if (key !== stuckFor) return;
    if (!fixed) { without.textContent = ''; stuckFor = ''; return; }
    const chance = (nats) => { const share = 100 * Math.exp(-nats); return `${share < 9.95 ? share.toFixed(1) : Math.round(share)}\u00a0%`; };
    without.replaceChildren(`If the forget gates of all units were stuck at ${fixed.forget}, no unit could choose what to keep: the letter that really comes would get a chance of ${chance(fixed.held)} instead of ${chance(fixed.free)}, typically.`,
      h('span', { class: 'only-numbers' }, ` (${fixed.held.toFixed(2)} instead of ${fixed.free.toFixed(2)} nats a character, over ${fixed.characters} characters.)`));
  };

  // Going on by itself ----------------------------------------------------------------------------------------------

  const setPlay = () => { play.textContent = isOurs ? '❚❚ Stop' : '▶ Play'; };
  const takeOver = () => { isOurs = false; clearTimeout(timer); setPlay(); };
  const go = (name) => { stage = name; tell(); };
  const advance = () => {
    clearTimeout(timer);
    if (!isOurs || !element.isConnected) return;
    timer = setTimeout(() => {
      if (isSeen() && step) {
        const at = STAGES.indexOf(stage);
        if (at + 1 < STAGES.length) go(STAGES[at + 1]);
        else { stage = STAGES[0]; context.setPlace((context.place() + 1) % chars.length); }
      }
      advance();
    }, STAGE_TIME);
  };
  const onKey = (event) => {
    const at = STAGES.indexOf(stage), last = STAGES.length - 1;
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    takeOver();
    go(STAGES[(to + STAGES.length) % STAGES.length]);
    stages.get(stage).focus();
  };

  // Text and units --------------------------------------------------------------------------------------------------

  const fillUnits = () => {
    const place = context.unit(), numLayers = context.table().num_layers, isTaken = new Set(), rows = [];
    for (const each of [...context.units(), ...(context.table().keepers || []).map(([layer, number, count]) => ({ layer, unit: number, label: `keeps for ${Math.round(count)} characters` }))]) {
      const key = `${each.layer}/${each.unit}`;
      if (!isTaken.has(key)) rows.push([key, `${each.label} (${unitName(each, numLayers)})`]);
      isTaken.add(key);
    }
    if (!context.units().some((each) => isSame(each, place)) && !isTaken.has(`${place.layer}/${place.unit}`)) rows.unshift([`${place.layer}/${place.unit}`, unitName(place, numLayers)]);
    unit.replaceChildren(...rows.map(([value, label]) => h('option', { value }, label)));
    unit.value = `${place.layer}/${place.unit}`;
  };
  const loadText = async () => {
    const model = context.model();
    if (!context.text()) {
      let answer;
      try { answer = await server.inside_trace({ model, age: null, text: null, layer: 0, first: 0, count: 1, quantity: 'cell' }); } catch { answer = { problem: 'The server did not answer. Try again in a moment.' }; }
      if (model !== context.model()) return;
      if (answer.problem) { problem.textContent = answer.problem; return; }
      context.setText(answer.text, true);
    }
    chars = Array.from(context.text());
    text.setText(context.text());
    text.show(null);
    if (context.screen() === 'cell' && context.place() === 0 && chars.length > FIRST_PLACE) context.setPlace(FIRST_PLACE); else load();
  };

  element.replaceChildren(
    h('p', { class: 'inside-lead' }, 'A unit is one number that is carried from letter to letter. At each letter it forgets a part of it, adds something new, and shows some of the rest.'),
    h('div', { class: 'cell-desk' },
      h('div', { class: 'cell-left' }, h('div', { class: 'mind-bar' }, play, h('label', { class: 'inside-field' }, h('span', {}, 'Unit'), unit)), picture.element, steps),
      h('div', { class: 'cell-right' }, text.element, problem, h('div', { class: 'cell-told', 'aria-live': 'polite' }, sentence, formula, mean), code)),
    h('div', { class: 'cell-desk' },
      h('section', { class: 'cell-what-if', 'aria-label': 'What if it forgot more, or less?' }, h('h3', {}, 'What if it forgot more, or less?'), h('div', { class: 'hold-slide' }, h('span', {}, 'Forget gate of this unit'), forget, said, back), what, without),
      carry.element));
  setPlay();
  for (const event of ['place', 'unit', 'age']) context.on(event, load);
  context.on('unit', fillUnits);
  context.on('units', fillUnits);
  context.on('text', loadText);
  context.on('model', () => { asked += 1; step = null; chars = []; loadText(); if (context.screen() === 'cell') carry.begin(); });
  fillUnits();
  tell();
  loadText();
  carry.begin();
  advance();
  return { shown: () => { carry.begin(); if (context.place() === 0) loadText(); else load(); advance(); }, hidden: () => { asked += 1; clearTimeout(timer); } };
};
