// Values of units after each character of a text, as the server sends them: in blocks of units, kept and fetched ahead.
export const QUANTITIES = [ // name on the wire, words, what it is
  ['cell', 'memory (cell)', 'what it remembers'],
  ['output', 'output', 'what it shows of its memory to the rest of the network'],
  ['input gate', 'input gate', 'how much of the new it lets in'],
  ['forget gate', 'forget gate', 'how much of its memory it keeps'],
  ['candidate', 'new content', 'what it would add to its memory'],
  ['output gate', 'output gate', 'how much of its memory it shows'],
];
export const EDGES = [0.2, 0.6]; // of the way from the middle to an end of the usual range, from which on a colour begins, and the stronger one
const BLOCK = 32, MOST_BLOCKS = 240; // units; blocks, of which one takes 40 kB
export const STEPS = 127; // of a value, from 0 to the largest
const USUAL = [0.005, 0.995]; // shares of the places that a usual range lies between

export const isGate = (quantity) => quantity.endsWith(' gate');

export const unpack = (base64) => {
  const raw = atob(base64), values = new Int8Array(raw.length);
  for (let i = 0; i < raw.length; i++) values[i] = raw.charCodeAt(i) << 24 >> 24;
  return values;
};

// The scale of the colours, of what is usually from `low` to `high`: its middle, at `centre`, has none. So a unit is blue
// and orange also where all its values are on one side of zero.
export const scaleOf = ([low, high]) => ({ centre: (low + high) / 2, size: Math.max(1e-6, (high - low) / 2) });
// What most of some values are within.
export const usualRange = (values) => { const sorted = values.slice().sort(), end = sorted.length - 1; return USUAL.map((share) => sorted[Math.round(share * end)]); };

// Where each value lies on its scale, -1 to 1.
export const placesOn = (values, most, { centre, size }) => Float32Array.from(values, (value) => Math.max(-1, Math.min(1, ((most * value) / STEPS - centre) / size)));
export const levelOf = (place) => { const size = Math.abs(place); return (size < EDGES[0] ? 0 : size < EDGES[1] ? 1 : 2) * Math.sign(place); };

// `view` is {model, age, version, text, layer, quantity}; text null is the network's own passage. `rangeOf(view, unit)` is
// the usual range of a unit where more is known of it than that passage shows.
export const createValues = (server, rangeOf = () => null) => {
  const blocks = new Map();
  const keyOf = ({ model, age, version, text, layer, quantity }, first) => JSON.stringify([model, age, version, text, layer, quantity, first]);
  const firstOf = (unit) => unit - (unit % BLOCK);
  const fetchBlock = (view, first) => {
    const key = keyOf(view, first), known = blocks.get(key);
    if (known) return known.promise;
    const block = { answer: null, promise: null };
    block.promise = (async () => {
      let answer;
      try { answer = await server.inside_trace({ ...view, first, count: BLOCK }); } catch { answer = { problem: 'The server did not answer. Try again in a moment.', isLost: true }; }
      if (answer.problem) { blocks.delete(key); return answer; }
      block.answer = { ...answer, values: answer.values.map(unpack) };
      return block.answer;
    })();
    blocks.set(key, block);
    if (blocks.size > MOST_BLOCKS) blocks.delete(blocks.keys().next().value);
    return block.promise;
  };
  const pick = (answer, view, unit) => {
    if (answer.problem) return answer;
    const at = unit - answer.first, values = answer.values[at];
    if (!values) return { problem: `There is no unit ${unit} in this network.` };
    const most = answer.scales[at], scale = scaleOf(rangeOf(view, unit) || answer.ranges[at]);
    return { text: answer.text, source: answer.source, surprises: answer.surprises, values, most, scale, places: placesOn(values, most, scale), valueAt: (place) => (most * values[place]) / STEPS };
  };
  return {
    peek(view, unit) {
      const answer = blocks.get(keyOf(view, firstOf(unit)))?.answer;
      return answer ? pick(answer, view, unit) : null;
    },
    async get(view, unit) { return pick(await fetchBlock(view, firstOf(unit)), view, unit); },
    // Fetch the units beside `unit` before somebody asks for them; those in the direction of travel first.
    async ahead(view, unit, step, count) {
      if (!Number.isFinite(count)) return;
      const all = Math.ceil(count / BLOCK), here = Math.floor(unit / BLOCK);
      for (const distance of [1, 2, -1]) await fetchBlock(view, BLOCK * ((here + distance * (step < 0 ? -1 : 1) + 2 * all) % all)); // after the last comes the first
    },
  };
};
