// The line above the tabs: its links and buttons, and what the explanations ask the server for.
(() => {
  const asks = (location.hash === '#how' || new URLSearchParams(location.search).has('how'));

  window.charlstm.topLine = (element, server) => {
    const { theme, showKeys, toast } = window.charlstm;
    const ask = async (name) => { try { return await server[name]({}); } catch { return null; } };
    window.charlstm.modelFacts = () => ask('model_facts');

    // Its pictures are sent only to whoever opens them.
    const openHow = async (place) => {
      try {
        const [pictures, passages, facts] = await Promise.all([import(new URL('charlstm/how.js', document.baseURI).href), ask('code_passages'), ask('model_facts')]);
        pictures.open(window.charlstm.h, { passages: passages || [], facts: facts || {}, showsCode: place === 'code' });
      } catch { toast('The app does not answer; try again in a moment.'); }
    };
    element.addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (button?.dataset.how) openHow(button.dataset.how);
      else if (button?.matches('[data-keys]')) showKeys();
      else if (button?.matches('[data-theme-toggle]')) theme.setDark(!theme.isDark());
    });
    const toggle = element.querySelector('[data-theme-toggle]');
    const drawTheme = () => toggle.setAttribute('aria-pressed', String(theme.isDark()));
    drawTheme();
    new MutationObserver(drawTheme).observe(document.body, { attributeFilter: ['class'] });
    if (asks) openHow('pictures');
    window.addEventListener('hashchange', () => { if (location.hash === '#how') openHow('pictures'); });
  };
})();
