// What a model file says of itself: the record in the metadata of the ONNX file.

const KEY = "desmezcla.model";
const METADATA_FIELD = 14; // of ModelProto, in onnx.proto

/** Read the record of a file. */
export function readFacts(bytes) {
  for (const entry of fieldsOf(bytes, METADATA_FIELD)) {
    const [key] = fieldsOf(entry, 1);
    const [value] = fieldsOf(entry, 2);
    if (key && value && textOf(key) === KEY) return checked(JSON.parse(textOf(value)));
  }
  throw new Error("it has no record of desmezcla in it");
}

/** Return the record if this program can do what it asks for. */
function checked(facts) {
  if (facts.format !== 1) throw new Error(`its record is of format ${facts.format}`);
  if (facts.window !== "crossfade" || facts.normalise !== "none") {
    throw new Error("it wants segments or levels that this page does not make");
  }
  const front = facts.front_end;
  if (front.centred || front.level_floor !== null) {
    throw new Error("it wants levels that this page does not make");
  }
  if (front.framing) {
    for (const name of ["analysis", "synthesis", "power"]) {
      front.framing[name] = front.framing[name] && numbersOf(front.framing[name]);
    }
  }
  return facts;
}

/** Return how many frames or samples a network takes for at least so many. */
export function lengthAbove(lengths, count) {
  let length = Math.max(count, lengths.minimum) * lengths.oversampling;
  for (let i = 0; i < lengths.depth; i++) {
    length = Math.max(1, Math.ceil((length - lengths.kernel) / lengths.stride) + 1);
  }
  for (let i = 0; i < lengths.depth; i++) length = (length - 1) * lengths.stride + lengths.kernel;
  return Math.ceil(length / lengths.oversampling);
}

function numbersOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

function textOf(bytes) {
  return new TextDecoder().decode(bytes);
}

/** Yield the content of every field of a number in a protobuf message. */
function* fieldsOf(bytes, wanted) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (at >= bytes.length) throw new Error("it ends too early");
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = number();
    const [field, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === 2) {
      const end = number() + at;
      if (end > bytes.length) throw new Error("it ends too early");
      if (field === wanted) yield bytes.subarray(at, end);
      at = end;
    } else if (kind === 0) {
      number();
    } else if (kind === 1 || kind === 5) {
      at += kind === 1 ? 8 : 4;
    } else {
      throw new Error("it is no ONNX file");
    }
  }
}
