// The bars of the next letter: where a text is being written, where a person points, or after a prompt as it is typed.
(() => {
  const { h, setText, setVisible, describeChar, quoteChar, percent } = window.charlstm;
  const SHOWN = 5, KEY = 'charlstm-typing';
  const STILL_TYPING = 2000; // milliseconds after a key
  const ON_TELEPHONE = matchMedia('(max-width: 899px) and (pointer: coarse)'); // as in write.css
  const isOff = () => { try { return localStorage.getItem(KEY) === '0'; } catch { return false; } };

  // Bend logarithms of probabilities by a temperature. `rest` is the probability of what is not among them.
  const bend = (logs, rest, temperature) => {
    if (temperature <= 0) return logs.map((_, index) => (index === 0 ? 1 : 0));
    const weights = logs.map((log) => Math.exp((log - logs[0]) / temperature));
    const sum = weights.reduce((total, each) => total + each, rest > 0 ? Math.exp((Math.log(rest) - logs[0]) / temperature) : 0);
    return weights.map((each) => each / sum);
  };

  const nextLetter = (element, server) => {
    const title = h('h3', {}), about = h('p', { class: 'bars-about' });
    const makeRows = (length) => Array.from({ length }, () => {
      const name = h('span', { class: 'bars-name' }), bar = h('span', { class: 'bar' }), share = h('span', { class: 'odds' });
      const row = h('button', { type: 'button', class: 'bars-row', disabled: true, onclick: () => add(row.choice) },
        name, h('span', { class: 'bars-track' }, bar), share);
      return Object.assign(row, { name_: name, bar_: bar, share_: share });
    });
    const rows = makeRows(SHOWN + 1), stripRows = makeRows(SHOWN), stripProblem = h('p', { class: 'problem', role: 'status', hidden: true });
    // Its letters are added without taking the focus, and a telephone's keyboard, away from the prompt.
    const strip = h('div', { class: 'bars bars-strip', role: 'group', 'aria-label': 'Next letter after your prompt',
      onpointerdown: (event) => event.preventDefault(), onmousedown: (event) => event.preventDefault() }, ...stripRows, stripProblem);
    const toggle = h('input', { type: 'checkbox', title: 'While you type a prompt, show what would come next', onchange: () => {
      try { localStorage.setItem(KEY, toggle.checked ? '1' : '0'); } catch { /* a private window */ }
      if (toggle.checked) ask(); else { isTyping = false; setVisible(strip, false); }
    } });
    toggle.checked = !isOff();
    element.replaceChildren(h('div', { class: 'bars', role: 'group', 'aria-label': 'Next letter' },
      title, h('div', { class: 'bars-rows' }, ...rows), about,
      h('label', { class: 'reader-switch' }, toggle, 'Type and see')), window.charlstm.writing.firstTime());

    const fill = (options, taken, isBytes, canAdd, shown = rows) => {
      shown.forEach((row, index) => {
        const option = options[index];
        row.style.visibility = option ? '' : 'hidden';
        row.classList.toggle('is-taken', Boolean(option) && option.char === taken);
        row.setAttribute('aria-label', option ? `${describeChar(option.char, isBytes)}, ${percent(option.share)}` : 'none');
        if (!option) { row.disabled = true; return; }
        row.choice = option.char;
        row.disabled = !canAdd || (isBytes && option.char.codePointAt(0) > 127);
        setText(row.name_, describeChar(option.char, isBytes));
        row.bar_.style.transform = `scaleX(${option.share})`; // not its width, which would count as a shift of the layout
        const share = percent(option.share);
        setText(row.share_, shown === rows ? share.padStart(7, '\u2007') : share); // figure spaces: its beginning stays where it is
      });
    };

    let isTyping = false, isAsking = false, isStale = false, answer = null, typedAt = 0;
    const prompt = () => document.querySelector('#prompt textarea');

    // In a text ----------------------------------------------------------------------------------------------------

    document.addEventListener('charlstm:letter', ({ detail }) => {
      const isTypedNow = isTyping && document.activeElement === prompt() && Date.now() - typedAt < STILL_TYPING;
      if (isTypedNow && window.charlstm.text?.isActive()) return; // who types looks at the prompt, not at the text that grows
      isTyping = false;
      const isAmong = detail.options.some((each) => each.char === detail.char);
      setText(title, 'Next letter');
      fill(isAmong ? detail.options : [...detail.options, { char: detail.char, share: detail.share }], detail.char, detail.isBytes, false);
      setText(about, `${quoteChar(detail.char)} was chosen: ${detail.verdict}`);
    });

    // After a prompt -----------------------------------------------------------------------------------------------

    const temperature = () => Number(document.querySelector('#temperature input')?.value ?? 1);
    const draw = () => {
      const problem = answer?.problem || '';
      const isNew = strip.hidden;
      setVisible(strip, toggle.checked && Boolean(answer));
      setText(stripProblem, problem);
      setVisible(stripProblem, Boolean(problem));
      for (const row of stripRows) setVisible(row, !problem);
      if (isNew && document.activeElement === prompt()) reveal();
      if (!isTyping) return;
      setText(title, 'Next letter');
      if (!answer || problem) { // no answer: the bars would be those of another prompt
        for (const shown of [rows, stripRows]) fill([], null, false, false, shown);
        setText(about, problem);
        return;
      }
      const heat = temperature(), shares = bend(answer.logs, answer.rest, heat);
      const options = answer.characters.slice(0, SHOWN).map((char, index) => ({ char, share: shares[index] }));
      for (const shown of [rows, stripRows]) fill(options, null, answer.is_bytes, true, shown);
      const others = answer.rest > 0 ? ' Beyond the likeliest 512 the rest counts as one.' : '';
      setText(about, `after your prompt, at temperature ${heat}; press one to add it.${others}`);
    };
    // One question at a time: while one is on its way, only the newest text waits.
    const ask = async () => {
      if (!toggle.checked || !prompt()) return;
      if (isAsking) { isStale = true; return; }
      isAsking = true;
      do {
        isStale = false;
        const model = document.querySelector('#model input')?.value || null;
        try { answer = await server.next_letters({ model, prompt: prompt().value }); } catch { answer = null; }
        isTyping = true;
        draw();
      } while (isStale);
      isAsking = false;
    };
    const add = (char) => {
      const field = prompt();
      if (!field || char === undefined) return;
      Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(field, field.value + char);
      field.dispatchEvent(new Event('input', { bubbles: true }));
    };
    document.addEventListener('input', ({ target }) => {
      if (target.closest?.('#prompt')) { typedAt = Date.now(); ask(); }
      else if (target.closest?.('#temperature')) draw();
    });
    document.addEventListener('click', ({ target }) => { // an example fills the prompt, a model answers for itself
      if (target.closest?.('#examples button:not(.facts-button, .info-button)')) setTimeout(ask, 150);
    });
    const askAnew = () => { if (isTyping) ask(); };
    document.addEventListener('focusout', ({ target }) => { if (target.closest?.('#model')) setTimeout(askAnew, 150); }); // another model was chosen
    // Scroll the strip into what a telephone's keyboard, and the buttons at the foot, leave free.
    const reveal = () => {
      const view = window.visualViewport, box = strip.getBoundingClientRect(), buttons = document.querySelector('#write-buttons');
      const foot = buttons && getComputedStyle(buttons).position === 'fixed' ? buttons.getBoundingClientRect().top : Infinity;
      const below = box.bottom - Math.min(view.offsetTop + view.height, foot);
      if (box.height && below > 0) window.scrollBy(0, below);
    };
    document.addEventListener('focusin', ({ target }) => {
      const row = target === prompt() && target.closest('#write-row');
      if (!row || !ON_TELEPHONE.matches) return;
      if (strip.parentNode !== row) row.append(strip);
      ask();
      reveal();
    });
    window.visualViewport.addEventListener('resize', reveal);
    setVisible(strip, false); // until there is something to show
    setVisible(element, true);
    setText(title, 'Next letter');
    fill([], null, false, false);
  };

  window.charlstm = Object.assign(window.charlstm || {}, { nextLetter, bend });
})();
