// The line above the tabs: its links and buttons, and what the explanations ask the server; and a model card.
(() => {
  const asks = (location.hash === '#how' || new URLSearchParams(location.search).has('how'));

  const { later } = window.charlstm;

  window.charlstm.topLine = (element, server) => {
    const { theme, showKeys, toast } = window.charlstm;
    const ask = async (name, values = {}) => { try { return await server[name](values); } catch { return null; } };
    window.charlstm.modelFacts = (model = null) => ask('model_facts', { model });

    // Its pictures are sent only to whoever opens them.
    const openHow = async (place) => {
      try {
        const [pictures, passages, facts] = await Promise.all([later('how.js'), ask('code_passages'), ask('model_facts')]);
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

  window.charlstm.cardViewer = (element, read, watch) => {
    const { h, setText, setVisible, copyFor } = window.charlstm;
    const part = (name) => element.querySelector(`.card-${name}`);
    let showsSource = false;
    const drawParts = () => {
      const hasCard = Boolean(read()?.text);
      part('switch').setAttribute('aria-pressed', String(showsSource));
      for (const name of ['switch', 'copy']) setVisible(part(name), hasCard);
      setVisible(part('hint'), !hasCard);
      setVisible(part('seen'), hasCard && !showsSource);
      setVisible(part('source'), hasCard && showsSource);
    };
    const draw = async () => {
      const card = read(), text = card?.text || '';
      setText(part('source'), text);
      part('seen').replaceChildren();
      drawParts();
      if (!text) return;
      try { part('seen').replaceChildren(...(await later('card.js')).render(h, text, card.pictures || {})); } catch {
        showsSource = true; // the source is all there is without an answer
        drawParts();
      }
    };
    element.addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (button === part('copy')) copyFor(button, part('source').textContent);
      else if (button === part('switch')) {
        showsSource = !showsSource;
        drawParts();
      }
    });
    draw();
    watch(draw);
  };
})();
