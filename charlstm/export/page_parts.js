// The parts of the page: what the file holds, the form, and a text with what is needed to go on with it.
const MOST_CHARS = 1000000; // in one text, of which the browser draws every letter
const NUM_SEEDS = 2 ** 31;
const SAYS_LENGTH = `a whole number from 1 to ${MOST_CHARS.toLocaleString('en')}, or 0 for a text without end`;
const TEMPERATURES = [[0, 'always the likeliest letter'], [0.5, 'careful: it repeats itself'], [0.94, 'a little surer than it is'], [1.06, 'just as sure as it is'], [1.3, 'bolder: it dares more'], [2, 'wild']];

const SLICE = 10; // milliseconds of work between two looks at what the person does

const byId = (id) => document.getElementById(id);
const count = (number) => Math.round(number).toLocaleString('en');

const yieldToPage = () => new Promise((done) => { const { port1, port2 } = new MessageChannel(); port1.onmessage = done; port2.postMessage(0); });
const listLetters = (characters) => {
  const named = characters.slice(0, 10).map((char) => `“${describeLetter(char, false)}”`).join(', ');
  return characters.length > 10 ? `${named} and ${count(characters.length - 10)} more` : named;
};

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
      else if (Object.hasOwn(this.settings, name)) byId(name).value = this.check(name, value);
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
  constructor(network, vocabulary, prompt, settings) {
    const { seed, temperature, top_k: topK, top_p: topP, no_repeat: noRepeat, stop, num_chars: length } = settings;
    this.settings = settings;
    this.text = new Text(network, vocabulary, { seed, sample: 0, temperature, topK, topP, noRepeat, stop });
    this.text.read(prompt);
    this.letters = new Letters(prompt);
    this.left = length || MOST_CHARS;
    this.asked = 0; // tokens written so far
    this.isOver = false;
    this.busy = 0; // milliseconds of computing
    this.memory = null; // what was read first, while it counts
    this.hasRemembered = false; // whether another text had its part in this one
  }

  // Write from now on with what was read first, and as much of it as the dial says.
  remember({ memory, amount }) {
    this.text.remember(memory, amount);
    this.memory = amount > 0 ? memory : null;
    if (this.memory) this.hasRemembered = true;
  }

  // Where what was read first has the same letter after the same ones, in a sentence; '' if nowhere.
  recall(index) {
    if (!this.memory || this.text.vocabulary.level === 'bytes') return '';
    const { characters } = this.text.vocabulary, char = this.letters.chars[index];
    const read = this.memory.string ??= this.memory.ids.map((id) => characters[id]).join('');
    const before = Array.from(this.letters.before(index)).slice(-LONGEST);
    for (; before.length >= SHORTEST; before.shift()) {
      const context = before.join(''), at = read.lastIndexOf(context + char);
      if (at >= 0) return `It read this before, after “${context.replaceAll('\n', '↵')}”, ${count(read.length - at - context.length)} characters from the end.`;
    }
    return '';
  }

  // Write so many; returns how many milliseconds it took.
  write(number) {
    const wanted = Math.min(number, this.left), began = performance.now();
    const piece = this.text.write(wanted, NUM_LIKELIEST, wanted === this.left);
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
