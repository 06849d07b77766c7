// The page on which all versions of an excerpt are compared with the reference.

import { Deck, load } from "./audio.js";
import { begin, element, page, text } from "./shared.js";

const versions = [...document.querySelectorAll(".version")];
const buttons = [...document.querySelectorAll(".hear")]; // the reference is the first
const play = document.getElementById("play");
const state = document.querySelector("#mushra .state");
const rated = new Set(Object.keys(page.revisions));
let deck = null;

function rate(version, value) {
  version.querySelector("input").value = value;
  version.querySelector("output").textContent = value;
  rated.add(version.dataset.scale);
}

const answers = begin({
  setAnswer: (scale, value) => rate(element(scale), value),
  unanswered: () => versions.map((one) => one.dataset.scale).filter((scale) => !rated.has(scale)),
});

for (const version of versions) {
  const slider = version.querySelector("input");
  slider.addEventListener("input", () => rate(version, slider.value));
  slider.addEventListener("change", () => answers.give(version.dataset.scale, slider.value, deck?.total_s ?? 0));
}

function show() {
  play.textContent = text(deck.playing ? "pause" : "play");
  document.querySelector("#mushra .position").value = deck.at_s / deck.duration_s;
  buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === deck.chosen)));
  versions.forEach((version, index) => {
    if (deck.share(index + 1) >= page.min_played) version.querySelector("input").disabled = false;
  });
  document.getElementById("locked").hidden = versions.every((version) => !version.querySelector("input").disabled);
}

const failed = () => (state.textContent = text("load_failed"));
document.addEventListener("load-failed", failed);
deck = new Deck(await Promise.all(buttons.map((button) => load(button.dataset.source))), { loop: true });
document.removeEventListener("load-failed", failed);
deck.onchange = show;
state.textContent = "";
play.disabled = false;
play.addEventListener("click", () => (deck.playing ? deck.pause() : deck.start()));
buttons.forEach((button, index) => {
  button.disabled = false;
  button.addEventListener("click", () => {
    deck.choose(index);
    deck.start();
  });
});
show();
