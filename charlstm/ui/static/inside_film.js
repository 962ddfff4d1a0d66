// The screen "Being born": the colours of a unit at moments of the training, from its first steps on, and its scores.
import { clockText, createCurves } from './inside_curves.js';
import { TintedText } from './inside_text.js';
import { createValues, placesOn, scaleOf, STEPS, unpack, usualRange } from './inside_values.js';
import { capital, ofHundred } from './inside_words.js';
import { isStill } from './inside_shared.js';

const FRAME = 380, ASK_EVERY = 700; // milliseconds that a moment stays; between two questions for a film that is being made
const MOST_UNITS = 8; // of a network that has no recorded film
const HALF_WAY = 0.5;

// Colours are about the middle of each moment: at first there is nothing on either side of it.
// A recorded film as {note, text, steps, seconds, units, scores (units x moments), places(unit, moment)}.
const readFilm = (film) => {
  const count = film.units.length, moments = film.steps.length, length = Array.from(film.text).length, values = unpack(film.values);
  const of = (unit, moment) => values.subarray((moment * count + unit) * length, (moment * count + unit + 1) * length);
  const scales = film.units.map((_, unit) => Array.from({ length: moments }, (_each, moment) => scaleOf(usualRange(of(unit, moment)))));
  const isByUnit = film.scores?.length === count && film.scores[0]?.length === moments;
  const scores = film.scores?.length ? film.units.map((_, unit) => Array.from({ length: moments }, (_each, moment) => (isByUnit ? film.scores[unit][moment] : film.scores[moment]?.[unit]))) : null;
  return { ...film, scores, places: async (unit, moment) => placesOn(of(unit, moment), STEPS, { centre: scales[unit][moment].centre, size: Math.max(...scales[unit].map(({ size }) => size)) }) };
};

// A film made of the states that were kept of this very network: asked for moment by moment.
const liveFilm = async (server, context, ages) => {
  const values = createValues(server), model = context.model(), named = context.units().slice(0, MOST_UNITS);
  const units = named.length ? named : [context.unit()];
  const at = (unit, age) => values.get({ model, age, text: null, layer: units[unit].layer, quantity: units[unit].part === 'output' ? 'output' : 'cell' }, units[unit].unit);
  const now = await at(0, null);
  if (now.problem) throw new Error(now.problem);
  const moments = [...ages.map(({ step }) => step), null], seconds = ages.map((each) => each.seconds);
  return {
    note: 'Made of the states that were kept of this very network.', text: now.text, units, scores: null,
    steps: [...ages.map(({ step }) => step), null], seconds: [...seconds, Math.max(...seconds) * 1.2],
    async places(unit, moment) {
      const [last, then] = await Promise.all([at(unit, null), at(unit, moments[moment])]);
      if (last.problem || then.problem) throw new Error(last.problem || then.problem);
      return placesOn(then.values, then.most, { ...then.scale, size: last.scale.size });
    },
  };
};

export const build = (h, element, server, context) => {
  let film = null, curves = null, unit = 0, moment = 0, timer = 0, wanted = 0, asked = 0, isNamed = false, fetched = '';
  const lead = h('p', { class: 'inside-lead' }, 'Watch it learn: the same text, as one unit saw it at moments of the training. The clock is slow at the beginning, where most happens.');
  const text = new TintedText(h, { label: 'Text as the unit saw it at a moment of the training' });
  const play = h('button', { type: 'button', class: 'inside-button mind-play', onclick: () => (timer ? stop() : begin()) });
  const slider = h('input', { type: 'range', min: 0, step: 1, 'aria-label': 'Moment of the training', oninput: () => { stop(); go(Number(slider.value)); } });
  const clock = h('output', { class: 'unit-film-clock' }), chips = h('div', { class: 'chips', role: 'group', 'aria-label': 'Units of the film' });
  const plot = h('div', { class: 'unit-film-plot' }), words = h('p', { class: 'claim-text' }), story = h('p', { class: 'claim-evidence' }), note = h('p', { class: 'mind-source' });
  const stage = h('div', { class: 'mind', hidden: true },
    h('div', { class: 'mind-left' }, h('div', { class: 'unit-film-bar' }, play, slider, clock), text.element, note),
    h('aside', { class: 'mind-side', 'aria-label': 'How well it tells' }, h('div', { class: 'mind-said' }, words, story), plot));
  const problem = h('p', { class: 'mind-source', role: 'status' });
  element.replaceChildren(lead, h('div', { class: 'chips-box' }, chips), problem, stage);

  const setPlay = () => { play.textContent = timer ? '❚❚ Stop' : '▶ Play'; };
  const stop = () => { clearTimeout(timer); timer = 0; setPlay(); };
  const labelOf = (number) => film.units[number].label || `unit ${film.units[number].unit}`;
  // When the unit had made half of its way from guessing to what it tells at the end.
  const turningPoint = (row) => {
    const end = row[row.length - 1], target = 0.5 + HALF_WAY * (end - 0.5);
    let at = row.length - 1;
    while (at > 0 && row[at - 1] >= target) at -= 1;
    return film.seconds[at];
  };
  const say = () => {
    const row = film.scores?.[unit], last = film.seconds.length - 1, time = film.steps[moment] === null ? 'now' : `after ${clockText(film.seconds[moment])}`;
    clock.textContent = film.steps[moment] === null ? 'as it is now' : `${time} · step ${film.steps[moment].toLocaleString('en')}`;
    slider.setAttribute('aria-valuetext', clock.textContent);
    words.textContent = row && typeof row[moment] === 'number' ? `${time[0].toUpperCase()}${time.slice(1)} unit ${film.units[unit].unit} is right about “${labelOf(unit)}” for ${ofHundred(row[moment])} of 100 pairs of places.` : `${film.units[unit].label ? `Unit ${film.units[unit].unit}: ${film.units[unit].label}` : capital(labelOf(unit))}, ${time}.`;
    story.textContent = row && row[last] > 0.6 ? `Guessing: 50. At the end: ${ofHundred(row[last])}. It was half way there after ${clockText(turningPoint(row))}.` : '';
    curves?.show(unit, moment);
  };
  const show = async () => {
    const mine = ++wanted;
    let places;
    try { places = await film.places(unit, moment); } catch (error) { stop(); problem.textContent = error.message; return; }
    if (mine !== wanted) return;
    text.show(places);
    say();
  };
  const go = (to) => {
    moment = to;
    slider.value = to;
    return show();
  };
  const advance = async () => {
    if (!element.isConnected) { stop(); return; }
    const isShown = context.isVisible() && context.screen() === 'birth', last = film.steps.length - 1;
    if (isShown && moment < last) await go(moment + 1);
    if (!timer) return;
    if (moment >= last) { stop(); return; }
    timer = setTimeout(advance, FRAME);
  };
  const begin = () => {
    if (!film) return;
    go(moment >= film.steps.length - 1 ? 0 : moment);
    timer = setTimeout(advance, FRAME);
    setPlay();
  };
  const choose = (number) => {
    unit = number;
    [...chips.children].forEach((chip, i) => chip.setAttribute('aria-pressed', String(i === number)));
    if (moment >= film.steps.length - 1 && !isStill()) moment = 0;
    if (!timer && !isStill()) begin(); else show();
  };
  const open = (opened) => {
    film = opened;
    unit = 0;
    problem.textContent = '';
    stage.hidden = false;
    slider.max = film.steps.length - 1;
    note.textContent = film.note || '';
    text.setText(film.text);
    chips.replaceChildren(...film.units.map((each, i) => h('button', { type: 'button', class: 'chip', 'aria-pressed': String(i === 0), onclick: () => choose(i) }, labelOf(i))));
    curves = film.scores ? createCurves(film.seconds, film.scores, film.units.map((_, i) => labelOf(i)), choose) : null;
    plot.replaceChildren(...(curves ? [curves.element] : []));
    moment = isStill() ? film.steps.length - 1 : 0;
    if (isStill()) go(moment); else begin();
  };
  const clear = () => {
    stop();
    film = null;
    stage.hidden = true;
    chips.replaceChildren();
    problem.textContent = 'Fetching the film …';
  };
  const load = async () => {
    const mine = ++asked;
    isNamed = context.table().state === 'done';
    let opened = null;
    try {
      let answer = await server.inside_ages({ model: context.model(), film: true });
      while (answer.state === 'working' && !answer.film) { // it is being made of the states that were kept
        if (mine !== asked || !element.isConnected) return;
        problem.textContent = `Developing the film of this network: ${Math.round(100 * (answer.progress || 0))} % …`;
        await new Promise((resolve) => { setTimeout(resolve, context.isVisible() ? ASK_EVERY : 3 * ASK_EVERY); });
        answer = await server.inside_ages({ model: context.model(), film: true });
      }
      const { ages = [], film: recorded, problem: said } = answer;
      if (mine !== asked) return;
      if (said) { problem.textContent = said; return; }
      const now = JSON.stringify([answer.film, ages, recorded ? [] : context.units()]);
      if (film && now === fetched) { problem.textContent = ''; return; }
      fetched = now;
      if (recorded) opened = readFilm(recorded); else if (ages.length) opened = await liveFilm(server, context, ages);
    } catch (error) { reportError(error); problem.textContent = 'The film could not be fetched. Reload the page to try again.'; return; }
    if (mine !== asked) return;
    if (opened) { stop(); open(opened); } else if (film) problem.textContent = ''; else problem.textContent = 'No states of this network were kept while it learned, so there is no film of it. Train one on the tab Train: its states are kept on the way.';
  };
  context.on('model', () => { clear(); load(); });
  context.on('renamed', load);
  context.on('units', () => { if (!isNamed && context.table().state === 'done') load(); }); // its curves are of units with names
  clear();
  setPlay();
  load();
  return { hidden: stop, shown: () => { if (film && !isStill() && moment < film.steps.length - 1 && !timer) begin(); } };
};
