// Pages with radio buttons and players: questions, calibration, trials.

import { Deck, load } from "./audio.js";
import { begin, element, page, text } from "./shared.js";

const form = document.getElementById("page-form");
const decks = [];

const answers = begin({
  setAnswer(scale, value) {
    const radio = element(scale)?.querySelector(`input[value="${CSS.escape(value)}"]`);
    if (radio) radio.checked = true;
  },
  unanswered() {
    return [...form.querySelectorAll("fieldset[data-scale]")]
      .filter((set) => !set.querySelector(":checked"))
      .map((set) => set.dataset.scale);
  },
});

form.addEventListener("change", ({ target }) => {
  if (target.type !== "radio") return;
  answers.give(target.name, target.value, decks.reduce((sum, deck) => sum + deck.total_s, 0));
});

function unlock() {
  if (decks.length < players.length || decks.some((deck) => deck.share(0) < page.min_played)) return;
  form.querySelectorAll("[data-locked]").forEach((one) => {
    one.disabled = false;
    one.removeAttribute("data-locked");
  });
  const hint = document.getElementById("locked");
  if (hint) hint.hidden = true;
}

const players = [...document.querySelectorAll("[data-player]")];
players.forEach(async (player) => {
  const state = player.querySelector(".state");
  const failed = () => (state.textContent = text("load_failed"));
  document.addEventListener("load-failed", failed);
  const deck = new Deck([await load(player.dataset.player)], { loop: false });
  document.removeEventListener("load-failed", failed);
  decks.push(deck);
  const button = player.querySelector(".play");
  const position = player.querySelector(".position");
  button.disabled = false;
  state.textContent = "";
  button.addEventListener("click", () => {
    for (const other of decks) if (other !== deck && other.playing) other.pause();
    if (deck.playing) deck.pause();
    else deck.start();
  });
  deck.onchange = () => {
    // The word says what it does, so that it is no button that stays pressed.
    button.dataset.playing = String(deck.playing);
    button.querySelector(".word").textContent = text(deck.playing ? "pause" : "play");
    position.value = deck.at_s / deck.duration_s;
    unlock();
  };
  deck.onchange();
});
