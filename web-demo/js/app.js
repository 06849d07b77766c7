// The page: a song in, its stems out. The work is done in worker.js.

import { TEXTS, say } from "./texts.js";

const find = (id) => document.getElementById(id);
const BACKENDS = { webgpu: "WebGPU", wasm: "WebAssembly" };

let language = navigator.language.startsWith("es") ? "es" : "en";
let worker = null;
let facts = null;
let status = ["loading", {}];
let stems = []; // name and address of each
let refocus = false; // the button that had the focus is gone
let song = 0; // how many have been chosen: what an older one gives is left aside

function show(key, gaps = {}) {
  status = [key, gaps];
  find("status").textContent = say(language, key, gaps);
  find("status").classList.toggle("wrong", ["unread", "channels", "failed"].includes(key));
}

function busy(is, fraction) {
  find("progress").hidden = !is;
  find("cancel").hidden = !is;
  find("file").disabled = is;
  if (fraction === undefined) find("progress").removeAttribute("value");
  else find("progress").value = fraction;
}

function translate() {
  document.documentElement.lang = language;
  document.title = say(language, "title");
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = say(language, element.dataset.text);
  }
  show(...status);
  if (facts) find("licence").textContent = say(language, "licence", facts);
  list();
}

function list() {
  find("result").hidden = stems.length === 0;
  find("list").replaceChildren(
    ...stems.map(({ name, address, file }) => {
      const title = say(language, name);
      const item = document.createElement("li");
      const heading = document.createElement("h3");
      heading.textContent = title;
      const player = document.createElement("audio");
      Object.assign(player, { controls: true, preload: "metadata", src: address });
      player.setAttribute("aria-label", say(language, "listen", { stem: title }));
      const link = document.createElement("a");
      Object.assign(link, { href: address, download: file });
      link.textContent = `${say(language, "download")} (${title}, WAV)`;
      link.dataset.stem = name;
      item.append(heading, player, link);
      return item;
    }),
  );
}

function forget() {
  stems.forEach(({ address }) => URL.revokeObjectURL(address));
  stems = [];
  list();
}

function start() {
  worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  worker.onerror = (event) => fail(event.message || "worker.js");
  worker.onmessage = ({ data }) => {
    if (data.loaded) {
      facts = data.loaded;
      find("licence").textContent = say(language, "licence", facts);
      busy(false);
      show("ready", { backend: BACKENDS[facts.backend] });
      if (refocus) find("file").focus();
      refocus = false;
    } else if (data.progress !== undefined) {
      busy(true, data.progress);
      show("separating", { percent: Math.round(100 * data.progress) });
    } else if (data.stems) {
      finish(data.stems);
    } else {
      fail(data.error);
    }
  };
  busy(true);
  find("cancel").hidden = true;
  worker.postMessage({ load: true });
}

function fail(reason) {
  busy(false);
  show("failed", { reason });
}

function finish(made) {
  const base = (find("file").dataset.name ?? "song").replace(/\.[^.]*$/, "");
  stems = made.map(({ name, bytes }) => ({
    name,
    address: URL.createObjectURL(new Blob([bytes], { type: "audio/wav" })),
    file: `${base}.${name}.wav`,
  }));
  busy(false);
  show("done");
  list();
  find("result").focus();
}

async function separate(file) {
  if (!facts || find("file").disabled) return;
  const own = ++song;
  forget();
  busy(true);
  show("decoding");
  find("file").dataset.name = file.name;
  let audio;
  try {
    // The context's rate is the model's, so that the browser resamples.
    const context = new OfflineAudioContext(1, 1, facts.sample_rate);
    audio = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    if (own === song) {
      busy(false);
      show("unread");
    }
    return;
  }
  if (own !== song) return;
  if (audio.numberOfChannels > 2) {
    busy(false);
    show("channels", { count: audio.numberOfChannels });
    return;
  }
  const channels = Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i).slice());
  busy(true, 0);
  show("separating", { percent: 0 });
  worker.postMessage({ song: channels }, channels.map(({ buffer }) => buffer));
}

find("file").addEventListener("change", ({ target }) => {
  if (target.files[0]) separate(target.files[0]);
  target.value = "";
});
find("cancel").addEventListener("click", () => {
  song++;
  worker.terminate();
  facts = null;
  start();
  show("cancelled");
  refocus = true;
});
for (const name of ["dragover", "dragleave", "drop"]) {
  find("drop").addEventListener(name, (event) => {
    event.preventDefault();
    find("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) separate(event.dataTransfer.files[0]);
  });
}
for (const name of Object.keys(TEXTS)) find("language").append(new Option(name, name));
find("language").value = language;
find("language").addEventListener("change", ({ target }) => {
  language = target.value;
  translate();
});
translate();
start();
