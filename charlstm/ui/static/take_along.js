// The dialog of *Take it along*: makes the chosen model's page, fetches it and saves it, with progress.
const { h, setText } = window.charlstm;
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

// Fetch `address`, telling how much has come; resolves to the bytes.
const fetchWithProgress = async (address, total, tell) => {
  const answer = await fetch(new URL(address, document.baseURI));
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).problem || 'The page did not arrive; try again.');
  const pieces = [], reader = answer.body.getReader();
  let length = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    pieces.push(part.value);
    length += part.value.length;
    tell(length / total);
  }
  if (length !== total) throw new Error('The connection was lost before the page had arrived; try again.');
  return new Blob(pieces, { type: 'text/html' });
};

const save = (blob, name) => {
  const link = h('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
};

export const takeAlong = (server, opener) => {
  const model = document.querySelector('#model input')?.value || null;
  const heading = h('input', { name: 'title', maxlength: '80' });
  const progress = h('progress', { class: 'share', max: '1', value: '0', hidden: true, 'aria-label': 'Download' });
  const said = h('p', { class: 'take-along-said', role: 'status' }), problem = h('p', { class: 'problem', role: 'alert' });
  const cancel = h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close() }, 'Cancel');
  const start = h('button', { type: 'submit', class: 'main' }, 'Download');
  const dialog = h('dialog', { class: 'ask', 'aria-label': 'Take it along' },
    h('form', { method: 'dialog' },
      h('h2', {}, 'Take it along'),
      h('p', {}, `${model ? `“${model}”` : 'This model'} as one web page: it writes in any browser, offline and without this app. Open it from your disk, send it to somebody, or put it on a web site.`),
      h('label', {}, h('span', {}, 'Heading (empty: what it learned)'), heading),
      progress, said, problem, h('div', { class: 'buttons' }, cancel, start)));

  const run = async () => {
    start.disabled = true;
    setText(problem, '');
    setText(said, 'Making the page …');
    progress.hidden = false;
    progress.removeAttribute('value'); // no one knows how long
    try {
      const made = await server.take_along({ model, title: heading.value });
      if (made.problem) throw new Error(made.problem);
      const blob = await fetchWithProgress(made.address, made.bytes, (share) => {
        progress.value = share;
        setText(said, `${megabytes(share * made.bytes)} of ${megabytes(made.bytes)} MB`);
      });
      if (!dialog.open) return; // it was cancelled
      save(blob, made.name);
      setText(said, `Saved as ${made.name}, ${megabytes(made.bytes)} MB: open it from your downloads.`);
      setText(cancel, 'Close');
      setText(start, 'Once more');
    } catch (error) {
      setText(said, '');
      setText(problem, error instanceof TypeError ? 'The app can’t be reached; try again.' : error.message);
    }
    progress.hidden = true;
    start.disabled = false;
  };
  dialog.querySelector('form').addEventListener('submit', (event) => { event.preventDefault(); run(); });
  dialog.addEventListener('close', () => { dialog.remove(); opener.focus(); });
  (document.querySelector('.gradio-container') || document.body).append(dialog);
  dialog.showModal();
  start.focus();
};
