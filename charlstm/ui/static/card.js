// The Markdown of a model card as elements. It knows what our cards are made of, and no HTML: what it doesn't know stays text.
const INLINE = /(`+)(.+?)\1|\*\*(.+?)\*\*|\[([^\]]+)\]\((https:\/\/[^)\s]+)\)/;

const inline = (h, text) => {
  const parts = [];
  for (let rest = text; rest;) {
    const found = rest.match(INLINE);
    if (!found) { parts.push(rest); break; }
    if (found.index) parts.push(rest.slice(0, found.index));
    const [whole, , code, strong, words, address] = found;
    if (code !== undefined) parts.push(h('code', {}, code.trim()));
    else if (strong !== undefined) parts.push(h('strong', {}, strong));
    else parts.push(h('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, words));
    rest = rest.slice(found.index + whole.length);
  }
  return parts;
};
const cells = (line) => line.trim().replace(/^\||\|$/g, '').split('|').map((cell) => cell.trim());

const table = (h, lines) => {
  const [head, , ...rows] = lines.map(cells);
  return h('table', {}, h('thead', {}, h('tr', {}, ...head.map((cell) => h('th', { scope: 'col' }, ...inline(h, cell))))),
    h('tbody', {}, ...rows.map((row) => h('tr', {}, ...row.map((cell) => h('td', {}, ...inline(h, cell)))))));
};

// Return the elements of `text`, without its front matter; `pictures` holds what it shows by file name.
export const render = (h, text, pictures) => {
  const lines = text.replace(/^---\n[\s\S]*?\n---\n/, '').split('\n'), blocks = [];
  for (let i = 0; i < lines.length;) {
    const line = lines[i], fence = line.match(/^(`{3,}|~{3,})/), heading = line.match(/^(#{1,4}) (.*)/), picture = line.match(/^!\[([^\]]*)\]\(([^)]+)\)$/);
    if (fence) {
      let end = i + 1;
      while (end < lines.length && !lines[end].startsWith(fence[1])) end++;
      blocks.push(h('pre', { tabindex: 0 }, lines.slice(i + 1, end).join('\n')));
      i = end + 1;
    } else if (heading) {
      blocks.push(h(`h${Math.min(6, heading[1].length + 3)}`, {}, ...inline(h, heading[2])));
      i++;
    } else if (picture) {
      const source = pictures[picture[2]];
      if (source?.startsWith('data:image/')) blocks.push(h('img', { src: source, alt: picture[1] }));
      i++;
    } else {
      let end = i;
      while (end < lines.length && lines[end].trim() && !/^(`{3,}|~{3,}|#{1,4} |!\[)/.test(lines[end])) end++;
      const block = lines.slice(i, end);
      if (block.length > 2 && /^\|?[-:| ]+\|?$/.test(block[1])) blocks.push(table(h, block));
      else if (block.length && block.every((each) => /^[-*] /.test(each))) blocks.push(h('ul', {}, ...block.map((each) => h('li', {}, ...inline(h, each.slice(2))))));
      else if (block.length) blocks.push(h('p', {}, ...inline(h, block.join(' '))));
      i = Math.max(end, i + 1);
    }
  }
  return blocks;
};
