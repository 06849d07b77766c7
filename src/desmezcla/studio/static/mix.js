// What is heard of each stem: volumes, mutes and solos, without any sound.

export const LOWEST_DB = -40;
export const HIGHEST_DB = 12;

/** Returns the gain of a volume in dB; the lowest is silence. */
export const gainOf = (db) => (db <= LOWEST_DB ? 0 : 10 ** (db / 20));

export class Mix {
  constructor(stems) {
    this.stems = stems;
    this.reset();
  }

  reset() {
    this.volumes = Object.fromEntries(this.stems.map((stem) => [stem, 0]));
    this.muted = new Set();
    this.soloed = new Set();
  }

  /** Mutes a stem, or no longer. */
  toggleMute(stem) {
    toggle(this.muted, stem);
  }

  /** Plays only the stems that are soloed, or all again when none is. */
  toggleSolo(stem) {
    toggle(this.soloed, stem);
  }

  /** Returns whether a stem is heard: what is muted stays silent even if it is soloed. */
  hears(stem) {
    return !this.muted.has(stem) && (this.soloed.size === 0 || this.soloed.has(stem));
  }

  /** Returns the gain of each stem. */
  gains() {
    return Object.fromEntries(
      this.stems.map((stem) => [stem, this.hears(stem) ? gainOf(this.volumes[stem]) : 0]),
    );
  }
}

function toggle(set, value) {
  if (!set.delete(value)) set.add(value);
}
