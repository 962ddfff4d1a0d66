// Script of the text component; `element`, `props`, `watch` and `trigger` are Gradio's. Text enters as text nodes only.
const FIRST = 33, ODDS_BASE = 90, EDGES = [0.5, 1.5, 2.5, 3.75, 5.25];
const MAX_TINTED = 20000;  // characters with a colour; later ones have none
const BLOCK = 2000;  // characters after which a line end begins a new block: only the last block is laid out again
const find = (name) => element.querySelector(name);
const reader = find('.reader'), frame = find('.reader-frame'), card = find('.reader-card');
const cursor = find('.reader-cursor'), tint = find('.reader-tint');
let shownId = null, rows = [], at = null, isPinned = false, atEnd = true, copied = '';

const value = () => props.value || {};
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};
const nats = (row, index) => (row.surprise.charCodeAt(index) - FIRST) / 10;
const levelOf = (surprise) => EDGES.filter((edge) => surprise >= edge).length;

// Texts --------------------------------------------------------------------------------------------------------------

function restart(page) {
  shownId = page.id;
  copied = JSON.stringify(page.copied || []);
  reader.replaceChildren();
  closeCard();
  rows = (page.texts || []).map((_, number) => {
    const box = make('div', 'reader-text');
    if (page.texts.length > 1) reader.append(make('h3', '', `${number + 1} of ${page.texts.length}`));
    const block = make('div');
    block.append(make('b', '', page.given || ''));
    box.append(block);
    reader.append(box);
    return { number, box, block, inBlock: 0, spans: [], chars: [], surprise: '', likeliest: [], odds: '', read: {} };
  });
  if (!rows.length && page.given) reader.append(make('b', '', page.given));
}

// Return what is new in pieces, the last of which may have grown.
function readNew(row, name, pieces) {
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
}

function appendNew(row, text, page) {
  const begin = row.chars.length;
  row.surprise += readNew(row, 'surprise', text.surprise);
  for (const char of readNew(row, 'likeliest', text.likeliest)) row.likeliest.push(char);
  row.odds += readNew(row, 'odds', text.odds);
  for (const char of readNew(row, 'text', text.text)) row.chars.push(char);
  const [from, to] = (page.copied || [])[row.number] || [0, 0];
  let span = null, last = null;
  for (let index = begin; index < row.chars.length; index += 1) {
    const level = index < MAX_TINTED ? levelOf(nats(row, index)) : 0;
    const name = `s${level}${index >= from && index < to ? ' is-copied' : ''}`;
    if (name !== last || span.length >= 500) {
      if (span) span.node.textContent = span.text;
      span = { node: make('span', name), text: '', length: 0 };
      span.node.begin = index;
      row.spans.push(span.node);
      row.block.append(span.node);
      last = name;
    }
    span.text += row.chars[index];
    span.length += 1;
    row.inBlock += 1;
    if (row.inBlock >= BLOCK && row.chars[index] === '\n') {
      row.block = make('div');
      row.inBlock = 0;
      row.box.append(row.block);
      last = null;
    }
  }
  if (span) span.node.textContent = span.text;
}

function draw() {
  const page = value();
  if (page.id !== shownId || JSON.stringify(page.copied || []) !== copied) restart(page);
  rows.forEach((row) => appendNew(row, page.texts[row.number], page));
  reader.classList.toggle('is-empty', !page.given && !rows.some((row) => row.chars.length));
  reader.classList.toggle('is-code', Boolean(page.is_code));
  reader.classList.toggle('is-writing', Boolean(page.is_writing));
  if (page.is_writing && atEnd) reader.scrollTop = reader.scrollHeight;
  find('.reader-link').hidden = !page.link;
  if (page.link) {
    const address = new URLSearchParams(page.link), now = new URLSearchParams(location.search);
    for (const [name, each] of now) if (name.startsWith('__')) address.set(name, each);
    history.replaceState(history.state, '', `${location.pathname}?${address}`);
  }
}

const wholeText = () => rows.map((row, index) => {
  const text = (value().given || '') + row.chars.join('');
  return rows.length > 1 ? `---- ${index + 1} of ${rows.length} ----\n${text}\n` : text;
}).join('\n');

// Pointer positions --------------------------------------------------------------------------------------------------

function placeAt(x, y) {
  const caret = document.caretPositionFromPoint ? document.caretPositionFromPoint(x, y) : null;
  const range = caret ? null : document.caretRangeFromPoint?.(x, y);
  const node = caret ? caret.offsetNode : range?.startContainer, offset = caret ? caret.offset : range?.startOffset;
  const span = node?.parentElement;
  const row = rows.find((each) => span?.begin !== undefined && each.box.contains(span));
  if (!row) return null;
  let index = span.begin + Array.from(node.data.slice(0, offset)).length;
  // A caret is between two characters: take the one under the point.
  if (index >= row.chars.length || !isUnder(row, index, x, y)) index -= 1;
  return index >= 0 && isUnder(row, index, x, y) ? { row, index } : null;
}

function rangeOf(row, index) {
  const { spans } = row;
  let low = 0, high = spans.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (spans[middle].begin <= index) low = middle; else high = middle - 1;
  }
  const node = spans[low]?.firstChild, range = document.createRange();
  if (!node) return null;
  const before = row.chars.slice(spans[low].begin, index).join('').length;
  range.setStart(node, before);
  range.setEnd(node, before + row.chars[index].length);
  return range;
}

function boxOf(row, index) {
  const boxes = rangeOf(row, index)?.getClientRects();
  return boxes?.length ? boxes[0] : null;
}

function isUnder(row, index, x, y) {
  const box = boxOf(row, index);
  return Boolean(box) && x >= box.left - 1 && x <= box.right + 1 && y >= box.top - 2 && y <= box.bottom + 2;
}

// The card -----------------------------------------------------------------------------------------------------------

const NAMES = { '\n': '↵ line end', ' ': '␣ space', '\t': '⇥ tab' };
function describeChar(char, page) {
  const code = char.codePointAt(0);
  if (page.is_bytes && code > 127) return `byte ${code.toString(16).toUpperCase()}`;
  return NAMES[char] || (code < 32 || code === 127 ? `U+${code.toString(16).toUpperCase().padStart(4, '0')}` : char);
}
const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;

function closeCard() {
  at = null;
  isPinned = false;
  card.hidden = cursor.hidden = true;
  card.classList.remove('is-pinned');
}

function showCard(place, pin) {
  const page = value(), box = boxOf(place.row, place.index);
  if (!box) return closeCard();
  at = place;
  isPinned = pin;
  const outer = frame.getBoundingClientRect(), char = place.row.chars[place.index];
  const surprise = nats(place.row, place.index), width = page.width || 0;
  Object.assign(cursor.style, { left: `${box.left - outer.left}px`, top: `${box.top - outer.top}px`,
    width: `${Math.max(box.width, 3)}px`, height: `${box.height}px` });
  const items = [];
  for (let rank = 0; rank < width; rank += 1) {
    const other = place.row.likeliest[place.index * width + rank], code = 2 * (place.index * width + rank);
    const share = ((place.row.odds.charCodeAt(code) - FIRST) * ODDS_BASE + place.row.odds.charCodeAt(code + 1) - FIRST)
      / (ODDS_BASE * ODDS_BASE - 1);
    const button = make('button', other === char ? 'is-taken' : ''), line = make('span');
    const bar = make('span', 'bar');
    button.type = 'button';
    button.disabled = !page.can_branch || page.is_writing || (page.is_bytes && other.codePointAt(0) > 127);
    button.choice = other;
    bar.style.display = 'block';
    bar.style.width = `${100 * share}%`;
    line.append(bar);
    button.append(make('span', '', describeChar(other, page)), line, make('span', 'odds', percent(share)));
    items.push(button);
  }
  const about = surprise >= 9.3 ? '9.3 nats or more' : `${surprise.toFixed(1)} nats`;
  card.replaceChildren(make('p', '', `${describeChar(char, { })} came as a surprise of ${about}`), ...items);
  if (page.can_branch && pin) card.append(make('p', '', 'Choose one to go on from there.'));
  card.classList.toggle('is-pinned', pin);
  card.hidden = cursor.hidden = false;
  const left = Math.min(Math.max(0, box.left - outer.left), Math.max(0, outer.width - card.offsetWidth));
  const below = box.bottom - outer.top + 6, above = box.top - outer.top - card.offsetHeight - 6;
  const isBelow = box.bottom + 6 + card.offsetHeight < window.innerHeight || above < 0;
  Object.assign(card.style, { left: `${left}px`, top: `${isBelow ? below : above}px` });
  return undefined;
}

function scrollToPlace(place) {
  const box = boxOf(place.row, place.index), outer = reader.getBoundingClientRect();
  if (box && box.top < outer.top) reader.scrollTop -= outer.top - box.top + 8;
  if (box && box.bottom > outer.bottom) reader.scrollTop += box.bottom - outer.bottom + 8;
}

function placeAfter(key) {
  const written = rows.filter((row) => row.chars.length);
  if (!written.length) return null;
  if (!at || !at.row.box.isConnected) return { row: written[0], index: 0 };
  const { row, index } = at, place = written.indexOf(row);
  if (key === 'Home') return { row, index: 0 };
  if (key === 'End') return { row, index: row.chars.length - 1 };
  if (key === 'ArrowLeft') return index > 0 ? { row, index: index - 1 } : at;
  if (key === 'ArrowRight') {
    if (index + 1 < row.chars.length) return { row, index: index + 1 };
    return place + 1 < written.length ? { row: written[place + 1], index: 0 } : at;
  }
  const here = boxOf(row, index), step = key === 'ArrowDown' ? 1 : -1;
  let best = at;  // the nearest character of the next line
  for (let other = index + step; other >= 0 && other < row.chars.length; other += step) {
    const box = boxOf(row, other);
    if (!box || Math.abs(box.top - here.top) < 4) continue;
    if (best !== at && Math.abs(box.top - boxOf(row, best.index).top) > 4) break;
    const isNearer = best === at || Math.abs(box.left - here.left) < Math.abs(boxOf(row, best.index).left - here.left);
    if (isNearer) best = { row, index: other };
  }
  return best;
}

reader.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === 'Escape') closeCard();
  else if (event.key === 'Enter' && at) {
    showCard(at, true);
    card.querySelector('button:enabled')?.focus();
  } else if (/^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key)) {
    const place = placeAfter(event.key);
    if (!place) return;
    scrollToPlace(place);
    showCard(place, false);
  } else return;
  event.preventDefault();
});
card.addEventListener('keydown', (event) => {
  const buttons = [...card.querySelectorAll('button:enabled')], place = buttons.indexOf(document.activeElement);
  if (event.key === 'ArrowDown') buttons[Math.min(place + 1, buttons.length - 1)]?.focus();
  else if (event.key === 'ArrowUp') buttons[Math.max(place - 1, 0)]?.focus();
  else if (event.key === 'Escape') { closeCard(); reader.focus(); } else return;
  event.preventDefault();
});
let pending = null;
reader.addEventListener('pointermove', (event) => {
  if (isPinned || event.pointerType === 'touch') return;
  if (!pending) requestAnimationFrame(() => {
    const place = placeAt(pending.clientX, pending.clientY);
    pending = null;
    if (isPinned) return;
    if (place && (!at || place.row !== at.row || place.index !== at.index)) showCard(place, false);
    else if (!place) closeCard();
  });
  pending = event;
});
reader.addEventListener('pointerleave', () => { if (!isPinned) closeCard(); });
reader.addEventListener('click', (event) => {
  if (!getSelection().isCollapsed) return;  // text is being selected
  const place = placeAt(event.clientX, event.clientY);
  if (place) showCard(place, true); else closeCard();
});
card.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || button.disabled || !at) return;
  const prompt = (value().given || '') + at.row.chars.slice(0, at.index).join('') + button.choice;
  closeCard();
  reader.focus();
  trigger('select', { prompt });
});
document.addEventListener('pointerdown', (event) => { if (isPinned && !frame.contains(event.target)) closeCard(); });
reader.addEventListener('scroll', () => {
  atEnd = reader.scrollHeight - reader.scrollTop - reader.clientHeight < 40;
  if (at && !card.hidden) { if (isPinned) closeCard(); else cursor.hidden = card.hidden = true; }
});

// Buttons ------------------------------------------------------------------------------------------------------------

tint.addEventListener('change', () => {
  reader.classList.toggle('is-tinted', tint.checked);
  find('.reader-legend').hidden = !tint.checked;
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
draw();
watch('value', draw);
