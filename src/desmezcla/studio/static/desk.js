// The mixing desk: transport, tracks, loop and keyboard, around a player and a mix.

import { listenToKeys } from "./keys.js";
import { Mix } from "./mix.js";
import { ask, byId, clock, say, stemName, t } from "./page.js";
import { Player } from "./player.js";
import { Samples } from "./samples.js";
import { Track } from "./track.js";

const SHORTEST_LOOP_S = 0.1;

class Desk {
  constructor(job, facts) {
    const address = `/api/jobs/${job.id}/preview`;
    this.rate = facts.sample_rate;
    this.length = facts.length_samples;
    this.mix = new Mix(facts.stems);
    this.player = new Player(facts, new Samples(facts, address));
    this.tracks = facts.stems.map(
      (stem) =>
        new Track(stem, { facts, mix: this.mix, desk: this, address, file: job.links.stems[stem] }),
    );
    byId("tracks").replaceChildren(...this.tracks.map((track) => track.element));
    byId("archive").href = job.links.archive;
    byId("length").textContent = clock(this.length / this.rate);
    byId("seek").max = byId("loop-end").value = (this.length / this.rate).toFixed(1);
    this.#listen();
    this.changed();
    this.#draw();
    requestAnimationFrame(() => this.#tick());
  }

  // What tracks and keys want.

  changed() {
    this.player.setGains(this.mix.gains());
    for (const track of this.tracks) track.show();
  }

  seek(share) {
    this.player.seek(share * this.length);
  }

  move(seconds) {
    this.player.seek(this.player.position + seconds * this.rate);
  }

  select(from, to) {
    byId("loop-start").value = ((from * this.length) / this.rate).toFixed(1);
    byId("loop-end").value = ((to * this.length) / this.rate).toFixed(1);
    this.#setLoop(true);
    if (this.player.loop) this.player.seek(this.player.loop.start);
  }

  async toggle() {
    byId("trouble").textContent = "";
    try {
      if (this.player.playing) this.player.pause();
      else await this.player.play();
    } catch (error) {
      byId("trouble").textContent = t("no_audio", { error: error.message });
    }
  }

  toggleLoop() {
    this.#setLoop(this.player.loop === null);
  }

  solo(index) {
    const track = this.tracks[index];
    if (!track) return;
    this.mix.toggleSolo(track.stem);
    this.changed();
    say(`${t("solo_stem", { stem: stemName(track.stem) })}: ${track.solo.ariaPressed}`);
  }

  mute(index) {
    const track = this.tracks[index];
    if (!track) return;
    this.mix.toggleMute(track.stem);
    this.changed();
    say(`${t("mute_stem", { stem: stemName(track.stem) })}: ${track.mute.ariaPressed}`);
  }

  reset() {
    this.mix.reset();
    this.changed();
  }

  #listen() {
    byId("play").addEventListener("click", () => this.toggle());
    byId("loop").addEventListener("click", () => this.toggleLoop());
    byId("seek").addEventListener("input", (event) => {
      this.player.seek(Number(event.target.value) * this.rate);
    });
    for (const id of ["loop-start", "loop-end"]) {
      byId(id).addEventListener("change", () => this.player.loop && this.#setLoop(true));
    }
    this.player.addEventListener("change", () => {
      const text = t(this.player.playing ? "pause" : "play");
      if (byId("play").textContent === text) return;
      byId("play").textContent = text;
      say(t(this.player.playing ? "playing" : "paused"));
    });
    this.player.addEventListener("trouble", (event) => {
      byId("trouble").textContent = t("no_audio", { error: event.detail });
    });
    new ResizeObserver(() => this.#draw()).observe(byId("tracks"));
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.#draw());
    listenToKeys(this, () => byId("keys-on").checked);
  }

  #setLoop(on) {
    const start = Math.round(Number(byId("loop-start").value) * this.rate);
    const end = Math.min(Math.round(Number(byId("loop-end").value) * this.rate), this.length);
    const possible = start >= 0 && end - start >= SHORTEST_LOOP_S * this.rate;
    this.player.setLoop(on && possible ? { start, end } : null);
    const loop = this.player.loop;
    byId("loop").setAttribute("aria-pressed", loop !== null);
    const shares = loop && { start: start / this.length, end: end / this.length };
    for (const track of this.tracks) track.mark(shares);
    const words = { from: clock(start / this.rate), to: clock(end / this.rate) };
    say(loop ? t("loop_on", words) : t("loop_off"));
  }

  #draw() {
    for (const track of this.tracks) track.draw();
  }

  #tick() {
    const position = this.player.position;
    const seconds = position / this.rate;
    const levels = this.player.levels();
    byId("time").textContent = clock(seconds);
    if (document.activeElement !== byId("seek") || this.player.playing) {
      byId("seek").value = seconds;
    }
    byId("seek").setAttribute("aria-valuetext", clock(seconds));
    for (const track of this.tracks) track.move(position / this.length, levels[track.stem] ?? 0);
    requestAnimationFrame(() => this.#tick());
  }
}

/** Opens the desk of a job that is done. It is `window.desk`, for who wants to look inside. */
export async function openDesk(job) {
  byId("desk").classList.remove("hidden");
  window.desk = new Desk(job, await ask(`/api/jobs/${job.id}/preview`));
}
