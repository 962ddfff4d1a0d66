// The slider "age of this network": the states that were kept while it learned.
export const createAges = (h, server, context) => {
  let ages = [], asked = 0;
  const slider = h('input', { type: 'range', min: 0, max: 0, step: 1, 'aria-label': 'Age of this network' }), words = h('output', {});
  const row = h('label', { class: 'age', hidden: true }, h('span', { class: 'age-name' }, 'Age of this network'), slider, words);
  const none = h('p', { class: 'age-none', hidden: true }, 'No states of it were kept while it learned, so it is shown as it is now.');
  const label = () => {
    const each = ages[Number(slider.value)];
    words.textContent = each ? `after ${each.label} (step ${each.step.toLocaleString('en')})` : 'as it is now';
    slider.setAttribute('aria-valuetext', words.textContent);
  };
  slider.addEventListener('input', () => {
    label();
    const each = ages[Number(slider.value)];
    context.setAge(each?.step ?? null, each?.label);
  });
  const load = async () => {
    const mine = ++asked;
    row.hidden = none.hidden = true;
    let answer;
    try { answer = await server.inside_ages({ model: context.model() }); } catch { answer = {}; }
    if (mine !== asked) return;
    ages = answer.ages || [];
    row.hidden = !ages.length;
    none.hidden = Boolean(ages.length || answer.problem);
    slider.max = ages.length;
    const at = ages.findIndex(({ step }) => step === context.age());
    slider.value = at < 0 ? ages.length : at;
    label();
  };
  for (const event of ['model', 'renamed']) context.on(event, load);
  context.on('age', () => { const at = ages.findIndex(({ step }) => step === context.age()); slider.value = at < 0 ? ages.length : at; label(); });
  load();
  return { element: h('div', { class: 'age-box' }, row, none) };
};
