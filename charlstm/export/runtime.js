// Writing in a web page, on top of network.js: the vocabulary, the draw of the next character, and texts.
//
// The same steps as in the package's vocabulary.py, sampling.py and stream.py, in the same float32 and float64.
// Shapes: V = characters of the vocabulary; a character is one code point, so a string's `length` may be larger.
'use strict';

const REPEAT_WINDOW = 1024; // characters that `noRepeat` looks back at

// ---- the vocabulary

/** A text holds characters, `characters` of it, that the model has never seen. */
class Unknown extends Error {
  constructor(characters) {
    super(`The model has never seen ${characters.slice(0, 10).join(' ')}; leave it out.`);
    this.characters = characters;
  }
}

// Typographic characters and what a plain keyboard gives instead.
const PLAIN = new Map(Object.entries({
  '\u2018': "'", '\u2019': "'", '\u201a': ',', '\u201c': '"', '\u201d': '"', '\u201e': '"', '\u2013': '-', '\u2014': '-',
  '\u2026': '...', '\u00a0': ' ', '\t': ' ',
}));
const MARKS = /\p{M}{31}/u; // on one letter: more than any script writes, and slow to compose

/** Characters and their ids; `level` is 'chars', or 'bytes' of UTF-8. */
class Vocabulary {
  constructor({characters, level}) {
    this.characters = [...characters];
    this.level = level;
    this.ids = new Map(this.characters.map((char, id) => [char, id]));
    this.defaultPrompt = level === 'bytes' || this.ids.has('\n') ? '\n' : this.characters[0];
  }

  encode(text) {
    if (this.level === 'bytes') return [...new TextEncoder().encode(text)];
    return Array.from(text, (char) => this.ids.get(char));
  }

  findUnknown(text) {
    return this.level === 'bytes' ? [] : [...new Set(text)].filter((char) => !this.ids.has(char));
  }

  /** `text` with known equivalents of unknown characters; throws `Unknown` if some have none. */
  normalize(text) {
    const plain = text.replace(/^\ufeff/, '').replace(/\r\n?/g, '\n');
    if (this.level === 'bytes') return plain;
    if (!this.findUnknown(text).length) return text;
    let fitted = this.#fit(plain);
    if (this.findUnknown(fitted).length && !MARKS.test(plain)) fitted = this.#fit(plain.normalize('NFC'));
    const unknown = this.findUnknown(fitted);
    if (unknown.length) throw new Unknown(unknown);
    return fitted;
  }

  /** `text` as `normalize` does but without characters that stay unknown, and those. */
  fit(text) {
    try {
      return {fitted: this.normalize(text), leftOut: []};
    } catch (error) {
      if (!(error instanceof Unknown)) throw error;
    }
    const plain = text.replace(/^\ufeff/, '').replace(/\r\n?/g, '\n');
    const fitted = this.#fit(MARKS.test(plain) ? plain : plain.normalize('NFC'));
    const leftOut = this.findUnknown(fitted), unknown = new Set(leftOut);
    return {fitted: Array.from(fitted).filter((char) => !unknown.has(char)).join(''), leftOut};
  }

  #fit(text) { return Array.from(text, (char) => this.#equivalent(char)).join(''); }

  #equivalent(char) {
    for (const each of [char, PLAIN.get(char) ?? char, char.toLowerCase(), char.toUpperCase()])
      for (const form of [each, each.normalize('NFD')])
        if (!this.findUnknown(form).length) return form;
    return char;
  }
}

/** Bytes of UTF-8 to characters as they become whole; what is no UTF-8 becomes U+FFFD. */
class Decoder {
  constructor({needed = 0, code = 0, lowest = 0x80, highest = 0xbf} = {}) {
    Object.assign(this, {needed, code, lowest, highest});
  }

  feed(byte) {
    if (!this.needed) return this.#begin(byte);
    if (byte < this.lowest || byte > this.highest) return this.finish() + this.#begin(byte);
    [this.lowest, this.highest] = [0x80, 0xbf];
    this.code = (this.code << 6) | (byte & 0x3f);
    return --this.needed ? '' : String.fromCodePoint(this.code);
  }

  #begin(byte) {
    if (byte < 0x80) return String.fromCharCode(byte);
    if (byte < 0xc2 || byte > 0xf4) return '\ufffd';
    this.needed = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    this.code = byte & (0x3f >> this.needed);
    this.lowest = byte === 0xe0 ? 0xa0 : byte === 0xf0 ? 0x90 : 0x80;
    this.highest = byte === 0xed ? 0x9f : byte === 0xf4 ? 0x8f : 0xbf;
    return '';
  }

  /** U+FFFD if a character was left unfinished. */
  finish() {
    const left = this.needed ? '\ufffd' : '';
    Object.assign(this, new Decoder());
    return left;
  }
}

// ---- the draw

const GOLDEN = 0x9e3779b97f4a7c15n;

function hash64(x) { // the finaliser of SplitMix64 (Steele, Lea and Flood 2014)
  x = BigInt.asUintN(64, x);
  x = BigInt.asUintN(64, (x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n);
  x = BigInt.asUintN(64, (x ^ (x >> 27n)) * 0x94d049bb133111ebn);
  return x ^ (x >> 31n);
}

/** A function of position, with numbers in [0, 1) that follow from seed and sample. */
function counter(seed, sample) {
  const state = hash64(hash64(BigInt(seed) + GOLDEN) + BigInt(sample));
  return (position) => Number(hash64(state + BigInt(position + 1) * GOLDEN) >> 11n) * 2 ** -53;
}

/** Choices among V characters, with room to compute them in. */
class Sampler {
  constructor(network) {
    this.network = network;
    const size = (this.size = network.vocabularySize);
    this.shares = new Float32Array(size);
    this.allowed = new Float32Array(size);
    this.keys = null; // of the order by likelihood, once a filter asks for it
  }

  /** Of `logits` over `temperature`, shares that sum to what is returned; 0 for those of -infinity. */
  weigh(logits, temperature) {
    const {shares, size} = this;
    let largest = -Infinity, total = 0;
    for (let id = 0; id < size; id++) if (logits[id] > largest) largest = logits[id];
    this.network.weigh(logits, largest, temperature, shares);
    for (let id = 0; id < size; id++) total += shares[id];
    return {largest, total};
  }

  /** What to subtract from logits for logarithms of the model's own probabilities. */
  normalizer(logits) {
    const {largest, total} = this.weigh(logits, 1);
    return round(largest + round(Math.log(total)));
  }

  /** The ids of the `num` likeliest; of equals, the first. */
  rank(logits, num) {
    const ids = [];
    for (let id = 0; id < this.size; id++) {
      if (ids.length === num && !(logits[id] > logits[ids[num - 1]])) continue;
      let at = ids.length < num ? ids.length : num - 1;
      for (; at > 0 && logits[id] > logits[ids[at - 1]]; at--) ids[at] = ids[at - 1];
      ids[at] = id;
    }
    return ids;
  }

  /** All ids, the likeliest first. A key is a logit's bits in the order of numbers, then the id from behind. */
  #order(logits) {
    this.keys ??= {floats: new Float32Array(1), numbers: new Float64Array(this.size)};
    const {floats, numbers} = this.keys, bits = new Int32Array(floats.buffer);
    for (let id = 0; id < this.size; id++) {
      floats[0] = logits[id] + 0; // -0 is no less than 0
      const ordered = bits[0] < 0 ? ~bits[0] ^ -0x80000000 : bits[0];
      numbers[id] = (ordered + 0x80000000) * 2 ** 21 + (this.size - 1 - id);
    }
    return numbers.sort().reverse();
  }

  #filter(logits, topK, topP) {
    const {shares, size} = this, order = this.#order(logits), kept = topK > 0 && topK < size ? topK : size;
    const idAt = (rank) => size - 1 - (order[rank] % 2 ** 21);
    let total = 0, before = 0;
    for (let rank = 0; rank < kept; rank++) total += shares[idAt(rank)];
    for (let rank = 0; rank < size; rank++) {
      const id = idAt(rank), share = shares[id];
      if (rank >= kept || (topP < 1 && rank && before >= topP * total)) shares[id] = 0;
      before += share;
    }
  }

  /** One of the V characters; `uniform`, of a number in [0, 1), is not asked at temperature 0. */
  choose(logits, {temperature, topK, topP}, uniform) {
    let chosen = 0, total = 0, sum = 0;
    if (temperature === 0) {
      for (let id = 1; id < this.size; id++) if (logits[id] > logits[chosen]) chosen = id;
      return chosen;
    }
    this.weigh(logits, round(Math.max(temperature, 1e-30)));
    if ((topK > 0 && topK < this.size) || topP < 1) this.#filter(logits, topK, topP);
    for (let id = 0; id < this.size; id++) total += this.shares[id];
    const edge = uniform() * total;
    for (let id = 0; id < this.size; id++) {
      if (this.shares[id] > 0) chosen = id;
      sum += this.shares[id];
      if (sum > edge) break;
    }
    return chosen;
  }

  /** The logits, but -infinity for characters that would complete `length` of them that are in `history` already. */
  guard(logits, history, length) {
    if (!length) return logits;
    const {allowed} = this, before = length - 1, end = history.length;
    allowed.set(logits);
    for (let at = Math.max(0, end - REPEAT_WINDOW); at + before < end; at++) {
      let k = 0;
      while (k < before && history[at + k] === history[end - before + k]) k++;
      if (k === before) allowed[history[at + before]] = -Infinity;
    }
    return allowed.some((logit) => logit !== -Infinity) ? allowed : logits;
  }
}

// ---- texts

const DEFAULTS = {seed: 1, sample: 0, temperature: 0.8, topK: 0, topP: 1, noRepeat: 0, stop: ''};

/** A text that a network writes; any number of them may share it.
 *
 * `position` counts what was written (bytes at level 'bytes') and says which random number comes next.
 */
class Text {
  constructor(network, vocabulary, options = {}) {
    this.network = network;
    this.vocabulary = vocabulary instanceof Vocabulary ? vocabulary : new Vocabulary(vocabulary);
    this.sampler = network.sampler ??= new Sampler(network);
    this.state = network.newState();
    this.history = []; // ids, at least the last REPEAT_WINDOW
    this.unread = []; // ids that the network has yet to read
    this.position = 0;
    this.tail = ''; // of what was written, as much as the stop string may begin in
    this.decoder = new Decoder();
    this.held = {surprise: 0, likeliest: null, probabilities: null}; // of a character that isn't whole
    this.memory = null; // of a text that was read first; see ngram.js
    this.memoryWeight = 1;
    this.options = DEFAULTS;
    this.setOptions(options);
  }

  /** Write from now on with `weight`, from 0 to 2, of a `Memory` or of a string, which is read at once; `null` forgets. */
  remember(memory, weight = 1) {
    this.memory = typeof memory === 'string' ? new Memory(this.network, this.vocabulary, memory) : memory;
    this.memory?.advance(Infinity);
    this.memoryWeight = weight;
  }

  setOptions(options) {
    this.options = {...this.options, ...options};
    this.stop = this.options.stop;
    try {
      this.stop = this.vocabulary.normalize(this.stop);
    } catch { /* what the model can't write ends nothing */ }
    this.draw = counter(this.options.seed, this.options.sample);
    this.isOver = false;
  }

  /** Return a text that goes on from here by itself. */
  copy() {
    return Object.assign(new Text(this.network, this.vocabulary, this.options), this, {
      state: this.network.copyState(this.state),
      history: this.history.slice(),
      unread: this.unread.slice(),
      decoder: new Decoder(this.decoder),
      held: {...this.held},
    });
  }

  /** Take in a prompt, and return it as the model knows it; throws `Unknown`. It is read when it is needed. */
  read(prompt) {
    const fitted = this.vocabulary.normalize(prompt);
    this.#add(this.vocabulary.encode(fitted || (this.history.length ? '' : this.vocabulary.defaultPrompt)));
    return fitted;
  }

  #add(ids) {
    for (const id of ids) {
      this.unread.push(id);
      this.history.push(id);
    }
    if (this.history.length > 2 * REPEAT_WINDOW) this.history = this.history.slice(-REPEAT_WINDOW);
  }

  /** Read at most `most` characters of a long prompt; return how many are left. The last one waits for `predict`. */
  advance(most) {
    const num = Math.min(most, this.unread.length - 1);
    for (let index = 0; index < num; index++) this.network.step(this.unread[index], this.state, false);
    if (num > 0) this.unread = this.unread.slice(num);
    return Math.max(0, this.unread.length - 1);
  }

  /** The logits (V) of the next character, valid until the network's next step. Call it once for each character. */
  predict() {
    if (!this.history.length) this.read('');
    this.advance(Infinity);
    const logits = this.network.step(this.unread[0], this.state);
    return this.memory && this.memoryWeight ? this.memory.mix(logits, this.history, this.memoryWeight) : logits;
  }

  /** Say which character followed after `predict`. */
  accept(id) {
    this.unread = [];
    this.#add([id]);
    this.position++;
  }

  /** Write `num` characters (bytes at level 'bytes'), fewer where the stop string comes.
   *
   * `isLast` says that no more will be asked for, so that a character that isn't whole becomes U+FFFD.
   */
  write(num, numLikeliest = 5, isLast = false) {
    return this.#take(num, numLikeliest, isLast, (logits) => {
      const allowed = this.sampler.guard(logits, this.history, this.options.noRepeat);
      return this.sampler.choose(allowed, this.options, () => this.draw(this.position));
    });
  }

  /** Continue with a given text as if it had been written; throws `Unknown`. */
  follow(text, numLikeliest = 5) {
    const ids = this.vocabulary.encode(this.vocabulary.normalize(text));
    return this.#take(ids.length, numLikeliest, false, (_, index) => ids[index]);
  }

  #take(num, numLikeliest, isLast, choose) {
    const written = {text: '', surprises: [], likeliest: [], probabilities: []};
    for (let index = 0; index < num && !this.isOver; index++) {
      const logits = this.predict(), normalizer = this.sampler.normalizer(logits);
      const ids = this.sampler.rank(logits, Math.min(numLikeliest, logits.length));
      const probabilities = ids.map((id) => Math.exp(logits[id] - normalizer));
      const chosen = choose(logits, index);
      const isBytes = this.vocabulary.level === 'bytes';
      const characters = isBytes ? this.decoder.feed(chosen) : this.vocabulary.characters[chosen];
      const isAmid = isBytes && this.decoder.needed > 0;
      const isBroken = this.held.probabilities && [...characters].length + isAmid > 1; // what came before is broken off
      if (isBroken) this.#release('\ufffd', written);
      this.#hold(round(normalizer - logits[chosen]), ids, probabilities);
      this.#release(isBroken ? characters.slice(1) : characters, written);
      if (this.isOver && !isAmid) this.#forget();
      this.accept(chosen);
    }
    if (isLast && !this.isOver) this.#release(this.decoder.finish(), written);
    return {...written, surprises: Float32Array.from(written.surprises), isOver: this.isOver};
  }

  #hold(surprise, ids, probabilities) {
    this.held.surprise += surprise;
    this.held.likeliest ??= ids.map((id) => this.vocabulary.characters[id]).join('');
    this.held.probabilities ??= probabilities;
  }

  #forget() {
    this.held = {surprise: 0, likeliest: null, probabilities: null};
  }

  /** Add a character that is whole or broken off now, if there is one. */
  #release(char, written) {
    if (!char || this.isOver) return;
    written.text += char;
    written.surprises.push(this.held.surprise);
    written.likeliest.push(this.held.likeliest);
    written.probabilities.push(this.held.probabilities);
    this.#forget();
    this.tail += char;
    this.isOver = this.stop !== '' && this.tail.endsWith(this.stop);
    this.tail = this.tail.slice(-Math.max(1, this.stop.length));
  }
}
