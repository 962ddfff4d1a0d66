// How far back a network looks: its loss by the number of characters it may see, beside a table of five.
import { createProgress, decimal, follow, line, svg, words } from './inside_shared.js';

const WIDTH = 420, HEIGHT = 236, LEFT = 38, RIGHT = 14, TOP = 14, BOTTOM = 40;
const TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500], ENOUGH = 0.01; // nats: who gains less by seeing more, gains nothing
const FEW = 0.1; // nats above the full context: of the sentence "most of it"

const draw = ({ contexts, nats, margins, full, five_gram: five, uniform }) => {
  const most = Math.min(uniform || Infinity, Math.max(...nats) + 0.1), least = Math.max(0, Math.min(...nats, five || Infinity) - 0.15), last = contexts.at(-1);
  const x = (count) => LEFT + ((WIDTH - LEFT - RIGHT) * Math.log(count)) / Math.log(last), y = (value) => TOP + ((HEIGHT - TOP - BOTTOM) * (most - value)) / (most - least);
  const path = (values) => values.map((value, i) => `${x(contexts[i]).toFixed(1)} ${y(Math.min(most, value)).toFixed(1)}`).join('L');
  const area = margins?.length ? [svg('path', { class: 'horizon-margin', d: `M${path(nats.map((value, i) => value + margins[i]))}L${contexts.map((count, i) => `${x(count).toFixed(1)} ${y(nats[i] - margins[i]).toFixed(1)}`).reverse().join('L')}Z` })] : [];
  const grid = Array.from({ length: 10 }, (_, i) => i / 2).filter((value) => value > least && value < most);
  const dots = svg('g', {});
  const element = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'horizon', role: 'img', 'aria-label': `Nats per character by the characters it may see: ${contexts.map((count, i) => `${count}: ${decimal(nats[i])}`).join(', ')}${five ? `; a 5-gram: ${decimal(five)}` : ''}` },
    ...grid.flatMap((value) => [line(LEFT, y(value), WIDTH - RIGHT, y(value), 'horizon-grid'), words(LEFT - 6, y(value) + 4, decimal(value, 1), '', 'end')]),
    ...(five ? [line(LEFT, y(five), WIDTH - RIGHT, y(five), 'horizon-five'), words(WIDTH - RIGHT, y(five) - 6, `5-gram ${decimal(five)}`, '', 'end')] : []),
    ...area, svg('path', { class: 'horizon-line', d: `M${path(nats)}` }),
    ...TICKS.filter((count) => count <= last).map((count) => words(x(count), HEIGHT - BOTTOM + 17, String(count))),
    words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, 'characters it may see'), words(LEFT, TOP - 3, 'nats per character', '', 'start'), dots);
  const between = (count) => {
    const i = contexts.findIndex((each) => each >= count);
    if (i <= 0) return nats[Math.max(0, i)];
    const share = Math.log(count / contexts[i - 1]) / Math.log(contexts[i] / contexts[i - 1]);
    return nats[i - 1] + share * (nats[i] - nats[i - 1]);
  };
  return {
    element,
    point(distances) { dots.replaceChildren(...distances.filter((count) => count >= 1 && count <= last).map((count) => svg('circle', { class: 'horizon-dot', r: 4.5, cx: x(count), cy: y(between(count)) }))); },
  };
};

const sentenceOf = ({ contexts, nats, full, five_gram: five }) => {
  const end = contexts.find((_, i) => nats[i] - full < ENOUGH) ?? contexts.at(-1), most = contexts.find((_, i) => nats[i] - full < FEW) ?? end;
  const beaten = five ? [...contexts].filter((_, i) => nats[i] >= five).at(-1) : null;
  return `It looks back about ${end} characters: seeing more makes it no better. ${most < end ? `Most of that it gets from the last ${most}. ` : ''}${beaten ? `With ${beaten === 1 ? 'one' : `${beaten} or fewer`} it is no better than a 5-gram, a mere table of what follows four letters.` : ''}`;
};

// The curve is measured in the background once somebody can see its place.
export const createHorizon = (h, server, context, screen) => {
  let round = 0, chart = null, distances = [], isBegun = false;
  const progress = createProgress(h, 'Measuring how far back it looks'), said = h('p', { class: 'claim-evidence' }), place = h('div', { class: 'horizon-place' }), problem = h('p', { class: 'inside-problem', role: 'status' });
  const element = h('section', { class: 'horizon-section', 'aria-label': 'How far back it looks' }, h('h3', {}, 'How far back does it look?'), place, progress.element, said, problem);
  const begin = () => {
    if (isBegun || context.model() === null) return;
    isBegun = true;
    const mine = ++round;
    follow(server, 'horizon', { model: context.model() }, () => mine === round && element.isConnected, () => context.isVisible() && context.screen() === screen, (answer) => {
      progress.show(answer);
      problem.textContent = answer.problem || '';
      if (answer.state !== 'done') return;
      chart = draw(answer);
      place.replaceChildren(chart.element);
      said.textContent = sentenceOf(answer);
      chart.point(distances);
    });
  };
  const seen = new IntersectionObserver((entries) => { if (entries.some((each) => each.isIntersecting)) begin(); });
  seen.observe(element);
  context.on('model', () => { round += 1; isBegun = false; chart = null; place.replaceChildren(); said.textContent = ''; progress.show(null); if (element.getClientRects().length) begin(); });
  // Mark how far back the reasons of a letter lie.
  return { element, point(found) { distances = found; chart?.point(found); } };
};
