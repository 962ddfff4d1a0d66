// What the words of the field mean, each with an example computed from the figures of a model. Loaded when somebody asks.
const number = (value, digits = 2) => value.toFixed(digits);
const whole = (value) => Math.round(value).toLocaleString('en');
const percent = (share) => (share < 0.01 ? '<1' : (100 * share).toFixed(share < 0.095 ? 1 : 0)) + ' %';
const visible = (letter) => (letter === ' ' ? '␣ (a space)' : letter === '\n' ? '⏎ (a new line)' : `“${letter}”`);
const has = (facts, ...names) => names.every((name) => Number.isFinite(facts[name]));
const choices = (facts) => (Array.isArray(facts.next) && facts.next.length > 2 ? facts.next : null); // [letter, chance], the likeliest first
const after = (facts) => `After “${(facts.opening || '').trimStart()}” this model gives`;

// Return the chances as they are at `temperature`.
const bent = (next, temperature) => {
  const powers = next.map(([, chance]) => chance ** (1 / temperature)), sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
};
// Return how many letters it takes to gather `share` of the chances.
const numGathered = (next, share) => {
  let sum = 0;
  return 1 + next.findIndex(([, chance]) => (sum += chance) >= share);
};
const guessing = (facts) => (has(facts, 'vocabulary') ? ` Guessing blindly among ${whole(facts.vocabulary)} characters gives ${number(Math.log(facts.vocabulary))}.` : '');

// Each term: its title, what it means, and an example from the facts ('' where they don't allow one).
export const TERMS = {
  nats: ['Nats', 'A nat measures surprise: 0 when the right letter was certain, more the less it was expected. The loss is the mean surprise per letter; less is better. 1 nat is 1.44 bits.',
    (f) => has(f, 'loss') && `${number(f.loss)} nats: on average the model gives the right next letter a chance of ${percent(Math.exp(-f.loss))} (e^−${number(f.loss)}), as if it chose among ${number(Math.exp(f.loss), 1)} letters.${guessing(f)}`],
  perplexity: ['Perplexity', 'The number of equally likely letters among which the model seems to choose each time. 1 would be certainty.',
    (f) => has(f, 'loss') && `A loss of ${number(f.loss)} nats is a perplexity of e^${number(f.loss)} = ${number(Math.exp(f.loss), 1)}${has(f, 'vocabulary') ? `; before training it was about ${whole(f.vocabulary)}, the number of different characters` : ''}.`],
  validation: ['Validation', 'The test: the loss on a part of the text that the model never trains on. It tells learning from learning by heart; if it rises while training falls, the model has begun to memorise.',
    (f) => has(f, 'loss') && `${has(f, 'held_out') ? `This model was tested on the last ${whole(f.held_out)} characters of its text and` : 'This model'} reached ${number(f.loss)} nats per character there: a chance of ${percent(Math.exp(-f.loss))} for each right letter of a text it had never seen.`],
  temperature: ['Temperature', 'How bold the choice of each letter is. Near 0 the likeliest letter always wins, 1 follows the chances as learned, more makes rare letters frequent.',
    (f) => {
      const next = choices(f);
      if (!next) return '';
      const [letter, chance] = next[0], at = has(f, 'temperature') && f.temperature > 0 && f.temperature !== 1 ? f.temperature : 0.5;
      return `${after(f)} ${visible(letter)} a chance of ${percent(chance)}. At temperature ${at} that becomes ${percent(bent(next, at)[0])}, at 1.5 ${percent(bent(next, 1.5)[0])}.`;
    }],
  'top-k': ['Top-k', 'Only the k likeliest letters may be chosen; the others are left out. 0 lets all take part.',
    (f) => choices(f) && `${after(f)} ${f.next.slice(0, 3).map(([letter, chance]) => `${visible(letter)} ${percent(chance)}`).join(', ')}. With top-k 3 only these three remain, and ${visible(f.next[0][0])} has ${percent(f.next[0][1] / f.next.slice(0, 3).reduce((sum, each) => sum + each[1], 0))}.`],
  'top-p': ['Top-p', 'Only the likeliest letters that together reach this share of the chances may be chosen. It cuts rare slips, more of them the surer the model is. 1 lets all take part.',
    (f) => choices(f) && `${after(f)} ${visible(f.next[0][0])} ${percent(f.next[0][1])}, ${visible(f.next[1][0])} ${percent(f.next[1][1])}, and so on. With top-p 0.9 the first ${numGathered(f.next, 0.9)} of ${f.next.length} characters remain.`],
  seed: ['Seed', 'The number from which the dice start. The same model, prompt, settings and seed give the same text, letter for letter; that is what a copied link relies on.',
    (f) => Array.isArray(f.seeds) && f.seeds.length > 1 && `After “${(f.opening || '').trimStart()}”, ${f.seeds.map(([seed, text]) => `seed ${seed} always goes on “${text}”`).join(', and ')}.`],
  pass: ['Pass', 'One reading of the whole training text, from its beginning to its end. A network reads its text several times, and learns less each time.',
    (f) => has(f, 'characters') && (has(f, 'passes')
      ? `Its training text has ${whole(f.characters)} characters; this model read it ${f.passes < 10 ? number(f.passes, 1) : whole(f.passes)} times, ${whole(f.characters * f.passes)} letters in all.`
      : `The training text has ${whole(f.characters)} characters: so many letters are one pass.`)],
  'five-gram': ['5-gram', 'A table that counted which letter followed each four letters in the training text, and guesses by those counts. No learning is in it, so a network that is better has found more than frequent neighbours.',
    (f) => has(f, 'five_gram') && `On this text the table reaches ${number(f.five_gram)} nats${has(f, 'loss') ? `, this model ${number(f.loss)}: ${f.loss < f.five_gram ? 'the model' : 'the table still'} gives each right letter ${number(Math.exp(Math.abs(f.five_gram - f.loss)))} times the chance` : ''}.`],
  dropout: ['Dropout', 'While it trains, a part of the network is switched off at random at each step. It can’t lean on a few numbers, and learns less by heart. While it writes, everything is on.',
    (f) => {
      const [number, what] = has(f, 'weights') ? [f.weights, 'weights from one letter to the next'] : [f.hidden, 'numbers that are passed on'];
      if (!has(f, 'dropout') || !number) return '';
      return f.dropout > 0 ? `With dropout ${f.dropout}, about ${whole(number * f.dropout)} of the ${whole(number)} ${what} are off at any time.` : `Without dropout, all of the ${whole(number)} ${what} are always on.`;
    }],
  'real-words': ['Real words', 'The share of words in what the network last wrote that stand in its training text. A word is letters between spaces or signs; nobody told the network that there are words.',
    (f) => (has(f.words || {}, 'percent', 'real', 'count') ? `Of the last ${whole(f.words.count)} words it wrote, ${whole(f.words.real)} are real: ${f.words.percent} %.` : '')],
  parameters: ['Parameters', 'The numbers that training adjusts: all that the network knows is in them. There is no list of words and no copy of the text inside.',
    (f) => {
      if (!has(f, 'parameters', 'hidden', 'inputs', 'vocabulary') || f.layers !== 1) return has(f, 'parameters') && `This model has ${whole(f.parameters)}.`;
      const gates = 4 * f.hidden * (f.inputs + f.hidden + 2), out = (f.hidden + 1) * f.vocabulary, rest = f.parameters - gates - out;
      return `This model has ${whole(f.parameters)}: 4 gates × ${whole(f.hidden)} units × (${f.inputs} inputs + ${whole(f.hidden)} own outputs + 2) = ${whole(gates)}, and ${whole(out)} to turn ${whole(f.hidden)} numbers into ${f.vocabulary} chances${rest === f.inputs * f.vocabulary ? `, and ${whole(rest)} to describe each character by ${f.inputs} numbers` : rest ? `, and ${whole(rest)} others` : ''}.`;
    }],
  'learning-rate': ['Learning rate', 'How far each step moves the parameters. Too small, and learning takes for ever; too large, and each step destroys what the last one learned. It usually sinks towards the end.',
    (f) => has(f, 'rate') && f.rate > 0 && `It is at most ${f.rate} here: one step moves a parameter by about ${f.rate}, so one that should change by 1 needs at least ${whole(1 / f.rate)} steps.`],
};
