// Words, buttons and events of jobs, for the list and for the page of one.

import { ask, clock, make, say, t } from "./page.js";

const percent = (fraction) => Math.floor(fraction * 100);

/** Returns how a job is, in words. */
export function stateText(job) {
  if (job.state !== "running") return t(`state_${job.state}`);
  const left = job.eta_s === null ? "" : `, ${t("time_left", { time: clock(job.eta_s + 0.5) })}`;
  return t("running", { percent: percent(job.fraction) }) + left;
}

/** Returns a button that does something to a job. */
export function action(job, key, act) {
  const button = make("button", { type: "button", textContent: t(key), data: { action: key } });
  button.setAttribute("aria-label", t("of_song", { action: t(key), name: job.name }));
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await act();
    } catch (error) {
      say(error.message);
      button.after(make("span", { className: "error", textContent: error.message }));
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

/** Returns the buttons that fit the state of a job. */
export function actions(job, { removed }) {
  const address = `/api/jobs/${job.id}`;
  const post = (what) => () => ask(`${address}/${what}`, { method: "POST" });
  const remove = async () => {
    if (!confirm(t("remove_sure", { name: job.name }))) return;
    await ask(address, { method: "DELETE" });
    removed();
  };
  const active = job.state === "waiting" || job.state === "running";
  const again = job.state === "failed" || job.state === "cancelled";
  return [
    ...(active ? [action(job, "cancel", post("cancel"))] : []),
    ...(again ? [action(job, "retry", post("retry"))] : []),
    ...(active ? [] : [action(job, "remove", remove)]),
  ];
}

/** Calls `changed` with every job that events tell of, `gone` when one was removed. */
export function follow(address, { changed, gone = () => {}, lost = () => {} }) {
  const events = new EventSource(address);
  events.addEventListener("job", (event) => changed(JSON.parse(event.data)));
  events.addEventListener("gone", () => {
    events.close();
    gone();
  });
  events.addEventListener("error", lost);
  return events;
}

