// Gradio's dropdowns for the keyboard: one that is left with Tab closes its list, and Escape in one closes only that.
(() => {
  const LATER = 60; // milliseconds, after Gradio's own handler, which leaves the list open
  const isOpenDropdown = (target) => target?.getAttribute?.('role') === 'combobox' && target.getAttribute('aria-expanded') === 'true';
  document.addEventListener('focusout', ({ target }) => {
    if (target?.getAttribute?.('role') !== 'combobox') return;
    setTimeout(() => {
      if (document.activeElement !== target && isOpenDropdown(target)) target.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', code: 'Escape', bubbles: true }));
    }, LATER);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && isOpenDropdown(event.target)) event.preventDefault(); // else it would close a dialog around
  }, true);
})();
