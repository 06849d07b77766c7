// Sound in, sound out: what comes in is handed on in blocks, and what comes back is played.
//
// The stems come back sample by sample in step with what went in, so the number of samples that
// have gone in less that of those that have been played is the latency.

const BLOCK = 1024;
const REPORT_S = 0.25;
const MOST_WAITING_S = 0.5;

class Live extends AudioWorkletProcessor {
  constructor({ processorOptions: { channels } }) {
    super();
    this.channels = channels;
    this.block = new Float32Array(BLOCK * channels);
    this.filled = 0;
    this.queue = [];
    this.offset = 0; // samples of the first block in the queue that have been played
    this.waiting = 0;
    this.playing = false;
    this.taken = 0;
    this.given = 0;
    this.gaps = 0;
    this.reported = 0;
    this.ended = false;
    this.port.onmessage = ({ data }) => {
      if (data.end) this.ended = true;
      if (data.skipped) this.given += data.skipped;
      if (data.block) {
        this.queue.push(data.block);
        this.waiting += data.block.length / channels;
      }
    };
  }

  process([input], [output]) {
    const frames = output[0].length;
    this.#take(input, frames);
    this.#give(output, frames);
    if (currentTime - this.reported > REPORT_S) {
      this.reported = currentTime;
      this.port.postMessage({
        latency_s: (this.taken - this.given) / sampleRate,
        playing: this.playing,
        gaps: this.gaps,
      });
    }
    return !this.ended;
  }

  #take(input, frames) {
    for (let at = 0; at < frames; at++) {
      for (let channel = 0; channel < this.channels; channel++) {
        const plane = input[Math.min(channel, input.length - 1)];
        this.block[this.filled * this.channels + channel] = plane ? plane[at] : 0;
      }
      this.filled += 1;
      if (this.filled === BLOCK) {
        this.port.postMessage({ block: this.block }, [this.block.buffer]);
        this.block = new Float32Array(BLOCK * this.channels);
        this.filled = 0;
      }
    }
    this.taken += frames;
  }

  #give(output, frames) {
    // One block more than is played, so that a late one makes no gap.
    if (!this.playing && this.waiting >= 2 * BLOCK) this.playing = true;
    if (!this.playing) return;
    if (this.waiting < frames) {
      this.playing = false;
      this.gaps += 1;
      return;
    }
    // After a gap the rest would stay late for ever.
    while (this.waiting > MOST_WAITING_S * sampleRate) this.#next();
    for (let at = 0; at < frames; at++) {
      const block = this.queue[0];
      for (let channel = 0; channel < output.length; channel++) {
        const from = Math.min(channel, this.channels - 1);
        output[channel][at] = block[this.offset * this.channels + from];
      }
      this.offset += 1;
      this.waiting -= 1;
      this.given += 1;
      if (this.offset * this.channels === block.length) {
        this.queue.shift();
        this.offset = 0;
      }
    }
  }

  /** Leaves out what is left of the first block. */
  #next() {
    const left = this.queue.shift().length / this.channels - this.offset;
    this.offset = 0;
    this.waiting -= left;
    this.given += left;
  }
}

registerProcessor("desmezcla-live", Live);
