// Reading first: a text that the network reads before it writes, the curve of its surprise, and the dial.
const LARGEST_FILE = 4 * LONGEST_READ; // bytes: more can't be so few characters
const NUM_POINTS = 60; // of the curve
const CURVE = { width: 300, height: 84 };
const AMOUNTS = [[0, 'nothing of it'], [0.7, 'a little of it'], [1.3, 'as much as it trusts it'], [1.9, 'much of it'], [2, 'wherever it knows it']];

const makeSvg = (tag, attributes) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};

// The mean surprise of each stretch of what is read, without and with what is remembered.
class SurpriseCurve {
  constructor(svg) {
    this.svg = svg;
    svg.setAttribute('viewBox', `0 0 ${CURVE.width} ${CURVE.height}`);
    this.lines = ['alone', 'adapted'].map((name) => makeSvg('polyline', { class: `line-${name}`, 'vector-effect': 'non-scaling-stroke' }));
    svg.replaceChildren(...this.lines);
  }

  begin(length) {
    this.width = Math.max(20, Math.ceil(length / NUM_POINTS)); // characters of a stretch
    this.num = Math.ceil(length / this.width);
    this.length = length;
    this.means = [[], []];
    this.rest = [0, 0, 0]; // characters and nats of the stretch that is not full
  }

  add({ alone, adapted }) {
    alone.forEach((nats, index) => {
      this.rest[0] += 1;
      this.rest[1] += nats;
      this.rest[2] += adapted[index];
      if (this.rest[0] < this.width) return;
      this.means.forEach((means, line) => means.push(this.rest[1 + line] / this.rest[0]));
      this.rest = [0, 0, 0];
    });
  }

  draw() {
    const all = this.means.flat(), least = Math.min(...all), most = Math.max(...all), span = Math.max(most - least, 0.3);
    this.means.forEach((means, line) => {
      const points = means.map((mean, at) => {
        const x = this.num > 1 ? at / (this.num - 1) : 0, y = (most - mean) / span;
        return `${(2 + x * (CURVE.width - 4)).toFixed(1)},${(4 + y * (CURVE.height - 8)).toFixed(1)}`;
      });
      this.lines[line].setAttribute('points', points.join(' '));
    });
  }
}

class ReadFirst {
  // `changed()` is told when what is remembered, or how much of it counts, has changed.
  constructor(network, vocabulary, changed) {
    Object.assign(this, { network, vocabulary, changed, memory: null, turn: 0, isReading: false });
    this.curve = new SurpriseCurve(byId('curve'));
    byId('remember').addEventListener('click', () => { if (this.isReading) this.stop(); else this.read(byId('to-read').value); });
    byId('forget').addEventListener('click', () => this.forget());
    byId('amount').addEventListener('input', () => { this.showAmount(); this.changed(); });
    byId('to-read-file').addEventListener('change', ({ target }) => this.open(target));
    this.showAmount();
    this.show();
  }

  get amount() { return Number(byId('amount').value); }

  showAmount() {
    byId('amount-shown').textContent = this.amount.toFixed(1);
    byId('amount-says').textContent = AMOUNTS.find(([most]) => this.amount <= most)[1];
  }

  async open(field) {
    const [file] = field.files;
    if (!file) return;
    try {
      if (file.size > LARGEST_FILE) {
        throw new Problem(`This file has ${(file.size / 1e6).toFixed(1)} MB; at most ${count(LONGEST_READ)} characters are read: cut a part out of it.`);
      }
      const text = await file.text();
      if (text.includes('\0')) throw new Problem('This file holds no text; choose another one.');
      byId('to-read').value = text;
      await this.read(text);
    } catch (error) { this.complain(error instanceof Problem ? error.message : 'This file can’t be read; choose it once more.'); }
    field.value = '';
  }

  async read(text) {
    const turn = this.turn += 1;
    this.complain('');
    try {
      const memory = new Memory(this.network, this.vocabulary, text);
      this.setReading(true);
      this.curve.begin(memory.ids.length);
      if (await this.advance(memory, turn)) this.keep(memory);
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      this.complain(error.message);
    }
    if (turn === this.turn) this.setReading(false);
  }

  // Read in slices; returns whether that came to its end.
  async advance(memory, turn) {
    let size = 8;
    while (!memory.isWhole) {
      const began = performance.now();
      this.curve.add(memory.advance(size));
      const took = performance.now() - began;
      size = took < SLICE / 2 ? 2 * size : took > 2 * SLICE ? Math.max(1, size >> 1) : size;
      this.curve.draw();
      byId('read-said').textContent = `${count(memory.numRead)} of ${count(memory.ids.length)} characters read`;
      await yieldToPage();
      if (turn !== this.turn) return false;
    }
    return true;
  }

  keep(memory) {
    this.memory = memory;
    const { numRead, leftOut, sums } = memory, mean = (nats) => Math.exp(nats / numRead).toFixed(1);
    const left = leftOut.length ? ` Left out, as it never saw ${leftOut.length > 1 ? 'them' : 'it'}: ${listLetters(leftOut)}.` : '';
    byId('read-said').textContent = `Read ${count(numRead)} characters, as if choosing among ${mean(sums.alone)} letters each time; remembering what came before, among ${mean(sums.adapted)}.${left}`;
    this.changed();
  }

  stop() {
    this.turn += 1;
    this.setReading(false);
    byId('read-said').textContent = '';
  }

  forget() {
    this.turn += 1;
    this.memory = null;
    this.setReading(false);
    byId('read-said').textContent = 'Forgotten: it writes as before.';
    byId('remember').focus();
    this.changed();
  }

  complain(problem) { byId('read-problem').textContent = problem; }

  setReading(isReading) {
    this.isReading = isReading;
    this.show();
  }

  show() {
    byId('remember').textContent = this.isReading ? 'Stop' : 'Remember it';
    byId('curve-part').hidden = !this.isReading && !this.memory;
    byId('dial').hidden = byId('forget').hidden = !this.memory;
    document.body.classList.toggle('is-remembering', Boolean(this.memory));
  }
}
