// The crossfader of the Write tab: a second model, a slider between both, and the legend of a text that both wrote.
const { h, setText } = window.charlstm;
const SHARE = 0.5; // of the second model, at first

const style = document.createElement('link');
Object.assign(style, { rel: 'stylesheet', href: new URL('./crossfader.css', import.meta.url).href });
document.head.append(style);

const parse = (value) => { try { return JSON.parse(value) || {}; } catch { return {}; } };
const written = ({ other, share }) => (other ? JSON.stringify({ other, share: String(share), is_fast: isFast() }) : '');
const isFast = () => Boolean(document.querySelector('#text .reader-fast')?.checked) || matchMedia('(prefers-reduced-motion: reduce)').matches;
const percent = (share) => `${Math.round(100 * share)} %`;
const kept = { other: null, share: SHARE }; // outlives the elements, which Gradio may make anew

// Show which colour is whose, in place of the legend of surprise, over a text of two models.
export const legend = (head, names) => {
  let own = head.querySelector('.mix-legend');
  head.classList.toggle('is-mixed', Boolean(names?.length));
  if (!names?.length) { own?.remove(); return; }
  if (!own) head.querySelector('.reader-legend').after(own = h('div', { class: 'reader-legend mix-legend', role: 'img' }));
  if (own.dataset.names === names.join('\n')) return;
  own.dataset.names = names.join('\n');
  own.setAttribute('aria-label', `Colours: how much more ${names[0]} wanted a letter, both alike, how much more ${names[1]} wanted it`);
  own.replaceChildren(h('span', { class: 'mix-name' }, names[0]), ...Array.from({ length: 7 }, (_, index) => h('i', { class: `m${index}` })), h('span', { class: 'mix-name' }, names[1]));
};

export const build = (element, props, watch, server) => {
  const first = h('span', { class: 'mix-first' }), second = h('select', { class: 'mix-second', 'aria-label': 'Second model' });
  const slider = h('input', { type: 'range', class: 'mix-slider', min: 0, max: 1, step: 0.01, 'aria-label': 'Share of the second model' });
  const shares = [h('output', { class: 'mix-share' }), h('output', { class: 'mix-share' })];
  const about = h('span', { role: 'status' });
  const page = () => window.charlstm.text?.page();
  const fold = element.closest('#mix-fold').querySelector('button');
  const isOpen = () => fold.classList.contains('open');
  const isLive = () => Boolean(page()?.mixed?.length && page().is_writing && window.charlstm.text.isActive());
  const isScheduled = () => String(kept.share).includes(','); // by an address, until the slider is moved
  const chosen = () => document.querySelector('#model input')?.value || '';

  const say = () => {
    const label = second.selectedOptions[0]?.textContent || 'the other model';
    setText(first, chosen() || 'the model above');
    setText(shares[0], percent(1 - slider.value));
    setText(shares[1], percent(slider.value));
    slider.setAttribute('aria-valuetext', `${percent(1 - slider.value)} ${chosen()}, ${percent(slider.value)} ${label}`);
    setText(about, !second.value ? 'There is no second model yet: train one first.'
      : isLive() ? 'Both write now. Move the slider: the next letter hears it.'
        : 'Press Write, then move the slider while it writes.');
  };
  const store = (share = slider.value) => {
    Object.assign(kept, { other: second.value, share: String(share) });
    props.value = isOpen() ? written(kept) : ''; // while the fold is closed, one model writes
    say();
  };

  // One message at a time: while one is on its way, only the newest position waits.
  let isSending = false, isStale = false;
  const send = async () => {
    if (isSending) { isStale = true; return; }
    isSending = true;
    do {
      isStale = false;
      const { id } = page() || {};
      try { await server.turn_share({ id, share: isScheduled() ? null : Number(slider.value), is_fast: isFast() }); } catch { /* the next position is sent anew */ }
    } while (isStale);
    isSending = false;
  };

  const fill = async () => {
    let models = [];
    try { ({ models } = await server.mixable_models({})); } catch { return; }
    const wanted = parse(props.value).other || kept.other || models.find(({ label }) => label !== chosen())?.name || models[0]?.name;
    second.replaceChildren(...models.map(({ name, label }) => h('option', { value: name }, label)));
    if (models.some(({ name }) => name === wanted)) second.value = wanted;
    store(parse(props.value).share ?? kept.share);
  };
  const take = () => { // what an address says
    const { other, share } = parse(props.value);
    if (!other) return;
    Object.assign(kept, { other, share });
    slider.value = parseFloat(share);
    if (other !== second.value) fill(); else say();
  };

  slider.addEventListener('input', () => { store(); if (isLive()) send(); });
  second.addEventListener('change', () => store());
  document.addEventListener('charlstm:choices', () => { if (!element.isConnected || !second.value) return; store(kept.share); if (isLive()) send(); });
  document.addEventListener('charlstm:page', ({ detail }) => { if (!element.isConnected) return; if (detail.isNew && detail.page.mixed?.length && detail.page.is_writing) send(); say(); });
  document.addEventListener('charlstm:settled', () => { if (element.isConnected) say(); });
  document.addEventListener('focusout', ({ target }) => { if (target.closest?.('#model')) setTimeout(say, 150); });
  Object.assign(kept, parse(props.value)); // its share may have been chosen before
  slider.value = parseFloat(kept.share);
  const mix = h('div', { class: 'mix' },
    h('div', { class: 'mix-side is-first' }, first, shares[0]), slider, h('div', { class: 'mix-side' }, shares[1], second));
  element.replaceChildren(mix,
    h('p', { class: 'mix-about' }, about, h('span', { class: 'mix-why' }, ' Each letter is drawn from the chances that both models give it.')));
  fill().finally(() => mix.classList.add('is-filled')); // which Write waits for
  watch('value', take);
  new MutationObserver(() => { if (element.isConnected && Boolean(props.value) !== isOpen()) store(kept.share); }).observe(fold, { attributeFilter: ['class'] });
};
