// DOM helpers. Text from a person or a model enters the page as text nodes, never as HTML.
(() => {
  const setAttribute = (element, name, value) => {
    if (name === 'class') element.className = value;
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (typeof value === 'boolean') element.toggleAttribute(name, value);
    else element.setAttribute(name, value);
  };
  const h = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
    element.append(...children);
    return element;
  };

  // Set the text only if it differs, so that the selection is kept and a screen reader does not repeat it.
  const setText = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const setVisible = (node, isVisible) => { if (node.hidden === isVisible) node.hidden = !isVisible; };
  const scrollTo = (element, block = 'start') => {
    const isStill = matchMedia('(prefers-reduced-motion: reduce)').matches;
    element?.scrollIntoView({ behavior: isStill ? 'auto' : 'smooth', block });
  };

  // Copy a text; false where the browser refuses. Over plain http there is no clipboard API, only the older command.
  const copyText = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* no clipboard, or not allowed */ }
    const box = h('textarea', { 'aria-hidden': 'true', style: 'position: fixed; opacity: 0' });
    box.value = text;
    document.body.append(box);
    const before = document.activeElement;
    box.select();
    const isCopied = document.execCommand('copy');
    box.remove();
    before?.focus?.({ preventScroll: true });
    return isCopied;
  };

  // Copy a text for a button that shows the outcome.
  const copyFor = async (button, text) => {
    const label = (button.dataset.label ||= button.textContent);  // a second click finds the outcome as its text
    button.textContent = (await copyText(text)) ? 'Copied' : 'Not copied: mark the text and press Ctrl+C';
    setTimeout(() => { button.textContent = label; }, 1500);
  };

  // Copy an address of this page, which the address bar does not show inside a Space's frame.
  const copyLink = (button, query) => {
    const url = new URL(location.pathname, location.origin);
    url.search = query;
    return copyFor(button, url.href);
  };

  // Load a script that few need; resolves to what it exports.
  const later = (name) => import(new URL(`charlstm/${name}`, document.baseURI).href);

  // Show a form in a modal dialog. `fields` are [name, label, attributes]; resolves to the values, or null.
  const ask = (title, text, fields, action) => new Promise((resolve) => {
    const inputs = fields.map(([name, label, attributes]) => [name, h('input', { ...attributes, name }), label]);
    const problem = h('p', { class: 'problem', role: 'alert' });
    const dialog = h('dialog', { class: 'ask', 'aria-label': title },
      h('form', { method: 'dialog' },
        h('h2', {}, title), ...(text ? [h('p', {}, text)] : []),
        ...inputs.map(([, input, label]) => h('label', {}, h('span', {}, label), input)),
        problem,
        h('div', { class: 'buttons' },
          h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close() }, 'Cancel'),
          h('button', { type: 'submit', class: 'main' }, action))));
    let values = null;
    dialog.querySelector('form').addEventListener('submit', () => {
      values = Object.fromEntries(inputs.map(([name, input]) => [name, input.value]));
    });
    dialog.addEventListener('close', () => { dialog.remove(); resolve(values); });
    (document.querySelector('.gradio-container') || document.body).append(dialog);
    dialog.showModal();
    inputs[0]?.[1].select?.();
  });

  window.charlstm = Object.assign(window.charlstm || {}, { h, setText, setVisible, scrollTo, ask, copyText, copyFor, copyLink, later });
})();
