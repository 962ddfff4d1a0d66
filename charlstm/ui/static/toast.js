// A short message at the foot of the page, with one action at most; a new one replaces the one before.
(() => {
  const { h } = window.charlstm;
  let box = null, timer = 0, left = 0, began = 0;

  // Put it where it can be reached: inside a dialog, which makes everything else inert, as long as that is open.
  const place = () => {
    if (!box) {
      box = h('div', { class: 'toasts', role: 'status', 'aria-live': 'polite' });
      box.addEventListener('pointerenter', pause);
      box.addEventListener('focusin', pause);
      box.addEventListener('pointerleave', resume);
      box.addEventListener('focusout', resume);
      document.addEventListener('close', place, true);
    }
    const frame = document.querySelector('dialog[open]') || document.querySelector('.gradio-container') || document.body;
    if (box.parentNode !== frame) frame.append(box);
    return box;
  };
  const close = () => {
    clearTimeout(timer);
    timer = 0;
    box?.replaceChildren();
  };
  // The time stands still while somebody reads the message with the pointer or the keyboard on it.
  const pause = () => {
    if (!timer) return;
    clearTimeout(timer);
    timer = 0;
    left -= Date.now() - began;
  };
  const resume = () => {
    if (timer || left === Infinity || !box?.hasChildNodes() || box.matches(':hover, :focus-within')) return;
    began = Date.now();
    timer = setTimeout(close, Math.max(left, 1500));
  };

  // Show `text`; `seconds` of 0 or Infinity keep it until it is dismissed. Returns a function that takes it away.
  const toast = (text, { action = '', onAction = () => {}, seconds = 8 } = {}) => {
    clearTimeout(timer);
    timer = 0;
    left = seconds > 0 && seconds < Infinity ? seconds * 1000 : Infinity;
    const act = () => { close(); onAction(); };
    const bubble = h('div', { class: 'toast' }, h('span', {}, text),
      ...(action ? [h('button', { type: 'button', class: 'toast-action', onclick: act }, action)] : []),
      h('button', { type: 'button', class: 'toast-close', 'aria-label': 'Dismiss this message', onclick: close }, '×'));
    place().replaceChildren(bubble);
    resume();
    return () => { if (bubble.isConnected) close(); };
  };

  window.charlstm = Object.assign(window.charlstm || {}, { toast });
})();
