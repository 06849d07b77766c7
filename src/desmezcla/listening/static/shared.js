// What all pages of a listener do: show whether answers are saved, and lead to the next page.

import { Answers } from "./saving.js";

export const page = JSON.parse(document.getElementById("page").textContent);
const texts = JSON.parse(document.getElementById("texts").textContent);

export function text(key, values = {}) {
  return Object.entries(values).reduce((all, [name, value]) => all.replace(`{${name}}`, value), texts[key]);
}

const form = document.getElementById("page-form");
const saving = document.getElementById("saving");
const missing = document.getElementById("missing");

export function element(scale) {
  return form.querySelector(`[data-scale="${scale}"]`);
}

// setAnswer(scale, value) shows an answer; unanswered() returns the scales that have none.
export function begin({ setAnswer, unanswered }) {
  let nothing = true;
  const answers = new Answers(page, (state, detail) => {
    saving.className = state === "unsaved" || state === "refused" ? "error" : "faint";
    saving.dataset.state = state;
    if (state === "elsewhere") setAnswer(detail.scale, detail.value);
    saving.textContent = text(state) + (state === "refused" ? detail : "");
  });
  for (const [scale, value] of answers.waiting()) setAnswer(scale, value);
  const others = answers.queue().some((entry) => entry.item !== page.item);
  if (answers.queue().length > 0) {
    answers.settled().then(() => others && nothing && go());
  }
  form.addEventListener("change", () => {
    nothing = false;
    missing.textContent = "";
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const lacking = unanswered();
    form.querySelectorAll(".wanted").forEach((one) => one.classList.remove("wanted"));
    if (lacking.length > 0) {
      missing.textContent = text("missing");
      element(lacking[0]).classList.add("wanted");
      element(lacking[0]).querySelector("input").focus();
      return;
    }
    const scale = form.dataset.confirm;
    if (scale && !answers.waiting().has(scale)) answers.give(scale, "yes", 0);
    document.getElementById("next").disabled = true;
    if (answers.queue().length > 0) saving.textContent = text("waiting");
    await answers.settled();
    if (saving.dataset.state === "refused") document.getElementById("next").disabled = false;
    else go();
  });
  document.addEventListener("visibilitychange", async () => {
    // Another tab may have gone on meanwhile.
    if (document.visibilityState !== "visible" || answers.queue().length > 0) return;
    const place = await fetch(page.api).then((answer) => answer.json(), () => null);
    if (place?.step && place.step !== page.item && unanswered().length > 0) go();
  });
  for (const name of page.next_audio) fetch(`${location.pathname}/audio/${name}`).catch(() => {});
  return answers;
}

function go() {
  location.assign(location.pathname);
}
