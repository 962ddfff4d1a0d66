// The title of the page and its icon show the run in progress, for whoever is looking at another tab meanwhile.
(() => {
  const { store } = window.charlstm;
  const NAME = 'charlstm', RADIUS = 13;
  const ENDS = { completed: '✓', stopped: '■', failed: '✕', interrupted: '↯' };
  let active = null; // name of the run in progress
  let ended = ''; // what happened to the last one, until somebody looks

  const icon = (fraction) => {
    const ring = 2 * Math.PI * RADIUS, letter = 'M19.6 12.6a5 5 0 1 0 0 6.8';
    const progress = fraction === null ? '' : `<circle cx="16" cy="16" r="${RADIUS}" fill="none" stroke="#e0d6cc" stroke-width="5"/>`
      + `<circle cx="16" cy="16" r="${RADIUS}" fill="none" stroke="#b4532a" stroke-width="5" stroke-dasharray="${(ring * fraction).toFixed(1)} ${ring.toFixed(1)}" transform="rotate(-90 16 16)"/>`;
    const face = fraction === null ? '<rect width="32" height="32" rx="7" fill="#b4532a"/>' : '';
    const stroke = fraction === null ? '#fff' : '#b4532a';
    return `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${face}${progress}<path d="${letter}" fill="none" stroke="${stroke}" stroke-width="3" stroke-linecap="round"/></svg>`)}`;
  };
  let shownIcon = '';
  const setIcon = (fraction) => {
    const address = icon(fraction === null ? null : Math.round(fraction * 50) / 50);
    if (address === shownIcon) return;
    shownIcon = address;
    const links = [...document.querySelectorAll('link[rel~="icon"]')];
    const link = links[0] || document.head.appendChild(document.createElement('link'));
    link.rel = 'icon';
    link.href = address;
  };

  const labelOf = (run) => store.sections[`row/${run}`]?.label || run;
  const fractionOf = (house) => {
    if (Number.isFinite(house.fraction)) return house.fraction;
    return house.run === store.shown && Number.isFinite(store.sections.state?.fraction) ? store.sections.state.fraction : null;
  };
  const draw = () => {
    const house = store.sections.house;
    if (!house) return;
    if (active && house.run !== active) {
      const sign = ENDS[store.sections[`row/${active}`]?.status];
      ended = sign && document.hidden ? `${sign} ${labelOf(active)}: ` : '';
    }
    active = house.run;
    let title = `${ended}${NAME}`, fraction = null;
    if (active) {
      fraction = fractionOf(house);
      const percent = fraction === null ? '' : `${Math.round(100 * fraction)} % · `;
      title = `${house.sign} ${percent}${labelOf(active)}: ${NAME}`;
    }
    if (document.title !== title) document.title = title;
    setIcon(active ? fraction ?? 0 : null);
  };
  store.onChange((changed) => {
    if (changed === null || ['house', 'state'].some((name) => changed.has(name)) || [...changed].some((name) => name.startsWith('row/'))) draw();
    return true;
  });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    ended = '';
    draw();
  });
})();
