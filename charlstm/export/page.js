// The page: the pace of writing, the address, and what is done with a text.
const DRAW_EVERY = 40; // milliseconds, where it writes as fast as it can: the browser lays out a text anew each time
const PACE = 80; // characters a second that a person can follow
const MOST_AT_ONCE = 40; // characters in one step at that pace, after the page was hidden

const nextFrame = () => new Promise((done) => { requestAnimationFrame(done); });

class Page {
  constructor(facts, network) {
    Object.assign(this, { facts, network, turn: 0, isWriting: false, isFollowing: false, drafts: new Map() });
    this.vocabulary = new Vocabulary(facts.vocabulary);
    this.form = new Form(facts.page.settings, facts.page.prompts);
    this.reading = new ReadFirst(network, this.vocabulary, () => this.remember());
    this.view = new TextView(byId('text'));
    this.card = new Card(this.view, byId('frame'), { isBytes: facts.vocabulary.level === 'bytes',
      canBranch: () => !this.isWriting, branch: (prompt) => this.begin(prompt, 'branch'),
      recall: (index) => this.draft?.recall(index) ?? '' });
    byId('text').dataset.placeholder = 'A text appears here, letter by letter.';
    byId('text').classList.toggle('is-code', facts.page.isCode);
    byId('fast').checked = matchMedia('(prefers-reduced-motion: reduce)').matches;
    byId('link').hidden = !/^https?:$/.test(location.protocol);
    this.showExamples();
    this.arrange();
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

  // On a phone the settings are folded, so that the text is in view.
  arrange() {
    const narrow = matchMedia('(max-width: 40rem)'), place = () => {
      if (narrow.matches) byId('more-title').after(byId('pair')); else byId('more').before(byId('pair'));
      byId('more-title').textContent = narrow.matches ? 'Settings' : 'More';
    };
    narrow.addEventListener('change', place);
    place();
  }

  // Writing -------------------------------------------------------------------------------------------------------

  // Begin a text: `how` is 'new', 'branch', 'arrival' or 'linked'.
  async begin(prompt, how) {
    try {
      if (how !== 'linked' && how !== 'branch' && byId('is-new-seed').checked) this.form.drawSeed();
      const settings = this.form.read();
      this.stop();
      const draft = new Draft(this.network, this.vocabulary, prompt || this.form.opening(settings.seed), settings);
      draft.remember(this.reading);
      this.isFollowing = how === 'new';
      this.open(draft);
      this.keep(draft, how);
      await this.run(draft);
    } catch (error) { this.explain(error); }
  }

  // What is remembered, or how much of it counts, has changed: also for a text that is being written.
  remember() {
    if (this.isWriting) this.draft.remember(this.reading);
  }

  async goOn() {
    if (!this.draft || this.isWriting) return;
    if (this.draft.left <= 0 && !this.draft.extend()) {
      this.form.complain(`A text here has at most ${count(MOST_CHARS)} characters: begin another one.`);
      return;
    }
    this.draft.isOver = false;
    this.draft.text.setOptions({}); // go on past the stop
    this.draft.remember(this.reading);
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
    if (!await this.readPrompt(draft, turn)) return;
    let before = performance.now(), drawnAt = 0, due = 1;
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
      if (byId('fast').checked && performance.now() - drawnAt < DRAW_EVERY) continue;
      drawnAt = performance.now();
      this.view.grow();
      this.follow();
      this.showState();
    }
    this.view.grow();
    this.follow();
    this.setWriting(false);
    this.keep(draft, 'more');
    byId('announcer').textContent = `Written: ${count(draft.letters.length)} characters.`;
  }

  // Read a long beginning in slices; returns whether that came to its end.
  async readPrompt(draft, turn) {
    let size = 16;
    for (let left = draft.text.advance(0); left > 0;) {
      const began = performance.now();
      left = draft.text.advance(size);
      if (performance.now() - began < SLICE / 2) size *= 2;
      if (size < 64 && left < 64) continue;
      byId('rate').textContent = `Reading the beginning: ${count(left)} characters to go`;
      await yieldToPage();
      if (turn !== this.turn) return false;
    }
    return true;
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
    if (draft?.hasRemembered) byId('link').disabled = true; // no address holds what was read
    byId('continue').disabled = !draft;
    if (!draft) return;
    const parts = [`${count(length)} character${length === 1 ? '' : 's'}`, `seed ${draft.settings.seed}`];
    if (!this.isWriting && draft.asked >= 100) parts.push(`up to ${count(draft.rate)} a second${this.network.kind === 'simd' ? '' : ', without WebAssembly'}`);
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
    return `This network has never seen ${listLetters(characters)}: leave ${characters.length > 1 ? 'them' : 'it'} out of the beginning.`;
  }

  // Addresses: each text is an entry of the browser's history, so that Back undoes a branch or a new text. ----------

  keep(draft, how) {
    if (how === 'arrival') return; // the address stays as it was opened
    const isNew = how === 'new' || how === 'branch';
    if (isNew) draft.id = this.drafts.size + 1;
    if (draft.id) this.drafts.set(draft.id, draft);
    if (!isNew && !draft.id) return;
    const move = isNew ? 'pushState' : 'replaceState';
    const address = draft.hasRemembered ? location.pathname + location.search : draft.address(this.form.settings);
    try { history[move]({ draft: draft.id }, '', address); } catch { /* a frame that forbids it */ }
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
