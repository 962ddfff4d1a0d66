// The film of a run to take away: what it wrote, evolving above its curve, recorded from a canvas in the browser. Loaded when somebody saves one.
const SIZE = 1080, FPS = 20, BITS = 1_100_000;  // pixels, frames and bits per second
const SHORTEST = 11, LONGEST = 18, LAST = 3;  // seconds; the last sample stays that long
const LEAST_POINTS = 5;  // of the validation curve; with fewer the training loss is drawn
const PLOT = { left: 90, right: 1000, top: 700, bottom: 930 };
const FOOT = { left: 60, top: 982, width: 960, lines: 3, height: 36, size: 26 };
const TEXT = { left: 60, top: 200, width: 960, lines: 9, height: 50 };
const TYPES = [['video/webm;codecs=vp9', 'webm'], ['video/webm;codecs=vp8', 'webm'], ['video/webm', 'webm'], ['video/mp4', 'mp4']];
const FONTS = { serif: 'Georgia, "Noto Serif", serif', sans: 'system-ui, sans-serif', code: 'ui-monospace, Consolas, monospace' };

const COLOURS = { paper: '#faf8f5', ink: '#292524', grey: '#78716c', alive: '#b4532a', faint: '#d6d3d1' };

// Break a text into lines that fit; `bold` characters at its beginning are the opening.
const breakLines = (context, text, width) => {
  const lines = [];
  let line = '';
  for (const char of text) {
    if (char === '\n') { lines.push(line); line = ''; continue; }
    if (context.measureText(line + char).width > width) {
      const space = line.lastIndexOf(' ');
      lines.push(space > 0 ? line.slice(0, space + 1) : line);
      line = space > 0 ? line.slice(space + 1) : '';
    }
    line += char;
  }
  return [...lines, line];
};

class Film {
  constructor(film, canvas) {
    Object.assign(this, { film, context: canvas.getContext('2d') });
    const { samples } = film;
    this.seconds = Math.min(LONGEST, Math.max(SHORTEST, LAST + 0.45 * samples.length));
    this.times = window.charlstm.stepToAxis(film.own.clock, 'minutes');
    const { validation, smoothed } = film.own.lines, line = validation.steps.length >= LEAST_POINTS ? validation : smoothed;
    this.points = line.steps.map((step, i) => [this.times(step), line.values[i]]).filter(([, y]) => Number.isFinite(y));
    this.end = Math.max(this.points.at(-1)?.[0] || 0, this.times(samples.at(-1).step)) || 1;
    const values = this.points.map(([, y]) => y), refs = film.refs.map(({ value }) => value);
    this.least = Math.min(...values, ...refs) - 0.05;
    this.most = Math.max(...values, ...refs) + 0.05;
  }

  // Return the number of the sample on screen at `seconds`, and the minute of training that the curve has reached.
  momentAt(seconds) {
    const { samples } = this.film, place = Math.min(samples.length - 1, (seconds / (this.seconds - LAST)) * (samples.length - 1));
    const number = Math.floor(place), next = Math.min(samples.length - 1, number + 1);
    const [a, b] = [this.times(samples[number].step), this.times(samples[next].step)];
    return { number, minutes: a + (b - a) * (place - number) };
  }

  draw(seconds) {
    const { context, film } = this, { number, minutes } = this.momentAt(seconds), sample = film.samples[number];
    context.fillStyle = COLOURS.paper;
    context.fillRect(0, 0, SIZE, SIZE);
    this.label(`A network learns ${film.text || 'a text'}, letter by letter`, 60, 84, 40, COLOURS.ink, '650');
    const words = typeof sample.percent === 'number' ? ` · ${sample.percent} % real words` : '';
    this.label(`${window.charlstm.formatClock(minutes)} · step ${sample.step.toLocaleString('en')}${words}`, 60, 138, 30, COLOURS.alive, '600');
    this.drawText(sample);
    this.drawCurve(minutes, sample);
    const isLast = seconds > this.seconds - LAST;
    this.drawFoot(isLast && film.summary ? film.summary : film.facts);
  }

  label(text, x, y, size, colour, weight, width = 960) {
    const { context } = this;
    context.fillStyle = colour;
    context.font = `${weight} ${size}px ${FONTS.sans}`;
    while (context.measureText(text).width > width && size > FOOT.size) context.font = `${weight} ${--size}px ${FONTS.sans}`;
    context.fillText(text, x, y, width);
  }

  drawFoot(text) {
    const { context } = this, { left, top, width, lines, height, size } = FOOT;
    context.fillStyle = COLOURS.grey;
    context.font = `400 ${size}px ${FONTS.sans}`;
    const broken = breakLines(context, text, width);
    broken.slice(0, lines).forEach((line, i) => context.fillText(i === lines - 1 && broken.length > lines ? `${line.trimEnd()}…` : line, left, top + i * height, width));
  }

  drawText({ opening, written }) {
    const { context, film } = this, { left, top, width, lines, height } = TEXT, size = film.isCode ? 29 : 34, font = film.isCode ? FONTS.code : FONTS.serif;
    context.font = `${size}px ${font}`;
    let rest = Array.from(opening).length;
    breakLines(context, opening + written, width).slice(0, lines).forEach((line, i) => {
      const chars = Array.from(line), bold = chars.slice(0, rest).join(''), plain = chars.slice(rest).join('');
      context.fillStyle = COLOURS.ink;
      context.font = `700 ${size}px ${font}`;
      context.fillText(bold, left, top + i * height);
      const used = bold ? context.measureText(bold).width : 0;
      context.font = `${size}px ${font}`;
      context.fillText(plain, left + used, top + i * height);
      rest = bold ? Math.max(0, rest - chars.length - (plain ? 0 : 1)) : 0;
    });
  }

  drawCurve(minutes, sample) {
    const { context, film } = this, { left, right, top, bottom } = PLOT;
    const x = (value) => left + ((right - left) * value) / this.end, y = (value) => bottom - ((bottom - top) * (value - this.least)) / (this.most - this.least);
    for (const { name, value } of film.refs) {
      context.strokeStyle = COLOURS.faint;
      context.lineWidth = 2;
      context.setLineDash([6, 8]);
      context.beginPath();
      context.moveTo(left, y(value));
      context.lineTo(right, y(value));
      context.stroke();
      context.setLineDash([]);
      context.textAlign = 'right';
      this.label(name, right, y(value) - 6, 20, COLOURS.grey, '400');
      context.textAlign = 'left';
    }
    context.strokeStyle = COLOURS.alive;
    context.lineWidth = 5;
    context.lineJoin = 'round';
    context.beginPath();
    let last = null;
    for (const [at, value] of this.points) {
      if (at > minutes && last) break;
      if (last) context.lineTo(x(at), y(value)); else context.moveTo(x(at), y(value));
      last = [at, value];
    }
    context.stroke();
    if (!last) return;
    context.fillStyle = COLOURS.alive;
    context.beginPath();
    context.arc(x(last[0]), y(last[1]), 9, 0, 2 * Math.PI);
    context.fill();
    const loss = sample.validation ?? last[1];
    this.label(`as if choosing among ${Math.exp(loss).toFixed(1)} letters`, left, top - 14, 24, COLOURS.ink, '600');
  }
}

// Record the film and save it; `tell` reports the share done. Return a sentence if that is not possible here, else ''.
export const saveFilm = async (film, tell) => {
  const [type, ending] = TYPES.find(([each]) => window.MediaRecorder?.isTypeSupported(each)) || [];
  if (!type) return 'This browser can’t record films; try a newer one.';
  if (!film.own || film.samples.length < 2) return 'There is no film yet: the model has not written twice.';
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = SIZE;
  const drawn = new Film(film, canvas), pieces = [];
  drawn.draw(0);
  const stream = canvas.captureStream(FPS), recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: BITS });
  recorder.addEventListener('dataavailable', (event) => pieces.push(event.data));
  const isOver = new Promise((resolve) => { recorder.addEventListener('stop', resolve); });
  recorder.start(500);
  const began = performance.now();
  await new Promise((resolve) => {
    const timer = setInterval(() => {
      const seconds = (performance.now() - began) / 1000;
      drawn.draw(Math.min(seconds, drawn.seconds));
      tell(Math.min(1, seconds / drawn.seconds));
      if (seconds < drawn.seconds) return;
      clearInterval(timer);
      resolve();
    }, 1000 / FPS);
  });
  recorder.stop();
  await isOver;
  stream.getTracks().forEach((track) => track.stop());
  window.charlstm.files.save(new Blob(pieces, { type }), `${film.name}.${ending}`);
  return '';
};
