// One stem of the mixing desk: its buttons, its fader and its pictures.

import { HIGHEST_DB, LOWEST_DB } from "./mix.js";
import { make, stemName, t } from "./page.js";
import { drawSpectrogram, drawWaveform } from "./pictures.js";

export class Track {
  /** `desk` is told what is wanted: `changed()`, `seek(share)`, `select(from, to)`. */
  constructor(stem, { facts, mix, desk, address, file }) {
    this.stem = stem;
    this.facts = facts;
    this.mix = mix;
    this.desk = desk;
    this.address = address;
    const name = stemName(stem);
    this.solo = this.#toggle("solo", name, () => mix.toggleSolo(stem));
    this.mute = this.#toggle("mute", name, () => mix.toggleMute(stem));
    this.picture = this.#toggle("spectrogram", name, () => this.#toggleSpectrum());
    const download = make("a", { className: "button", href: file, download: "", textContent: t("download") });
    download.setAttribute("aria-label", t("download_stem", { stem: name }));
    this.fader = make("input", { type: "range", min: LOWEST_DB, max: HIGHEST_DB, step: 1, value: 0 });
    this.fader.setAttribute("aria-label", t("volume_stem", { stem: name }));
    this.fader.addEventListener("input", () => {
      mix.volumes[stem] = Number(this.fader.value);
      desk.changed();
    });
    this.volume = make("output", {});
    this.level = make("div", {});
    this.waveform = make("canvas", { className: "waveform" });
    this.waveform.setAttribute("role", "img");
    this.waveform.setAttribute("aria-label", t("waveform_stem", { stem: name }));
    this.head = make("div", { className: "playhead" });
    this.region = make("div", { className: "region", hidden: true });
    this.pictures = make("div", { className: "pictures" }, this.waveform, this.region, this.head);
    this.element = make(
      "li",
      { className: `card track stem-${stem}`, data: { stem } },
      make(
        "div",
        { className: "controls" },
        make("h2", { textContent: name }),
        make("div", { className: "buttons" }, this.solo, this.mute, this.picture, download),
        make("div", { className: "fader" }, this.fader, this.volume),
        make("div", { className: "meter" }, this.level),
      ),
      this.pictures,
    );
    this.#listenToPointer();
  }

  /** Shows what the mix says. */
  show() {
    const db = this.mix.volumes[this.stem];
    const text = db <= LOWEST_DB ? t("silent") : t("decibels", { value: db > 0 ? `+${db}` : db });
    this.fader.value = db;
    this.fader.setAttribute("aria-valuetext", text);
    this.volume.textContent = text;
    this.solo.setAttribute("aria-pressed", this.mix.soloed.has(this.stem));
    this.mute.setAttribute("aria-pressed", this.mix.muted.has(this.stem));
    this.element.classList.toggle("quiet", !this.mix.hears(this.stem));
  }

  draw() {
    drawWaveform(this.waveform, this.facts.peaks[this.stem]);
    if (this.spectrum && this.levels) drawSpectrogram(this.spectrum, this.levels, this.facts);
  }

  /** Shows where the song is, as a share of it, and how loud the stem is. */
  move(share, level) {
    this.head.style.left = `${100 * share}%`;
    this.level.style.transform = `scaleX(${Math.min(1, level)})`;
  }

  /** Shows the part that is repeated, in shares of the song; null for none. */
  mark(loop) {
    this.region.hidden = loop === null;
    if (!loop) return;
    this.region.style.left = `${100 * loop.start}%`;
    this.region.style.width = `${100 * (loop.end - loop.start)}%`;
  }

  #toggle(key, name, act) {
    const button = make("button", { type: "button", textContent: t(key), data: { action: key } });
    button.setAttribute("aria-label", t(`${key}_stem`, { stem: name }));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      act();
      this.desk.changed();
    });
    return button;
  }

  async #toggleSpectrum() {
    const on = this.spectrum === undefined;
    this.picture.setAttribute("aria-pressed", on);
    if (!on) {
      this.spectrum.remove();
      this.spectrum = undefined;
      return;
    }
    this.spectrum = make("canvas", { className: "spectrum" });
    this.spectrum.setAttribute("role", "img");
    this.spectrum.setAttribute("aria-label", t("spectrogram_stem", { stem: stemName(this.stem) }));
    this.waveform.after(this.spectrum);
    const answer = await fetch(`${this.address}/${encodeURIComponent(this.stem)}/spectrogram`);
    this.levels = new Uint8Array(await answer.arrayBuffer());
    this.draw();
  }

  /** A click goes to a place, a drag chooses a part. */
  #listenToPointer() {
    const share = (event) => {
      const box = this.pictures.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    };
    let start = null;
    this.pictures.addEventListener("pointerdown", (event) => {
      start = { x: event.clientX, share: share(event) };
      this.pictures.setPointerCapture(event.pointerId);
    });
    this.pictures.addEventListener("pointercancel", () => (start = null));
    this.pictures.addEventListener("pointerup", (event) => {
      if (!start) return;
      const end = share(event);
      if (Math.abs(event.clientX - start.x) < 6) this.desk.seek(end);
      else this.desk.select(Math.min(start.share, end), Math.max(start.share, end));
      start = null;
    });
  }
}
