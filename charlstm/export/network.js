// A network in a web page: its weights, and its step from one character to the logits of the next.
//
// Numbers are those of the package: sums of whole numbers are exact, and every other operation is rounded to float32
// where the package rounds it, so the same seed writes the same text. kernel.c computes the step where the browser has
// vectors in WebAssembly, and JavaScript the same numbers where it hasn't.
// Shapes: V = characters of the vocabulary, H = hidden size, L = layers, P = H rounded up to what a step computes at
// once; K = what a layer multiplies: its own hidden state, and before it, above the first, that of the layer below.
'use strict';

const GATES = 4;
const ROWS_BYTES = 1 << 25; // of rows of the input table that are kept
const round = Math.fround;

// ---- float32

const MAGIC = 12582912; // 1.5 x 2^23: adding it rounds to the nearest whole number, halves to the even one
const LOG2_E = round(1.44269504088896);
const POLYNOMIAL = Float32Array.of(1.54035304e-4, 1.33335581e-3, 9.61812911e-3, 5.55041087e-2, 2.40226507e-1, 6.93147181e-1, 1);
const [P6, P5, P4, P3, P2, P1] = POLYNOMIAL;
const POWERS = Float32Array.from({length: 256}, (_, index) => 2 ** (index - 128));

/** e^x for |x| <= 60, and e^60 or e^-60 beyond: 2^n times a polynomial on [-1/2, 1/2]. */
function exponential(x) {
  x = x > 60 ? 60 : x < -60 ? -60 : x;
  const scaled = round(x * LOG2_E);
  const whole = round(round(scaled + MAGIC) - MAGIC);
  const rest = round(scaled - whole);
  let power = round(round(P6 * rest) + P5);
  power = round(round(power * rest) + P4);
  power = round(round(power * rest) + P3);
  power = round(round(power * rest) + P2);
  power = round(round(power * rest) + P1);
  power = round(round(power * rest) + 1);
  return round(power * POWERS[whole + 128]);
}

const sigmoid = (x) => round(1 / round(1 + exponential(-x)));
const hyperbolicTangent = (x) => round(1 - round(2 * round(1 / round(1 + exponential(round(x + x))))));

/** The float32 values of numbers that are held as float16. */
function fromHalf(halves) {
  const values = new Float32Array(halves.length);
  for (let index = 0; index < halves.length; index++) {
    const half = halves[index], exponent = (half >> 10) & 31, fraction = half & 1023;
    const size = exponent ? (1 + fraction / 1024) * POWERS[exponent + 113] : fraction * POWERS[104];
    values[index] = half >> 15 ? -size : size;
  }
  return values;
}

// ---- the network

/** Load the network that `facts.network` describes and `bytes` hold; `kind` says what computes it. */
async function loadNetwork(facts, bytes) {
  const weights = new Weights(facts.network, bytes);
  try {
    const kernel = Uint8Array.from(atob(facts.network.kernel), (char) => char.charCodeAt(0));
    const network = new SimdNetwork(weights);
    const {instance} = await WebAssembly.instantiate(kernel, {env: {memory: network.memory}});
    return network.use(instance.exports);
  } catch { // no WebAssembly, none with vectors, none allowed, or no memory for it
    return new PlainNetwork(weights);
  }
}

/** The tensors of a page, in their natural order; see encode_weights in page.py. */
class Weights {
  constructor(facts, bytes) {
    this.facts = facts;
    this.bytes = bytes;
    this.isInt8 = facts.kind === 'int8';
    if (bytes.byteLength !== facts.numBytes)
      throw new Error(`This page holds ${bytes.byteLength} bytes of weights where ${facts.numBytes} belong; save it again.`);
  }

  get(name) {
    const {type, at, size} = this.facts.tensors[name];
    if (type === 'int8') return new Int8Array(this.bytes, at, size);
    if (type === 'float16') return fromHalf(new Uint16Array(this.bytes, at, size));
    return new Float32Array(this.bytes, at, size);
  }

  has(name) { return name in this.facts.tensors; }
}

/** What both kinds share: sizes, states, and what a character gives the gates of the first layer. */
class Network {
  constructor(weights, paddedSize) {
    const {vocabularySize, hiddenSize, numLayers} = weights.facts;
    Object.assign(this, {vocabularySize, hiddenSize, numLayers, paddedSize, isInt8: weights.isInt8});
    const copy = (name) => weights.get(name).slice(); // so that the bytes of all weights can be freed
    this.embedding = weights.has('embedding') ? copy('embedding') : null;
    this.input = copy('input');
    this.inputScales = this.isInt8 ? copy('inputScales') : null;
    this.inputBiases = copy('biases0');
    this.numRows = Math.max(1, Math.min(vocabularySize, Math.floor(ROWS_BYTES / (4 * GATES * paddedSize))));
    this.rowOf = new Map(); // character -> where its row is
    this.characterOf = new Int32Array(this.numRows).fill(-1);
    this.nextRow = 0;
  }

  /** Into `shares` (V): e to the power of logits (V) less the largest, over a temperature; 0 for -infinity. */
  weigh(logits, largest, temperature, shares) {
    for (let id = 0; id < logits.length; id++) {
      const share = exponential(round(round(logits[id] - largest) / temperature));
      shares[id] = logits[id] === -Infinity ? 0 : share;
    }
  }

  newState() {
    const size = this.numLayers * this.paddedSize;
    return {h: new Float32Array(size), c: new Float32Array(size)};
  }

  copyState(state) { return {h: state.h.slice(), c: state.c.slice()}; }

  /** Where among `rows` the row of a character is, which is computed when it is first read. */
  findRow(id) {
    const known = this.rowOf.get(id);
    if (known !== undefined) return known;
    const at = this.nextRow;
    this.nextRow = (at + 1) % this.numRows;
    this.rowOf.delete(this.characterOf[at]);
    this.rowOf.set(id, at);
    this.characterOf[at] = id;
    this.fillRow(id, this.rows.subarray(at * GATES * this.paddedSize, (at + 1) * GATES * this.paddedSize));
    return at;
  }

  fillRow(id, row) {
    const {hiddenSize, paddedSize, input, inputScales, inputBiases} = this;
    const width = input.length / (GATES * hiddenSize);
    const vector = this.embedding && Float64Array.from(this.embedding.subarray(id * width, (id + 1) * width));
    for (let gate = 0; gate < GATES; gate++)
      for (let unit = 0; unit < hiddenSize; unit++) {
        const from = gate * hiddenSize + unit;
        let sum = vector ? 0 : input[from * width + id];
        if (vector) for (let k = 0, at = from * width; k < width; k++, at++) sum += vector[k] * input[at];
        sum = inputScales ? sum * inputScales[from] : round(sum);
        row[gate * paddedSize + unit] = sum + inputBiases[from];
      }
  }
}

/** Computes with kernel.wasm. */
class SimdNetwork extends Network {
  constructor(weights) {
    super(weights, Math.ceil(weights.facts.hiddenSize / 8) * 8);
    this.kind = 'simd';
    const {paddedSize: P, numLayers: L, vocabularySize: V} = this, width = Math.ceil(V / 16) * 16;
    const perWeight = this.isInt8 ? 1 : 4;
    const places = {logits: 4 * width, weighed: 4 * width, shares: 4 * width, headBiases: 4 * width,
      biases: 4 * GATES * P, scales: 4 * GATES * P, inputs: 4 * 2 * P, c: 4 * P, h: 4 * P,
      head: 4 * width * P, rows: 4 * this.numRows * GATES * P, weights: perWeight * GATES * P * P};
    const perLayer = new Set(['biases', 'scales', 'c', 'h']);
    let end = 1 << 16;
    for (const [name, size] of Object.entries(places)) {
      places[name] = end;
      end += size * (perLayer.has(name) ? L : name === 'weights' ? 2 * L - 1 : 1);
    }
    this.memory = new WebAssembly.Memory({initial: Math.ceil(end / 65536)});
    this.places = places;
    [this.logits, this.weighed, this.shares] = ['logits', 'weighed', 'shares'].map((name) => this.#floats(name, V));
    this.rows = this.#floats('rows', this.numRows * GATES * P);
    this.states = {h: this.#floats('h', L * P), c: this.#floats('c', L * P)};
    for (let layer = 0; layer < L; layer++) this.#placeLayer(weights, layer);
    this.#placeHead(weights, width);
  }

  /** Compute with `kernel`, whose own memory ends before that of the network begins. */
  use(kernel) {
    if (kernel.__heap_base.value > 1 << 16) throw new Error('the kernel needs more memory of its own');
    this.kernel = kernel;
    return this;
  }

  #floats(name, size) { return new Float32Array(this.memory.buffer, this.places[name], size); }

  /** Where the weights of a layer are: those above the first are twice as many. */
  #weightsAt(layer) {
    return this.places.weights + (this.isInt8 ? 1 : 4) * GATES * this.paddedSize ** 2 * Math.max(0, 2 * layer - 1);
  }

  /** [unit / 8][k / group][gate][8][group]; a group is 2 for int8, 1 for floats, and `isPair` its size - 1. */
  #placeLayer(weights, layer) {
    const {hiddenSize: H, paddedSize: P} = this, source = weights.get(`layer${layer}`), parts = layer ? 2 : 1;
    const K = parts * P, isPair = this.isInt8 ? 1 : 0, Numbers = this.isInt8 ? Int8Array : Float32Array;
    const target = new Numbers(this.memory.buffer, this.#weightsAt(layer), GATES * P * K);
    for (let gate = 0, from = 0; gate < GATES; gate++)
      for (let unit = 0; unit < H; unit++) {
        const at = (unit >> 3) * 8 * GATES * K + ((gate * 8 + (unit & 7)) << isPair);
        for (let part = 0; part < parts; part++)
          for (let k = part * P, end = k + H; k < end; k++)
            target[at + (((k >> isPair) * 8 * GATES) << isPair) + (k & isPair)] = source[from++];
      }
    this.#placeGates('biases', layer, weights.get(`biases${layer}`), 1);
    if (this.isInt8) this.#placeGates('scales', layer, weights.get(`scales${layer}`), 127);
  }

  #placeGates(name, layer, values, divisor) {
    const {hiddenSize: H, paddedSize: P} = this, target = this.#floats(name, (layer + 1) * GATES * P);
    for (let index = 0; index < GATES * H; index++)
      target[(layer * GATES + Math.floor(index / H)) * P + (index % H)] = values[index] / divisor;
  }

  #placeHead(weights, width) {
    const {hiddenSize: H, paddedSize: P, vocabularySize: V} = this, source = weights.get('head');
    const target = this.#floats('head', width * P);
    for (let id = 0, from = 0; id < V; id++)
      for (let k = 0; k < H; k++) target[((id >> 4) * P + k) * 16 + (id & 15)] = source[from++];
    this.#floats('headBiases', V).set(weights.get('headBias'));
  }

  /** Read a character into `state`; the logits of the next one are in `logits` if they are needed. */
  step(id, state, needsLogits = true) {
    const {kernel, places, paddedSize: P, numLayers: L, isInt8} = this, size = isInt8 ? 2 : 4, row = this.findRow(id);
    this.states.h.set(state.h);
    this.states.c.set(state.c);
    for (let layer = 0; layer < L; layer++) {
      const h = places.h + 4 * layer * P, c = places.c + 4 * layer * P, own = places.inputs + (layer ? size * P : 0);
      const given = layer ? places.biases + 4 * layer * GATES * P : places.rows + 4 * row * GATES * P;
      if (layer) this.#passOn(h - 4 * P, places.inputs);
      this.#passOn(h, own);
      const K = layer ? 2 * P : P, scales = places.scales + 4 * layer * GATES * P;
      if (isInt8) kernel.step_int8(P, K, this.#weightsAt(layer), scales, given, places.inputs, c, h);
      else kernel.step_float(P, K, this.#weightsAt(layer), given, places.inputs, c, h);
    }
    state.h.set(this.states.h);
    state.c.set(this.states.c);
    if (needsLogits)
      kernel.head(Math.ceil(this.vocabularySize / 16), P, places.head, places.headBiases, places.h + 4 * (L - 1) * P, places.logits);
    return this.logits;
  }

  weigh(logits, largest, temperature, shares) {
    this.weighed.set(logits);
    this.kernel.weigh(Math.ceil(logits.length / 4) * 4, this.places.weighed, largest, temperature, this.places.shares);
    shares.set(this.shares);
  }

  #passOn(h, target) {
    if (this.isInt8) this.kernel.round_states(this.paddedSize, h, target);
    else new Uint8Array(this.memory.buffer).copyWithin(target, h, h + 4 * this.paddedSize);
  }
}

/** Computes the same in JavaScript. */
class PlainNetwork extends Network {
  constructor(weights) {
    super(weights, weights.facts.hiddenSize);
    this.kind = 'javascript';
    this.rows = new Float32Array(this.numRows * GATES * this.paddedSize);
    this.layers = Array.from({length: this.numLayers}, (_, layer) => ({
      weights: weights.get(`layer${layer}`),
      biases: weights.get(`biases${layer}`),
      scales: this.isInt8 ? weights.get(`scales${layer}`).map((scale) => scale / 127) : null,
    }));
    this.head = weights.get('head');
    this.headBias = weights.get('headBias');
    this.logits = new Float32Array(this.vocabularySize);
    this.gates = new Float32Array(GATES * this.hiddenSize);
    this.inputs = this.isInt8 ? new Int8Array(2 * this.hiddenSize) : new Float32Array(2 * this.hiddenSize);
  }

  step(id, state, needsLogits = true) {
    const {hiddenSize: H, gates} = this, row = this.findRow(id) * GATES * H;
    for (let layer = 0; layer < this.numLayers; layer++) {
      const K = layer ? 2 * H : H, {weights, biases, scales} = this.layers[layer], from = layer * H;
      if (layer) this.#passOn(state.h, from - H, 0);
      this.#passOn(state.h, from, K - H);
      gates.set(layer ? biases : this.rows.subarray(row, row + GATES * H));
      if (scales) multiplyWhole(weights, this.inputs, K, scales, gates);
      else multiply(weights, this.inputs, K, gates);
      for (let unit = 0; unit < H; unit++) {
        const kept = round(sigmoid(gates[H + unit]) * state.c[from + unit]);
        const added = round(sigmoid(gates[unit]) * hyperbolicTangent(gates[2 * H + unit]));
        const cell = (state.c[from + unit] = round(kept + added));
        state.h[from + unit] = round(sigmoid(gates[3 * H + unit]) * hyperbolicTangent(cell));
      }
    }
    if (!needsLogits) return this.logits;
    this.logits.set(this.headBias);
    multiply(this.head, state.h.subarray((this.numLayers - 1) * H), H, this.logits);
    return this.logits;
  }

  #passOn(h, from, to) {
    for (let unit = 0; unit < this.hiddenSize; unit++)
      this.inputs[to + unit] = this.isInt8 ? round(round(round(h[from + unit] * 127) + MAGIC) - MAGIC) : h[from + unit];
  }
}

/** sums (N) += weights (N, K) times inputs (K), in float32 in order of k. */
function multiply(weights, inputs, K, sums) {
  for (let index = 0, at = 0; index < sums.length; index++) {
    let sum = sums[index];
    for (let k = 0; k < K; k++, at++) sum = round(sum + round(weights[at] * inputs[k]));
    sums[index] = sum;
  }
}

/** The same with whole numbers, the sums of which are then scaled. */
function multiplyWhole(weights, inputs, K, scales, sums) {
  for (let index = 0, at = 0; index < sums.length; index++) {
    let sum = 0;
    for (let k = 0; k < K; k++, at++) sum = (sum + weights[at] * inputs[k]) | 0;
    sums[index] = round(sum * scales[index]) + sums[index];
  }
}
