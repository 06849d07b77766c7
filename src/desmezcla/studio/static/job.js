// The page of one job: its progress, then the mixing desk.

import { openDesk } from "./desk.js";
import { actions, follow, stateText } from "./jobs.js";
import { byId, data, make, say, t } from "./page.js";

let state = "";

function show(job) {
  byId("state").textContent = stateText(job);
  byId("bar").value = job.fraction;
  say(stateText(job), { often: job.state !== "running" });
  if (job.state === state) return;
  state = job.state;
  const ended = state === "failed" || state === "cancelled" || state === "done";
  byId("bar").hidden = ended;
  const removed = () => location.assign("/");
  byId("actions").replaceChildren(...actions(job, { removed }));
  if (job.error) {
    byId("state").append(make("p", { className: "error", textContent: job.error, lang: "en" }));
  }
  // Events end with the job; after a retry they are needed again.
  if (ended) events?.close();
  if (state === "done") openDesk(job);
  if (state === "failed" || state === "cancelled") waitForRetry();
}

function waitForRetry() {
  const retry = byId("actions").querySelector("[data-action=retry]");
  retry?.addEventListener("click", () => setTimeout(listen, 500), { once: true });
}

let events = null;

function listen() {
  events?.close();
  state = "";
  events = follow(`/api/jobs/${data.job.id}/events`, {
    changed: show,
    gone: () => {
      byId("state").textContent = t("state_gone");
      byId("actions").replaceChildren();
    },
    lost: () => {
      if (events.readyState !== EventSource.CLOSED) byId("state").textContent = t("lost");
    },
  });
}

show(data.job);
if (data.job.state === "waiting" || data.job.state === "running") listen();
