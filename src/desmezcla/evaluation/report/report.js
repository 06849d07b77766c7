// Choosing what is shown, and the players.

function fill(select, options) {
  select.replaceChildren(...options.map(([value, words]) => el("option", { value }, words)));
}

const draws = {
  metric: [showTables, drawBoxes, drawGenres, drawTracks, drawCurves],
  stem: [drawGenres, drawTracks, drawCurves],
  order: [drawTracks],
  track: [drawCurves],
};

function choose(what, value) {
  chosen[what] = value;
  byId(what).value = value;
  for (const each of draws[what]) each();
}

function showTables() {
  for (const part of document.querySelectorAll("[data-metric]"))
    part.hidden = part.dataset.metric !== chosen.metric;
}

function start() {
  fill(byId("metric"), data.metrics.map((name) => [name, name]));
  fill(byId("stem"), data.stems.map((name) => [name, name]));
  fill(byId("track"), data.tracks.map((track, i) => [i, label(track)]));
  const orders = data.systems.flatMap((name, i) => [
    [`high ${i}`, `highest ${name} first`], [`low ${i}`, `lowest ${name} first`]]);
  if (data.systems.length > 1) orders.push(["spread 0", "largest difference first"]);
  const genre = data.genres.length ? [["genre", "by genre"]] : [];
  fill(byId("order"), [["name", "by name"], ...genre, ...orders]);
  byId("choice").hidden = false;
  for (const what of Object.keys(draws)) {
    byId(what).value = chosen[what];
    byId(what).addEventListener("change", (event) => choose(what, event.target.value));
  }
  for (const each of draws.metric) each();
  const main = document.querySelector("main");
  let width = main.clientWidth;
  new ResizeObserver(() => {
    if (main.clientWidth === width) return;
    width = main.clientWidth;
    drawBoxes();
    drawCurves();
  }).observe(main);
}

// One player at a time; another one of the same track goes on from the same place.
let playing = null;
document.addEventListener("play", (event) => {
  const now = event.target;
  if (playing && playing !== now) {
    playing.pause();
    const track = now.closest(".excerpt");
    if (track.contains(playing) && !playing.ended) now.currentTime = playing.currentTime;
  }
  playing = now;
}, true);

start();
