// Read this first: a text that the network reads once and remembers while it writes.
const NUM_BINS = 60; // of the curve
const MOST_NAMED = 10; // characters that were left out

// Surprises of a text in the order of its characters, as two curves that grow while it is read.
class Curve {
  constructor(box, length) {
    Object.assign(this, { box, length, bins: [] });
    const svg = this.svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('viewBox', `0 0 ${NUM_BINS} 20`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('aria-hidden', 'true');
    this.lines = Object.fromEntries(['alone', 'adapted'].map((name) => {
      const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
      line.setAttribute('class', name);
      svg.append(line);
      return [name, line];
    }));
    box.replaceChildren(svg);
  }

  add(first, { alone, adapted }) {
    for (let at = 0; at < alone.length; at += 1) {
      const bin = this.bins[Math.floor((first + at) * NUM_BINS / this.length)] ??= { num: 0, alone: 0, adapted: 0 };
      bin.num += 1;
      bin.alone += alone[at];
      bin.adapted += adapted[at];
    }
    const most = Math.max(...this.bins.map((bin) => Math.max(bin.alone, bin.adapted) / bin.num));
    for (const [name, line] of Object.entries(this.lines)) {
      line.setAttribute('points', Object.entries(this.bins).map(([at, bin]) => `${Number(at) + 0.5},${(19.5 - 19 * bin[name] / bin.num / most).toFixed(2)}`).join(' '));
    }
  }
}

class ReadFirst {
  constructor(network, vocabulary, onWeight) {
    Object.assign(this, { network, vocabulary, memory: null, turn: 0, onWeight });
    byId('remember').addEventListener('click', () => this.read());
    byId('forget').addEventListener('click', () => this.forget());
    byId('read-file').addEventListener('change', ({ target }) => this.open(target));
    byId('read-weight').addEventListener('input', () => this.showWeight());
    this.showWeight();
  }

  get weight() { return byId('read-weight').valueAsNumber; }

  showWeight() {
    const { weight } = this;
    byId('read-weight-shown').textContent = weight.toFixed(1);
    const says = weight === 0 ? 'nothing of it' : weight < 1 ? 'a little of it' : weight === 1 ? 'as much as it found to help' : weight < 2 ? 'more of it, in longer quotes' : 'only what it has read, where it can';
    byId('read-weight-says').textContent = says;
    this.onWeight(weight);
  }

  // Let a text write with what is remembered.
  lend(text) { if (this.memory) text.remember(this.memory, this.weight); }

  async open(field) {
    const [file] = field.files;
    if (!file) return;
    this.say('');
    try {
      if (file.size > 4 * LONGEST_READ) throw new Unreadable(`This file has ${count(file.size / 1000)} kB; a text here has at most ${count(LONGEST_READ)} characters: choose a part of it.`);
      byId('read-text').value = await file.text();
      field.value = '';
      await this.read();
    } catch (error) { this.say(error instanceof Unreadable ? error.message : 'This file can’t be read: choose another one.', true); }
  }

  // Read the text in slices of a few milliseconds; a second click begins anew.
  async read() {
    const turn = this.turn += 1;
    this.say('');
    let memory;
    try { memory = new Memory(this.network, this.vocabulary, byId('read-text').value); } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      this.say(error.message, true);
      return;
    }
    const curve = new Curve(byId('read-curve'), memory.ids.length);
    byId('read-about').hidden = false;
    for (let size = 16; !memory.isWhole;) {
      const began = performance.now(), first = memory.numRead;
      curve.add(first, memory.advance(size));
      const took = performance.now() - began;
      size = Math.max(1, Math.min(512, took < SLICE / 2 ? 2 * size : took > 2 * SLICE ? size >> 1 : size));
      byId('read-state').textContent = `Reading: ${count(memory.numRead)} of ${count(memory.ids.length)}`;
      await yieldToPage();
      if (turn !== this.turn) return;
    }
    this.memory = memory;
    byId('read-state').textContent = '';
    this.say(this.describe(memory));
    this.showForget();
  }

  describe({ sums, ids, leftOut }) {
    const [alone, adapted] = [sums.alone, sums.adapted].map((nats) => Math.exp(nats / ids.length).toFixed(1));
    const named = leftOut.slice(0, MOST_NAMED).map((char) => `“${describeLetter(char, false)}”`).join(', ');
    const more = leftOut.length > MOST_NAMED ? ` and ${count(leftOut.length - MOST_NAMED)} more` : '';
    const unknown = leftOut.length ? ` It has never seen ${named}${more}, and read without.` : '';
    return `It has read ${count(ids.length)} ${this.vocabulary.level === 'bytes' ? 'bytes' : 'characters'}. By itself it was as unsure as between ${alone} letters at each place; with what it remembered by then, between ${adapted}.${unknown} Now write.`;
  }

  forget() {
    this.turn += 1;
    this.memory = null;
    byId('read-about').hidden = true;
    this.say('Forgotten: the next text is written as before.');
    this.showForget();
    byId('remember').focus();
  }

  showForget() { byId('forget').hidden = byId('read-dial').hidden = !this.memory; }

  say(text, isProblem = false) {
    byId('read-problem').textContent = isProblem ? text : '';
    byId('read-says').textContent = isProblem ? '' : text;
  }
}
