// The screen "Moments like this": the places of its corpus at which the network was in the most similar state.
import { describeChar } from './inside_scale.js';
import { TintedText } from './inside_text.js';
import { isStill } from './inside_shared.js';

const ASK_EVERY = 700, STROLL = 6000; // milliseconds; between two places, until somebody chooses one
const AROUND = 60; // characters of the text that are quoted of the place itself
const LEARNED = 'text it learned from'; // as the server calls it
const flat = (text) => text.replaceAll('\n', ' ⏎ ');

export const build = (h, element, server, context) => {
  let chars = [], asked = 0, strolling = 0, isOurs = !isStill();
  const text = new TintedText(h, { label: 'Text; go to a letter to find moments like it', onPlace: (place) => { takeOver(); context.setPlace(place); find(); } });
  const stroll = h('button', { type: 'button', class: 'inside-button mind-play', onclick: () => { if (isOurs) takeOver(); else { isOurs = true; setStroll(); wander(); } } });
  const progress = h('progress', { max: 1, 'aria-label': 'Reading the corpus' }), stage = h('span', {}), working = h('p', { class: 'chips-working', role: 'status', hidden: true }, progress, stage);
  const here = h('p', { class: 'moment-here' }), list = h('ol', { class: 'moments-list', 'aria-label': 'The most similar moments' }), source = h('p', { class: 'mind-source' }), problem = h('p', { class: 'inside-problem', role: 'status' });
  text.element.classList.add('is-plain');
  element.replaceChildren(
    h('p', { class: 'inside-lead' }, 'After each letter the network is in a certain state of mind. Touch a letter, and see where else in its text it was in the most similar one.'),
    h('div', { class: 'moments' },
      h('div', { class: 'mind-left' }, h('div', { class: 'mind-bar' }, stroll, h('span', {}, 'Touch a letter, or walk with the arrow keys.')), text.element),
      h('section', { class: 'moments-found', 'aria-label': 'Moments like this' }, here, working, problem, list, source)));

  const quote = ({ before, at, after, cosine }) => h('li', { class: 'quote-line' },
    h('span', { class: 'quote-before' }, h('bdi', {}, flat(before))), h('mark', {}, at === '\n' ? '⏎' : at === ' ' ? '␣' : at), h('span', { class: 'quote-after' }, flat(after)),
    h('span', { class: 'moment-likeness only-numbers' }, typeof cosine === 'number' ? cosine.toFixed(2) : ''));
  const find = async () => {
    const mine = ++asked, place = context.place();
    if (!chars.length) return;
    here.replaceChildren(h('span', {}, 'Like here: '), h('q', {}, flat(chars.slice(Math.max(0, place - AROUND), place).join('')), h('mark', {}, chars[place] === '\n' ? '⏎' : chars[place])));
    text.mark(place);
    while (mine === asked && element.isConnected) {
      let answer;
      try { answer = await server.inside_moments({ model: context.model(), age: context.age(), text: context.isOwn() ? null : context.text(), place }); } catch { answer = { problem: 'The server did not answer. Try again in a moment.' }; }
      if (mine !== asked) return;
      problem.textContent = answer.problem || '';
      const isWorking = answer.state === 'working';
      working.hidden = !isWorking;
      if (isWorking) { progress.value = answer.progress || 0; stage.textContent = `Reading its text${answer.stage ? ` · ${answer.stage}` : ''} …`; }
      else {
        list.replaceChildren(...(answer.moments || []).map(quote));
        source.textContent = !answer.source ? '' : answer.source === LEARNED ? 'Found in the text that it learned from.' : 'Found in a text that it wrote itself: the one that it learned from is not here, or not for everybody.';
        if (!answer.problem && !answer.moments?.length) problem.textContent = 'No other moment is like this one.';
        return;
      }
      await new Promise((resolve) => { setTimeout(resolve, ASK_EVERY); });
      while (mine === asked && element.isConnected && !(context.isVisible() && context.screen() === 'moments')) await new Promise((resolve) => { setTimeout(resolve, 2 * ASK_EVERY); });
    }
  };
  const setStroll = () => { stroll.textContent = isOurs ? '❚❚ Stop' : '▶ Wander'; };
  const takeOver = () => { isOurs = false; clearTimeout(strolling); setStroll(); };
  // Go to a word further on, and on again, until somebody chooses a place.
  const goOn = () => {
    const from = (context.place() + Math.ceil(chars.length / 11)) % chars.length, end = chars.findIndex((char, i) => i >= from && /\s/.test(char));
    context.setPlace(end > 1 ? end - 2 : from);
    text.mark(context.place(), true);
    find();
  };
  const wander = () => {
    clearTimeout(strolling);
    if (!isOurs || !element.isConnected) return;
    if (context.isVisible() && context.screen() === 'moments' && chars.length && working.hidden) goOn();
    strolling = setTimeout(wander, STROLL);
  };
  const load = async () => {
    const model = context.model();
    let shown = context.text();
    if (!shown) {
      const answer = await server.inside_trace({ model, age: null, text: null, layer: 0, first: 0, count: 1, quantity: 'cell' }).catch(() => ({ problem: 'The server did not answer. Try again in a moment.' }));
      if (model !== context.model()) return;
      if (answer.problem) { problem.textContent = answer.problem; return; }
      shown = answer.text;
      context.setText(shown, true);
    }
    if (shown === chars.join('')) return;
    chars = Array.from(shown);
    text.setText(shown);
    text.show(null);
    if (context.screen() !== 'moments') return;
    if (context.place() === 0) goOn(); else find(); // after a single letter no state says much
  };
  context.on('text', load);
  context.on('model', () => { asked += 1; chars = []; list.replaceChildren(); here.replaceChildren(); source.textContent = ''; load(); });
  context.on('place', () => { if (context.screen() !== 'moments') asked += 1; });
  setStroll();
  load();
  strolling = setTimeout(wander, STROLL);
  return { shown: () => { if (!chars.length) return; if (context.place() === 0) goOn(); else { text.mark(context.place(), true); find(); } }, hidden: () => { asked += 1; } };
};
