// The five likeliest next letters as bars, which move from what they were to what they are with a letter changed.
import { nameOfChar, percent, shownChar } from './inside_shared.js';

const MOST = 7;

export const createBars = (h) => {
  const list = h('ol', { class: 'why-bars', 'aria-label': 'The likeliest letters there' }), rows = new Map();
  const rowOf = (char) => {
    if (rows.has(char)) return rows.get(char);
    const bar = h('i', { class: 'why-bar' }), was = h('i', { class: 'why-was', hidden: true }), figure = h('span', { class: 'why-chance' });
    const element = h('li', {}, h('span', { class: 'why-char', 'aria-label': nameOfChar(char) }, shownChar(char)), h('span', { class: 'why-track', 'aria-hidden': 'true' }, bar, was), figure);
    const row = { element, bar, was, figure };
    rows.set(char, row);
    return row;
  };
  const fill = (row, share, before) => {
    row.bar.style.transform = `scaleX(${Math.max(0.004, share)})`;
    row.was.hidden = before === null;
    if (before !== null) row.was.style.left = `${100 * before}%`;
    row.figure.textContent = before === null ? percent(share) : `${percent(before)} → ${percent(share)}`;
  };
  return {
    element: list,
    clear() { rows.clear(); list.replaceChildren(); },
    // `target` had `chance`; `changed` {bars, chance} is what it is with a letter changed, null without.
    show({ bars, target, chance, changed }) {
      const now = new Map(bars), after = changed ? new Map(changed.bars) : null;
      now.set(target, chance);
      if (after) after.set(target, changed.chance);
      const chars = [...new Set([...bars.map(([char]) => char), target, ...(changed?.bars || []).map(([char]) => char)])].slice(0, MOST);
      for (const char of [...rows.keys()]) if (!chars.includes(char)) rows.delete(char);
      const drawn = chars.map((char) => {
        const row = rowOf(char);
        row.element.classList.toggle('is-target', char === target);
        if (after) {
          const to = after.get(char), from = now.get(char);
          fill(row, to ?? 0, from ?? 0);
          if (to === undefined || from === undefined) row.figure.textContent = `${from === undefined ? 'little' : percent(from)} → ${to === undefined ? 'little' : percent(to)}`;
        } else fill(row, now.get(char) ?? 0, null);
        return row.element;
      });
      if (drawn.some((each, i) => list.children[i] !== each) || list.children.length !== drawn.length) list.replaceChildren(...drawn);
    },
  };
};
