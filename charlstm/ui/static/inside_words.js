// The sentences about a unit, and the names that a visitor gives, which stay in the browser.
const NAMES_KEY = 'charlstm-unit-names', LONGEST_NAME = 60;

export const ofHundred = (score) => (score > 0.995 && score < 1 ? 'more than 99' : String(Math.round(100 * score)));
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const colourOf = (sign) => (sign > 0 ? 'orange' : 'blue');
export const isSame = (a, b) => a.unit === b.unit && (a.layer ?? 0) === (b.layer ?? 0);

const readNames = () => { try { return JSON.parse(localStorage.getItem(NAMES_KEY)) || {}; } catch { return {}; } };
const keyOf = (model, { layer, unit }) => `${model}/${layer}/${unit}`;
export const names = {
  get: (model, unit) => { const name = readNames()[keyOf(model, unit)]; return typeof name === 'string' ? name.slice(0, LONGEST_NAME) : ''; },
  set(model, unit, name) {
    const all = readNames(), kept = name.trim().slice(0, LONGEST_NAME);
    if (kept) all[keyOf(model, unit)] = kept; else delete all[keyOf(model, unit)];
    try { localStorage.setItem(NAMES_KEY, JSON.stringify(all)); } catch { /* a private window */ }
  },
  move(from, to) {
    const moved = Object.entries(readNames()).map(([key, name]) => [key.startsWith(`${from}/`) ? to + key.slice(from.length) : key, name]);
    try { localStorage.setItem(NAMES_KEY, JSON.stringify(Object.fromEntries(moved))); } catch { /* a private window */ }
  },
  // The units of a model that the visitor named, as [{layer, unit, name}].
  all: (model) => Object.entries(readNames()).flatMap(([key, name]) => {
    const [, owner, layer, unit] = /^(.*)\/(\d+)\/(\d+)$/s.exec(key) || [];
    return owner === model && typeof name === 'string' ? [{ layer: Number(layer), unit: Number(unit), name: name.slice(0, LONGEST_NAME) }] : [];
  }),
};

// The units by property, as [{label, property, units, acts, remembers}], the best unit of each first: those shown to change
// what is written, then those that tell more than the last characters do, then the others.
export const byProperty = (units) => {
  const groups = new Map();
  const rank = (each) => (each.acts ? 2 : 0) + (each.remembers ? 1 : 0);
  for (const each of units) {
    if (!groups.has(each.property)) groups.set(each.property, { label: each.label, property: each.property, units: [], acts: false, remembers: false });
    const group = groups.get(each.property);
    group.units.push(each);
    group.acts ||= each.acts === true;
    group.remembers ||= each.remembers === true;
  }
  for (const { units: members } of groups.values()) members.sort((a, b) => rank(b) - rank(a) || b.score - a.score);
  const strength = ({ units: [first] }) => (first.acts ? first.effect?.kl ?? 0 : gain(first)); // the one that changes most first
  return [...groups.values()].sort((a, b) => rank(b) - rank(a) || strength(b) - strength(a));
};
const gain = ({ score, twin, last4 }) => score - Math.max(twin, last4 ?? 0);

// What is known of a unit with a name, or nearly one.
export const findNamed = (context, place) => context.units().find((each) => isSame(each, place)) || (context.table().nearly || []).find((each) => isSame(each, place)) || null;

// What a unit is called on the page: "unit 710", with its layer where there are several.
export const unitName = ({ layer, unit }, numLayers) => `unit ${unit}${numLayers > 1 ? ` of layer ${layer}` : ''}`;

// As "1 character" or "12 characters".
export const characters = (count) => { const whole = Math.round(count); return `${whole.toLocaleString('en')} character${whole === 1 ? '' : 's'}`; };

// The other units that one is compared with: 20 drawn at random, or all where there are fewer; where several are held, sets of
// as many.
const MOST_CONTROLS = 20, EXCEEDED = 0.95;
export const controlsOf = ({ hidden_size: size = Infinity, num_layers: layers = 1 }, held = 1) => Math.min(MOST_CONTROLS, Math.floor((size * layers - held) / held));
export const randomUnits = (count, held = 1) => (held > 1 ? `${count} ${count === 1 ? 'set' : 'sets'} of ${held} random units` : count === 1 ? 'the other unit' : count < MOST_CONTROLS ? `the ${count} other units` : `${count} random units`);

// What holding it changes; `before` and `after` are chances.
const percent = (chance) => `${(100 * chance).toFixed(chance < 0.0995 ? 1 : 0)}\u00a0%`;
const sayEffect = ({ acts, effect }, count) => {
  if (!count) return '';
  if (acts === false) return 'Held fixed, it changes what is written no more than other units do.';
  if (acts !== true) return '';
  if (!effect?.measure) return 'Held fixed, it changes what is written.';
  const isTold = percent(effect.after) !== percent(effect.before) && (effect.after < effect.control_low || effect.after > effect.control_high);
  if (!isTold && effect.kl <= effect.control_kl) return `Held fixed at one end, it turns what comes next towards this, further than ${count === 1 ? 'the other unit does' : `all ${count} other units do`}.`;
  if (!isTold) return `Held fixed, it changes what is written, in many small ways, more than ${count === 1 ? 'the other unit does' : `${Math.ceil(EXCEEDED * count)} of ${count} other units do`}.`;
  const what = effect.measure.length === 1 ? `“${effect.measure}”` : effect.measure;
  return `Held fixed, it changes what is written: ${what} comes next with a chance of ${percent(effect.after)} instead of ${percent(effect.before)}; with other units held ${percent(effect.control_low)} to ${percent(effect.control_high)}.`;
};

// What is known of a unit, as {claim, evidence}: named, nearly so, or not.
export const describe = (table, place, quantity) => {
  const who = capital(unitName(place, table.num_layers)), keeper = (table.keepers || []).find(([layer, unit]) => layer === place.layer && unit === place.unit);
  const named = (table.units || []).filter((each) => isSame(each, place)), nearly = (table.nearly || []).filter((each) => isSame(each, place));
  const kept = keeper ? ` It is one of those that keep longest: about ${characters(keeper[2])}.` : '';
  const isMemory = quantity === 'cell' || quantity === 'output'; // whose colours are those of the claim
  const colours = (unit) => (isMemory ? `: ${colourOf(unit.sign)} where it is so.` : '.');
  if (named.length) {
    const [unit] = named, last4 = unit.last4 === null || unit.last4 === undefined ? '' : ` The last four characters alone: ${ofHundred(unit.last4)}.`;
    const others = (table.units || []).filter((each) => each.property === unit.property && !isSame(each, place));
    return {
      unit, isNamed: true, others, acts: sayEffect(unit, controlsOf(table)),
      claim: `${who} tells ${unit.sentence}${colours(unit)}`,
      evidence: `Right for ${ofHundred(unit.score)} of 100 pairs of places it was not chosen on. The best unit of an untrained network: ${ofHundred(unit.twin)}.${last4} Guessing: 50.`,
    };
  }
  if (nearly.length) {
    const [unit] = nearly;
    return { unit, isNamed: false, claim: `${who} nearly tells ${unit.sentence}${colours(unit)}`,
      evidence: `Right for ${ofHundred(unit.score)} of 100 pairs of places; that is too little to call it so.${kept}`, acts: '', others: [] };
  }
  if (table.state !== 'done' && table.state !== 'failed') return { unit: null, isNamed: false, claim: `${who}: what does it tell?`, evidence: 'The units are being compared with what can be seen in a text: lines, words, quotes and more.', acts: '', others: [] };
  return { unit: null, isNamed: false, claim: `${who} has no name yet: what would you call it?`,
    evidence: `Nothing that was looked for goes with it. See where it turns blue or orange.${kept}`, acts: '', others: [] };
};
