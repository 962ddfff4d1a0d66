// Memory of a text that was read first, on top of runtime.js: what followed each context there, mixed into predictions.
//
// The same counts, weights and mix as in the package's adaptation.py, in the same float64.
// A character's id is one UTF-16 unit of a string here, so that a context is a slice.
'use strict';

const SHORTEST = 3, LONGEST = 8; // characters of a context
const FIRST_WEIGHT = 0.1, PRIOR = 2; // what a weight is at first, and how many observations that counts for
const MOST_FOLLOWERS = 8; // of a context, the newest
const LONGEST_READ = 100000; // characters
const MOST_CHARACTERS = 65536; // of a vocabulary
const LEAST_PROBABILITY = 2 ** -1022; // of a character that is read, so that its surprise is a number

/** What followed each context of a text, and how far each kind of context is to be trusted. */
class Ngram {
  constructor() {
    this.followers = new Map();
    this.tail = '';
    this.shares = new Float64Array((LONGEST + 1) * 16).fill(FIRST_WEIGHT * PRIOR);
    this.counts = new Float64Array((LONGEST + 1) * 16).fill(PRIOR);
  }

  /** Read a character that had the probability `mixed`; return what it had after mixing. Scored first, then counted. */
  read(id, mixed) {
    const {followers, tail} = this, char = String.fromCharCode(id);
    for (let length = SHORTEST; length <= tail.length; length++) {
      const context = tail.slice(-length), seen = followers.get(context);
      if (seen === undefined) {
        followers.set(context, char);
        continue;
      }
      const place = weightPlace(length, seen), weight = this.shares[place] / this.counts[place];
      const part = weight * ((seen.split(char).length - 1) / seen.length);
      mixed = (1 - weight) * mixed + part;
      if (part) this.shares[place] += part / mixed;
      this.counts[place] += 1;
      followers.set(context, (seen + char).slice(-MOST_FOLLOWERS));
    }
    this.tail = (tail + char).slice(-LONGEST);
    return mixed;
  }

  /** Mix what followed the end of `tail`, a string of ids, into `probabilities` (V), in place. `amount`: 0 to 2. */
  mix(probabilities, tail, amount) {
    for (let length = SHORTEST; length <= Math.min(LONGEST, tail.length); length++) {
      const seen = this.followers.get(tail.slice(-length));
      if (seen === undefined) return;
      const place = weightPlace(length, seen), share = amount * this.shares[place];
      const weight = share / (share + (2 - amount) * (this.counts[place] - this.shares[place]));
      for (let id = 0; id < probabilities.length; id++) probabilities[id] *= 1 - weight;
      const part = weight / seen.length;
      for (let at = 0; at < seen.length; at++) probabilities[seen.charCodeAt(at)] += part;
    }
  }
}

/** Where the weight stands of a context of this length that had the followers `seen`, 1 to 8. */
function weightPlace(length, seen) {
  const kinds = new Set(seen).size, kind = kinds < 3 ? kinds - 1 : kinds < 5 ? 2 : 3;
  return (length * 4 + kind) * 4 + (31 - Math.clz32(seen.length));
}

/** A text that is too long to be read, or of which the model knows nothing. */
class Unreadable extends Error {}

/** A text on its way into memory, and what is remembered of it; texts that write share it and change nothing in it. */
class Memory {
  /** Throws `Unreadable`. Characters that the model has never seen are left out, and stand in `leftOut`. */
  constructor(network, vocabulary, string) {
    if (network.vocabularySize > MOST_CHARACTERS) {
      throw new Unreadable('A model of more than 65,536 characters can’t read a text first.');
    }
    const num = [...string].length;
    if (num > LONGEST_READ) {
      throw new Unreadable(`The text to read has ${num.toLocaleString('en')} characters; at most 100,000 are read.`);
    }
    this.text = new Text(network, vocabulary);
    this.text.read('');
    const {fitted, leftOut} = this.text.vocabulary.fit(string);
    this.ids = this.text.vocabulary.encode(fitted);
    if (!this.ids.length) throw new Unreadable('There is no text to read; write or paste some that the model knows.');
    this.leftOut = leftOut;
    this.ngram = new Ngram();
    this.numRead = 0;
    this.sums = {alone: 0, adapted: 0}; // nats over what was read
    this.probabilities = new Float64Array(network.vocabularySize);
    this.logits = new Float32Array(network.vocabularySize);
  }

  get isWhole() { return this.numRead === this.ids.length; }

  /** Read at most `most` characters on; return the surprises of each, to the model alone and with what it remembered. */
  advance(most) {
    const end = Math.min(this.ids.length, this.numRead + most), alone = [], adapted = [];
    for (; this.numRead < end; this.numRead++) {
      const id = this.ids[this.numRead], logits = this.text.predict();
      const surprise = round(this.text.sampler.normalizer(logits) - logits[id]);
      this.text.accept(id);
      alone.push(surprise);
      adapted.push(-Math.log(Math.max(LEAST_PROBABILITY, this.ngram.read(id, Math.exp(-surprise)))));
      this.sums.alone += surprise;
      this.sums.adapted += adapted.at(-1);
    }
    return {alone, adapted};
  }

  /** Logits (V) with `amount` of what is remembered after `history` mixed in, valid until the next call. */
  mix(logits, history, amount) {
    const {probabilities} = this;
    let largest = -Infinity, total = 0;
    for (const logit of logits) if (logit > largest) largest = logit;
    for (let id = 0; id < logits.length; id++) total += probabilities[id] = Math.exp(logits[id] - largest);
    for (let id = 0; id < logits.length; id++) probabilities[id] /= total;
    this.ngram.mix(probabilities, String.fromCharCode(...history.slice(-LONGEST)), amount);
    for (let id = 0; id < logits.length; id++) this.logits[id] = Math.log(probabilities[id]);
    return this.logits;
  }
}
