// From a segment to what the network takes, and from what it gives to the segment's stems.

import { FourierTransform } from "./fft.js";
import { lengthAbove } from "./model_file.js";

export class FrontEnd {
  /** @param {object} facts The record of a model file. */
  constructor(facts) {
    this.channels = facts.channels;
    this.stems = facts.stems.length;
    Object.assign(this, facts.front_end);
    this.transform = this.framing && new FourierTransform(this.framing.frame_samples);
  }

  /** Return the inputs of the network, by name. */
  before(segment) {
    const samples = segment[0].length;
    if (!this.framing) {
      const length = lengthAbove(this.lengths, samples);
      const data = new Float32Array(this.channels * length);
      segment.forEach((channel, index) => data.set(channel, index * length));
      return { mix: { data, dims: [1, this.channels, length] } };
    }
    const { frame_samples: size, hop_samples: hop, parts, analysis } = this.framing;
    const whole = Math.ceil(samples / this.multiple_samples) * this.multiple_samples;
    const count = this.#frames(whole);
    const total = lengthAbove(this.lengths, count);
    const bins = size / 2 + 1;
    const widths = { frames: size, spectra: 2 * bins };
    const inputs = {};
    for (const part of parts) {
      const shape = part === "frames" ? [size] : [bins, 2];
      const data = new Float32Array(this.channels * total * widths[part]);
      inputs[part] = { data, dims: [1, this.channels, total, ...shape] };
    }
    segment.forEach((channel, index) => {
      const signal = this.#continued(channel, whole, (count - 1) * hop + size);
      for (let frame = 0; frame < count; frame++) {
        const samplesOf = signal.subarray(frame * hop, frame * hop + size);
        const place = index * total + frame;
        if (inputs.frames) inputs.frames.data.set(samplesOf, place * size);
        if (inputs.spectra) {
          this.transform.forward(samplesOf, analysis, inputs.spectra.data, place * widths.spectra);
        }
      }
    });
    return inputs;
  }

  /** Return the stems of a segment, a row for each channel of each stem. */
  after(outputs, samples) {
    const rows = this.stems * this.channels;
    if (!this.framing) {
      const { data, dims } = outputs.stems;
      return Array.from({ length: rows }, (_, row) =>
        data.slice(row * dims[3], row * dims[3] + samples),
      );
    }
    const { frame_samples: size, hop_samples: hop, synthesis_samples: given } = this.framing;
    const { before_samples: before, synthesis, power } = this.framing;
    const whole = Math.ceil(samples / this.multiple_samples) * this.multiple_samples;
    const count = this.#frames(whole);
    const skipped = before - size + given;
    const length = Math.max((count - 1) * hop + given, skipped + samples);
    const weight = power && new Float32Array(length);
    for (let frame = 0; power && frame < count; frame++) {
      for (let i = 0; i < given; i++) weight[frame * hop + i] += power[i];
    }
    return Array.from({ length: rows }, (_, row) => {
      const sum = new Float32Array(length);
      for (let frame = 0; frame < count; frame++) {
        for (const part of this.gives) this.#add(outputs[`stems_${part}`], part, row, frame, sum);
      }
      const stem = sum.slice(skipped, skipped + samples);
      // Where no frame reaches, there is nothing to divide.
      if (weight) stem.forEach((value, i) => (stem[i] = value / Math.max(weight[skipped + i], 1e-38)));
      return stem;
    });
  }

  #add({ data, dims }, part, row, frame, sum) {
    const { frame_samples: size, hop_samples: hop, synthesis_samples: given, synthesis } = this.framing;
    const width = part === "frames" ? given : size + 2;
    const offset = (row * dims[3] + frame) * width;
    const start = frame * hop;
    if (part === "frames") {
      for (let i = 0; i < given; i++) sum[start + i] += data[offset + i];
      return;
    }
    const wave = this.transform.inverse(data, offset);
    for (let i = 0; i < given; i++) sum[start + i] += wave[size - given + i] * synthesis[i];
  }

  #frames(length) {
    const { frame_samples: size, hop_samples: hop, synthesis_samples: given } = this.framing;
    const { before_samples: before, edges } = this.framing;
    if (edges === "reflected") return 1 + Math.floor(Math.max(length, before + 1) / hop);
    if (edges === "silent") return 1 + Math.floor((length - 1 - (size - given - before)) / hop);
    return 1 + Math.ceil(Math.max(0, length - size) / hop);
  }

  /** Return a channel with what lies beyond its ends, as long as all frames. */
  #continued(channel, whole, wanted) {
    const { before_samples: before, edges } = this.framing;
    const inner = edges === "reflected" ? Math.max(whole, before + 1) : whole;
    const signal = new Float32Array(Math.max(wanted, inner + 2 * before));
    signal.set(channel, before);
    if (edges === "reflected") {
      for (let i = 1; i <= before; i++) {
        signal[before - i] = signal[before + i];
        signal[before + inner - 1 + i] = signal[before + inner - 1 - i];
      }
    }
    return signal;
  }
}
