// Samples of stems in pieces of some seconds, fetched when they are needed; a few are kept.

export const PIECE_S = 4;
const KEPT = 10;

export class Samples {
  constructor(facts, address) {
    this.channels = facts.channels;
    this.length = facts.length_samples;
    this.piece = PIECE_S * facts.sample_rate;
    this.address = address;
    this.stems = facts.stems.length;
    this.kept = new Map();
  }

  /** Returns a piece of a stem as interleaved 16-bit samples; a stem that ends early is silent. */
  async of(stem, index) {
    const key = `${stem}/${index}`;
    const found = this.kept.get(key) ?? this.#fetch(stem, index);
    this.kept.delete(key); // the latest comes last
    this.kept.set(key, found);
    for (const [oldest] of this.kept) {
      if (this.kept.size <= KEPT * this.stems) break;
      this.kept.delete(oldest);
    }
    try {
      return await found;
    } catch (error) {
      this.kept.delete(key);
      throw error;
    }
  }

  async #fetch(stem, index) {
    const frame = 2 * this.channels;
    const first = index * this.piece;
    const last = Math.min(first + this.piece, this.length);
    const answer = await fetch(`${this.address}/${encodeURIComponent(stem)}/samples`, {
      headers: { Range: `bytes=${first * frame}-${last * frame - 1}` },
    });
    const samples = new Int16Array((last - first) * this.channels);
    if (answer.status === 416) return samples;
    if (answer.status !== 206) throw new Error(`${answer.status}`);
    const bytes = await answer.arrayBuffer();
    samples.set(new Int16Array(bytes, 0, Math.floor(bytes.byteLength / 2)));
    return samples;
  }
}
