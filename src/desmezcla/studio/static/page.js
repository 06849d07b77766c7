// What all pages need: texts, data, requests, and words for numbers.

const read = (id) => JSON.parse(document.getElementById(id).textContent);

const texts = read("texts");

export const data = read("data");

export const byId = (id) => document.getElementById(id);

/** Returns a text in the page's language, with its places in braces filled in. */
export function t(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** Returns the name of a stem in the page's language, or as it is. */
export const stemName = (stem) => texts[`stem_${stem}`] ?? stem;

/** Returns an element with properties, classes and children. */
export function make(tag, { className = "", data: marks = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.className = className;
  Object.assign(element.dataset, marks);
  element.append(...children);
  return element;
}

/** Sends a request to the API and returns its JSON; a refusal is an Error with the server's words. */
export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error(t("not_reached"));
  }
  const content = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(refusal(answer.status, content?.detail));
  return content;
}

/** Returns the words for a refusal: in the page's language if there are some, and the server's. */
export function refusal(status, detail) {
  const known = texts[`refused_${status}`];
  return [known, detail].filter(Boolean).join(" ") || String(status);
}

/** Returns seconds as minutes and seconds. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

let spoken = 0;

/** Has a screen reader say something; what comes more often than every few seconds is left out. */
export function say(text, { often = true } = {}) {
  const now = Date.now();
  if (!often && now - spoken < 5000) return;
  spoken = now;
  byId("status").textContent = text;
}
