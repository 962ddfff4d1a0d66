// More answers of the server of fake_inside.js: writing with units held, what that changes, and one step of the cell.
window.insideFake = ((make) => () => {
  const fake = make(), sameness = 21, polls = {};
  const repeat = (text, count) => text.repeat(Math.ceil(count / text.length)).slice(0, count);
  const polled = (name, answer) => { polls[name] = (polls[name] || 0) + 1; return polls[name] < 2 ? { state: 'working', progress: 0.5, stage: 'half of it' } : { state: 'done', progress: 1, stage: '', ...answer }; };
  const row = (key, label, is_beyond, more) => ({ key, label, before: 10, after: 25.5, difference: 15.5, low: 9, high: 21, control_low: -2, control_high: 2.5, is_beyond, ...more });
  const answers = {
    inside_hold: ({ holds, num_chars: count, prompt }) => {
      const common = repeat('the dice fell alike. ', sameness), plain = repeat('and so it went on, ', 600);
      return { opening: prompt || 'Once ', plain: (common + plain).slice(0, count), held: (common + (holds.length ? repeat(`<i>${JSON.stringify(holds)}</i> `, 600) : plain)).slice(0, count), seconds: 0.01 };
    },
    inside_meter: ({ value }) => ({ fitting: 'space', controls: 20, measures: [
      { key: 'space', label: 'chance of a space next', unit_text: '%', plain: 15, held: value > 1 ? 30 : 15.1, low: 14.8, high: 15.3 }, { key: '.', label: 'chance of . next', unit_text: '%', plain: 1, held: 1, low: 0.9, high: 1.1 }] }),
    inside_experiment: () => polled('experiment', { texts: 20, characters: 500, controls: 20, rows: [row('line-length', 'characters in a line', true), row('digits', 'digits', false, { difference: 0.5, low: -1, high: 2, after: 10.5 })] }),
    inside_cell: ({ place, forget }) => {
      const step = { old: 1.25, forget: 0.8, input: 0.5, candidate: -0.4, output: 0.5 }, cell = step.forget * step.old + step.input * step.candidate;
      const passages = Object.fromEntries(['forget', 'input', 'candidate', 'cell', 'output'].map((name) => [name, { file: 'cell.py', first_line: 7, last_line: 7, code: `${name} = <b>1</b>`, address: name === 'cell' ? 'https://example.org/cell.py#L7' : '' }]));
      return { character: Array.from(fake.text)[place], layer: 0, unit: 3, ...step, cell, hidden: step.output * Math.tanh(cell), mean: { forget: 0.5, input: 0.25, output: 0.125 }, passages, fixed: forget === null ? null : { forget, free: 1, held: 1.5, characters: 300 } };
    },
    inside_carry: () => polled('carry', { characters: [1, 2, 5, 10, 20, 50], whole: [4, 2, 1, 0.3, 0.1, 0.05], only_h: [4, 1.5, 0.5, 0.05, 0.01, 0], only_c: [0, 0.1, 0.2, 0.15, 0.1, 0.05] }),
  };
  const server = new Proxy({}, { get: (_, name) => async (request) => { if (!answers[name]) return fake.server[name](request); fake.asked.push([name, request]); return answers[name](request); } });
  return { ...fake, server };
})(window.insideFake);
