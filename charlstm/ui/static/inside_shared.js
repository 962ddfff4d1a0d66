// What the screens of Look inside share: shapes, questions to the server, words for letters and figures.
import { svg } from './svg.js';

const ASK_EVERY = 700; // milliseconds
export const LOST = { problem: 'The server did not answer. Try again in a moment.' };

export { svg };
export const line = (x1, y1, x2, y2, look) => svg('line', { x1, y1, x2, y2, class: look });
export const words = (x, y, text, look = '', anchor = 'middle') => svg('text', { x, y, class: look, 'text-anchor': anchor }, text);

export const isStill = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
export const shownChar = (char) => ({ ' ': '␣', '\n': '⏎', '\t': '⇥' })[char] || char;
export const nameOfChar = (char) => ({ '\n': 'a new line', ' ': 'a space', '\t': 'a tab' })[char] || `“${char}”`;
export const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
export const decimal = (value, digits = 2) => (Number(value.toFixed(digits)) < 0 ? '−' : '') + Math.abs(value).toFixed(digits);
// As many digits as show what small values add up to.
export const digitsFor = (...values) => (Math.max(...values.map(Math.abs)) < 0.3 ? 3 : 2);
export const signed = (value, digits = 2) => (Number(value.toFixed(digits)) > 0 ? '+' : '') + decimal(value, digits);

export const ask = async (server, name, request) => {
  try { return await server[`inside_${name}`](request); } catch { return LOST; }
};

// Ask until the answer is no longer "working"; each answer is told while `isWanted()`. While nobody looks, it waits.
export const follow = async (server, name, request, isWanted, isSeen, tell) => {
  while (isWanted()) {
    if (isSeen()) {
      const answer = await ask(server, name, request);
      if (!isWanted()) return;
      tell(answer);
      if (answer.state !== 'working') return;
    }
    await new Promise((resolve) => { setTimeout(resolve, ASK_EVERY); });
  }
};

// Questions of which only the latest matters, one at a time: a slider that is dragged asks as fast as answers come.
export const createAsker = (server, name, tell) => {
  let isAsking = false, next = null, round = 0;
  const send = async () => {
    isAsking = true;
    while (next) {
      const { request, mine } = next;
      next = null;
      const answer = await ask(server, name, request);
      if (mine === round) tell(answer, request);
    }
    isAsking = false;
  };
  return {
    ask(request) { next = { request, mine: round }; if (!isAsking) send(); },
    forget() { next = null; round += 1; },
  };
};

// Said of what is measured on the network as it is now, while the rest shows it as it was.
export const aboutNow = (h, context) => {
  const note = h('p', { class: 'inside-then' }, 'This part is about the network as it is now.'), refresh = () => { note.hidden = context.age() === null; };
  for (const event of ['age', 'model']) context.on(event, refresh);
  refresh();
  return note;
};

// A bar of progress with what is done now.
export const createProgress = (h, label) => {
  const bar = h('progress', { max: 1, 'aria-label': label }), stage = h('span', {}), element = h('p', { class: 'chips-working', role: 'status', hidden: true }, bar, stage);
  return {
    element,
    show(answer) {
      element.hidden = answer?.state !== 'working';
      if (element.hidden) return;
      bar.value = answer.progress || 0;
      stage.textContent = `${label}${answer.stage && answer.stage !== label.toLowerCase() ? ` · ${answer.stage}` : ''} …`;
    },
  };
};
