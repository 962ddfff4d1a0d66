// Making parts of the page. Whatever a person or a model wrote enters it as text, never as HTML.
(() => {
  const set = (made, name, value) => {
    if (name === 'class') made.className = value;
    else if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (typeof value === 'boolean') made.toggleAttribute(name, value);
    else made.setAttribute(name, value);
  };
  const h = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) set(made, name, value);
    made.append(...children);
    return made;
  };

  // Sets the text only where it differs, so that a reader's selection and a screen reader are left alone.
  const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const show = (node, isShown) => { if (node.hidden === isShown) node.hidden = !isShown; };

  // Copies; false where the browser does not let us. Over plain http it offers no clipboard, but the older command.
  const copyText = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* none, or not allowed */ }
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

  // Copies for a button that says how it went.
  const copyFor = async (button, text) => {
    const said = (button.dataset.said ||= button.textContent);  // a second click finds the answer there
    button.textContent = (await copyText(text)) ? 'Copied' : 'Not copied: mark the text and press Ctrl+C';
    setTimeout(() => { button.textContent = said; }, 1500);
  };

  // Copies an address of this page, which the browser's own bar does not show inside a Space's frame.
  const copyLink = (button, query, hash = '') => {
    const url = new URL(location.pathname, location.origin);
    url.search = query;
    url.hash = hash;
    return copyFor(button, url.href);
  };

  // One question at a time: a form in a dialog. `fields` are [name, label, attributes]; resolves to the values, or null.
  const ask = (title, text, fields, action) => new Promise((done) => {
    const inputs = fields.map(([name, label, attributes]) => [name, h('input', { ...attributes, name }), label]);
    const problem = h('p', { class: 'problem', role: 'alert' });
    const dialog = h('dialog', { class: 'ask', 'aria-label': title },
      h('form', { method: 'dialog' },
        h('h2', {}, title), h('p', {}, text),
        ...inputs.map(([, input, label]) => h('label', {}, h('span', {}, label), input)),
        problem,
        h('div', { class: 'buttons' },
          h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close() }, 'Cancel'),
          h('button', { type: 'submit', class: 'main' }, action))));
    let values = null;
    dialog.querySelector('form').addEventListener('submit', () => {
      values = Object.fromEntries(inputs.map(([name, input]) => [name, input.value]));
    });
    dialog.addEventListener('close', () => { dialog.remove(); done(values); });
    (document.querySelector('.gradio-container') || document.body).append(dialog);
    dialog.showModal();
    inputs[0]?.[1].select?.();
  });

  window.charlstm = Object.assign(window.charlstm || {}, { h, say, show, ask, copyText, copyFor, copyLink });
})();
