// Files made in the browser: the chart as a picture, the film of a run.
(() => {
  const { h } = window.charlstm;
  const STYLES = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linejoin', 'opacity', 'font-size', 'font-family', 'font-weight', 'paint-order', 'visibility'];
  const TITLE_HEIGHT = 30, PNG_SCALE = 2;

  const save = (blob, name) => {
    const link = h('a', { href: URL.createObjectURL(blob), download: name.replace(/[^\p{L}\p{N} ._-]+/gu, '-') });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  };
  const saveText = (text, name, type) => save(new Blob([text], { type: `${type};charset=utf-8` }), name);

  // Return a chart as an SVG document of its own: the styles that the page gives it are written into its elements.
  const toSvg = (chart, title) => {
    const copy = chart.svg.cloneNode(true), { width, height } = chart;
    const [own, copied] = [chart.svg, copy].map((svg) => svg.querySelectorAll('g, path, line, rect, text, circle'));
    copied.forEach((element, i) => {
      const style = getComputedStyle(own[i]);
      element.removeAttribute('class');
      if (!element.closest('clipPath')) element.setAttribute('style', STYLES.map((name) => `${name}:${style.getPropertyValue(name)}`).join(';'));
    });
    const background = getComputedStyle(document.body).backgroundColor, ink = getComputedStyle(chart.host).color;
    const root = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    for (const [key, value] of Object.entries({ xmlns: 'http://www.w3.org/2000/svg', width, height: height + TITLE_HEIGHT, viewBox: `0 ${-TITLE_HEIGHT} ${width} ${height + TITLE_HEIGHT}` })) root.setAttribute(key, value);
    const back = document.createElementNS(root.namespaceURI, 'rect'), name = document.createElementNS(root.namespaceURI, 'text');
    for (const [key, value] of Object.entries({ x: 0, y: -TITLE_HEIGHT, width: '100%', height: '100%', fill: background })) back.setAttribute(key, value);
    for (const [key, value] of Object.entries({ x: 46, y: -10, fill: ink, style: 'font: 600 14px sans-serif' })) name.setAttribute(key, value);
    name.textContent = title;
    root.append(back, name, ...legendOf(chart, width), ...copy.childNodes);
    return new XMLSerializer().serializeToString(root);
  };

  // Return the names of the lines, each in its colour, from right to left.
  const legendOf = (chart, width) => {
    let right = width - 14;
    return chart.data.series.filter(({ isNamed = true }) => isNamed).reverse().map(({ id, name }) => {
      const text = document.createElementNS('http://www.w3.org/2000/svg', 'text'), line = chart.paths.get(id);
      for (const [key, value] of Object.entries({ x: right, y: -10, 'text-anchor': 'end', fill: getComputedStyle(line).stroke, style: 'font: 600 12px sans-serif' })) text.setAttribute(key, value);
      text.textContent = name;
      right -= 7 * name.length + 18;
      return text;
    });
  };

  const saveSvg = (chart, title) => saveText(toSvg(chart, title), `${title}.svg`, 'image/svg+xml');

  const savePng = async (chart, title) => {
    const image = new Image(), canvas = h('canvas', { width: PNG_SCALE * chart.width, height: PNG_SCALE * (chart.height + TITLE_HEIGHT) });
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(toSvg(chart, title))}`;
    await image.decode();
    canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => save(blob, `${title}.png`), 'image/png');
  };

  window.charlstm.files = { save, saveText, saveSvg, savePng };
})();
