// "Read this first" on the Write tab: a text that the model reads before it writes, and the curve of its surprise.
import { svg } from './svg.js';

const { h, setText, setVisible } = window.charlstm;
const WIDTH = 480, HEIGHT = 150, LEFT = 34, RIGHT = 8, TOP = 8, BOTTOM = 22, SMOOTH = 0.15; // share of the newest point in the curve
const LIMITS = { remembered: 100000, learned: 20000 };
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
const count = (number) => number.toLocaleString('en');
const lengthOf = (text) => (text.length > LIMITS.learned / 2 ? Array.from(text).length : text.length);
// What is read and how; outlives the elements, which Gradio may make anew.
const kept = { id: null, text: '', learn: false, model: null, weight: 1, state: 'none', typed: '' };
let tell = () => {};

// Where the text that is remembered has a letter after the same ones, in a sentence; '' if nowhere.
window.charlstm.recall = (before, char) => {
  const { shortestContext: shortest, longestContext: longest } = LIMITS;
  if (kept.state !== 'done' || kept.learn || !longest) return '';
  const read = (kept.plain ??= kept.text.replace(/\r\n?/g, '\n')), tail = Array.from(before.slice(-2 * longest)).slice(-longest);
  for (; tail.length >= shortest; tail.shift()) {
    const context = tail.join(''), at = read.lastIndexOf(context + char);
    if (at >= 0) return `Your text has it after “${context.replaceAll('\n', '↵')}”, ${count(read.length - at - context.length)} letters from its end.`;
  }
  return '';
};

const style = document.createElement('link');
Object.assign(style, { rel: 'stylesheet', href: new URL('./read_first.css', import.meta.url).href });
document.head.append(style);

// Curves ------------------------------------------------------------------------------------------------------------

const smooth = (line) => {
  let mean = line[0];
  return line.map((each, i) => { mean += (each - mean) * Math.max(SMOOTH, 1 / (i + 1)); return mean; });
};
const curves = ({ alone, adapted, num_read: done, num_chars: whole }) => {
  const lines = [smooth(alone), smooth(adapted)], all = lines.flat();
  const least = Math.floor(Math.min(...all) * 5) / 5, most = Math.max(least + 0.2, Math.ceil(Math.max(...all) * 5) / 5);
  const points = Math.max(2, Math.ceil((alone.length * whole) / Math.max(1, done)));
  const x = (i) => LEFT + ((WIDTH - LEFT - RIGHT) * i) / (points - 1), y = (nats) => TOP + ((HEIGHT - TOP - BOTTOM) * (most - nats)) / (most - least);
  const path = (line, name) => svg('path', { class: name, d: line.map((each, i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(each).toFixed(1)}`).join('') });
  return svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'read-curves', role: 'img', 'aria-label': 'Surprise of each letter, in nats, from the beginning of your text to its end' },
    ...[least, most].flatMap((nats) => [svg('line', { class: 'read-grid', x1: LEFT, x2: WIDTH - RIGHT, y1: y(nats), y2: y(nats) }), svg('text', { x: LEFT - 5, y: y(nats) + 4, 'text-anchor': 'end' }, nats.toFixed(1))]),
    svg('text', { x: LEFT, y: HEIGHT - 5 }, 'beginning of your text'), svg('text', { x: WIDTH - RIGHT, y: HEIGHT - 5, 'text-anchor': 'end' }, 'end'),
    path(lines[0], 'read-alone'), path(lines[1], 'read-adapted'));
};

export const drawProgress = (element, props, watch) => {
  const draw = () => {
    const now = props.value || {};
    if (!now.id || now.id !== kept.id) return;
    if (now.alone.length > 1) {
      element.replaceChildren(h('div', { class: 'read-legend' }, h('span', {}, 'Surprise of a letter, in nats:'), h('span', { class: 'read-key is-alone' }, 'the model alone'), h('span', { class: 'read-key is-adapted' }, 'with what it had read by then')), curves(now));
    }
    tell(now);
  };
  const clear = () => element.replaceChildren(h('p', { class: 'read-about read-empty' }, 'While it reads, a curve of its surprise is drawn here.'));
  clear();
  draw();
  watch('value', draw);
  document.addEventListener('charlstm:forgotten', () => { if (element.isConnected) clear(); });
};

// The form ----------------------------------------------------------------------------------------------------------

export const build = (element, props, watch, trigger, server) => {
  const text = h('textarea', { rows: 3, spellcheck: 'false', 'aria-label': 'Text to read first', placeholder: 'Paste a text: a story, a play, a chapter. The model reads it once, then writes with what it took in.' });
  const file = h('input', { type: 'file', accept: 'text/*,.txt,.md,.py,.js,.csv,.tex', hidden: true, tabindex: -1 });
  const button = (name, action, title = '') => h('button', { type: 'button', class: 'read-button', title, onclick: action }, name);
  const choose = button('Choose a file', () => file.click());
  const remember = button('Remember it', () => read(false), 'Keeps which letters followed which, word for word. Quick.');
  const learn = button('Learn it', () => read(true), `A copy of the model learns from it. Slower, up to ${count(LIMITS.learned)} letters.`);
  const stop = button('Stop reading', () => { server.stop_reading({ id: kept.id }).catch(() => {}); });
  const forget = button('Forget it again', () => drop('Forgotten: the model writes as before.'));
  const dial = h('input', { type: 'range', min: 0, max: 2, step: 0.05, 'aria-label': 'How much of what was read is used' }), amount = h('output', {});
  const dialRow = h('label', { class: 'read-dial' }, h('span', {}, 'How much of it'), h('span', { class: 'read-end' }, 'nothing'), dial, h('span', { class: 'read-end' }, 'all it can'), amount);
  const about = h('p', { class: 'read-about' }, 'It takes in names and phrases above all; it does not learn to write better. The model itself stays as it is, and nobody else meets your text.');
  const status = h('p', { class: 'read-status', role: 'status' }), problem = h('p', { class: 'problem', role: 'alert' });
  const chosen = () => document.querySelector('#model input')?.value || null;

  const store = () => {
    props.value = kept.state === 'done' && kept.weight > 0 ? JSON.stringify({ text: kept.text, learn: kept.learn, weight: kept.weight }) : '';
  };
  const draw = () => {
    const isReading = kept.state === 'reading', isDone = kept.state === 'done';
    for (const each of [remember, learn]) { setVisible(each, !isReading); each.disabled = !text.value; }
    setVisible(choose, !isReading);
    setVisible(stop, isReading);
    setVisible(forget, isDone);
    setVisible(dialRow, isDone);
    setVisible(about, !isDone);
    setText(amount, `${Math.round(100 * kept.weight)} %`);
    dial.setAttribute('aria-valuetext', `${Math.round(100 * kept.weight)} %`);
  };
  const drop = (words) => {
    Object.assign(kept, { id: null, state: 'none', text: '', plain: null, weight: 1 });
    dial.value = 1;
    store();
    draw();
    setText(status, words);
    document.dispatchEvent(new Event('charlstm:forgotten'));
  };
  const read = (isLearning) => {
    drop('Reading …');
    Object.assign(kept, { id: newId(), text: text.value, learn: isLearning, model: chosen(), state: 'reading' });
    setText(problem, '');
    draw();
    trigger('select', { id: kept.id, text: kept.text, learn: isLearning });
  };
  tell = (now) => {
    if (!element.isConnected) return;
    kept.state = now.state;
    const read_ = `${count(now.num_read)} of ${count(now.num_chars)} characters`;
    if (now.state === 'failed') { drop(''); setText(problem, now.problem); return; }
    if (now.state === 'stopped') { drop('Stopped: nothing of it was kept.'); return; }
    if (now.state === 'reading') setText(status, now.num_chars ? `Reading: ${read_}` : 'Reading …');
    else {
      const [alone, adapted] = now.means, among = (nats) => Math.exp(nats).toFixed(1);
      setText(status, `${kept.learn ? 'Learned' : 'Remembered'} ${count(now.num_chars)} characters. Each was as if choosing among ${among(alone)} letters (${alone.toFixed(2)} nats), and among ${among(adapted)} with what it had read by then (${adapted.toFixed(2)}). Press Write to write with it.${now.note ? ` ${now.note}` : ''}`);
      store();
    }
    draw();
  };

  // A file's beginning is as good as pasted.
  const take = async () => {
    const [given] = file.files;
    file.value = '';
    if (!given) return;
    setText(problem, '');
    const most = LIMITS.remembered, whole = (await given.slice(0, 4 * most).text()).replace(/^\ufeff/, ''), letters = Array.from(whole);
    if (whole.includes('\0') || letters.filter((char) => char === '\ufffd').length > letters.length / 100) {
      setText(problem, `${given.name} is not a text in UTF-8: choose a text file.`);
      return;
    }
    text.value = kept.typed = letters.slice(0, most).join('');
    const isCut = given.size > 4 * most || letters.length > most;
    setText(status, isCut ? `${given.name} is longer than the ${count(most)} characters that are read: its beginning is here.` : `${given.name}: ${count(letters.length)} characters.`);
    draw();
  };

  file.addEventListener('change', take);
  text.addEventListener('input', () => { kept.typed = text.value; draw(); });
  dial.addEventListener('input', () => { kept.weight = Number(dial.value); store(); draw(); });
  document.addEventListener('focusout', ({ target }) => {
    if (target.closest?.('#model')) setTimeout(() => { if (element.isConnected && kept.state === 'done' && chosen() !== kept.model) drop('Another model was chosen, which has not read your text.'); }, 200);
  });
  text.value = kept.typed;
  dial.value = kept.weight;
  element.replaceChildren(h('div', { class: 'read-first' },
    h('div', { class: 'read-form' }, text, h('div', { class: 'read-buttons' }, choose, remember, learn, stop, forget, file)),
    about, status, problem, dialRow));
  draw();
  server.reading_limits({}).then((limits) => Object.assign(LIMITS, limits)).catch(() => {});
};
