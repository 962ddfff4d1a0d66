// The page: its form, the pace of writing, the address, and what is done with a text.
const PACE = 80; // characters a second that a person can follow
const MOST_AT_ONCE = 40; // characters in one step at that pace, after the page was hidden
const SLICE = 10; // milliseconds of work between two looks at what the person does
const MOST_CHARS = 1000000; // in one text, of which the browser draws every letter
const NUM_SEEDS = 2 ** 31;
const SAYS_LENGTH = `a whole number from 1 to ${MOST_CHARS.toLocaleString('en')}, or 0 for a text without end`;
const TEMPERATURES = [[0, 'always the likeliest letter'], [0.45, 'careful: it repeats itself'], [0.9, 'as sure as it is itself'], [1.15, 'free: it dares more'], [2, 'wild']];

const byId = (id) => document.getElementById(id);
const count = (number) => Math.round(number).toLocaleString('en');
const yieldToPage = () => new Promise((done) => { const { port1, port2 } = new MessageChannel(); port1.onmessage = done; port2.postMessage(0); });
const nextFrame = () => new Promise((done) => { requestAnimationFrame(done); });

class Problem extends Error {} // a sentence for the person in front of the page

// What the file holds ---------------------------------------------------------------------------------------------------

const readWeights = async () => {
  const element = byId('weights');
  const coded = atob(element.textContent.trim());
  element.remove(); // a phone need not hold it twice
  const packed = new Uint8Array(coded.length);
  for (let at = 0; at < packed.length; at += 1) packed[at] = coded.charCodeAt(at);
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'))).arrayBuffer();
};

const openNetwork = async (facts) => {
  if (typeof DecompressionStream === 'undefined') throw new Problem('This browser is too old for this page: open it in one from 2023 or later.');
  let bytes;
  try { bytes = await readWeights(); } catch { throw new Problem('This file is damaged or not whole: get it once more.'); }
  return loadNetwork(facts, bytes);
};

// The form --------------------------------------------------------------------------------------------------------------

class Form {
  constructor(settings, prompts) {
    this.settings = { ...settings, num_chars: { ...settings.num_chars, most: MOST_CHARS, says: SAYS_LENGTH } };
    this.prompt = byId('prompt');
    for (const [name, { standard, least, most }] of Object.entries(this.settings)) {
      const field = byId(name);
      if (field.type !== 'text') Object.assign(field, { min: least, max: most });
      field.value = standard;
    }
    this.prompts = prompts;
    byId('temperature').addEventListener('input', () => this.showTemperature());
    byId('form').addEventListener('input', (event) => { event.target.classList.remove('is-wrong'); this.complain(''); });
    this.showTemperature();
  }

  showTemperature() {
    const value = Number(byId('temperature').value);
    byId('temperature-shown').textContent = value.toFixed(2);
    byId('temperature-says').textContent = TEMPERATURES.find(([most]) => value <= most)[1];
  }

  complain(problem, field = null) {
    byId('problem').textContent = problem;
    field?.classList.add('is-wrong');
    if (field?.closest('details')) field.closest('details').open = true;
    field?.focus();
  }

  // Set fields from an address; raise a Problem for what can't be used.
  fill(values) {
    for (const [name, value] of values) {
      if (name === 'prompt') this.prompt.value = value;
      else if (name in this.settings) byId(name).value = this.check(name, value);
    }
    byId('is-new-seed').checked = false;
    this.showTemperature();
  }

  check(name, value) {
    const { least, most, isAbove, isWhole, says, isText } = this.settings[name], number = Number(value);
    if (isText) return value;
    const isGood = String(value).trim() !== '' && Number.isFinite(number) && number <= most && (isAbove ? number > least : number >= least);
    if (isGood && (!isWhole || Number.isInteger(number))) return number;
    const label = document.querySelector(`label[for="${name}"]`).textContent;
    throw Object.assign(new Problem(`${label}: enter ${says}.`), { field: byId(name) });
  }

  read() {
    for (const wrong of document.querySelectorAll('.is-wrong')) wrong.classList.remove('is-wrong');
    this.complain('');
    return Object.fromEntries(Object.keys(this.settings).map((name) => [name, this.check(name, byId(name).value)]));
  }

  drawSeed() {
    byId('seed').value = crypto.getRandomValues(new Uint32Array(1))[0] % NUM_SEEDS;
  }

  opening(seed) { return this.prompts.length ? this.prompts[seed % this.prompts.length] : ''; }
}

// Texts -----------------------------------------------------------------------------------------------------------------

// A text and everything that is needed to go on with it.
class Draft {
  constructor(network, facts, prompt, settings) {
    const { seed, temperature, top_k: topK, top_p: topP, no_repeat: noRepeat, stop, num_chars: length } = settings;
    this.settings = settings;
    this.text = new Text(network, facts.vocabulary, { seed, sample: 0, temperature, topK, topP, noRepeat, stop });
    this.text.read(prompt);
    this.letters = new Letters(prompt);
    this.left = length || MOST_CHARS;
    this.asked = 0; // tokens written so far
    this.isOver = false;
    this.busy = 0; // milliseconds of computing
  }

  // Write so many; returns how many milliseconds it took.
  write(number) {
    const wanted = Math.min(number, this.left), began = performance.now();
    const piece = this.text.write(wanted, NUM_LIKELIEST);
    const took = performance.now() - began;
    this.letters.append(piece);
    this.left -= wanted;
    this.asked += wanted;
    this.busy += took;
    this.isOver = Boolean(piece.isOver);
    return took;
  }

  get isDone() { return this.isOver || this.left <= 0; }

  extend() {
    this.left = Math.min(this.settings.num_chars || MOST_CHARS, MOST_CHARS - this.asked);
    return this.left > 0;
  }

  get rate() { return this.busy > 0 ? 1000 * this.asked / this.busy : 0; }

  // What an address says after its `#`, from which the same text comes.
  address(standards) {
    const { prompt = this.letters.given, ...values } = { ...this.settings, num_chars: this.settings.num_chars && this.asked };
    const differing = Object.entries(values).filter(([name, value]) => name === 'seed' || value !== standards[name].standard);
    return `#${new URLSearchParams([['prompt', prompt], ...differing])}`;
  }
}

class Page {
  constructor(facts, network) {
    Object.assign(this, { facts, network, turn: 0, isWriting: false, isFollowing: false, drafts: new Map() });
    this.form = new Form(facts.page.settings, facts.page.prompts);
    this.view = new TextView(byId('text'));
    this.card = new Card(this.view, byId('frame'), { isBytes: facts.level === 'bytes',
      canBranch: () => !this.isWriting, branch: (prompt) => this.begin(prompt, 'branch') });
    byId('text').dataset.placeholder = 'A text appears here, letter by letter.';
    byId('text').classList.toggle('is-code', facts.page.isCode);
    byId('fast').checked = matchMedia('(prefers-reduced-motion: reduce)').matches;
    byId('link').hidden = !/^https?:$/.test(location.protocol);
    this.showExamples();
    this.listen();
    byId('write').disabled = false;
  }

  showExamples() {
    byId('examples').replaceChildren(...this.form.prompts.map((prompt) => {
      const button = make('button', '', prompt.trim() || '↵');
      button.type = 'button';
      button.addEventListener('click', () => { this.form.prompt.value = prompt; this.begin(prompt, 'new'); });
      return button;
    }));
  }

  // Writing -------------------------------------------------------------------------------------------------------

  // Begin a text: `how` is 'new', 'branch', 'arrival' or 'linked'.
  async begin(prompt, how) {
    try {
      if (how !== 'linked' && how !== 'branch' && byId('is-new-seed').checked) this.form.drawSeed();
      const settings = this.form.read();
      this.stop();
      const draft = new Draft(this.network, this.facts, prompt || this.form.opening(settings.seed), settings);
      this.isFollowing = how === 'new';
      this.open(draft);
      this.keep(draft, how);
      await this.run(draft);
    } catch (error) { this.explain(error); }
  }

  async goOn() {
    if (!this.draft || this.isWriting) return;
    if (this.draft.left <= 0 && !this.draft.extend()) {
      this.form.complain(`A text here has at most ${count(MOST_CHARS)} characters: begin another one.`);
      return;
    }
    this.draft.isOver = false;
    this.isFollowing = true;
    await this.run(this.draft);
    this.keep(this.draft, 'more');
  }

  open(draft) {
    this.draft = draft;
    this.card.close();
    this.view.show(draft.letters);
    this.showState();
  }

  async run(draft) {
    const turn = this.turn += 1;
    this.setWriting(true);
    let before = performance.now(), due = 1;
    while (!draft.isDone) {
      if (byId('fast').checked) {
        this.writeSlice(draft);
        await yieldToPage();
        before = performance.now();
      } else {
        const now = performance.now();
        due = Math.min(due + (now - before) * PACE / 1000, MOST_AT_ONCE);
        before = now;
        if (due >= 1) draft.write(Math.floor(due));
        due %= 1;
        await nextFrame();
      }
      if (turn !== this.turn) return;
      this.view.grow();
      this.follow();
      this.showState();
    }
    this.view.grow();
    this.setWriting(false);
    this.keep(draft, 'more');
    byId('announcer').textContent = `Written: ${count(draft.letters.length)} characters.`;
  }

  writeSlice(draft) {
    let spent = 0;
    while (spent < SLICE && !draft.isDone) {
      const size = Math.max(1, Math.min(256, Math.floor((draft.rate || 400) * (SLICE - spent) / 1000)));
      spent += draft.write(size) + 0.01;
    }
  }

  stop() {
    if (!this.isWriting) return;
    this.turn += 1;
    this.view.grow();
    this.setWriting(false);
    this.keep(this.draft, 'more');
    byId('announcer').textContent = 'Stopped.';
  }

  setWriting(isWriting) {
    this.isWriting = isWriting;
    document.body.classList.toggle('is-writing', isWriting);
    byId('write').textContent = isWriting ? 'Stop' : 'Write';
    byId('continue').textContent = isWriting ? 'Stop' : 'Continue';
    if (isWriting) byId('announcer').textContent = 'Writing.';
    this.showState();
  }

  showState() {
    const { draft } = this, length = draft ? draft.letters.length : 0;
    for (const id of ['copy', 'save', 'link']) byId(id).disabled = !draft || this.isWriting;
    byId('continue').disabled = !draft;
    if (!draft) return;
    const parts = [`${count(length)} character${length === 1 ? '' : 's'}`, `seed ${draft.settings.seed}`];
    if (!this.isWriting && draft.asked >= 100) parts.push(`worked out at ${count(draft.rate)} a second${this.network.kind === 'simd' ? '' : ', without WebAssembly'}`);
    const shown = parts.join(' · ');
    if (byId('rate').textContent !== shown) byId('rate').textContent = shown;
  }

  // Keep the end of the text in view, unless the person looks elsewhere.
  follow() {
    if (!this.isFollowing) return;
    const rest = this.view.caret.getBoundingClientRect().bottom + 28 - document.querySelector('.bar-below').getBoundingClientRect().top;
    if (rest > 0) scrollBy({ top: rest, behavior: 'instant' });
  }

  explain(error) {
    if (error instanceof Problem) this.form.complain(error.message, error.field);
    else if (error.characters) this.form.complain(this.sayUnknown([...error.characters]), this.form.prompt);
    else {
      this.form.complain(`Something went wrong (${error.message}): reload the page.`);
      throw error;
    }
  }

  sayUnknown(characters) {
    const named = characters.slice(0, 10).map((char) => `“${describeLetter(char, false)}”`).join(', ');
    const more = characters.length > 10 ? ` and ${count(characters.length - 10)} more` : '';
    return `This network has never seen ${named}${more}: leave ${characters.length > 1 ? 'them' : 'it'} out of the beginning.`;
  }

  // Addresses: each text is an entry of the browser's history, so that Back undoes a branch or a new text. ----------

  keep(draft, how) {
    if (how === 'arrival') return; // the address stays as it was opened
    const isNew = how === 'new' || how === 'branch';
    if (isNew) draft.id = this.drafts.size + 1;
    if (draft.id) this.drafts.set(draft.id, draft);
    if (!isNew && !draft.id) return;
    const move = isNew ? 'pushState' : 'replaceState';
    try { history[move]({ draft: draft.id }, '', draft.address(this.form.settings)); } catch { /* a frame that forbids it */ }
  }

  async openAddress(state) {
    const draft = this.drafts.get(state?.draft);
    if (draft) {
      this.stop();
      this.open(draft);
      return;
    }
    const values = new URLSearchParams(location.hash.slice(1));
    try {
      if (!values.has('seed')) return;
      this.form.fill(values);
    } catch (error) {
      error.message = `The address can’t be used. ${error.message}`;
      this.explain(error);
      return;
    }
    await this.begin(this.form.prompt.value, 'linked');
  }

  // Events --------------------------------------------------------------------------------------------------------

  listen() {
    byId('form').addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.isWriting) this.stop(); else this.begin(this.form.prompt.value, 'new');
    });
    byId('prompt').addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.begin(this.form.prompt.value, 'new');
    });
    byId('continue').addEventListener('click', () => { if (this.isWriting) this.stop(); else this.goOn(); });
    byId('tint').addEventListener('change', ({ target }) => {
      byId('text').classList.toggle('is-tinted', target.checked);
      byId('legend').classList.toggle('is-off', !target.checked);
    });
    byId('copy').addEventListener('click', ({ target }) => this.copy(target, String(this.draft.letters)));
    byId('link').addEventListener('click', ({ target }) => this.copy(target, new URL(this.draft.address(this.form.settings), location).href));
    byId('save').addEventListener('click', () => this.save());
    addEventListener('popstate', (event) => this.openAddress(event.state));
    addEventListener('keydown', (event) => { if (event.key === 'Escape') this.stop(); });
    addEventListener('wheel', (event) => { if (event.deltaY < 0) this.isFollowing = false; }, { passive: true });
    addEventListener('touchmove', () => { this.isFollowing = false; }, { passive: true });
    addEventListener('keydown', (event) => { if (/^(PageUp|Home|ArrowUp)$/.test(event.key)) this.isFollowing = false; });
  }

  async copy(button, text) {
    let isDone = true;
    try { await navigator.clipboard.writeText(text); } catch { isDone = this.copyBySelection(text); }
    const label = button.textContent;
    button.textContent = isDone ? 'Copied' : 'Not copied';
    byId('announcer').textContent = button.textContent;
    setTimeout(() => { button.textContent = label; }, 1500);
  }

  copyBySelection(text) { // where the page may not use the clipboard by itself
    const field = Object.assign(make('textarea', 'unseen'), { value: text });
    document.body.append(field);
    field.select();
    const isDone = document.execCommand('copy');
    field.remove();
    return isDone;
  }

  save() {
    const link = make('a');
    link.href = URL.createObjectURL(new Blob([String(this.draft.letters)], { type: 'text/plain;charset=utf-8' }));
    link.download = `${this.facts.page.fileName}.txt`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}

const openPage = async () => {
  try {
    let facts;
    try { facts = JSON.parse(byId('facts').textContent); } catch { throw new Problem('This file is damaged or not whole: get it once more.'); }
    const page = new Page(facts, await openNetwork(facts));
    if (new URLSearchParams(location.hash.slice(1)).has('seed')) await page.openAddress(null);
    else await page.begin('', 'arrival');
  } catch (error) {
    byId('problem').textContent = error instanceof Problem ? error.message : `This page can’t be shown here (${error.message}).`;
    byId('text').dataset.placeholder = '';
  }
};
openPage();
