// The page's data, and small tools to draw with.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const chosen = { metric: data.metric, stem: data.stems[0], track: 0, order: "name", place: 0 };

function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
const el = (tag, attributes = {}, ...children) =>
  make(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  make(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const text = (x, y, words, anchor = "start", kind = "") =>
  draw("text", { x, y, "text-anchor": anchor, class: kind }, words);
// Without `...`, which no browser allows for a hundred thousand values.
const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
const finite = (values) => values.filter((value) => value !== null);
const db = (value) => (value === null ? "–" : value.toFixed(2).replace("-", "−"));
function clock(time) {
  const seconds = Math.round(1000 * time) / 1000;
  const part = seconds % 1 ? (seconds % 1).toFixed(2).slice(1) : "";
  return Math.floor(seconds / 60) + ":" + String(Math.floor(seconds % 60)).padStart(2, "0") + part;
}
const colour = (system) => "c" + (system % 8);
const dashes = (system) => "d" + (Math.floor(system / 4) % 4);
const splits = new Set(data.tracks.map((track) => track.split));
const label = (track) => (splits.size > 1 ? `${track.name} (${track.split})` : track.name);

function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function frames(base64) {
  const view = new DataView(bytes(base64).buffer);
  return Array.from({ length: view.byteLength / 2 }, (_, i) => {
    const steps = view.getInt16(2 * i, true);
    return steps === data.missing ? null : steps / data.steps_per_db;
  });
}

// From a range of values to pixels, with round ticks in between.
function scale(values, from, to, count) {
  let low = least(values), high = most(values);
  if (high - low < 1) [low, high] = [low - 0.5, high + 0.5];
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => (high - low) / s <= count);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push(k * step);
  return {
    at: (value) => from + ((value - low) / (high - low)) * (to - from),
    ticks: ticks.map((tick) => Number(tick.toPrecision(6))),
  };
}
const tickText = (value) => String(value).replace("-", "−");

function shorten(words, width) {
  const room = Math.max(4, Math.floor(width / 7));
  const letters = Array.from(words);
  return letters.length <= room ? words : letters.slice(0, room - 1).join("") + "…";
}

function legend(systems) {
  return el("ul", { class: "legend" }, ...systems.map((system) =>
    el("li", { class: "system " + colour(system) }, data.systems[system])));
}

// A table of what a chart shows, made when somebody opens it.
function numbers(place, title, head, rows) {
  const box = el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title });
  const details = el("details", {}, el("summary", {}, title), box);
  details.addEventListener("toggle", () => {
    if (!details.open || box.firstChild) return;
    const cell = (value, i) => i ? el("td", { class: "number" }, value)
                                 : el("th", { scope: "row" }, value);
    box.append(el("table", {},
      el("thead", {}, el("tr", {}, ...head.map((name, i) =>
        el("th", { scope: "col", class: i ? "number" : "" }, name)))),
      el("tbody", {}, ...rows().map((row) => el("tr", {}, ...row.map(cell))))));
  });
  const open = place.querySelector("details")?.open;
  place.replaceChildren(details);
  details.open = Boolean(open);
}
