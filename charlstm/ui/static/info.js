// Explanations of the words of the field, whose texts are in terms.js.
// Every button of the class `info-button` opens one, with an example computed from the figures in its `data-facts`, or,
// where these don't allow one, from those of the model that is chosen on its tab, or of the bundled one.
(() => {
  const { h } = window.charlstm;
  const SPELT = {
    nats: 'a nat', pass: 'a pass', 'five-gram': 'a 5-gram', seed: 'a seed', 'top-k': 'top-k', 'top-p': 'top-p', 'real-words': 'a real word',
    parameters: 'a parameter', 'learning-rate': 'the learning rate',
  };
  let open = null;

  // Return a button that explains `term`; `facts` are numbers of the model in question.
  const infoButton = (term, facts = {}) => h('button', {
    type: 'button', class: 'info-button', 'data-info': term, 'data-facts': JSON.stringify(facts),
    'aria-label': `What is ${SPELT[term] || term}?`, 'aria-expanded': 'false',
  }, 'ⓘ');

  // The model that is written with; null, which means the bundled one, for what stands on another tab.
  const chosenFor = (button) => (button.closest('#write-tab') && document.querySelector('#model input')?.value) || null;
  const factsOf = (button) => { try { return JSON.parse(button.dataset.facts || '{}') || {}; } catch { return {}; } };
  const example = (write, facts) => { try { return write(facts) || ''; } catch { return ''; } };

  const close = (returnsFocus) => {
    if (!open) return;
    const { button, bubble } = open;
    open = null;
    bubble.remove();
    button.setAttribute('aria-expanded', 'false');
    if (returnsFocus) button.focus();
  };

  // Put the bubble under the button, or above it where there is no room, inside the window.
  const place = () => {
    const { button, bubble } = open, at = button.getBoundingClientRect(), margin = 8;
    const width = bubble.offsetWidth, height = bubble.offsetHeight;
    const left = Math.min(Math.max(margin, at.left + at.width / 2 - width / 2), document.documentElement.clientWidth - width - margin);
    const below = at.bottom + 6, fits = below + height + margin <= window.innerHeight;
    const top = fits ? below : Math.max(margin, at.top - height - 6);
    bubble.style.left = `${Math.max(margin, left)}px`;
    bubble.style.top = `${top}px`;
  };

  const termOf = async (name) => {
    try { return (await window.charlstm.later('terms.js')).TERMS[name]; } catch {
      window.charlstm.toast('The app does not answer; try again in a moment.');
      return null;
    }
  };
  const show = async (button) => {
    const term = await termOf(button.dataset.info);
    if (!term) return;
    const [title, meaning, write] = term, of = h('p', { class: 'info-example' });
    const bubble = h('div', { class: 'info-bubble', role: 'dialog', 'aria-label': title, tabindex: -1, popover: 'manual' },
      h('p', { class: 'info-title' }, title), h('p', {}, meaning), of,
      h('button', { type: 'button', class: 'info-close', 'aria-label': 'Close', onclick: () => close(true) }, '×'));
    close(false); // a second button was faster
    open = { button, bubble };
    button.setAttribute('aria-expanded', 'true');
    (button.closest('dialog') || document.querySelector('.gradio-container') || document.body).append(bubble);
    bubble.showPopover?.();
    of.textContent = example(write, factsOf(button));
    if (!of.textContent) { // a model's figures, under its name
      of.hidden = true;
      place();
      const facts = await window.charlstm.modelFacts?.(chosenFor(button));
      if (open?.bubble !== bubble) return;
      const text = facts ? example(write, facts) : '';
      of.textContent = text && facts.name ? `Example, ${facts.name}: ${text}` : text;
    }
    of.hidden = !of.textContent;
    place();
    bubble.focus({ preventScroll: true });
  };

  document.addEventListener('click', (event) => {
    const button = event.target.closest?.('.info-button[data-info]');
    if (button) {
      event.preventDefault();
      event.stopPropagation();
      const isOpen = open?.button === button;
      close(false);
      if (!isOpen) show(button);
    } else if (open && !open.bubble.contains(event.target)) close(false);
  }, true);
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !open) return;
    event.preventDefault();
    event.stopPropagation();
    close(true);
  }, true);
  document.addEventListener('focusin', (event) => {
    if (open && !open.bubble.contains(event.target) && event.target !== open.button) close(false);
  });
  for (const kind of ['scroll', 'resize']) window.addEventListener(kind, () => { if (open) { if (open.button.isConnected) place(); else close(false); } }, true);

  window.charlstm = Object.assign(window.charlstm || {}, { infoButton });
})();
