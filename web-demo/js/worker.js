// The network, beside the page, so that the page stays quick. Nothing leaves this machine.

import { FrontEnd } from "./front_end.js";
import { readFacts } from "./model_file.js";
import { separate } from "./separation.js";
import { WavFile } from "./wav.js";

const RUNTIME = new URL("../vendor/", import.meta.url).href;
const MODEL = new URL("../vendor/model.onnx", import.meta.url).href;

let loading = null;

self.onmessage = async ({ data }) => {
  try {
    loading ??= load();
    const model = await loading;
    if (data.load) self.postMessage({ loaded: { ...model.facts, backend: model.backend } });
    else await separateSong(model, data.song);
  } catch (error) {
    self.postMessage({ error: String(error?.message ?? error) });
  }
};

/** Fetch model and runtime, and open the model on the graphics processor, if it runs there. */
async function load() {
  const answer = await fetch(MODEL);
  if (!answer.ok) throw new Error(`${MODEL}: ${answer.status}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const facts = readFacts(bytes);
  const front = new FrontEnd(facts);
  const adapter = await navigator.gpu?.requestAdapter();
  if (adapter && !adapter.isFallbackAdapter && !adapter.info?.isFallbackAdapter) {
    try {
      return await open("webgpu", "ort.webgpu.bundle.min.mjs", bytes, facts, front);
    } catch (error) {
      console.info(`WebGPU cannot run the model: ${error}`);
    }
  }
  return open("wasm", "ort.wasm.bundle.min.mjs", bytes, facts, front);
}

async function open(backend, file, bytes, facts, front) {
  const ort = await import(RUNTIME + file);
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = RUNTIME;
  // Several threads need shared memory, which pages have with two headers only.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [backend] });
  const run = async (segment) => {
    const feed = {};
    for (const [name, { data, dims }] of Object.entries(front.before(segment))) {
      feed[name] = new ort.Tensor("float32", data, dims);
    }
    const outputs = await session.run(feed);
    const rows = front.after(outputs, segment[0].length);
    for (const tensor of Object.values(outputs)) tensor.dispose();
    return rows;
  };
  const silence = Array.from({ length: facts.channels }, () => new Float32Array(4096));
  await run(silence); // what does not run shows itself now
  return { facts, backend, run };
}

async function separateSong({ facts, run }, song) {
  const samples = song[0].length;
  const alone = facts.channels === 1; // such a model takes each channel by itself
  // A mono song goes to both inputs of a stereo model, and gets the mean of its outputs.
  const inputs = alone ? song : Array.from({ length: facts.channels }, (_, i) => song[i % song.length]);
  const files = facts.stems.map(() => new WavFile(song.length, samples, facts.sample_rate));
  const runAll = alone ? (segment) => eachAlone(run, segment) : run;
  await separate(inputs, facts, runAll, (rows, done) => {
    files.forEach((file, stem) => {
      const own = rows.slice(stem * inputs.length, (stem + 1) * inputs.length);
      file.append(song.length < own.length ? [meanOf(own)] : own);
    });
    self.postMessage({ progress: done / samples });
  });
  const stems = facts.stems.map((name, i) => ({ name, bytes: files[i].bytes }));
  self.postMessage({ stems }, stems.map(({ bytes }) => bytes));
}

async function eachAlone(run, segment) {
  const channels = [];
  for (const channel of segment) channels.push(await run([channel]));
  return channels[0].flatMap((_, stem) => channels.map((rows) => rows[stem]));
}

function meanOf(rows) {
  return rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
}
