// The Fourier transform of real frames whose length is a power of two.

export class FourierTransform {
  /** @param {number} size Samples of a frame. */
  constructor(size) {
    if (size < 2 || (size & (size - 1)) !== 0) {
      throw new Error(`frames of ${size} samples are no power of two`);
    }
    this.size = size;
    this.real = new Float64Array(size);
    this.imaginary = new Float64Array(size);
    this.cosines = Float64Array.from({ length: size / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sines = Float64Array.from({ length: size / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / size));
    this.reversed = new Uint32Array(size);
    const bits = Math.log2(size);
    for (let i = 0; i < size; i++) {
      this.reversed[i] = (this.reversed[i >> 1] >> 1) | ((i & 1) << (bits - 1));
    }
  }

  /** Write real and imaginary part of each bin, side by side, from an offset on. */
  forward(frame, window, bins, offset) {
    const { size, real, imaginary } = this;
    for (let i = 0; i < size; i++) real[i] = frame[i] * window[i];
    imaginary.fill(0);
    this.#transform();
    for (let bin = 0; bin <= size / 2; bin++) {
      bins[offset + 2 * bin] = real[bin];
      bins[offset + 2 * bin + 1] = imaginary[bin];
    }
  }

  /** Return the samples that bins from an offset on stand for; the array is used again. */
  inverse(bins, offset) {
    const { size, real, imaginary } = this;
    const half = size / 2;
    // The inverse is the forward transform of the conjugate, and the samples are real.
    for (let bin = 0; bin <= half; bin++) {
      const inner = bin > 0 && bin < half;
      real[bin] = bins[offset + 2 * bin] / size;
      imaginary[bin] = inner ? -bins[offset + 2 * bin + 1] / size : 0;
      if (inner) {
        real[size - bin] = real[bin];
        imaginary[size - bin] = -imaginary[bin];
      }
    }
    this.#transform();
    return real;
  }

  #transform() {
    const { size, real, imaginary, reversed, cosines, sines } = this;
    for (let i = 0; i < size; i++) {
      const j = reversed[i];
      if (j > i) {
        [real[i], real[j]] = [real[j], real[i]];
        [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
      }
    }
    for (let half = 1; half < size; half *= 2) {
      const step = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const a = start + k;
          const b = a + half;
          const c = cosines[k * step];
          const s = sines[k * step];
          const re = real[b] * c - imaginary[b] * s;
          const im = real[b] * s + imaginary[b] * c;
          real[b] = real[a] - re;
          imaginary[b] = imaginary[a] - im;
          real[a] += re;
          imaginary[a] += im;
        }
      }
    }
  }
}
