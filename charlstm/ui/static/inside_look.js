// Style sheets of the tab Look inside, fetched with the scripts that need them.
export const loadLook = (name) => new Promise((resolve) => {
  if (document.querySelector(`link[data-inside="${name}"]`)) { resolve(); return; }
  const link = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: new URL(`./${name}`, import.meta.url).href, onload: resolve, onerror: resolve });
  link.dataset.inside = name;
  document.head.append(link);
});
