// The screen "Why this letter?": what each earlier letter was worth for one, exactly; and what happens without it.
import { createBars } from './inside_bars.js';
import { createHorizon } from './inside_horizon.js';
import { addLook, ask, decimal, isStill, nameOfChar, percent, shownChar, signed, svg } from './inside_shared.js';
import { TintedText } from './inside_text.js';

await addLook('inside_why.css');

const FAR = 100, NEAR = 50, QUICK = 300; // characters that are looked at; at first; milliseconds within which all are
const READ = 4500, WITHOUT = 4500; // milliseconds of the show: a letter with its reasons, then without the first of them
const LEAST = 0.05; // nats that the end of the colours stands for at least
const TRIES = 4, GOOD = 0.5, DISTANT = 6; // letters looked at for one with a reason of so many nats, so far back
const LEAD = 60;

// Letters that are often there for a reason further back: ends of lines, what closes, beginnings of lines.
const isTelling = (char, before) => char === '\n' || ')]}"\'?:'.includes(char) || before === '\n' || (before === ' ' && /\p{Lu}/u.test(char));

export const build = (h, element, server, context) => {
  let chars = [], found = null, asked = 0, changing = null, quick = true, isShow = !isStill(), timer = 0;
  const isSeen = () => context.isVisible() && context.screen() === 'why';
  const text = new TintedText(h, { label: 'Text; go to a letter to ask why it is there', onPlace: (place) => { takeOver(); if (isChanging() && place < context.place()) change(place, null); else go(place); } });
  const arcs = svg('svg', { class: 'why-arcs', 'aria-hidden': 'true' });
  text.sheet.append(arcs);
  text.element.classList.add('why-text');
  const problem = h('p', { class: 'inside-problem', role: 'status' }), sentence = h('p', { class: 'claim-text', role: 'status' }), bars = createBars(h), reasons = h('div', { class: 'chips', role: 'group', 'aria-label': 'The letters worth most; choose one to change it' });
  const editor = h('div', { class: 'why-editor' }), said = h('p', { class: 'why-said', role: 'status' }), figures = h('p', { class: 'claim-evidence only-numbers' });
  const show = h('button', { type: 'button', class: 'inside-button mind-play', onclick: () => { if (isShow) takeOver(); else { isShow = true; setShow(); step(); } } });
  const setShow = () => { show.textContent = isShow ? '❚❚ Stop' : '▶ Show me some'; };
  const mode = h('input', { type: 'checkbox' }), isChanging = () => mode.checked;
  const horizon = createHorizon(h, server, context, 'why');
  const takeOver = () => { isShow = false; clearTimeout(timer); setShow(); };
  mode.addEventListener('change', () => { takeOver(); said.textContent = isChanging() ? 'Touch any letter before the marked one to change it.' : ''; });

  // Arcs from the letter to the three that were worth most.
  const drawArcs = () => {
    text.measure();
    const from = text.boxes?.[context.place()];
    if (!from || !found) { arcs.replaceChildren(); return; }
    arcs.setAttribute('width', text.sheet.clientWidth);
    arcs.setAttribute('height', text.sheet.clientHeight);
    const most = Math.max(...found.largest.map((at) => Math.abs(worthAt(at))), 1e-9), middle = (box) => box.left + box.width / 2;
    arcs.replaceChildren(...found.largest.flatMap((at) => {
      const to = text.boxes[at];
      if (!to) return [];
      const [x1, y1, x2, y2] = [middle(from), from.top, middle(to), to.top], lift = Math.min(34, 12 + Math.abs(x1 - x2) / 7), isOneLine = Math.abs(y1 - y2) < 3;
      const bend = isOneLine ? `C${x1} ${y1 - lift} ${x2} ${y2 - lift}` : `C${x1} ${y1 - 26} ${x2 + (x1 - x2) / 4} ${y2 + (y1 - y2) / 3}`;
      return [svg('path', { class: `why-arc ${worthAt(at) < 0 ? 'is-minus' : 'is-plus'}`, d: `M${x1} ${y1}${bend} ${x2} ${y2}`, 'stroke-width': 1 + (2.5 * Math.abs(worthAt(at))) / most }), svg('circle', { class: `why-end ${worthAt(at) < 0 ? 'is-minus' : 'is-plus'}`, cx: x2, cy: y2, r: 3 })];
    }));
  };
  new ResizeObserver(() => requestAnimationFrame(drawArcs)).observe(text.sheet);
  const worthAt = (at) => found.worths[at - (found.place - found.worths.length)] ?? 0;

  const draw = () => {
    const { worths, place } = found, most = Math.max(LEAST, ...worths.map(Math.abs)), first = place - worths.length;
    text.show(Float32Array.from(chars, (_, i) => (i >= first && i < place ? worths[i - first] / most : 0)));
    text.mark(place, isShow);
    sentence.textContent = found.sentence;
    bars.show({ ...found, changed: changing?.answer || null });
    horizon.point(found.largest.map((at) => place - at));
    reasons.replaceChildren(...found.largest.map((at) => h('button', { type: 'button', class: 'chip why-reason', 'aria-pressed': String(changing?.place === at), onclick: () => { takeOver(); change(at, changing?.place === at ? null : ''); } },
      `${shownChar(chars[at])}`, h('span', {}, ` ${place - at} back · ${signed(worthAt(at), 1)} nats`))));
    figures.textContent = `Worth: how much less the logarithm of its chance is with the average letter in that place, exactly, for the last ${worths.length} characters. Sum: ${signed(worths.reduce((sum, each) => sum + each, 0))} nats; chance ${percent(found.chance)} (${decimal(-Math.log(Math.max(found.chance, 1e-9)))} nats).`;
    drawArcs();
  };
  // What becomes of the letter with another one, or none, at an earlier place; `to` null only chooses the place.
  const change = async (place, to) => {
    const mine = asked;
    changing = { place, to, answer: null };
    drawEditor();
    if (to === null) { draw(); return; }
    const answer = await ask(server, 'explain', { ...request(1), change: { place, to } });
    if (mine !== asked || changing?.place !== place || changing.to !== to) return;
    problem.textContent = answer.problem || '';
    if (answer.problem || !answer.changed) return;
    changing.answer = answer.changed;
    said.textContent = `${to ? `With ${nameOfChar(to)} in its place` : 'Without it'} the chance of ${nameOfChar(found.target)} goes from ${percent(found.chance)} to ${percent(answer.changed.chance)}.`;
    draw();
  };
  const drawEditor = () => {
    if (!changing) { editor.replaceChildren(); return; }
    const { place, to } = changing, field = h('input', { type: 'text', maxlength: 2, size: 2, 'aria-label': 'Another letter in its place', autocomplete: 'off', spellcheck: 'false' });
    field.value = to || '';
    field.addEventListener('input', () => { const [char] = Array.from(field.value).slice(-1); takeOver(); change(place, char ?? '').then(() => editor.querySelector('input')?.focus()); });
    const out = h('button', { type: 'button', class: 'inside-button', 'aria-pressed': String(to === ''), onclick: () => { takeOver(); change(place, ''); } }, 'Leave it out');
    const line = h('button', { type: 'button', class: 'inside-button', 'aria-pressed': String(to === '\n'), onclick: () => { takeOver(); change(place, '\n'); } }, 'A new line');
    const undo = h('button', { type: 'button', class: 'inside-button', onclick: () => { takeOver(); changing = null; said.textContent = ''; drawEditor(); draw(); } }, 'Undo');
    editor.replaceChildren(h('span', {}, h('b', { class: 'why-char' }, shownChar(chars[place])), ` ${found.place - place} back:`), out, h('label', { class: 'inside-field' }, h('span', {}, 'put'), field), line, undo);
  };

  const request = (characters, place = context.place()) => ({ model: context.model(), age: context.age(), text: context.isOwn() ? null : context.text(), place, characters, change: null });
  const take = (answer, place) => {
    problem.textContent = answer.problem || '';
    if (answer.problem) return false;
    found = { ...answer, place };
    draw();
    return true;
  };
  const explain = async () => {
    const mine = ++asked, place = Math.max(1, Math.min(chars.length - 1, context.place())), began = performance.now();
    changing = null;
    said.textContent = '';
    drawEditor();
    if (chars.length < 2) { problem.textContent = 'Two letters are needed: one to ask about, and one before it.'; return; }
    if (place !== context.place()) context.setPlace(place);
    text.mark(place);
    const answer = await ask(server, 'explain', request(quick ? FAR : NEAR, place));
    if (mine !== asked || !take(answer, place)) return;
    const isWhole = quick;
    quick = performance.now() - began < QUICK * (isWhole ? 1 : 0.5);
    if (isWhole) return;
    const whole = await ask(server, 'explain', request(FAR, place));
    if (mine === asked && !whole.problem) take(whole, place);
  };
  const go = (place) => { context.setPlace(place); explain(); };

  // The show: letters with a reason further back, then without that reason.
  const step = async () => {
    clearTimeout(timer);
    if (!isShow || !element.isConnected) return;
    if (!isSeen() || chars.length < 2) { timer = setTimeout(step, READ); return; }
    const lead = Math.min(LEAD, Math.floor(chars.length / 2)), telling = chars.map((_, i) => i).filter((i) => i >= lead && isTelling(chars[i], chars[i - 1]));
    const pool = telling.length ? telling : chars.map((_, i) => i).slice(lead), from = context.place();
    const next = [...pool.filter((i) => i > from + 25), ...pool.filter((i) => i <= from + 25)];
    let best = null;
    for (let i = 0; i < TRIES && isShow; i++) {
      const place = next[Math.floor((i * next.length) / (3 * TRIES))] ?? next[0], answer = await ask(server, 'explain', request(FAR, place));
      if (answer.problem) { problem.textContent = answer.problem; break; }
      const [first] = answer.largest, worth = answer.worths[first - (place - answer.worths.length)] ?? 0, value = Math.min(worth, 2) * (place - first >= DISTANT ? 2 : 0.5);
      if (!best || value > best.value) best = { place, answer, value };
      if (worth > GOOD && place - first >= DISTANT) break;
    }
    if (!isShow) return;
    if (best) {
      asked += 1;
      changing = null;
      said.textContent = '';
      drawEditor();
      context.setPlace(best.place);
      take(best.answer, best.place);
      timer = setTimeout(leaveOut, READ);
    } else timer = setTimeout(step, READ);
  };
  const leaveOut = async () => {
    if (isShow && isSeen() && found?.largest.length) await change(found.largest[0], '');
    if (isShow) timer = setTimeout(step, WITHOUT);
  };

  const load = async () => {
    const model = context.model();
    let shown = context.text();
    if (!shown) {
      const answer = await ask(server, 'trace', { model, age: null, text: null, layer: 0, first: 0, count: 1, quantity: 'cell' });
      if (model !== context.model()) return;
      if (answer.problem) { problem.textContent = answer.problem; return; }
      shown = answer.text;
      context.setText(shown, true);
    }
    if (shown === chars.join('')) return;
    chars = Array.from(shown);
    found = null;
    text.setText(shown);
    text.show(null);
    bars.clear();
    arcs.replaceChildren();
    if (context.screen() !== 'why') return;
    if (isShow) step(); else explain();
  };
  element.replaceChildren(
    h('p', { class: 'inside-lead' }, 'Touch any letter: the colours show which earlier ones made the network expect it, and which ones spoke against it.'),
    h('div', { class: 'mind why' },
      h('div', { class: 'mind-left' }, h('div', { class: 'mind-bar' }, show, h('label', { class: 'inside-switch' }, mode, h('span', {}, 'Change an earlier letter'))), text.element,
        h('p', { class: 'why-legend' }, h('span', { class: 'why-key is-plus' }, 'made it likelier'), h('span', { class: 'why-key is-minus' }, 'made it less likely'), h('span', {}, 'the bar below a letter: how much')), problem),
      h('aside', { class: 'mind-side', 'aria-label': 'Why this letter' }, h('div', { class: 'mind-said why-claim' }, sentence), h('div', { class: 'why-explained' }, bars.element, reasons, editor, said, figures), horizon.element)));
  setShow();
  context.on('text', load);
  context.on('age', () => { if (found && context.screen() === 'why') explain(); });
  context.on('model', () => { asked += 1; chars = []; found = changing = null; sentence.textContent = said.textContent = ''; bars.clear(); reasons.replaceChildren(); drawEditor(); load(); });
  load();
  return { shown() { if (!chars.length) return; if (isShow) step(); else if (found?.place !== context.place()) explain(); else draw(); }, hidden() { clearTimeout(timer); } };
};
