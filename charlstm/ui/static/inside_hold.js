// The screen "Hold it": a unit is kept at one value while the network writes, beside the same dice without.
import { createMeter, createExperiment } from './inside_effect.js';
import { createHeld, stanceOf, statementOf } from './inside_held.js';
import { loadLook } from './inside_look.js';
import { createAsker, createProgress, isStill } from './inside_shared.js';
import { createTwins } from './inside_twins.js';
import { capital, controlsOf, isSame, randomUnits, unitName } from './inside_words.js';

await loadLook('inside_hold.css');

const FIRST = 120, WHOLE = 600; // characters of the first answer, and of all
const REST = 3500, SETTLE = 350, AGAIN = 700; // milliseconds before the next demo; that a slider rests before the meter is asked; and is asked again
const TEMPERATURE = 0.7, MOST_DEMOS = 4;
const OPENINGS = { // where a property is seen at once, in code
  bracket: 'def largest(values):\n    return max(', square: 'def list_names(self):\n    names = [', brace: 'def build_table():\n    table = {',
  quote: 'def check(self, name):\n    if not name:\n        raise ValueError("', 'single-quote': "def read(self, name):\n    mode = '", string: "def read(self, name):\n    mode = '",
  comment: 'def read(self, name):\n    # ', triple: 'def read(self, name):\n    """Return the ',
};
const NESTED = 'class Reader:\n    def read(self, lines):\n        for line in lines:\n            ';
const OF_CODE = ['keyword', 'signature', 'naming', 'self', 'body', 'attribute', 'named'];
const openingOf = (property, units) => (!units.some((each) => OF_CODE.includes(each.property)) ? '' : property.startsWith('indented') ? NESTED : OPENINGS[property] || '');
// What somebody has chosen; it outlives the elements, which Gradio makes anew when its tab is opened again.
const kept = { model: null, holds: [], seed: 1, prompt: '', temperature: TEMPERATURE };
const dice = () => Math.floor(Math.random() * 1e6);

// Units that act, as demos: each at the end where it changes most of what is written, the first one also at the other end.
const demosOf = (context) => {
  const acting = context.units().filter((each) => each.acts && each.high > each.low);
  const strength = ({ effect }) => (effect ? Math.max(effect.kl / Math.max(1e-9, effect.control_kl), (effect.turn || 0) / Math.max(1e-9, effect.control_turn || Infinity)) : 0);
  const best = acting.sort((a, b) => strength(b) - strength(a)).filter((each, i, all) => all.findIndex((one) => one.property === each.property || isSame(one, each)) === i);
  const at = (each, isSo) => ({ ...each, value: each.sign > 0 === isSo ? each.high : each.low, words: `${isSo ? 'always' : 'never'}: ${statementOf(each)}` });
  const isSoAtBest = ({ effect, sign, low, high }) => typeof effect?.value !== 'number' || effect.value > (low + high) / 2 === sign > 0;
  return best.slice(0, 3).flatMap((each, i) => (i ? [at(each, isSoAtBest(each))] : [at(each, isSoAtBest(each)), at(each, !isSoAtBest(each))])).slice(0, MOST_DEMOS);
};

export const build = (h, element, server, context) => {
  let demos = [], demo = -1, isTouring = !isStill(), seed = 1, meterTimer = 0, restTimer = 0, restart = false, isFresh = true;
  const isSeen = () => context.isVisible() && context.screen() === 'hold';
  const problem = h('p', { class: 'inside-problem', role: 'status' }), chips = h('div', { class: 'chips', role: 'group', 'aria-label': 'Ready to try' });
  const prompt = h('textarea', { rows: 1, maxlength: 2000, 'aria-label': 'Beginning of both texts', placeholder: 'its own', spellcheck: 'false' });
  const temperature = h('input', { type: 'range', min: 0.1, max: 1.5, step: 0.1, value: TEMPERATURE, 'aria-label': 'Temperature' }), warmth = h('output', {}, String(TEMPERATURE));
  const play = h('button', { type: 'button', class: 'inside-button mind-play' });
  const setPlay = (isOn) => { play.textContent = isOn ? '❚❚ Stop' : '▶ Write'; play.setAttribute('aria-label', isOn ? 'Stop writing' : 'Write both texts again'); };
  const twins = createTwins(h, { isSeen, onPlay: setPlay, onEnd: () => { clearTimeout(restTimer); if (isTouring) restTimer = setTimeout(nextDemo, REST); } });
  const meter = createMeter(h), finding = createProgress(h, 'Looking for units that change what is written');
  const heldNow = () => held.held.filter(({ value }) => value !== null), first = () => heldNow()[0];
  const who = () => (first() ? capital(unitName(first(), context.table().num_layers)) : 'This unit');
  const namesOf = (all) => all.map((each) => unitName(each, context.table().num_layers)).join(', ').replace(/, ([^,]*)$/, ' and $1');
  const experiment = createExperiment(h, server, context, () => held.holds(), () => (heldNow().length > 1 ? `${capital(namesOf(heldNow()))} together` : who()));
  const request = (count) => ({ model: context.model(), age: context.age(), prompt: prompt.value, holds: held.holds(), seed, temperature: Number(temperature.value), num_chars: count });

  // Texts: the beginning as fast as a slider moves, the rest after it.
  const writer = createAsker(server, 'hold', (answer, asked) => {
    if (answer.problem && opening && prompt.value === opening) { opening = prompt.value = ''; write(); return; } // letters that this network does not know
    problem.textContent = answer.problem || '';
    if (answer.problem) return;
    twins.set(answer, asked.num_chars === FIRST && !restart, asked.num_chars === WHOLE);
    if (restart) { restart = false; twins.restart(); }
    else if (!twins.isPlaying() && isTouringOrMoved) twins.play();
    if (asked.num_chars < WHOLE && asked.holds === lastHolds) writer.ask({ ...asked, num_chars: WHOLE });
  });
  let lastHolds = null, isWritten = false, opening = '', isTouringOrMoved = true;
  const write = () => {
    if (context.model() === null) return;
    const asked = request(FIRST);
    lastHolds = asked.holds;
    isWritten = true;
    if (!isTouring) Object.assign(kept, { model: context.model(), seed, prompt: prompt.value, temperature: asked.temperature, holds: held.held.map(({ layer, unit, value }) => ({ layer, unit, value })) });
    writer.ask(asked);
  };
  const comparing = () => { const count = controlsOf(context.table()); return count ? `Comparing with ${randomUnits(count)} …` : 'Measuring …'; };
  const meters = createAsker(server, 'meter', (answer) => {
    if (answer.state !== 'working') { meter.show(answer, who()); return; }
    meter.wait(comparing());
    clearTimeout(meterTimer);
    meterTimer = setTimeout(measure, AGAIN);
  });
  const measure = () => {
    clearTimeout(meterTimer);
    const one = first();
    if (!one) { meter.clear(); return; }
    meter.wait(comparing());
    meterTimer = setTimeout(() => meters.ask({ model: context.model(), age: context.age(), layer: one.layer, unit: one.unit, value: one.value }), SETTLE);
  };
  const tellTitle = () => {
    const all = heldNow();
    meter.tell(all.length > 1 ? `About ${namesOf(all.slice(0, 1))} alone` : '');
    experiment.tell(all.length > 1 ? namesOf(all) : '');
    twins.title(!all.length ? 'nothing is held' : all.map((each) => (each.named && ['always', 'never'].includes(stanceOf(each)) ? `${stanceOf(each)}: ${statementOf(each.named)}` : `${unitName(each, context.table().num_layers)} ${stanceOf(each)}`)).join(' · '));
  };
  const changed = () => { tellTitle(); experiment.forget(); write(); measure(); };
  const held = createHeld(h, server, context, changed);

  // Demos ----------------------------------------------------------------------------------------------------------
  const drawChips = () => chips.replaceChildren(...demos.map((each, i) => h('button', { type: 'button', class: 'chip', 'aria-pressed': String(i === demo), onclick: () => { takeOver(); choose(i); } }, each.words)));
  const choose = (number) => {
    demo = number;
    drawChips();
    const { layer, unit, value, property } = demos[number];
    opening = prompt.value = openingOf(property, context.units());
    restart = true;
    held.hold([{ layer, unit, value }]);
  };
  const nextDemo = () => {
    if (!isTouring || !element.isConnected) return;
    if (!isSeen() || !demos.length) { restTimer = setTimeout(nextDemo, REST); return; }
    choose((demo + 1) % demos.length);
  };
  const takeOver = () => { isTouring = isFresh = false; clearTimeout(restTimer); };
  for (const event of ['pointerdown', 'keydown']) element.addEventListener(event, (each) => { if (each.key !== 'Tab' && !each.target.closest?.('.twin')) takeOver(); });
  held.element.addEventListener('input', () => { demo = -1; drawChips(); });

  const useUnits = () => {
    finding.show(context.table().state === 'working' ? context.table() : null);
    const found = demosOf(context), words = (list) => list.map((each) => each.words).join();
    held.refresh();
    tellTitle();
    if (words(found) !== words(demos)) {
      const chosen = demos[demo];
      demos = found;
      demo = chosen ? demos.findIndex((each) => each.words === chosen.words) : -1;
      drawChips();
    }
    if (!isFresh || context.toHold) return;
    const { state, keepers = [], hidden_size: size } = context.table();
    if (demos.length && state !== 'working') { isFresh = false; choose(0); } // while they are tried, the best one is not known
    else if (demos.length && !held.held.length) choose(0);
    else if (state === 'done' && size && !held.held.length) { // nothing acts: hold what has a name, or what keeps longest
      isFresh = false;
      const [named] = context.units(), [layer, unit] = named ? [named.layer, named.unit] : keepers[0] || [0, 0];
      restart = true;
      held.hold([{ layer, unit }]);
    } else if (!held.held.length && !isWritten) { restart = true; write(); } // until the first unit is found
  };
  const restore = () => {
    if (kept.model !== context.model() || !kept.holds.length) return;
    takeOver();
    seed = kept.seed;
    prompt.value = kept.prompt;
    temperature.value = kept.temperature;
    warmth.textContent = kept.temperature.toFixed(1);
    restart = true;
    held.hold(kept.holds);
  };
  const takeWish = () => { // "Hold it and see" on another screen
    const wish = context.toHold;
    if (!wish) return;
    context.toHold = null;
    isFresh = false;
    takeOver();
    demo = -1;
    drawChips();
    restart = true;
    held.hold([wish]);
  };

  // Controls -------------------------------------------------------------------------------------------------------
  play.addEventListener('click', () => { if (twins.isPlaying()) { isTouringOrMoved = false; twins.finish(); } else { isTouringOrMoved = true; restart = true; write(); } });
  const roll = h('button', { type: 'button', class: 'inside-button', onclick: () => { seed = dice(); restart = true; write(); } }, 'Other dice');
  let typing = 0;
  prompt.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(() => { restart = true; write(); }, SETTLE); });
  temperature.addEventListener('input', () => { warmth.textContent = Number(temperature.value).toFixed(1); write(); });
  const link = h('button', { type: 'button', class: 'inside-button', title: 'A link that writes this text with the same units held, on the tab Write', onclick: (event) => {
    const hold = held.holds().map(([layer, unit, value]) => `${layer ? `${layer}:` : ''}${unit}=${value}`).join(',');
    window.charlstm.copyLink(event.currentTarget, new URLSearchParams({ model: context.model(), prompt: prompt.value, seed, temperature: temperature.value, num_chars: WHOLE, hold }).toString());
  } }, 'Copy a link to it');

  element.replaceChildren(
    h('p', { class: 'inside-lead' }, 'Both texts are written with the same dice. For the right one a unit of the memory is kept from changing: to the network, what it tells is then always so, or never.'),
    chips, finding.element,
    h('div', { class: 'hold' },
      h('div', { class: 'hold-left' },
        twins.element, problem,
        h('div', { class: 'mind-bar hold-bar' }, play, roll, link, h('label', { class: 'inside-field hold-prompt' }, h('span', {}, 'Begin with'), prompt), h('label', { class: 'inside-field' }, h('span', {}, 'Temperature'), temperature, warmth))),
      h('aside', { class: 'hold-side', 'aria-label': 'What is held' }, held.element, meter.element)),
    experiment.element);
  setPlay(false);
  held.draw();
  context.on('units', useUnits);
  let age = context.age();
  context.on('age', () => {
    if (age === context.age()) { write(); return; } // a network in training has grown
    age = context.age();
    meters.forget();
    held.hold(held.held.map(({ layer, unit, value }) => ({ layer, unit, value })));
  });
  context.on('model', () => {
    Object.assign(held, { held: [] });
    age = context.age();
    demos = [];
    demo = -1;
    isFresh = true;
    isWritten = false;
    isTouring = !isStill();
    prompt.value = '';
    writer.forget();
    meters.forget();
    twins.stop();
    held.draw();
    drawChips();
    meter.clear();
    experiment.forget();
    restore();
    useUnits();
  });
  restore();
  useUnits();
  return { shown: takeWish };
};
