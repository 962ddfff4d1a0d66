// The card of one character of a text: what else it might have been, by pointer, touch or keyboard.
(() => {
  const FIRST = 33, ODDS_BASE = 90;
  const VERDICTS = ['expected', 'likely', 'one of several', 'a surprise', 'rare', 'astonishing'];
  const NAMES = { '\n': '↵ line end', ' ': '␣ space', '\t': '⇥ tab' };
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const describeChar = (char, isBytes = false) => {
    const code = char.codePointAt(0);
    if (isBytes && code > 127) return `byte ${code.toString(16).toUpperCase()}`;
    return NAMES[char] || (code < 32 || code === 127 ? `U+${code.toString(16).toUpperCase().padStart(4, '0')}` : char);
  };
  const quoteChar = (char) => (NAMES[char] ? NAMES[char][0] : `“${describeChar(char)}”`); // in a sentence
  const percent = (share) => {
    const number = 100 * share;
    return `${number >= 10 ? number.toFixed(0) : number >= 1 ? number.toFixed(1) : number >= 0.01 ? number.toFixed(2) : '< 0.01'} %`;
  };

  const readerCard = ({ frame, box, card, cursor, rows, value, nats, levelOf, leanOf, isActive, showAll, branch, tell }) => {
    let at = null, isPinned = false;

    // Places -------------------------------------------------------------------------------------------------------

    const rangeOf = (row, index) => {
      const { spans } = row;
      let low = 0, high = spans.length - 1;
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        if (spans[middle].begin <= index) low = middle; else high = middle - 1;
      }
      const node = spans[low]?.firstChild, range = document.createRange();
      if (!node || index >= row.shown) return null;
      const start = row.chars.slice(spans[low].begin, index).join('').length;
      range.setStart(node, start);
      range.setEnd(node, start + row.chars[index].length);
      return range;
    };
    const boxOf = (row, index) => {
      const boxes = rangeOf(row, index)?.getClientRects();
      return boxes?.length ? boxes[0] : null;
    };
    const isUnder = (row, index, x, y) => {
      const place = boxOf(row, index);
      return Boolean(place) && x >= place.left - 1 && x <= place.right + 1 && y >= place.top - 2 && y <= place.bottom + 2;
    };
    const placeAt = (x, y) => {
      const caret = document.caretPositionFromPoint ? document.caretPositionFromPoint(x, y) : null;
      const range = caret ? null : document.caretRangeFromPoint?.(x, y);
      const node = caret ? caret.offsetNode : range?.startContainer, offset = caret ? caret.offset : range?.startOffset;
      const span = node?.parentElement;
      const row = rows().find((each) => span?.begin !== undefined && each.box.contains(span));
      if (!row) return null;
      let index = span.begin + Array.from(node.data.slice(0, offset)).length;
      // A caret is between two characters: take the one under the point.
      if (index >= row.shown || !isUnder(row, index, x, y)) index -= 1;
      return index >= 0 && isUnder(row, index, x, y) ? { row, index } : null;
    };

    // What is said of a character ----------------------------------------------------------------------------------

    // Return the character of a place, its chance and verdict, and what else was likely there.
    const letterAt = (row, index) => {
      const page = value(), width = page.width || 0, char = row.chars[index], surprise = nats(row, index);
      const options = [];
      for (let rank = 0; rank < width; rank += 1) {
        const code = 2 * (index * width + rank);
        options.push({ char: row.likeliest[index * width + rank], share:
          ((row.odds.charCodeAt(code) - FIRST) * ODDS_BASE + row.odds.charCodeAt(code + 1) - FIRST) / (ODDS_BASE * ODDS_BASE - 1) });
      }
      const share = options.find((each) => each.char === char)?.share ?? Math.exp(-surprise);
      return { char, share, options, verdict: VERDICTS[levelOf(surprise)], isBytes: Boolean(page.is_bytes) };
    };

    // Which of two models wanted a character more, and how much.
    const wishAt = (row, index) => {
      const lean = leanOf(row, index), times = Math.exp(Math.abs(lean));
      const much = times >= 90 ? 'at least 90 times' : times >= 10 ? `${times.toFixed(0)} times` : `${times.toFixed(1)} times`;
      return times < 1.1 ? 'Both models wanted it alike' : `${value().mixed[lean > 0 ? 1 : 0]} wanted it ${much} as much`;
    };

    const close = () => {
      at = null;
      isPinned = false;
      card.hidden = cursor.hidden = true;
      card.classList.remove('is-pinned');
    };

    const show = (place, pin) => {
      const page = value(), rect = boxOf(place.row, place.index);
      if (!rect) return close();
      at = place;
      isPinned = pin;
      const letter = letterAt(place.row, place.index), outer = frame.getBoundingClientRect();
      Object.assign(cursor.style, { left: `${rect.left - outer.left}px`, top: `${rect.top - outer.top}px`,
        width: `${Math.max(rect.width, 3)}px`, height: `${rect.height}px` });
      const canBranch = page.can_branch && !isActive();
      const items = letter.options.map(({ char, share }) => {
        const button = make('button', char === letter.char ? 'is-taken' : ''), line = make('span'), bar = make('span', 'bar');
        button.type = 'button';
        button.disabled = !canBranch || (letter.isBytes && char.codePointAt(0) > 127);
        button.choice = char;
        bar.style.display = 'block';
        bar.style.width = `${100 * share}%`;
        line.append(bar);
        button.append(make('span', '', describeChar(char, letter.isBytes)), line, make('span', 'odds', percent(share)));
        return button;
      });
      card.replaceChildren(make('p', '', `${quoteChar(letter.char)} had a chance of ${percent(letter.share)}: ${letter.verdict}`), ...items);
      if (place.row.leaning && page.mixed?.length) card.append(make('p', 'wish', `${wishAt(place.row, place.index)}.`));
      const recalled = page.has_read && window.charlstm.recall?.((page.given || '') + place.row.chars.slice(0, place.index).join(''), letter.char);
      if (recalled) card.append(make('p', 'wish', recalled));
      if (canBranch && pin) card.append(make('p', '', 'Choose one to go on from there.'));
      card.classList.toggle('is-pinned', pin);
      card.hidden = cursor.hidden = false;
      const left = Math.min(Math.max(0, rect.left - outer.left), Math.max(0, outer.width - card.offsetWidth));
      const below = rect.bottom - outer.top + 6, above = rect.top - outer.top - card.offsetHeight - 6;
      const isBelow = rect.bottom + 6 + card.offsetHeight < window.innerHeight || above < 0;
      Object.assign(card.style, { left: `${left}px`, top: `${isBelow ? below : above}px` });
      tell(letter);
      return undefined;
    };

    // Keyboard -----------------------------------------------------------------------------------------------------

    const scrollToPlace = (place) => {
      const rect = boxOf(place.row, place.index), outer = box.getBoundingClientRect();
      if (rect && rect.top < outer.top) box.scrollTop -= outer.top - rect.top + 8;
      if (rect && rect.bottom > outer.bottom) box.scrollTop += rect.bottom - outer.bottom + 8;
    };
    const placeAfter = (key) => {
      const written = rows().filter((row) => row.shown);
      if (!written.length) return null;
      if (!at || !at.row.box.isConnected) {
        const first = key === 'End' ? written.at(-1) : written[0];
        return { row: first, index: key === 'End' ? first.shown - 1 : 0 };
      }
      const { row, index } = at, place = written.indexOf(row);
      if (key === 'Home') return { row, index: 0 };
      if (key === 'End') return { row, index: row.shown - 1 };
      if (key === 'ArrowLeft') return index > 0 ? { row, index: index - 1 } : at;
      if (key === 'ArrowRight') {
        if (index + 1 < row.shown) return { row, index: index + 1 };
        return place + 1 < written.length ? { row: written[place + 1], index: 0 } : at;
      }
      const here = boxOf(row, index), step = key === 'ArrowDown' ? 1 : -1;
      let best = at; // the nearest character of the next line
      for (let other = index + step; other >= 0 && other < row.shown; other += step) {
        const rect = boxOf(row, other);
        if (!rect || Math.abs(rect.top - here.top) < 4) continue;
        if (best !== at && Math.abs(rect.top - boxOf(row, best.index).top) > 4) break;
        const isNearer = best === at || Math.abs(rect.left - here.left) < Math.abs(boxOf(row, best.index).left - here.left);
        if (isNearer) best = { row, index: other };
      }
      return best;
    };

    box.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === 'Escape') { if (!at) return; close(); }
      else if (event.key === 'Enter' && at) {
        show(at, true);
        card.querySelector('button:enabled')?.focus();
      } else if (/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key)) {
        const place = placeAfter(event.key);
        if (!place) return;
        scrollToPlace(place);
        show(place, false);
      } else return;
      event.preventDefault();
    });
    card.addEventListener('keydown', (event) => {
      const buttons = [...card.querySelectorAll('button:enabled')], place = buttons.indexOf(document.activeElement);
      if (event.key === 'ArrowDown') buttons[Math.min(place + 1, buttons.length - 1)]?.focus();
      else if (event.key === 'ArrowUp') buttons[Math.max(place - 1, 0)]?.focus();
      else if (event.key === 'Escape') { close(); box.focus(); } else return;
      event.preventDefault();
      event.stopPropagation();
    });

    // Pointer ------------------------------------------------------------------------------------------------------

    let pending = null;
    box.addEventListener('pointermove', (event) => {
      if (isPinned || event.pointerType === 'touch' || isActive()) return;
      if (!pending) requestAnimationFrame(() => {
        const place = placeAt(pending.clientX, pending.clientY);
        pending = null;
        if (isPinned) return;
        if (place && (!at || place.row !== at.row || place.index !== at.index)) show(place, false);
        else if (!place) close();
      });
      pending = event;
    });
    box.addEventListener('pointerleave', () => { if (!isPinned) close(); });
    box.addEventListener('click', (event) => {
      if (!getSelection().isCollapsed) return; // text is being selected
      if (isActive()) { showAll(); return; }
      const place = placeAt(event.clientX, event.clientY);
      if (place) show(place, true); else close();
    });
    card.addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (!button || button.disabled || !at) return;
      const prompt = (value().given || '') + at.row.chars.slice(0, at.index).join('') + button.choice;
      close();
      box.focus();
      branch(prompt);
    });
    document.addEventListener('pointerdown', (event) => { if (isPinned && !frame.contains(event.target)) close(); });

    return { close, letterAt, scrolled: () => { if (at && !card.hidden) { if (isPinned) close(); else cursor.hidden = card.hidden = true; } } };
  };

  window.charlstm = Object.assign(window.charlstm || {}, { readerCard, describeChar, quoteChar, percent });
})();
