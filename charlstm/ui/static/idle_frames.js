// Frames, asked for by the rest of the page: all while somebody touches it, one a second otherwise.
// Gradio's loading sign has a clock that asks for the next frame for as long as the page is open, though the sign is long
// gone. Measured on one core: 60 frames a second in which nothing changes took three quarters of what an open page costs,
// from a run that may train on the same processor. Ours are drawn when an answer comes, and wait for no frame.
(() => {
  const AWAKE = 2000, PAUSE = 1000;
  const TOUCHES = ['pointerdown', 'pointermove', 'wheel', 'keydown', 'input', 'focusin', 'click'];
  const ask = window.requestAnimationFrame.bind(window), cancel = window.cancelAnimationFrame.bind(window);
  const waiting = new Map(); // number, below zero so that it is none of the browser's -> what to call
  let touched = performance.now(), last = 0, timer = 0;

  const draw = () => {
    timer = 0;
    ask((now) => {
      const due = [...waiting.keys()];
      for (const number of due) {
        const call = waiting.get(number); // one called before it may have taken it back
        waiting.delete(number);
        try { call?.(now); } catch (error) { reportError(error); }
      }
    });
  };
  window.requestAnimationFrame = (call) => {
    if (document.readyState !== 'complete' || performance.now() - touched < AWAKE) return ask(call);
    waiting.set(--last, call);
    timer ||= setTimeout(draw, PAUSE);
    return last;
  };
  window.cancelAnimationFrame = (number) => { if (!waiting.delete(number)) cancel(number); };
  const touch = () => {
    touched = performance.now();
    if (!timer) return;
    clearTimeout(timer);
    draw();
  };
  for (const kind of TOUCHES) window.addEventListener(kind, touch, { capture: true, passive: true });
})();
