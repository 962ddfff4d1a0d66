// What holding a unit changes, beside random units: one chance on a line with a grey band, and the table of the experiment.
import { createProgress, decimal, follow, line, signed, svg, words } from './inside_shared.js';
import { capital, controlsOf, randomUnits } from './inside_words.js';

const WIDTH = 360, HEIGHT = 74, LEFT = 14, RIGHT = 14, AXIS = 40;
const ROUND = 0.12; // of the range: room at both ends

const createLine = () => {
  const band = svg('rect', { class: 'meter-band', y: AXIS - 9, height: 18, rx: 3 }), plain = line(0, AXIS - 12, 0, AXIS + 12, 'meter-plain'), held = svg('circle', { class: 'meter-held', cy: AXIS, r: 7 });
  const arrow = line(0, AXIS, 0, AXIS, 'meter-way'), names = { plain: words(0, AXIS + 27, 'as it is', 'meter-word'), held: words(0, AXIS - 19, 'held', 'meter-word is-held') };
  const element = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'meter', role: 'img' }, line(LEFT, AXIS, WIDTH - RIGHT, AXIS, 'meter-axis'), band, arrow, plain, held, names.plain, names.held);
  return {
    element,
    show(measure, label) {
      const hasBand = typeof measure.low === 'number', all = [measure.plain, measure.held, ...(hasBand ? [measure.low, measure.high] : [])], least = Math.min(...all), span = Math.max(1e-9, Math.max(...all) - least);
      const x = (value) => LEFT + (WIDTH - LEFT - RIGHT) * (ROUND + ((1 - 2 * ROUND) * (value - least)) / span);
      const clamp = (at) => Math.min(WIDTH - 30, Math.max(30, at));
      band.setAttribute('visibility', hasBand ? 'visible' : 'hidden');
      band.setAttribute('x', hasBand ? x(measure.low) : 0);
      band.setAttribute('width', hasBand ? Math.max(4, x(measure.high) - x(measure.low)) : 0);
      for (const [name, at] of [['x1', x(measure.plain)], ['x2', x(measure.plain)]]) plain.setAttribute(name, at);
      arrow.setAttribute('x1', x(measure.plain));
      arrow.setAttribute('x2', x(measure.held));
      held.setAttribute('cx', x(measure.held));
      names.plain.setAttribute('x', clamp(x(measure.plain)));
      names.held.setAttribute('x', clamp(x(measure.held)));
      element.setAttribute('aria-label', label);
    },
  };
};

const unitOf = ({ unit_text: unit = '' }) => (unit ? ` ${unit}` : '');
const isBeyond = ({ held, low, high }) => typeof low === 'number' && (held < low || held > high);
const sayAlone = (held = 1) => (held > 1 ? `There are too few other units to compare a set of ${held} with.` : 'There is no other unit to compare it with.');

export const createMeter = (h) => {
  const scale = createLine(), title = h('p', { class: 'meter-title' }), said = h('p', { class: 'meter-said' }), about = h('p', { class: 'meter-about', hidden: true }), others = h('table', { class: 'numbers-table' });
  const drawn = h('div', { class: 'meter-drawn', hidden: true }, about, title, scale.element, said), waiting = h('p', { class: 'meter-waiting' });
  const numbers = h('details', { class: 'only-numbers', hidden: true }, h('summary', {}, 'What else it changes at once'), h('div', { class: 'numbers-scroll', tabindex: 0, role: 'region', 'aria-label': 'All measures of the meter' }, others));
  const element = h('section', { class: 'effect-meter', 'aria-label': 'What it changes at once' }, waiting, drawn, numbers);
  return {
    element,
    wait(text) { waiting.textContent = text; waiting.hidden = !text; element.classList.toggle('is-stale', Boolean(text) && !drawn.hidden); },
    // Say whom it is about, where several are held; '' where that is plain.
    tell(whom) { about.hidden = !whom; about.textContent = whom; },
    clear() { drawn.hidden = numbers.hidden = true; others.replaceChildren(); this.wait(''); },
    show(answer, who) {
      const measure = answer.measures?.find(({ key }) => key === answer.fitting) || answer.measures?.[0];
      this.wait(answer.problem || '');
      if (!measure) return;
      const others_ = randomUnits(answer.controls), unit = unitOf(measure), figure = (value) => `${decimal(value, Math.abs(value) < 1 ? 2 : 1)}${unit}`;
      const label = capital(measure.label);
      drawn.hidden = numbers.hidden = false;
      title.replaceChildren(`${label}: `, h('span', {}, figure(measure.plain)), ' → ', h('b', {}, figure(measure.held)));
      if (!answer.controls) said.textContent = sayAlone();
      else said.replaceChildren(`Grey: ${others_}, held the same way, ${answer.controls === 1 ? 'stays' : 'stay'} from ${figure(measure.low)} to ${figure(measure.high)}. ${who} `,
        ...(isBeyond(measure) ? ['leaves that range here; ', h('em', {}, 'Prove it'), ' tells whether that is luck.'] : ['stays in it: this chance changes no more than with other units.']));
      scale.show(measure, `${label}: ${figure(measure.plain)} as it is, ${figure(measure.held)} held${answer.controls ? `; ${others_} ${figure(measure.low)} to ${figure(measure.high)}` : ''}`);
      others.replaceChildren(h('thead', {}, h('tr', {}, ...['chance next of', 'as it is', 'held', ...(answer.controls ? [others_] : [])].map((each) => h('th', { scope: 'col' }, each)))),
        h('tbody', {}, ...answer.measures.map((each) => h('tr', { class: isBeyond(each) ? 'is-beyond' : '' }, h('th', { scope: 'row' }, each.label.replace(/^chance of (.*) next$/, '$1')), ...[decimal(each.plain), decimal(each.held), ...(answer.controls ? [`${decimal(each.low)} to ${decimal(each.high)}`] : [])].map((cell) => h('td', {}, cell + (unitOf(each))))))));
    },
  };
};

// The interval of a difference on the band of the random units' ones.
const picture = ({ difference, low, high, control_low: controlLow, control_high: controlHigh, is_beyond: beyond }) => {
  const wide = 150, hasBand = typeof controlLow === 'number', most = Math.max(...[difference, low, high, ...(hasBand ? [controlLow, controlHigh] : [])].map(Math.abs), 1e-9), x = (value) => wide / 2 + (value / most) * (wide / 2 - 6);
  return svg('svg', { viewBox: `0 0 ${wide} 24`, class: `experiment-picture${beyond ? ' is-beyond' : ''}`, 'aria-hidden': 'true' },
    ...(hasBand ? [svg('rect', { x: x(controlLow), y: 4, width: Math.max(2, x(controlHigh) - x(controlLow)), height: 16, rx: 2, class: 'meter-band' })] : []),
    line(x(0), 1, x(0), 23, 'meter-plain'), line(x(low), 12, x(high), 12, 'experiment-interval'), svg('circle', { cx: x(difference), cy: 12, r: 4, class: 'meter-held' }));
};

// *Prove it*: texts written with the unit held and without, in the background. `holds()` are [[layer, unit, value]].
export const createExperiment = (h, server, context, holds, who) => {
  let round = 0, isAlone = false;
  const progress = createProgress(h, 'Writing'), result = h('div', { class: 'experiment-result' }), problem = h('p', { class: 'inside-problem', role: 'status' });
  const button = h('button', { type: 'button', class: 'inside-button', onclick: () => runExperiment() }, 'Prove it');
  const about = h('span', { class: 'experiment-about', hidden: true }), what = h('span', {}), hint = h('span', { class: 'experiment-hint' }, about, what);
  const row = (each) => h('tr', { class: each.is_beyond ? 'is-beyond' : '' },
    h('th', { scope: 'row' }, each.label), h('td', {}, decimal(each.before)), h('td', {}, decimal(each.after)),
    h('td', {}, picture(each), h('span', { class: 'inside-unseen' }, each.is_beyond ? 'more than any random unit' : isAlone ? '' : 'no more than random units')),
    h('td', { class: 'only-numbers' }, `${signed(each.difference)} [${signed(each.low)}, ${signed(each.high)}]`), h('td', { class: 'only-numbers' }, isAlone ? '' : `${signed(each.control_low)} to ${signed(each.control_high)}`));
  const tableOf = (rows) => h('div', { class: 'numbers-scroll', tabindex: 0, role: 'region', 'aria-label': 'What holding it changed' }, h('table', { class: 'numbers-table experiment-table' },
    h('thead', {}, h('tr', {}, ...['In the texts', 'as it is', 'held', `difference${isAlone ? '' : ' (grey: random units)'}`].map((each) => h('th', { scope: 'col' }, each)), ...['difference [95 % interval]', 'random units'].map((each) => h('th', { scope: 'col', class: 'only-numbers' }, each)))),
    h('tbody', {}, ...rows.map(row))));
  const show = (answer) => {
    const rows = answer.rows || [], beyond = rows.filter(({ is_beyond: isIt }) => isIt), rest = rows.filter((each) => !beyond.includes(each)), [first] = beyond;
    isAlone = !answer.controls;
    const others = randomUnits(answer.controls, holds().length);
    const verdict = isAlone ? `${sayAlone(holds().length)} So nothing can be said of what ${holds().length > 1 ? 'they change' : 'it changes'}.` : first ? `${capital(first.label)}: ${decimal(first.before, 1)} as it is, ${decimal(first.after, 1)} held. ${beyond.length === 1 ? 'This changed' : `${beyond.length} things changed`} more than with ${answer.controls === 1 ? '' : 'any of '}${others}, and not by luck.`
      : `${who()} changed nothing in these texts that random units do not change as well.`;
    result.replaceChildren(h('p', { class: 'experiment-verdict' }, verdict), ...(beyond.length ? [tableOf(beyond)] : []),
      ...(rest.length ? [h('details', {}, h('summary', {}, isAlone ? `${rest.length} figures` : `${rest.length} more figures, no further than random units`), tableOf(rest))] : []),
      h('p', { class: 'claim-evidence only-numbers' }, `${answer.texts} texts of ${answer.characters} characters each, temperature 1, paired by their dice.${isAlone ? '' : ` Grey: the difference with ${others} held at their own extremes.`}`));
  };
  const runExperiment = () => {
    const wanted = holds(), mine = ++round;
    if (!wanted.length) { problem.textContent = 'Hold a unit first.'; return; }
    const model = context.model(), age = context.age();
    button.disabled = true;
    problem.textContent = '';
    result.replaceChildren();
    progress.show({ state: 'working', progress: 0 });
    follow(server, 'experiment', { model, age, holds: wanted }, () => mine === round && button.isConnected, () => context.isVisible() && context.screen() === 'hold', (answer) => {
      progress.show(answer);
      if (answer.state === 'working') return;
      button.disabled = false;
      if (answer.problem) problem.textContent = answer.problem; else show(answer);
    });
  };
  return {
    element: h('section', { class: 'experiment', 'aria-label': 'The experiment' }, h('div', { class: 'experiment-bar' }, button, hint), progress.element, problem, result),
    // Say what is held together; '' for one unit.
    tell(whom) {
      const held = Math.max(1, holds().length), count = controlsOf(context.table(), held);
      about.hidden = !whom;
      about.textContent = whom && `${whom}: `;
      what.textContent = `writes 20 texts with ${held > 1 ? 'them' : 'it'} held, 20 without${count ? `, and as many with ${count > 1 ? 'each of ' : ''}${randomUnits(count, held)}` : ''}`;
    },
    forget() { round += 1; button.disabled = false; progress.show(null); problem.textContent = ''; result.replaceChildren(); },
  };
};
