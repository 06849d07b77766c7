// The start page: the form for songs, and the list of one's own.

import { actions, follow, stateText } from "./jobs.js";
import { ask, byId, data, make, say, stemName, t } from "./page.js";
import { send } from "./upload.js";

const files = byId("files");
const drop = byId("drop");
const model = byId("model");
const items = new Map();
let chosen = [];

function choose(list) {
  chosen = [...list];
  const names = chosen.map((file) => file.name).join(", ");
  const key = chosen.length > 1 ? "chosen_many" : "chosen_one";
  byId("chosen").textContent = chosen.length ? t(key, { name: names, names, count: chosen.length }) : "";
}

files.addEventListener("change", () => choose(files.files));
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) {
  drop.addEventListener(kind, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  choose(event.dataTransfer.files);
});

function showModel() {
  const info = data.models.find((other) => other.name === model.value);
  const about = t("about_model", { description: info.description, license: info.license });
  byId("about").textContent = info.non_commercial ? `${about} ${t("non_commercial")}` : about;
  byId("stems").replaceChildren(
    ...info.stems.map((stem) =>
      make(
        "label",
        {},
        make("input", { type: "checkbox", name: "stem", value: stem, checked: true }),
        stemName(stem),
      ),
    ),
  );
}

model.addEventListener("change", showModel);
showModel();

/** Returns what is chosen, or null if that is not possible, which is said. */
function choices() {
  const boxes = [...document.querySelectorAll("input[name=stem]")];
  const stems = boxes.filter((box) => box.checked).map((box) => box.value);
  const large = chosen.find((file) => file.size > data.max_upload_bytes);
  const mib = Math.floor(data.max_upload_bytes / 2 ** 20);
  const message = byId("message");
  if (!chosen.length) message.textContent = t("choose_song");
  else if (!stems.length) message.textContent = t("choose_stem");
  else if (large) message.textContent = t("too_large", { name: large.name, mib });
  else {
    message.textContent = "";
    const all = stems.length === boxes.length;
    return { model: model.value, format: byId("format").value, stems: all ? "" : stems.join(",") };
  }
  return null;
}

byId("order").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = choices();
  if (!wanted) return;
  const songs = chosen;
  const button = event.target.querySelector("button[type=submit]");
  button.disabled = true;
  const problems = [];
  for (const song of songs) {
    try {
      const progress = (fraction) => {
        const percent = Math.floor(fraction * 100);
        byId("chosen").textContent = t("sending", { name: song.name, percent });
      };
      show(await send(song, wanted, progress));
      say(t("sent", { name: song.name }));
    } catch (error) {
      problems.push(`${t("refused", { name: song.name })} ${error.message}`);
    }
  }
  byId("message").textContent = problems.join(" ");
  files.value = "";
  choose([]);
  button.disabled = false;
});

/** Shows a job in the list, where it was or at the top. */
function show(job) {
  const item = items.get(job.id) ?? make("li", { className: "card", data: { id: job.id } });
  const before = item.dataset.state;
  item.dataset.state = job.state;
  if (before === job.state) {
    item.querySelector(".about").textContent = stateText(job);
    const bar = item.querySelector("progress");
    if (bar) bar.value = job.fraction;
    return;
  }
  const name = make("p", { className: "name" }, make("a", { href: job.links.page, textContent: job.name }));
  const parts = [name, make("p", { className: "about", textContent: stateText(job) })];
  if (job.state === "running" || job.state === "waiting") {
    const bar = make("progress", { max: 1, value: job.fraction });
    bar.setAttribute("aria-label", t("of_song", { action: t("progress"), name: job.name }));
    parts.push(bar);
  }
  if (job.error) parts.push(make("p", { className: "error", textContent: job.error, lang: "en" }));
  const removed = () => {
    item.remove();
    items.delete(job.id);
    byId("none").hidden = items.size > 0;
  };
  const row = make("div", { className: "row" }, ...actions(job, { removed }));
  if (job.state === "done") {
    const open = make("a", { className: "button primary", href: job.links.page, textContent: t("open") });
    open.setAttribute("aria-label", t("of_song", { action: t("open"), name: job.name }));
    const all = make("a", { className: "button", href: job.links.archive, textContent: t("download_all") });
    all.setAttribute("aria-label", t("of_song", { action: t("download_all"), name: job.name }));
    row.prepend(open, all);
  }
  item.replaceChildren(...parts, row);
  if (!items.has(job.id)) {
    items.set(job.id, item);
    byId("jobs").prepend(item);
    byId("none").hidden = true;
  }
  if (before) say(`${job.name}: ${stateText(job)}`);
}

/** Shows all jobs as they are now: what changed while nobody listened is not told again. */
async function showAll() {
  const jobs = await ask("/api/jobs");
  for (const job of jobs.reverse()) show(job);
}

const events = follow("/api/events", { changed: show });
events.addEventListener("open", showAll);
