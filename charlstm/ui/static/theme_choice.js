// Light or dark, as the visitor chose on this page; else as their system has it.
// Runs before Gradio's scripts, which ask the browser once, so that the page is never first drawn in the other theme.
(() => {
  const KEY = 'charlstm-theme', QUERY = '(prefers-color-scheme: dark)';
  const native = window.matchMedia.bind(window), system = native(QUERY);
  const read = () => { try { return localStorage.getItem(KEY); } catch { return null; } }; // a private window
  let choice = read();
  const isChosen = () => choice === 'dark' || choice === 'light';
  const isDark = () => (isChosen() ? choice === 'dark' : system.matches);

  class Answer extends EventTarget {
    get matches() { return isDark(); }
    get media() { return QUERY; }
    addListener(listener) { this.addEventListener('change', listener); }
    removeListener(listener) { this.removeEventListener('change', listener); }
  }
  const answer = new Answer();
  window.matchMedia = (query) => (query === QUERY ? answer : native(query));

  const mark = (dark) => {
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    document.documentElement.style.colorScheme = dark ? 'dark' : 'light';
  };
  const named = new URLSearchParams(location.search).get('__theme'); // in an address it goes before the choice
  mark(named === 'dark' || (named !== 'light' && isDark()));
  const changed = () => {
    mark(isDark());
    document.body?.classList.toggle('dark', isDark());
    answer.dispatchEvent(new Event('change'));
  };
  system.addEventListener('change', () => { if (!isChosen()) changed(); });
  const setDark = (dark) => {
    choice = dark ? 'dark' : 'light';
    try { localStorage.setItem(KEY, choice); } catch { /* a private window: for this page only */ }
    changed();
  };

  window.charlstm = Object.assign(window.charlstm || {}, { theme: { isDark: () => document.body.classList.contains('dark'), setDark } });
})();
