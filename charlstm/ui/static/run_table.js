// The status line above the tabs, and the table of all runs: the shown one, the compared ones, the deleted ones.
(() => {
  const { h, setText, setVisible, store } = window.charlstm;

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
      line.className = `status-line is-${status.status}`;
      link.disabled = !status.run;
      setText(sign, store.isLost ? '!' : status.sign);
      setText(link, store.isLost ? 'no answer from the app; trying again' : status.text);
      return true;
    });
  };

  const COLUMNS = ['Compare', 'Name', 'Curve', 'Text', 'Size', 'Minutes', 'Best validation', 'State'];

  const PAGE = 30; // deleted runs per page

  const SVG = 'http://www.w3.org/2000/svg', TINY = { width: 72, height: 20 };

  class Row {
    constructor(id, problem) {
      this.box = h('input', { type: 'checkbox', onchange: () => {
        const isChecked = this.box.checked;
        const isFirst = isChecked && !Object.keys(store.compared).length && store.shown && store.shown !== id;
        if (isFirst) store.compare(store.shown, true);
        if (!store.compare(id, isChecked)) {
          this.box.checked = false;
          setText(problem, 'Six curves are laid over each other already; take one away first.');
        } else setText(problem, '');
      } });
      this.key = h('i', { class: 'run-key' });
      this.name = h('button', { type: 'button', class: 'run-name', onclick: () => store.show(id) });
      this.curve = document.createElementNS(SVG, 'polyline');
      const small = document.createElementNS(SVG, 'svg');
      small.setAttribute('viewBox', `-1 -1 ${TINY.width + 2} ${TINY.height + 2}`);
      small.setAttribute('aria-hidden', 'true'); // its figures are in the same row
      small.append(this.curve);
      this.cells = COLUMNS.slice(3).map((title) => h('td', { 'data-title': title }));
      this.element = h('tr', {}, h('td', { 'data-title': COLUMNS[0] }, h('label', {}, this.box, this.key)), h('th', { scope: 'row' }, this.name), h('td', { class: 'tiny', 'data-title': COLUMNS[2] }, small), ...this.cells);
      this.id = id;
    }

    draw(row) {
      const colour = store.compared[this.id];
      this.box.checked = colour !== undefined;
      this.box.setAttribute('aria-label', `Compare ${row.label}`);
      this.key.className = colour === undefined ? 'run-key' : `run-key run-colour-${colour}`;
      setText(this.name, row.label);
      const isShown = this.id === store.shown;
      this.element.classList.toggle('is-shown', isShown);
      if (isShown) this.name.setAttribute('aria-current', 'true'); else this.name.removeAttribute('aria-current');
      const points = row.curve.map((y, i) => `${Math.round((i * TINY.width) / (row.curve.length - 1))},${TINY.height - y}`).join(' ');
      if (this.curve.getAttribute('points') !== points) this.curve.setAttribute('points', points);
      row.cells.forEach((text, i) => setText(this.cells[i], text));
      const state = this.cells[this.cells.length - 1];
      state.className = `is-${row.status}`;
    }
  }

  window.charlstm.runs = (element) => {
    const body = h('tbody'), rows = new Map();
    const problem = h('p', { class: 'problem', role: 'status' });
    const empty = h('p', { class: 'notes' }, 'No run yet.');
    const table = h('table', { class: 'runs' }, h('caption', {}, 'Runs'),
      h('thead', {}, h('tr', {}, ...COLUMNS.map((title) => h('th', { scope: 'col' }, title)))), body);
    const trash = h('ul'), others = h('div', { class: 'buttons' }), bin = h('details', { class: 'trash' }, h('summary', {}, 'Deleted runs'), trash, others);
    element.replaceChildren(table, empty, problem, bin);

    let known = null;

    const drawRows = () => {
      const list = (store.sections.runs || []).map((id) => store.sections[`row/${id}`]).filter(Boolean);
      for (const [id, row] of rows) if (!list.some((each) => each.id === id)) { row.element.remove(); rows.delete(id); }
      list.forEach((each, i) => {
        if (!rows.has(each.id)) rows.set(each.id, new Row(each.id, problem));
        const row = rows.get(each.id);
        row.draw(each);
        if (body.children[i] !== row.element) body.insertBefore(row.element, body.children[i] || null);
      });
      setVisible(table, list.length > 0);
      setVisible(empty, list.length === 0);
    };
    const drawTrash = () => {
      const { first, list, count } = store.sections.trash || { first: 0, list: [], count: 0 };
      setVisible(bin, count > 0);
      if (known !== null && count > known) bin.open = true; // one was just deleted: show how to restore it
      if (store.sections.trash) known = count;
      const pageButton = (text, begin) => h('button', { type: 'button', onclick: () => store.showDeleted(begin) }, text);
      others.replaceChildren(...(first > 0 ? [pageButton('Deleted later', Math.max(0, first - PAGE))] : []),
        ...(first + list.length < count ? [pageButton('Deleted earlier', first + list.length)] : []));
      trash.replaceChildren(...list.map(({ id, label, when }) => h('li', {}, `${label} (deleted ${when}) `,
        h('button', { type: 'button', 'aria-label': `Restore ${label}`, onclick: async () => setText(problem, await store.act('restore', { run: id })) }, 'Restore'))));
    };
    store.onChange((changed) => {
      if (!element.isConnected && changed !== null) return false;
      if (changed === null || [...changed].some((name) => ['runs', 'shown', 'compared'].includes(name) || name.startsWith('row/'))) drawRows();
      if (changed === null || changed.has('trash')) drawTrash();
      return true;
    });
  };
})();
