// Playing excerpts with Web Audio: decoded as a whole, so that switching is exact to the sample and
// what has been heard is known.

let shared = null;

export function context() {
  shared ??= new AudioContext();
  return shared;
}

export async function load(url) {
  for (let wait_ms = 500; ; wait_ms = Math.min(2 * wait_ms, 8000)) {
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`status ${response.status}`);
      return await context().decodeAudioData(await response.arrayBuffer());
    } catch {
      document.dispatchEvent(new CustomEvent("load-failed"));
      await new Promise((resolve) => setTimeout(resolve, wait_ms));
    }
  }
}

const FADE_S = 0.01;

// Plays buffers of one length in step; one of them is heard.
export class Deck {
  constructor(buffers, { loop }) {
    this.buffers = buffers;
    this.loop = loop;
    this.duration_s = Math.max(...buffers.map((buffer) => buffer.duration));
    this.heard_s = buffers.map(() => 0);
    this.chosen = 0;
    this.sources = null;
    this.gains = [];
    this.at_s = 0;
    this.last_s = 0;
    this.onchange = () => {};
    setInterval(() => this.count(), 100);
  }

  get playing() {
    return this.sources !== null;
  }

  async start() {
    await context().resume();
    if (this.sources) return;
    const now_s = context().currentTime;
    this.gains = this.buffers.map((_, index) => {
      const gain = context().createGain();
      gain.gain.value = index === this.chosen ? 1 : 0;
      gain.connect(context().destination);
      return gain;
    });
    this.sources = this.buffers.map((buffer, index) => {
      const source = context().createBufferSource();
      source.buffer = buffer;
      source.loop = this.loop;
      source.connect(this.gains[index]);
      source.start(now_s, this.at_s);
      return source;
    });
    this.last_s = now_s;
    this.onchange();
  }

  pause() {
    this.count();
    for (const source of this.sources ?? []) source.stop();
    this.sources = null;
    this.onchange();
  }

  choose(index) {
    this.count();
    this.chosen = index;
    const now_s = context().currentTime;
    this.gains.forEach((gain, place) => gain.gain.setTargetAtTime(place === index ? 1 : 0, now_s, FADE_S / 3));
    this.onchange();
  }

  share(index) {
    return Math.min(1, this.heard_s[index] / this.duration_s);
  }

  get total_s() {
    return this.heard_s.reduce((sum, value) => sum + value, 0);
  }

  // Add what has been heard since the last time.
  count() {
    if (!this.sources) return;
    const now_s = context().currentTime;
    const left_s = this.loop ? Infinity : this.duration_s - this.at_s;
    const passed_s = Math.min(now_s - this.last_s, left_s);
    this.last_s = now_s;
    this.heard_s[this.chosen] += passed_s;
    this.at_s = this.loop ? (this.at_s + passed_s) % this.duration_s : this.at_s + passed_s;
    if (this.at_s >= this.duration_s) {
      this.sources = null;
      this.at_s = 0;
    }
    this.onchange();
  }
}
