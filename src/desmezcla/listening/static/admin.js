// Links and progress, for who runs the test.

const texts = JSON.parse(document.getElementById("texts").textContent);
const body = document.getElementById("listeners");
const failed = document.getElementById("failed");
const EVERY_MS = 5000;

function cell(row, content) {
  row.insertCell().append(content);
}

function show(listeners) {
  body.replaceChildren();
  if (listeners.length === 0) {
    const only = body.insertRow().insertCell();
    only.colSpan = 6;
    only.textContent = texts.admin_none;
  }
  for (const listener of listeners) {
    const row = body.insertRow();
    const state = listener.number === null ? "waiting" : listener.finished ? "finished" : "running";
    cell(row, listener.number === null ? "–" : String(listener.number));
    cell(row, texts[`admin_${state}`]);
    cell(row, listener.trials === 0 ? "–" : `${listener.trials_done} / ${listener.trials}`);
    const last = listener.last_answer_s;
    cell(row, last === null ? "–" : new Date(last * 1000).toLocaleString(document.documentElement.lang));
    const link = document.createElement("code");
    link.textContent = location.origin + listener.path;
    cell(row, link);
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = texts.admin_remove;
    remove.setAttribute("aria-label", `${texts.admin_remove}: ${listener.number ?? listener.path}`);
    remove.addEventListener("click", () => {
      if (!confirm(texts.admin_remove_sure)) return;
      call(`/api/admin/listeners/${listener.path.slice(3)}`, { method: "DELETE" }).then(refresh);
    });
    cell(row, remove);
  }
}

async function call(path, options) {
  try {
    const response = await fetch(path, options);
    const answer = response.status === 204 ? null : await response.json();
    failed.textContent = response.ok ? "" : texts.admin_failed + answer.detail;
    return response.ok ? answer : null;
  } catch (error) {
    failed.textContent = texts.admin_failed + error.message;
    return null;
  }
}

async function refresh() {
  const listeners = await call("/api/admin/listeners");
  if (listeners !== null) show(listeners);
}

document.getElementById("links").addEventListener("submit", async (event) => {
  event.preventDefault();
  const count = Number(document.getElementById("count").value);
  await call("/api/admin/listeners", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ count }),
  });
  await refresh();
});

for (const link of document.querySelectorAll("[data-absolute]")) link.textContent = link.href;
show(JSON.parse(document.getElementById("page").textContent));
setInterval(refresh, EVERY_MS);
