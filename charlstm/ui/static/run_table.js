// The status line above the tabs, and the table of all runs: the shown one, the compared ones, the deleted ones.
(() => {
  const { h, setText, setVisible, ask, copyLink, store } = window.charlstm;

  window.charlstm.statusLine = (element) => {
    const sign = h('span', { 'aria-hidden': 'true' }), link = h('button', { type: 'button', class: 'status-link' });
    const line = h('span', { class: 'status-line' }, sign, ' ', link);
    element.replaceChildren(line);
    link.addEventListener('click', () => {
      const status = store.sections.house;
      if (!status?.run) return;
      store.openTab('Train');
      store.show(status.run);
    });
    store.onChange((changed) => {
      if (!element.isConnected && changed !== null) return false;
      const status = store.sections.house || { sign: '○', text: 'idle', status: 'idle', run: null };
      line.className = `status-line is-${store.isLost ? 'lost' : status.status}`;
      link.disabled = !status.run;
      setText(sign, store.isLost ? '!' : status.sign);
      setText(link, store.isLost ? 'no answer from the app; trying again' : status.text);
      link.title = link.textContent; // which may be cut
      return true;
    });
  };

  const COLUMNS = [['', 'Compare'], ['name', 'Name'], ['', 'Curve'], ['text', 'Text'], ['', 'Size'], ['minutes', 'Minutes'], ['loss', 'Validation'], ['', 'State'], ['', 'More']];
  const CELLS = ['Text', 'Size', 'Minutes', 'Validation', 'State'];

  const PAGE = 30; // deleted runs per page

  const SVG = 'http://www.w3.org/2000/svg', TINY = { width: 72, height: 20 };
  const DATE = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

  // The run that was deleted last, in whose place the panel offers to bring it back until another run is chosen.
  store.removed = null;
  store.showRemoved = (removed) => {
    store.removed = removed;
    store.notify(new Set(['removed']));
  };
  const show = store.show;
  store.show = (run) => {
    if (store.removed) store.showRemoved(null);
    show(run);
  };
  const removeRun = async (run, label, tell) => {
    const isShown = run === store.shown, answer = await store.call('act', { run, action: 'delete' });
    tell(answer === undefined ? 'The app does not answer; try again in a moment.' : answer.problem || '');
    if (!answer || answer.problem) return;
    if (isShown) store.showRemoved({ id: answer.deleted, label });
    window.charlstm.toast?.(`${label} was deleted.`, { action: 'Undo', onAction: async () => tell(await store.act('restore', { run: answer.deleted })) });
    store.refresh();
  };
  const renameRun = async (run, label, tell) => {
    const values = await ask('Rename', '', [['label', 'Name', { type: 'text', maxlength: 80, value: label, required: true }]], 'Rename');
    if (values) tell(await store.act('rename', { run, label: values.label }));
  };
  const noteRun = async (run, tell) => {
    const values = await ask('Note', 'Shown beside the run, to everybody who sees it.', [['note', 'One line; empty for none', { type: 'text', maxlength: 100, value: store.sections[`row/${run}`]?.note || '' }]], 'Keep');
    if (values) tell(await store.act('note', { run, note: values.note }));
  };

  // Menus close when something else is pressed, or with Escape.
  document.addEventListener('click', (event) => {
    for (const menu of document.querySelectorAll('details.menu[open]')) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener('keydown', (event) => {
    const menu = event.key === 'Escape' && event.target.closest?.('details.menu[open]');
    if (!menu) return;
    menu.open = false;
    menu.querySelector('summary').focus();
  });

  class Row {
    constructor(id, problem) {
      const tell = (text) => setText(problem, text);
      this.box = h('input', { type: 'checkbox', onchange: () => {
        const isChecked = this.box.checked;
        const isFirst = isChecked && !Object.keys(store.compared).length && store.shown && store.shown !== id;
        if (isFirst) store.compare(store.shown, true);
        if (!store.compare(id, isChecked)) {
          this.box.checked = false;
          tell('Six curves are laid over each other already; take one away first.');
        } else tell('');
      } });
      this.key = h('i', { class: 'run-key' });
      this.name = h('button', { type: 'button', class: 'run-name', onclick: () => store.show(id) });
      this.text = h('span', { class: 'run-text' });
      this.about = h('small', { class: 'run-about' }, this.text, document.createTextNode(''));
      this.bar = h('progress', { class: 'share', max: 1, 'aria-label': 'share of the planned run' });
      this.curve = document.createElementNS(SVG, 'polyline');
      const small = document.createElementNS(SVG, 'svg');
      small.setAttribute('viewBox', `-1 -1 ${TINY.width + 2} ${TINY.height + 2}`);
      small.setAttribute('aria-hidden', 'true'); // its figures are in the same row
      small.append(this.curve);
      this.cells = CELLS.map((title) => h('td', { 'data-title': title }));
      this.changing = [h('button', { type: 'button', onclick: () => renameRun(id, this.row.label, tell) }, 'Rename'), h('button', { type: 'button', onclick: () => noteRun(id, tell) }, 'Note'), h('button', { type: 'button', onclick: () => removeRun(id, this.row.label, tell) }, 'Delete')];
      this.menu = h('summary', {}, '⋯');
      const menu = h('details', { class: 'menu' }, this.menu, h('div', { class: 'menu-items' },
        h('button', { type: 'button', onclick: (event) => copyLink(event.target, `run=${encodeURIComponent(id)}`) }, 'Copy link'), ...this.changing));
      this.star = h('button', { type: 'button', class: 'star', onclick: async () => tell(await store.act('star', { run: id, is_starred: !this.row.is_starred })) });
      this.element = h('tr', {}, h('td', { 'data-title': 'Compare' }, h('label', {}, this.box, this.key)), h('th', { scope: 'row' }, this.name, this.about),
        h('td', { class: 'tiny', 'data-title': 'Curve' }, small), ...this.cells, h('td', { 'data-title': 'More' }, this.star, menu));
      this.state = h('span');
      this.cells[4].append(this.state, this.bar);
      this.id = id;
    }

    draw(row) {
      this.row = row;
      const colour = store.compared[this.id];
      this.box.checked = colour !== undefined;
      this.box.setAttribute('aria-label', `Compare ${row.label}`);
      this.menu.setAttribute('aria-label', `More about ${row.label}`);
      this.key.className = colour === undefined ? 'run-key' : `run-key run-colour-${colour}`;
      setText(this.name, row.label);
      setText(this.star, row.is_starred ? '★' : '☆');
      this.star.setAttribute('aria-pressed', String(Boolean(row.is_starred)));
      this.star.setAttribute('aria-label', `List ${row.label} first`);
      this.star.title = row.is_starred ? 'Listed first, unless a column sorts the runs; press to end that' : 'List it first, unless a column sorts the runs';
      const about = [row.note && `“${row.note}”`, row.started ? DATE.format(new Date(1000 * row.started)) : '', row.changes || ''].filter(Boolean).join(' · ');
      setText(this.text, row.cells[0] + (about && ' · '));
      setText(this.about.lastChild, about);
      this.about.title = about;
      const isShown = this.id === store.shown && !store.removed;
      this.element.classList.toggle('is-shown', isShown);
      if (isShown) this.name.setAttribute('aria-current', 'true'); else this.name.removeAttribute('aria-current');
      const points = row.curve.map((y, i) => `${Math.round((i * TINY.width) / (row.curve.length - 1))},${TINY.height - y}`).join(' ');
      if (this.curve.getAttribute('points') !== points) this.curve.setAttribute('points', points);
      row.cells.slice(0, 4).forEach((text, i) => setText(this.cells[i], text));
      setText(this.state, row.cells[4]);
      this.cells[4].className = `is-${row.status}`;
      const isLive = ['running', 'paused'].includes(row.status) && typeof row.fraction === 'number';
      setVisible(this.bar, isLive);
      if (isLive) this.bar.value = row.fraction;
      setVisible(this.star, row.may_star);
      for (const button of this.changing) setVisible(button, row.may);
    }
  }

  // Return the rows in the chosen order. They come the newest first; then those with a star stand above the others.
  const sorted = (rows, sort) => {
    const { by, isDown } = sort || {};
    const keys = { name: (row) => row.label.toLowerCase(), text: (row) => row.cells[0].toLowerCase(), minutes: (row) => Number(row.cells[2]) || 0, loss: (row) => Number(row.cells[3]) || Infinity };
    if (!keys[by]) return [...rows.filter((row) => row.is_starred), ...rows.filter((row) => !row.is_starred)];
    const compare = (a, b) => (keys[by](a) < keys[by](b) ? -1 : keys[by](a) > keys[by](b) ? 1 : 0);
    return [...rows].sort((a, b) => (isDown ? -compare(a, b) : compare(a, b)));
  };

  Object.assign(window.charlstm, { removeRun, noteRun });

  window.charlstm.runs = (element) => {
    const body = h('tbody'), rows = new Map();
    const problem = h('p', { class: 'problem', role: 'status' });
    const empty = h('p', { class: 'notes' }, 'No run yet.');
    const sortBy = (by) => {
      const { sort } = store.view;
      store.setView({ sort: sort?.by !== by ? { by, isDown: false } : sort.isDown ? null : { by, isDown: true } });
    };
    const heads = COLUMNS.map(([by, title]) => h('th', { scope: 'col', 'data-by': by }, by ? h('button', { type: 'button', class: 'sort', onclick: () => sortBy(by) }, title) : title));
    const order = h('select', { class: 'sort-by', 'aria-label': 'Sort by', onchange: () => store.setView({ sort: order.value ? { by: order.value, isDown: false } : null }) },
      h('option', { value: '' }, 'Newest first'), ...COLUMNS.filter(([by]) => by).map(([by, title]) => h('option', { value: by }, `By ${title.toLowerCase()}`))); // for phones
    const table = h('table', { class: 'runs' }, h('caption', {}, 'Runs'), h('thead', {}, h('tr', {}, ...heads)), body);
    const trash = h('ul'), others = h('div', { class: 'buttons' }), bin = h('details', { class: 'trash' }, h('summary', {}, 'Deleted runs'), trash, others);
    element.replaceChildren(order, table, empty, problem, bin);

    const drawRows = () => {
      const list = sorted((store.sections.runs || []).map((id) => store.sections[`row/${id}`]).filter(Boolean), store.view.sort);
      for (const head of heads) {
        const isSorted = head.dataset.by && head.dataset.by === store.view.sort?.by;
        if (isSorted) head.setAttribute('aria-sort', store.view.sort.isDown ? 'descending' : 'ascending'); else head.removeAttribute('aria-sort');
      }
      for (const [id, row] of rows) if (!list.some((each) => each.id === id)) { row.element.remove(); rows.delete(id); }
      list.forEach((each, i) => {
        if (!rows.has(each.id)) rows.set(each.id, new Row(each.id, problem));
        const row = rows.get(each.id);
        row.draw(each);
        if (body.children[i] !== row.element) body.insertBefore(row.element, body.children[i] || null);
      });
      order.value = store.view.sort?.by || '';
      setVisible(order, list.length > 1);
      setVisible(table, list.length > 0);
      setVisible(empty, list.length === 0);
    };
    const drawTrash = () => {
      const { first, list, count } = store.sections.trash || { first: 0, list: [], count: 0 };
      setVisible(bin, count > 0);
      const pageButton = (text, begin) => h('button', { type: 'button', onclick: () => store.showDeleted(begin) }, text);
      others.replaceChildren(...(first > 0 ? [pageButton('Newer', Math.max(0, first - PAGE))] : []),
        ...(first + list.length < count ? [pageButton('Older', first + list.length)] : []));
      trash.replaceChildren(...list.map(({ id, label, when }) => h('li', {}, `${label} (deleted ${when}) `,
        h('button', { type: 'button', 'aria-label': `Restore ${label}`, onclick: async () => setText(problem, await store.act('restore', { run: id })) }, 'Restore'))));
    };
    store.onChange((changed) => {
      if (!element.isConnected && changed !== null) return false;
      if (changed === null || [...changed].some((name) => ['runs', 'shown', 'compared', 'view', 'removed'].includes(name) || name.startsWith('row/'))) drawRows();
      if (changed === null || changed.has('trash')) drawTrash();
      return true;
    });
  };
})();
