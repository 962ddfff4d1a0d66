// A text with the surprise of each character: what is drawn, how fast, and its buttons. Text enters as text nodes only.
(() => {
  const FIRST = 33, EDGES = [0.5, 1.5, 2.5, 3.75, 5.25]; // nats at which the next colour begins
  const EVEN = 46, LEANS = [0.5, 1.5, 3]; // code of a letter that two models wanted alike; nats at which the next colour begins
  const MAX_TINTED = 20000; // characters with a colour; later ones have none
  const BLOCK = 2000; // characters after which a line end begins a new block: only the last block is laid out again
  const PACE = 80, BEHIND = 1.3, STEP = 30; // characters a second that a person can follow; times that, for a text which is written at this pace; milliseconds between two looks
  const LONGEST_WORD = 30; // characters, beyond which a word may break
  const LETTER_EVERY = 90; // milliseconds between two letters that the bars show
  const DRAW_EVERY = 150; // milliseconds
  const KEYS = { fast: 'charlstm-fast', plain: 'charlstm-plain' };
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // What the visitor chose for every text, kept in the browser.
  const isStored = (key) => { try { return localStorage.getItem(key) === '1'; } catch { return false; } };
  const choices = {
    isFast: isStored(KEYS.fast),
    isPlain: isStored(KEYS.plain),
    choose(name, key, isOn) {
      choices[name] = isOn;
      try { localStorage.setItem(key, isOn ? '1' : '0'); } catch { /* a private window */ }
      document.dispatchEvent(new Event('charlstm:choices'));
    },
  };
  const isStill = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

  const reader = (element, props, watch, trigger, { isMain = false } = {}) => {
    const find = (name) => element.querySelector(name);
    const box = find('.reader'), frame = find('.reader-frame');
    let shownId = null, rows = [], copied = '', atEnd = true, last = null;
    let timer = 0, before = 0, due = 0, letterAt = 0, letterOf = '', drawnAt = 0, soon = 0, isRushed = false, frozen = null, ended = null;
    const value = () => props.value || {};
    const nats = (row, index) => (row.surprise.charCodeAt(index) - FIRST) / 10;
    const levelOf = (surprise) => EDGES.filter((edge) => surprise >= edge).length;
    const leanOf = (row, index) => (row.leaning.charCodeAt(index) - FIRST - EVEN) / 10;
    const toneOf = (lean) => 3 + Math.sign(lean) * LEANS.filter((edge) => Math.abs(lean) >= edge).length;
    const tell = (name, detail) => { if (isMain) document.dispatchEvent(new CustomEvent(`charlstm:${name}`, { detail })); };

    // What has arrived ---------------------------------------------------------------------------------------------

    const restart = (page) => {
      if (isMain && page.id !== shownId && last) tell('left', last);
      if (page.id !== shownId) { isRushed = false; frozen = null; }
      shownId = page.id;
      copied = JSON.stringify(page.copied || []);
      box.replaceChildren();
      card.close();
      rows = (page.texts || []).map((_, number) => {
        const whole = make('div', 'reader-text'), block = make('div');
        if (page.texts.length > 1) box.append(make('h3', '', `${number + 1} of ${page.texts.length}`));
        block.append(make('b', '', page.given || ''));
        whole.append(block);
        box.append(whole);
        return { number, box: whole, block, inBlock: 0, spans: [], open: null, shown: 0,
          chars: [], surprise: '', likeliest: [], odds: '', leaning: '', read: {} };
      });
      if (!rows.length && page.given) box.append(make('b', '', page.given));
      box.scrollTop = 0;
      atEnd = true;
    };

    // Return what is new in pieces, the last of which may have grown.
    const readNew = (row, name, pieces) => {
      const read = (row.read[name] ||= { piece: 0, length: 0 });
      let text = '';
      while (read.piece < pieces.length) {
        text += pieces[read.piece].slice(read.length);
        read.length = pieces[read.piece].length;
        if (read.piece === pieces.length - 1) break;
        read.piece += 1;
        read.length = 0;
      }
      return text;
    };
    const receive = (row, text) => {
      row.surprise += readNew(row, 'surprise', text.surprise);
      row.leaning += readNew(row, 'leaning', text.leaning || []);
      for (const char of readNew(row, 'likeliest', text.likeliest)) row.likeliest.push(char);
      row.odds += readNew(row, 'odds', text.odds);
      for (const char of readNew(row, 'text', text.text)) row.chars.push(char);
    };

    // What is shown ------------------------------------------------------------------------------------------------

    const show = (row, end) => {
      const [from, to] = (value().copied || [])[row.number] || [0, 0];
      let text = '';
      const close = () => { // into one text node: places in it are counted in it
        if (text && row.open.node.firstChild) row.open.node.firstChild.appendData(text);
        else if (text) row.open.node.append(text);
        text = '';
      };
      for (; row.shown < end; row.shown += 1) {
        const index = row.shown, isTinted = index < MAX_TINTED;
        const tint = isTinted && row.leaning ? `m${toneOf(leanOf(row, index))}` : `s${isTinted ? levelOf(nats(row, index)) : 0}`;
        const name = `${tint}${index >= from && index < to ? ' is-copied' : ''}`;
        if (!row.open || name !== row.open.name || row.open.length >= 500) {
          close();
          row.open = { node: make('span', name), name, length: 0 };
          row.open.node.begin = index;
          row.spans.push(row.open.node);
          row.block.append(row.open.node);
        }
        text += row.chars[index];
        row.open.length += 1;
        row.inBlock += 1;
        if (row.inBlock >= BLOCK && row.chars[index] === '\n') {
          close();
          row.block = make('div');
          row.inBlock = 0;
          row.box.append(row.block);
          row.open = null;
        }
      }
      close();
      placeCaret(row);
    };
    // The caret holds the place of the rest of a word, so that no word jumps to the next line while it is written.
    const placeCaret = (row) => {
      let rest = '';
      for (let index = row.shown; index < row.chars.length && rest.length < LONGEST_WORD && !/\s/.test(row.chars[index]); index += 1) rest += row.chars[index];
      row.caret ||= make('span', 'caret');
      row.caret.dataset.rest = rest;
      if (row.block.lastChild !== row.caret) row.block.append(row.caret);
    };
    const isPaced = () => Boolean(value().is_live) && !choices.isFast && !isRushed && !isStill();
    const isBehind = () => rows.some((row) => row.shown < row.chars.length);
    const isWritten = () => Boolean(value().is_writing) && ended !== shownId;
    const isActive = () => !frozen && (isWritten() || isBehind());

    const advance = () => {
      const now = performance.now();
      due += ((now - before) / 1000) * PACE * (value().mixed?.length ? BEHIND : 1);
      before = now;
      const count = isPaced() ? Math.floor(due) : Infinity;
      due = Math.min(due - Math.floor(due), 1);
      for (const row of rows) if (row.shown < row.chars.length) show(row, Math.min(row.shown + count, row.chars.length));
      refresh();
    };
    const refresh = () => {
      const page = value(), isOn = isActive();
      box.classList.toggle('is-empty', !page.given && !rows.some((row) => row.chars.length));
      box.classList.toggle('is-code', Boolean(page.is_code));
      box.classList.toggle('is-writing', isOn);
      if (isOn && atEnd && rows.length === 1) box.scrollTop = 1e9; // its event marks the edges
      else if (!isOn) markEdges();
      const row = rows[0], now = performance.now();
      const place = `${shownId} ${row?.shown}`;
      if (isMain && row?.shown && place !== letterOf && (now - letterAt >= LETTER_EVERY || !isOn)) {
        letterAt = now;
        letterOf = place;
        tell('letter', card.letterAt(row, row.shown - 1));
      }
      if (isOn && isBehind()) { timer ||= setInterval(advance, STEP); return; }
      clearInterval(timer);
      timer = 0;
      if (!isOn) tell('settled', page);
    };
    const showAll = () => { isRushed = true; advance(); };

    // A text that is shown as fast as it comes is drawn a few times a second: a page that draws more reacts late to Stop.
    const draw = () => {
      if (value().id === shownId && value().is_writing && !isPaced() && performance.now() - drawnAt < DRAW_EVERY) {
        soon ||= setTimeout(drawNow, DRAW_EVERY);
      } else drawNow();
    };
    const drawNow = () => {
      clearTimeout(soon);
      soon = 0;
      drawnAt = performance.now();
      const page = value(), isNew = page.id !== shownId, isMarked = JSON.stringify(page.copied || []) !== copied;
      if (isNew || isMarked) restart(page);
      last = page;
      if (frozen) return; // what comes after Stop is cut off in `settle`
      rows.forEach((row) => receive(row, page.texts[row.number]));
      find('.reader-link').hidden = !page.link;
      find('.reader-label').textContent = page.title || find('.reader-label').dataset.label;
      find('.reader-rate').textContent = page.caption || '';
      for (const name of ['.reader-copy', '.reader-save']) find(name).disabled = !rows.some((row) => row.chars.length);
      tell('page', { page, isNew });
      if (isMain && (page.mixed?.length || find('.mix-legend'))) window.charlstm.later('crossfader.js').then(({ legend }) => legend(find('.reader-head'), value().mixed));
      if (!timer) { before = performance.now(); due = Math.max(due, 1); }
      if (!isPaced() || !timer) advance(); else refresh();
      if (isMarked && !isNew) showCopied();
    };
    const showCopied = () => {
      const first = box.querySelector('.is-copied');
      if (first) box.scrollTop += first.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3;
    };
    const markEdges = () => {
      const rest = box.scrollHeight - box.scrollTop - box.clientHeight;
      box.classList.toggle('has-above', box.scrollTop > 4);
      box.classList.toggle('has-below', rest > 4);
    };

    // Stop: what was not shown was not written. The server may send some more, so the text is cut when it has ended.
    const stop = () => {
      if (!isActive()) return;
      if (isBehind()) frozen = shownId;
      clearInterval(timer);
      timer = 0;
      refresh();
    };
    const settle = () => {
      ended = shownId; // also where the connection was lost in the middle of a text
      if (frozen === null) return refresh();
      frozen = null;
      const page = JSON.parse(JSON.stringify(value())), width = page.width || 0;
      page.texts = rows.map((row) => {
        row.chars.length = row.shown;
        row.surprise = row.surprise.slice(0, row.shown);
        row.likeliest.length = width * row.shown;
        row.odds = row.odds.slice(0, 2 * width * row.shown);
        row.leaning = row.leaning.slice(0, row.shown);
        const pieces = { text: row.chars.join(''), surprise: row.surprise, likeliest: row.likeliest.join(''), odds: row.odds, leaning: row.leaning };
        row.read = Object.fromEntries(Object.entries(pieces).map(([name, piece]) => [name, { piece: 0, length: piece.length }]));
        return Object.fromEntries(Object.entries(pieces).map(([name, piece]) => [name, [piece]]));
      });
      const longest = Math.max(0, ...rows.map((row) => row.shown)), link = new URLSearchParams(page.link || '');
      if (page.link) link.set('num_chars', longest);
      page.link = longest && page.link ? String(link) : '';
      page.caption = `stopped after ${longest.toLocaleString('en')} characters${/ · seed \d+/.exec(page.caption || '')?.[0] || ''}`;
      page.is_writing = false;
      props.value = page;
      draw();
      return undefined;
    };
    const begin = () => { frozen = ended = null; };

    const wholeText = () => rows.map((row, index) => {
      const text = (value().given || '') + row.chars.join('');
      return rows.length > 1 ? `---- ${index + 1} of ${rows.length} ----\n${text}\n` : text;
    }).join('\n');

    const card = window.charlstm.readerCard({ frame, box, card: find('.reader-card'), cursor: find('.reader-cursor'),
      rows: () => rows, value, nats, levelOf, leanOf, isActive, showAll,
      branch: (prompt) => { document.dispatchEvent(new Event('charlstm:branch')); trigger('select', { prompt }); },
      tell: (letter) => tell('letter', letter) });

    // Events -------------------------------------------------------------------------------------------------------

    const applyChoices = () => {
      box.classList.toggle('is-tinted', !choices.isPlain);
      if (find('.reader-tint')) find('.reader-tint').checked = !choices.isPlain;
      if (find('.reader-fast')) find('.reader-fast').checked = choices.isFast;
      find('.reader-legend')?.classList.toggle('is-off', choices.isPlain);
      if (choices.isFast && isBehind()) advance();
    };
    find('.reader-tint')?.addEventListener('change', (event) => choices.choose('isPlain', KEYS.plain, !event.target.checked));
    find('.reader-fast')?.addEventListener('change', (event) => choices.choose('isFast', KEYS.fast, event.target.checked));
    box.addEventListener('scroll', () => {
      atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      markEdges();
      card.scrolled();
    });
    find('.reader-copy').addEventListener('click', (event) => window.charlstm.copyFor(event.currentTarget, wholeText()));
    find('.reader-link').addEventListener('click', (event) => window.charlstm.copyLink(event.currentTarget, value().link));
    find('.reader-save').addEventListener('click', () => {
      const link = make('a');
      link.href = URL.createObjectURL(new Blob([wholeText()], { type: 'text/plain;charset=utf-8' }));
      link.download = 'charlstm.txt';
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    document.addEventListener('charlstm:choices', applyChoices);
    if (isMain) {
      document.addEventListener('keydown', (event) => { // any key that does nothing else shows the whole text
        const isMeant = !event.ctrlKey && !event.metaKey && !event.altKey && !['Tab', 'Escape', 'Shift'].includes(event.key);
        if (isMeant && isBehind() && !event.target.closest?.('input, textarea, select, button, [role=tab]')) showAll();
      });
      window.charlstm.text = {
        begin, stop, settle, isActive, page: () => last,
        open: (page) => { props.value = page; draw(); },
      };
    }
    applyChoices();
    draw();
    watch('value', draw);
  };

  window.charlstm = Object.assign(window.charlstm || {}, { reader });
})();
