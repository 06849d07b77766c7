// Sending songs: one request each, with progress, which `fetch` does not tell.

import { refusal, t } from "./page.js";

/** Sends a song; resolves to its job. */
export function send(file, choices, progress) {
  const form = new FormData();
  for (const [name, value] of Object.entries(choices)) form.append(name, value);
  form.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) progress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status === 202) resolve(request.response);
      else reject(new Error(refusal(request.status, request.response?.detail)));
    });
    request.addEventListener("error", () => reject(new Error(t("not_reached"))));
    request.open("POST", "/api/jobs");
    request.send(form);
  });
}
