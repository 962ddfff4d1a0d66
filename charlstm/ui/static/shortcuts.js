// The keys that work everywhere on the page. Space and ? are left alone while somebody types or has a control in focus.
(() => {
  const { h } = window.charlstm;
  const KEYS = [
    [['Ctrl', 'Enter'], 'Write, on the tab Write'],
    [['Esc'], 'Stop writing; close a bubble or a dialog'],
    [['Space'], 'Play or pause the film of a run, on the tab Train'],
    [['←', '→'], 'In a text or a curve: go from letter to letter, from point to point'],
    [['?'], 'This list'],
  ];
  const visible = (id) => {
    const element = document.getElementById(id), button = element?.matches('button') ? element : element?.querySelector('button');
    return button && button.checkVisibility?.() !== false && button.getClientRects().length && !button.disabled ? button : null;
  };
  const isBusy = (target) => target?.closest?.('input, textarea, select, button, a, summary, [contenteditable], [role="textbox"], [role="slider"], [role="tab"], [role="option"], [role="combobox"], dialog, [role="dialog"], [tabindex="0"]');

  const showKeys = () => {
    if (document.querySelector('dialog.keys')) return;
    const dialog = h('dialog', { class: 'ask keys', 'aria-label': 'Keyboard shortcuts' },
      h('h2', {}, 'Keyboard'),
      h('dl', {}, ...KEYS.flatMap(([keys, what]) => [h('dt', {}, ...keys.flatMap((key, i) => [...(i ? [' '] : []), h('kbd', {}, key)])), h('dd', {}, what)])),
      h('div', { class: 'buttons' }, h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close() }, 'Close')));
    dialog.addEventListener('close', () => dialog.remove());
    (document.querySelector('.gradio-container') || document.body).append(dialog);
    dialog.showModal();
  };

  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector('dialog[open]')) return;
    const press = (id) => {
      const button = visible(id);
      if (!button) return;
      event.preventDefault();
      button.click();
    };
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) press('write');
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === 'Escape') press('stop-writing');
    else if (isBusy(event.target)) return;
    else if (event.key === ' ') press('film-play');
    else if (event.key === '?') {
      event.preventDefault();
      showKeys();
    }
  });

  window.charlstm = Object.assign(window.charlstm || {}, { showKeys });
})();
