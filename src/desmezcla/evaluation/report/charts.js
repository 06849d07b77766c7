// The charts, each drawn anew from what is chosen.

// ---- box plots

const ROW = 58;

function boxPlot(stem, width, all) {
  const boxes = data.boxes[chosen.metric][stem];
  const scores = data.scores[chosen.metric][stem];
  const height = ROW * data.systems.length + 24;
  const x = scale(all, 8, width - 8, Math.max(3, width / 70));
  const told = boxes.map((box, i) => box
    ? `${data.systems[i]}: median ${db(box.median)}, half of the tracks from ${db(box.q1)} to ${db(box.q3)}`
    : `${data.systems[i]}: no scores`);
  const picture = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label":
    `Box plots of ${chosen.metric} in dB, ${stem}. ${told.join(". ")}.` });
  for (const tick of x.ticks) {
    const here = x.at(tick);
    picture.append(
      draw("line", { x1: here, x2: here, y1: 0, y2: height - 20, class: tick ? "grid" : "zero" }),
      text(here, height - 5, tickText(tick), "middle"));
  }
  boxes.forEach((box, i) => {
    const middle = ROW * i + 34;
    const median = box ? db(box.median) + " dB" : "no scores";
    picture.append(
      text(2, ROW * i + 15, shorten(data.systems[i], width - 90), "start", "strong"),
      text(width - 2, ROW * i + 15, median, "end", "strong"));
    if (box) picture.append(boxOf(box, scores[i], x.at, middle, colour(i)));
  });
  return picture;
}

function boxOf(box, scores, at, middle, kind) {
  const line = (x1, x2, y1, y2, name) => draw("line", { x1, x2, y1, y2, class: name });
  const group = draw("g", { class: kind },
    line(at(box.low), at(box.q1), middle, middle, "whisker"),
    line(at(box.q3), at(box.high), middle, middle, "whisker"),
    draw("rect", { x: at(box.q1), width: Math.max(1, at(box.q3) - at(box.q1)),
                   y: middle - 11, height: 22, class: "box" }));
  scores.forEach((score, track) => {
    if (score === null) return;
    // Dots are moved up and down, always alike, so that equal scores do not hide each other.
    const y = middle + (((track * 37) % 17) / 16 - 0.5) * 18;
    group.append(draw("circle", { cx: at(score), cy: y, r: 2.6, class: "dot" },
      draw("title", {}, `${label(data.tracks[track])}: ${db(score)} dB`)));
  });
  group.append(line(at(box.median), at(box.median), middle - 13, middle + 13, "median"));
  return group;
}

function drawBoxes() {
  const place = byId("box-charts");
  const all = finite(data.stems.flatMap((stem) => data.scores[chosen.metric][stem].flat()));
  const figures = data.stems.map((stem) => el("figure", {}, el("figcaption", {}, stem), el("div")));
  place.replaceChildren(...figures);
  figures.forEach((figure, i) => {
    const width = Math.floor(figure.clientWidth);
    figure.lastChild.append(all.length ? boxPlot(data.stems[i], width, all)
                                       : el("p", {}, `No track has a ${chosen.metric}.`));
  });
  const head = ["Stem, system", "Whisker", "Quartile", "Median", "Quartile", "Whisker", "Tracks"];
  numbers(byId("box-numbers"), "Numbers of the box plots", head, () =>
    data.stems.flatMap((stem) => data.boxes[chosen.metric][stem].map((box, i) => [
      `${stem}, ${data.systems[i]}`,
      ...["low", "q1", "median", "q3", "high"].map((name) => db(box ? box[name] : null)),
      box ? box.tracks : 0])));
}

// ---- bars: a table of two columns, which is its own text

function barTable(head, rows) {
  const all = finite(rows.flatMap((row) => row.values));
  const low = Math.min(0, least(all)), high = Math.max(0, most(all));
  // The part of the width that is left beside the longest bars is for their numbers.
  const [before, width] = low < 0 ? [20, 62] : [0, 82];
  const share = (value) => before + ((value - low) / (high - low || 1)) * width;
  const body = rows.map((row) => el("tr", {}, el("th", { scope: "row" }, ...row.head),
    el("td", {}, ...row.values.map((value, system) => bar(value, system, share)))));
  return el("table", { class: "bars" },
    el("colgroup", {}, el("col", { class: "names" }), el("col")),
    el("thead", { class: "hear" }, el("tr", {}, el("th", { scope: "col" }, head),
      el("th", { scope: "col" }, `${chosen.metric} in dB, ${chosen.stem}`))),
    el("tbody", {}, ...body));
}

function bar(value, system, share) {
  const words = el("b", {}, el("span", { class: "hear" }, data.systems[system] + ": "),
    value === null ? "no score" : db(value));
  const line = el("div", { class: "bar " + colour(system) }, el("i"), words, el("u"));
  const zero = share(0), end = value === null ? zero : share(value);
  line.children[0].style.left = Math.min(zero, end) + "%";
  line.children[0].style.width = Math.abs(end - zero) + "%";
  line.children[2].style.left = zero + "%";
  if (end < zero) Object.assign(words.style, { right: 100 - end + "%", marginRight: "5px" });
  else Object.assign(words.style, { left: end + "%", marginLeft: "5px" });
  return line;
}

const everySystem = data.systems.map((_, i) => i);

function drawGenres() {
  if (!data.genres.length) return;
  byId("genre-caption").textContent =
    `${chosen.metric} of ${chosen.stem} in dB, ${data.tracks_by} over the tracks of a genre.`;
  const scores = data.genre_scores[chosen.metric][chosen.stem];
  byId("genre-chart").replaceChildren(legend(everySystem), barTable("Genre", data.genres.map((genre, i) => ({
    head: [genre.name, el("small", {}, genre.tracks + (genre.tracks === 1 ? " track" : " tracks"))],
    values: scores[i],
  }))));
}

function ordered() {
  const scores = data.scores[chosen.metric][chosen.stem];
  const names = data.tracks.map((_, i) => i);
  const [kind, system] = chosen.order.split(" ");
  const spread = (i) => {
    const values = finite(scores.map((row) => row[i]));
    return values.length ? most(values) - least(values) : -1;
  };
  const keys = {
    name: (i) => i,
    genre: (i) => data.tracks[i].genre,
    high: (i) => -(scores[system][i] ?? -Infinity),
    low: (i) => scores[system][i] ?? Infinity,
    spread: (i) => -spread(i),
  };
  const key = keys[kind];
  return names.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a - b));
}

function drawTracks() {
  byId("track-caption").textContent = `${chosen.metric} of ${chosen.stem} in dB` +
    (data.frame_metrics.includes(chosen.metric) ? `, ${data.frames_by} over frames. ` : ". ") +
    "A track's name shows it over time, below.";
  const scores = data.scores[chosen.metric][chosen.stem];
  const rows = ordered().map((i) => {
    const track = data.tracks[i];
    const name = el("button", { type: "button" }, label(track));
    name.addEventListener("click", () => {
      choose("track", i);
      byId("frames").scrollIntoView();
      byId("track").focus({ preventScroll: true });
    });
    const genre = track.genre ? [el("small", {}, track.genre)] : [];
    return { head: [name, ...genre], values: scores.map((row) => row[i]) };
  });
  const box = byId("track-chart");
  box.replaceChildren(legend(everySystem), barTable("Track", rows));
}

// ---- over time

function curves() {
  const metric = data.frame_metrics.includes(chosen.metric) ? chosen.metric : "SDR";
  const found = data.frames[chosen.track].map((track, system) => {
    const packed = track?.stems[chosen.stem];
    if (!packed) return null;
    const values = frames(packed[metric]);
    return { system, values, hop: track.hop_s, middle: track.window_s / 2 };
  });
  return { metric, lines: found.filter((line) => line && line.values.length > 1) };
}

// Frames that are almost silent have scores of -60 dB, beside which all others would look alike.
// The axis leaves out what Tukey calls far out: three times the box away from it.
function withoutFarOut(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const quarter = (k) => sorted[Math.floor((k * (sorted.length - 1)) / 4)];
  const reach = 3 * (quarter(3) - quarter(1));
  const kept = values.filter((v) => v >= quarter(1) - reach && v <= quarter(3) + reach);
  return reach > 0 ? kept : values;
}

// A point of a line without neighbours is drawn as a dot; where there is no score is a gap.
function path(line, x, y) {
  let words = "";
  line.values.forEach((value, k) => {
    if (value === null) return;
    const joined = k > 0 && line.values[k - 1] !== null;
    const here = `${x(k * line.hop + line.middle).toFixed(1)} ${y(value).toFixed(1)}`;
    words += joined ? `L${here}` : `M${here}h0`;
  });
  return words;
}

function wave(peaks, x, top, height) {
  const middle = top + height / 2;
  const loudest = Math.max(1, most(peaks));
  const half = (peak) => Math.max(0.5, (peak / loudest) * height / 2);
  const at = (i) => x(i * data.peak_hop_s).toFixed(1);
  const over = Array.from(peaks, (peak, i) => `${at(i)} ${(middle - half(peak)).toFixed(1)}`);
  const under = Array.from(peaks, (peak, i) => `${at(i)} ${(middle + half(peak)).toFixed(1)}`);
  return draw("path", { class: "wave", d: "M" + [...over, ...under.reverse()].join("L") + "Z" });
}

function drawCurves() {
  const track = data.tracks[chosen.track];
  const { metric, lines } = curves();
  const place = byId("frame-chart");
  const all = finite(lines.flatMap((line) => line.values));
  const ordinary = withoutFarOut(all);
  byId("frame-caption").textContent = `${metric} of ${chosen.stem} in dB, ${label(track)}` +
    (metric === chosen.metric ? "" : ` (${chosen.metric} has one value for the track)`) +
    (ordinary.length < all.length ? `; ${all.length - ordinary.length} far values lie outside` : "");
  byId("place-row").hidden = !all.length;
  byId("frame-numbers").hidden = !all.length;
  if (!all.length) {
    place.replaceChildren(el("p", {}, `No system has frames with a ${metric} of ${chosen.stem} here.`));
    return;
  }
  const width = Math.floor(place.clientWidth), left = 34, high = 240;
  const peaks = bytes(track.peaks);
  const height = high + (peaks.length ? 80 : 0) + 24;
  const ends = lines.map((line) => (line.values.length - 1) * line.hop + 2 * line.middle);
  const end = Math.max(track.duration_s, most(ends));
  const x = scale([0, end], left, width - 6, 1);
  const y = scale(ordinary, high - 6, 6, 6);
  const names = lines.map((line) => data.systems[line.system]).join(", ");
  const picture = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label":
    `${metric} of ${chosen.stem} over time for ${names}; the numbers stand in the table below.` });
  for (const tick of y.ticks) picture.append(
    draw("line", { x1: left, x2: width - 6, y1: y.at(tick), y2: y.at(tick), class: tick ? "grid" : "zero" }),
    text(left - 6, y.at(tick) + 4, tickText(tick), "end"));
  const minutes = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((s) => end / s <= width / 60) ?? 1800;
  for (let s = 0; s <= end; s += minutes) picture.append(
    draw("line", { x1: x.at(s), x2: x.at(s), y1: 0, y2: height - 20, class: "grid" }),
    text(x.at(s), height - 5, clock(s), x.at(s) > width - 22 ? "end" : "middle"));
  if (peaks.length) picture.append(wave(peaks, x.at, high + 12, 64));
  picture.append(draw("clipPath", { id: "plot" }, draw("rect", { x: 0, y: 0, width, height: high })));
  for (const line of lines) picture.append(draw("path", { "clip-path": "url(#plot)",
    class: `line ${colour(line.system)} ${dashes(line.system)}`, d: path(line, x.at, y.at) }));
  const cursor = draw("line", { y1: 0, y2: height - 20, class: "cursor" });
  picture.append(cursor);
  place.replaceChildren(lineLegend(lines), picture);
  read(lines, end, x.at, cursor, picture, { left, right: width - 6 });
  frameNumbers(metric, lines);
}

function lineLegend(lines) {
  return el("ul", { class: "legend" }, ...lines.map(({ system }) => el("li", { class: colour(system) },
    draw("svg", { width: 28, height: 10, "aria-hidden": "true" },
      draw("path", { d: "M1 5h26", class: `line ${dashes(system)}` })),
    data.systems[system])));
}

// The slider, and the pointer over the chart, tell the scores of a moment.
function read(lines, end, at, cursor, picture, { left, right }) {
  const slider = byId("place");
  Object.assign(slider, { min: 0, max: Math.floor(end), step: Math.min(1, lines[0].hop) });
  slider.value = chosen.place = Math.min(chosen.place, end);
  const show = () => {
    const time = (chosen.place = Number(slider.value));
    cursor.setAttribute("x1", at(time));
    cursor.setAttribute("x2", at(time));
    slider.setAttribute("aria-valuetext", clock(time));
    byId("readout").replaceChildren(el("span", {}, clock(time)), ...lines.map((line) => {
      const frame = Math.min(line.values.length - 1, Math.floor(time / line.hop));
      return el("span", { class: "system " + colour(line.system) },
        `${data.systems[line.system]} ${db(line.values[frame])}`);
    }));
  };
  slider.oninput = show;
  picture.addEventListener("pointermove", (event) => {
    const x = event.clientX - picture.getBoundingClientRect().left;
    slider.value = ((x - left) / (right - left)) * end;
    show();
  });
  show();
}

function frameNumbers(metric, lines) {
  const longest = lines.reduce((a, b) => (b.values.length > a.values.length ? b : a));
  const head = ["Time", ...lines.map((line) => data.systems[line.system])];
  numbers(byId("frame-numbers"), "Numbers of the curves", head, () =>
    longest.values.map((_, k) => [
      clock(k * longest.hop),
      ...lines.map((line) => db(line.values[Math.round((k * longest.hop) / line.hop)] ?? null))]));
}
