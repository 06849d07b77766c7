// Plays stems in step. Each piece of the song is scheduled for all stems at the same sample, some
// seconds ahead; through a gain for each stem they reach one output.

const AHEAD_S = 8;
const START_S = 0.1;
const LOOK_MS = 150;
const SMOOTH_S = 0.01;

export class Player extends EventTarget {
  #gains;
  #from = 0; // where it begins when it is played
  #run = null; // what is being played
  #loop = null;

  constructor(facts, samples) {
    super();
    this.facts = facts;
    this.samples = samples;
    this.rate = facts.sample_rate;
    this.length = facts.length_samples;
    this.#gains = Object.fromEntries(facts.stems.map((stem) => [stem, 1]));
    this.context = null;
    this.nodes = {};
  }

  get playing() {
    return this.#run !== null;
  }

  get loop() {
    return this.#loop;
  }

  /** Where the song is, in samples. */
  get position() {
    if (!this.#run) return this.#from;
    const now = this.context.currentTime;
    const piece = this.#run.pieces.findLast((one) => one.time <= now);
    if (!piece) return this.#from;
    return Math.min(piece.from + Math.round((now - piece.time) * this.rate), piece.to);
  }

  /** The level of each stem behind its gain, from 0 to 1. */
  levels() {
    return Object.fromEntries(
      Object.entries(this.nodes).map(([stem, { meter, window }]) => {
        meter.getFloatTimeDomainData(window);
        return [stem, window.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0)];
      }),
    );
  }

  async play() {
    if (this.#run) return;
    this.#open();
    const run = { pieces: [], sources: new Set(), next: this.#from, start: null, done: 0 };
    if (run.next >= this.length) run.next = 0;
    this.#from = run.next;
    this.#run = run;
    this.#changed();
    await this.context.resume();
    this.#fill(run);
  }

  pause() {
    this.#from = this.position;
    this.#halt();
    this.#changed();
  }

  seek(sample) {
    const target = Math.min(Math.max(0, Math.round(sample)), this.length);
    const playing = this.playing;
    this.#halt();
    this.#from = target;
    this.#changed();
    if (playing) this.play();
  }

  /** Repeats from one sample to before another; null for no more. */
  setLoop(loop) {
    this.#loop = loop;
    // What is scheduled already does not know of it.
    if (this.playing) this.seek(this.position);
  }

  setGains(gains) {
    this.#gains = gains;
    for (const [stem, { gain }] of Object.entries(this.nodes)) {
      gain.gain.setTargetAtTime(gains[stem], this.context.currentTime, SMOOTH_S);
    }
  }

  /** Makes the graph, which browsers allow when a person wants to hear something. */
  #open() {
    if (this.context) return;
    // At the song's own rate nothing is resampled, and pieces meet without a click.
    this.context = new AudioContext({ sampleRate: this.rate });
    for (const stem of this.facts.stems) {
      const gain = new GainNode(this.context, { gain: this.#gains[stem] });
      const meter = new AnalyserNode(this.context, { fftSize: 2048 });
      gain.connect(meter).connect(this.context.destination);
      this.nodes[stem] = { gain, meter, window: new Float32Array(meter.fftSize) };
    }
  }

  #halt() {
    for (const source of this.#run?.sources ?? []) source.stop();
    this.#run = null;
  }

  /** Schedules piece after piece, as long as the run goes on. */
  async #fill(run) {
    try {
      while (run === this.#run) {
        const now = this.context.currentTime;
        if (run.next === null) {
          if (now >= run.start + run.done / this.rate) this.#end();
          await pause(LOOK_MS);
        } else if (run.start !== null && run.start + run.done / this.rate - now > AHEAD_S) {
          await pause(LOOK_MS);
        } else {
          await this.#scheduleNext(run);
        }
      }
    } catch (error) {
      if (run !== this.#run) return;
      this.pause();
      this.dispatchEvent(new CustomEvent("trouble", { detail: error.message }));
    }
  }

  async #scheduleNext(run) {
    const { piece } = this.samples;
    const loop = this.#loop !== null && run.next < this.#loop.end ? this.#loop : null;
    const index = Math.floor(run.next / piece);
    const end = loop ? loop.end : this.length;
    const to = Math.min((index + 1) * piece, end);
    const stems = this.facts.stems;
    const parts = await Promise.all(stems.map((stem) => this.samples.of(stem, index)));
    if (run !== this.#run) return;
    const late = run.start === null || run.start + run.done / this.rate < this.context.currentTime;
    if (late) {
      // The beginning, or the server was slow: all stems go on from here together.
      run.start = this.context.currentTime + START_S;
      run.done = 0;
    }
    const time = run.start + run.done / this.rate;
    const offset = index * piece;
    stems.forEach((stem, at) => {
      this.#start(run, stem, parts[at], run.next - offset, to - offset, time);
    });
    // Of what is over, nobody asks.
    while (run.pieces[1]?.time <= this.context.currentTime) run.pieces.shift();
    run.pieces.push({ time, from: run.next, to });
    run.done += to - run.next;
    run.next = to < end ? to : loop ? loop.start : null;
  }

  #start(run, stem, samples, from, to, time) {
    const { channels } = this.samples;
    const buffer = this.context.createBuffer(channels, to - from, this.rate);
    for (let channel = 0; channel < channels; channel++) {
      const plane = buffer.getChannelData(channel);
      for (let at = 0; at < plane.length; at++) {
        plane[at] = samples[(from + at) * channels + channel] / 32768;
      }
    }
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.nodes[stem].gain);
    source.addEventListener("ended", () => run.sources.delete(source));
    run.sources.add(source);
    source.start(time);
  }

  #end() {
    this.#halt();
    this.#from = 0;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
