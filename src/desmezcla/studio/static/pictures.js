// Waveforms and spectrograms on canvases.

/** Draws a waveform in the colour of its stem. */
export function drawWaveform(canvas, [lows, highs]) {
  const { context, width, height } = prepared(canvas);
  context.fillStyle = getComputedStyle(canvas).color;
  const scale = height / 2 / 127;
  for (let x = 0; x < width; x++) {
    const first = Math.floor((x * lows.length) / width);
    const last = Math.max(first + 1, Math.floor(((x + 1) * lows.length) / width));
    const top = Math.max(...highs.slice(first, last));
    const bottom = Math.min(...lows.slice(first, last));
    const y = height / 2 - top * scale;
    context.fillRect(x, y, 1, Math.max(1, (top - bottom) * scale));
  }
}

/** Draws a spectrogram: low tones below, loud ones bright. */
export function drawSpectrogram(canvas, levels, { columns, bands }) {
  const image = new ImageData(columns, bands);
  for (let column = 0; column < columns; column++) {
    for (let band = 0; band < bands; band++) {
      const at = 4 * ((bands - 1 - band) * columns + column);
      image.data.set(colour(levels[column * bands + band] / 255), at);
    }
  }
  const drawn = new OffscreenCanvas(columns, bands);
  drawn.getContext("2d").putImageData(image, 0, 0);
  const { context, width, height } = prepared(canvas);
  context.drawImage(drawn, 0, 0, width, height);
}

/** Returns a colour from black over violet and orange to white, lighter with every step. */
function colour(level) {
  const part = (from, to) => 255 * Math.min(1, Math.max(0, (level - from) / (to - from)));
  return [part(0.15, 0.65), part(0.45, 0.95), part(0.02, 0.35) * (1 - level) + part(0.75, 1) * level, 255];
}

function prepared(canvas) {
  const ratio = Math.min(2, devicePixelRatio);
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  return { context: canvas.getContext("2d"), width: canvas.width, height: canvas.height };
}
