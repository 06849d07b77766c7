// The live tab: a source through the server to the loudspeakers, with a volume for each stem.

import { HIGHEST_DB, LOWEST_DB, Mix } from "./mix.js";
import { byId, data, make, say, stemName, t } from "./page.js";

const MOST_UNSENT_S = 0.5;

let session = null;
let mix = null;

class Session {
  constructor(model, channels) {
    this.model = model;
    this.channels = channels;
    this.skipped = 0;
    this.context = new AudioContext({ latencyHint: "interactive" });
  }

  /** Connects a source with the server and the output; resolves when it runs. */
  async start(source) {
    await this.context.resume();
    await this.context.audioWorklet.addModule("/static/studio/live_worklet.js");
    await this.#connect();
    this.node = new AudioWorkletNode(this.context, "desmezcla-live", {
      outputChannelCount: [2],
      channelCount: this.channels,
      channelCountMode: "explicit",
      processorOptions: { channels: this.channels },
    });
    this.node.port.onmessage = (event) => this.#fromWorklet(event.data);
    source(this.context).connect(this.node).connect(this.context.destination);
  }

  #connect() {
    const address = new URL("/api/live", location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    const first = {
      model: this.model.name,
      sample_rate: this.context.sampleRate,
      channels: this.channels,
      gains: mix.gains(),
    };
    this.socket.addEventListener("open", () => this.socket.send(JSON.stringify(first)));
    return new Promise((resolve, reject) => {
      this.socket.addEventListener("message", ({ data: content }) => {
        if (content instanceof ArrayBuffer) {
          const block = new Float32Array(content);
          if (block.length) this.node.port.postMessage({ block }, [content]);
          return;
        }
        const facts = JSON.parse(content);
        if (facts.error) reject(new Error(facts.error));
        else {
          this.facts = facts;
          resolve();
        }
      });
      this.socket.addEventListener("close", () => {
        reject(new Error(t("live_closed")));
        if (session === this) ended(t("live_closed"));
      });
    });
  }

  #fromWorklet(message) {
    if (message.block) this.#send(message.block);
    else this.#report(message);
  }

  #send(block) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const unsent = this.socket.bufferedAmount / 4 / this.channels / this.context.sampleRate;
    if (unsent > MOST_UNSENT_S) {
      const frames = block.length / this.channels;
      this.skipped += frames;
      this.node.port.postMessage({ skipped: frames });
      byId("message").textContent = t("live_slow");
    } else this.socket.send(block);
  }

  #report({ latency_s: latency, playing, gaps }) {
    // What the browser itself adds on the way to the loudspeakers.
    const device = (this.context.baseLatency || 0) + (this.context.outputLatency || 0);
    const ms = (seconds) => t("milliseconds", { value: Math.round(1000 * seconds) });
    byId("latency").textContent = playing ? ms(latency + device) : "–";
    byId("latency-model").textContent = ms(this.facts.latency_samples / this.facts.sample_rate);
    byId("gaps").textContent = gaps;
  }

  setGains(gains) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ gains }));
  }

  async stop() {
    this.node?.port.postMessage({ end: true });
    this.socket?.close();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    await this.context.close();
  }
}

function ended(message = "") {
  const old = session;
  session = null;
  window.live = null;
  old?.stop();
  byId("message").textContent = message;
  byId("start").textContent = t("start");
  byId("start").setAttribute("aria-pressed", "false");
  say(message || t("live_stopped"));
}

async function begin() {
  if (!window.isSecureContext) throw new Error(t("live_insecure"));
  const fromFile = byId("source").value === "file";
  if (fromFile && !byId("song").files.length) throw new Error(t("choose_song"));
  const model = data.models.find((other) => other.name === byId("model").value);
  session = new Session(model, fromFile ? 2 : 1);
  say(t("connecting"));
  if (fromFile) {
    await session.start((context) => context.createMediaElementSource(newPlayer()));
    await byId("player").play();
  } else {
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    session.stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
    await session.start((context) => context.createMediaStreamSource(session.stream));
  }
  window.live = session;
}

/** Replaces the element that plays the file: each can be the source of one graph only. */
function newPlayer() {
  const old = byId("player");
  const fresh = old.cloneNode();
  fresh.src = URL.createObjectURL(byId("song").files[0]);
  fresh.classList.remove("hidden");
  if (old.src) URL.revokeObjectURL(old.src);
  old.replaceWith(fresh);
  return fresh;
}

byId("live")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (session) {
    ended();
    return;
  }
  byId("message").textContent = "";
  byId("start").textContent = t("stop");
  byId("start").setAttribute("aria-pressed", "true");
  try {
    await begin();
    say(t("live_running"));
  } catch (error) {
    ended(error.message);
  }
});

byId("source")?.addEventListener("change", () => {
  byId("of-file").classList.toggle("hidden", byId("source").value !== "file");
});

function showGains() {
  const model = data.models.find((other) => other.name === byId("model").value);
  mix = new Mix(model.stems);
  byId("gains").replaceChildren(
    ...model.stems.map((stem) => {
      const id = `gain-${stem}`;
      const fader = make("input", { id, type: "range", min: LOWEST_DB, max: HIGHEST_DB, step: 1, value: 0 });
      const shown = make("output", { htmlFor: id });
      const show = () => {
        const db = Number(fader.value);
        shown.textContent = db <= LOWEST_DB ? t("silent") : t("decibels", { value: db });
        fader.setAttribute("aria-valuetext", shown.textContent);
        mix.volumes[stem] = db;
        session?.setGains(mix.gains());
      };
      fader.addEventListener("input", show);
      show();
      const label = make("label", { htmlFor: id, textContent: stemName(stem) });
      return make("div", { className: `gain stem-${stem}` }, label, fader, shown);
    }),
  );
}

if (byId("model")) {
  byId("model").addEventListener("change", () => {
    if (session) ended();
    showGains();
  });
  showGains();
}
