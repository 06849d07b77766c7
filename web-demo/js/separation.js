// A song in segments through a network, and the segments put together again.

/** Say how a song is cut: segments, the part that neighbours share, and what is thrown away. */
export function planOf(facts, overlap = 0.25) {
  const length = facts.segment_samples;
  let hop = Math.max(1, Math.floor(length * (1 - overlap)));
  const grid = hop >= facts.hop_samples ? facts.hop_samples : 1;
  hop -= hop % grid;
  // A third of the shared zone at least is left to fade, so that no seam is hard.
  const context = Math.min(facts.context_samples, Math.floor((length - hop) / 3));
  return { length, hop, grid, context };
}

/** Return the segments of a song; the last is moved back so that real audio fills it. */
export function segmentsOf(plan, samples) {
  const segments = [];
  let start = 0;
  while (samples - plan.length >= start + plan.grid) {
    segments.push({ start, samples: plan.length });
    start += plan.hop;
  }
  start = Math.max(0, samples - plan.length);
  start -= start % plan.grid;
  segments.push({ start, samples: samples - start });
  segments[0].first = true;
  segments[segments.length - 1].last = true;
  return segments;
}

function weightsOf(plan, segment) {
  const fade = Math.max(1, plan.length - plan.hop - 2 * plan.context);
  const rise = (position) => Math.min(1, Math.max(0, (position - plan.context + 0.5) / fade));
  return Float32Array.from({ length: segment.samples }, (_, i) =>
    Math.min(segment.first ? 1 : rise(i), segment.last ? 1 : rise(segment.samples - 1 - i)),
  );
}

/**
 * Separate a song.
 *
 * @param {Float32Array[]} song Its channels, as many as the model has.
 * @param {object} facts The record of the model file.
 * @param {(segment: Float32Array[]) => Promise<Float32Array[]>} run Makes of a segment the rows of
 *   its stems, a row for each channel of each stem.
 * @param {(rows: Float32Array[], done: number) => void} give Takes rows that are complete, in order,
 *   and how many samples are done then.
 */
export async function separate(song, facts, run, give) {
  const plan = planOf(facts);
  let start = 0; // position of the first sample that is not complete
  let total = null;
  let weight = null;
  const emit = (count) => {
    const rows = total.map((row) => row.subarray(0, count).map((value, i) => value / weight[i]));
    start += count;
    give(rows, start);
  };
  for (const segment of segmentsOf(plan, song[0].length)) {
    const stop = segment.start + segment.samples;
    const rows = await run(song.map((channel) => channel.subarray(segment.start, stop)));
    const own = weightsOf(plan, segment);
    const kept = segment.first ? 0 : segment.start + plan.context;
    if (total) {
      const count = kept - start;
      emit(count);
      total = total.map((row) => row.subarray(count));
      weight = weight.subarray(count);
    }
    const inner = kept - segment.start;
    const added = rows.map((row, index) => {
      const sum = row.slice(inner).map((value, i) => value * own[inner + i]);
      total?.[index].forEach((value, i) => (sum[i] += value));
      return sum;
    });
    const ownWeight = own.slice(inner);
    weight?.forEach((value, i) => (ownWeight[i] += value));
    [total, weight] = [added, ownWeight];
  }
  emit(weight.length);
}
