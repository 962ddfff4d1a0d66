// A server of Look inside whose answers are known: unit 3 is 2 at vowels and -1 elsewhere, unit 30 below zero and highest at
// spaces, the others a wave.
window.insideFake = () => {
  const SIZE = 80, TEXT = 'a boat, a sea\n\n<b>rows</b> on and on until it ends'.repeat(9), asked = [], models = [{ name: 'fake', label: 'A fake' }, { name: 'other', label: 'Another' }];
  const valueOf = (unit, char, place) => (unit === 3 ? ('aeiou'.includes(char) ? 2 : -1) : unit === 30 ? (char === ' ' ? -0.1 : -1.9) : Math.sin(place / (unit + 2)));
  const rangeOf = (unit) => { const sorted = Array.from(TEXT, (char, i) => valueOf(unit, char, i)).sort((a, b) => a - b); return [0.005, 0.995].map((share) => sorted[Math.round(share * (TEXT.length - 1))]); };
  const pack = (values, most) => btoa(String.fromCharCode(...values.map((value) => (Math.round((127 * value) / most) + 256) % 256)));
  const named = (unit, label, sentence, more) => ({ layer: 0, unit, part: 'cell', sign: 1, property: label, label, sentence, score: 0.972, twin: 0.701, last4: 0.639, remembers: true, acts: true, low: -1, high: 2, memory: 11.2, effect: { kl: 0.02, control_kl: 0.004, measure: 'a new line', before: 0.034, after: 0.126, control_low: 0.031, control_high: 0.037 }, ...more });
  const film = () => {
    const text = TEXT.slice(0, 40), steps = [1, 6, 64, 512], count = 2, values = [];
    for (const step of steps) for (let unit = 0; unit < count; unit++) for (let i = 0; i < text.length; i++) values.push(unit === 0 ? (step > 6 ? valueOf(3, text[i], i) / 2 : 0) : 0.5);
    return { note: 'A recorded run.', text, steps, seconds: [0.6, 0.7, 1.2, 6], units: [{ unit: 3, label: 'vowels' }, { unit: 5, label: 'steady' }], values: pack(values, 1), scores: [[0.5, 0.55, 0.9, 0.97], [0.5, 0.5, 0.5, 0.6]] };
  };
  const busy = { times: 0 }; // how often it has no time for the units
  const answers = {
    inside_models: () => ({ models }),
    inside_units: ({ model }) => (busy.times-- > 0 ? { problem: 'Busy.' } : { state: 'done', source: 'text kept for validation', progress: 1, stage: '', num_layers: 1, hidden_size: SIZE, vocabulary: 30, characters: 1000, keepers: [[0, 7, 14.2]],
      units: model === 'fake' ? [named(3, 'vowels', 'whether this is a vowel'), named(9, 'late', 'whether the line is past its middle', { acts: false, sign: -1 }),
        named(21, 'vowels', 'whether this is a vowel', { acts: false, score: 0.99 }), named(30, 'spaces', 'whether this is a space', { acts: false, remembers: false, low: -1.9, high: -0.1 })] : [],
      nearly: model === 'fake' ? [named(11, 'verse', 'whether this is verse', { score: 0.83 })] : [], absent: [{ property: 'speaker', label: 'who speaks', sentence: 'who speaks', score: 0.63, twin: 0.6 }] }),
    inside_trace: ({ text, first, count, quantity }) => {
      const shown = text ?? TEXT, chars = Array.from(shown), units = Array.from({ length: Math.min(count, SIZE - first) }, (_, i) => first + i);
      if (shown.includes('Ω')) return { problem: 'The model has never seen Ω.' };
      const scale = quantity.endsWith('gate') ? 1 : 2, of = (unit, char, i) => (quantity.endsWith('gate') ? 0.9 : valueOf(unit, char, i));
      return { text: shown, source: text === null ? 'text it wrote' : 'yours', layer: 0, first, values: units.map((unit) => pack(chars.map((char, i) => of(unit, char, i)), scale)), scales: units.map(() => scale), ranges: units.map((unit) => (quantity.endsWith('gate') ? [0, 1] : rangeOf(unit))), surprises: chars.map(() => 1) };
    },
    inside_corners: () => ({ places: [{ before: 'it was ', at: '<', after: 'i>', value: 1.91 }, { before: 'or ', at: '\n', after: 'not', value: -0.87 }] }),
    inside_ages: ({ model }) => (model === 'fake' ? { ages: [{ step: 6, seconds: 0.7, label: '0.7 s' }], film: film() } : { ages: [], film: null }),
    inside_version: ({ model }) => ({ version: 1, model }),
    inside_moments: () => ({ state: 'done', progress: 1, source: 'text it learned from', moments: [{ before: 'before it ', at: 'w', after: 'as', cosine: 0.91 }] }),
  };
  const server = new Proxy({}, { get: (_, name) => async (request) => { asked.push([name, request]); return answers[name]?.(request) ?? { problem: 'not here' }; } });
  return { server, asked, models, busy, answers, text: TEXT };
};
window.openInside = async () => {
  window.fake = window.insideFake();
  const host = document.createElement('div');
  host.className = 'inside';
  document.querySelector('.gradio-container').replaceChildren(host);
  await (await import('/charlstm/inside.js')).open(window.charlstm.h, host, window.fake.server);
};
// The colour under the letter at `place`: [red, green, blue, opacity] of a point beside its upper left corner.
window.tintAt = (place) => {
  const letters = document.querySelector('#inside-mind .inside-letters'), canvas = document.querySelector('#inside-mind .inside-tint'), range = document.createRange();
  range.setStart(letters.firstChild, place);
  range.setEnd(letters.firstChild, place + 1);
  const letter = range.getBoundingClientRect(), sheet = canvas.getBoundingClientRect(), density = canvas.width / sheet.width;
  return [...canvas.getContext('2d').getImageData((letter.left - sheet.left + 1) * density, (letter.top - sheet.top + 5) * density, 1, 1).data];
};
