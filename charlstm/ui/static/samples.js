// The timeline of samples: a slider from the first sample to the latest, and its playback. Texts are fetched once.
(() => {
  const { h, setText, setVisible, store } = window.charlstm;
  const FRAME = 700, REDUCED_MOTION_FRAME = 1500;  // milliseconds

  window.charlstm.samples = (host) => {
    const slider = h('input', { type: 'range', min: 0, max: 0, step: 1, value: 0, 'aria-label': 'Sample' });
    const play = h('button', { type: 'button' }, 'Play');
    const origin = h('span', { class: 'origin', 'aria-live': 'off' });
    const text = h('div', {
      class: 'sheet', role: 'textbox', 'aria-readonly': 'true', 'aria-multiline': 'true', tabindex: 0, 'aria-label': 'Sample text',
    });
    const empty = h('p', { class: 'notes' }, 'The model writes here as soon as a run begins.');
    host.replaceChildren(h('div', { class: 'timeline' }, play, slider, origin), empty, text);
    let at = null; // null: always the latest
    let playback = 0, run = null;

    const list = () => store.sections.samples?.list || [];
    const reducesMotion = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

    const fetchTexts = async (number) => {
      const shown = store.shown, epoch = store.sections.samples?.epoch;
      if (store.texts.has(number)) return;
      const answer = await store.call('samples', { run: shown, number });
      if (answer?.texts && shown === store.shown && epoch === store.sections.samples?.epoch) {
        answer.texts.forEach((each, i) => store.texts.set(number + i, each));
      }
    };

    const draw = () => {
      const all = list(), last = all.length - 1, number = at ?? last;
      setVisible(empty, last < 0);
      for (const each of [play, slider, text]) setVisible(each, last >= 0);
      slider.max = Math.max(0, last);
      if (Number(slider.value) !== Math.max(0, number)) slider.value = Math.max(0, number);
      if (last < 0) { setText(origin, ''); setText(text, ''); return; }
      const [step, train, validation] = all[number];
      const losses = [validation !== null && `validation ${validation.toFixed(2)}`, train !== null && `training ${train.toFixed(2)}`];
      const words = [`step ${step.toLocaleString('en')}`, ...losses.filter(Boolean).slice(0, 1)].join(' · ');
      setText(origin, words);
      slider.setAttribute('aria-valuetext', `${words}, sample ${number + 1} of ${all.length}`);
      const latest = store.sections.samples.latest;
      const known = store.texts.get(number) ?? (number === last ? latest : undefined);
      if (known !== undefined) setText(text, known);
      else fetchTexts(number).then(() => { if ((at ?? list().length - 1) === number && store.texts.has(number)) setText(text, store.texts.get(number)); });
      text.classList.toggle('is-code', Boolean(store.sections.state?.is_code));
    };

    const stop = () => {
      clearInterval(playback);
      playback = 0;
      setText(play, 'Play');
    };
    const start = async () => {
      store.pin();
      if (at === null || at >= list().length - 1) at = 0;
      setText(play, 'Pause film');
      draw();
      playback = setInterval(async () => {
        if (!host.isConnected || at === null || at >= list().length - 1) { at = null; stop(); draw(); return; }
        if (!store.texts.has(at + 1)) { await fetchTexts(at + 1); return; }
        at += 1;
        draw();
      }, reducesMotion() ? REDUCED_MOTION_FRAME : FRAME);
    };
    play.addEventListener('click', () => (playback ? stop() : start()));
    slider.addEventListener('input', () => {
      stop();
      store.pin();
      at = Number(slider.value) >= list().length - 1 ? null : Number(slider.value);
      draw();
    });
    store.onChange((changed) => {
      if (!host.isConnected && changed !== null) return false;
      if (store.shown !== run || (at !== null && at >= list().length)) { run = store.shown; at = null; stop(); }
      if (changed === null || ['samples', 'shown', 'state'].some((name) => changed.has(name))) draw();
      return true;
    });
  };
})();
