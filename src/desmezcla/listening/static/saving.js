// Answers on their way to the server. They wait in localStorage, so that neither a lost connection
// nor a closed page loses one, and are sent in the order in which they were given. Each has an id
// drawn here: sent twice, it counts once.

const WAITS_MS = [300, 1000, 2000, 4000, 8000];

function drawn() {
  // crypto.randomUUID is there on secure pages only.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Answers {
  // show(state, detail): "saved", "saving", "unsaved", "elsewhere" with {scale, value}, "refused".
  constructor(page, show) {
    this.api = page.api;
    this.item = page.item;
    this.revisions = new Map(Object.entries(page.revisions));
    this.show = show;
    this.key = `desmezcla-answers:${page.api}`;
    this.memory = [];
    this.sending = null;
    this.failures = 0;
    this.timer = null;
    window.addEventListener("online", () => this.flush());
  }

  queue() {
    try {
      return JSON.parse(localStorage.getItem(this.key) ?? "[]");
    } catch {
      return this.memory; // storage is forbidden: answers wait in the page only
    }
  }

  store(queue) {
    this.memory = queue;
    try {
      localStorage.setItem(this.key, JSON.stringify(queue));
    } catch {
      // As above; a full storage is no reason to lose what the page holds.
    }
  }

  // What is not sent yet of this page: scale -> value.
  waiting() {
    const own = this.queue().filter((entry) => entry.item === this.item);
    return new Map(own.map((entry) => [entry.scale, entry.value]));
  }

  give(scale, value, listened_s) {
    const entry = {
      item: this.item,
      scale,
      value,
      revision: this.revisions.get(scale) ?? 0,
      change: drawn(),
      listened_s: Math.round(listened_s * 10) / 10,
    };
    this.store([...this.queue(), entry]);
    this.flush();
  }

  // Resolves when there is nothing left to send.
  async settled() {
    while (this.queue().length > 0) {
      await this.flush();
      if (this.queue().length > 0) await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  flush() {
    this.sending ??= this.send().finally(() => {
      this.sending = null;
    });
    return this.sending;
  }

  async send() {
    clearTimeout(this.timer);
    let conflict = false;
    for (let queue = this.queue(); queue.length > 0; queue = this.queue()) {
      if (!conflict) this.show("saving"); // what was given elsewhere is to be read
      const entry = queue[0];
      const answer = await this.put(entry);
      if (answer === null) {
        this.show("unsaved");
        const wait_ms = WAITS_MS[Math.min(this.failures++, WAITS_MS.length - 1)];
        this.timer = setTimeout(() => this.flush(), wait_ms);
        return;
      }
      this.failures = 0;
      this.took(entry, answer);
      if (answer.status === 409 && "revision" in answer.body) {
        conflict = true;
        if (entry.item === this.item) this.show("elsewhere", { scale: entry.scale, value: answer.body.value });
      } else if (answer.status >= 400) {
        this.show("refused", answer.body.detail);
        return;
      }
    }
    if (!conflict) this.show("saved");
  }

  async put(entry) {
    const { item, scale, ...body } = entry;
    try {
      const response = await fetch(`${this.api}/answers/${item}/${scale}`, {
        method: "PUT",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(15000),
      });
      if (response.status >= 500 || response.status === 429) return null;
      return { status: response.status, body: await response.json() };
    } catch {
      return null;
    }
  }

  // Take an answer off the queue. Later ones to the same question build upon it, unless there was
  // another from elsewhere: they were given before it was seen, and go with it.
  took(sent, { status, body }) {
    let left = this.queue().filter((entry) => entry.change !== sent.change);
    if ("revision" in body) {
      if (sent.item === this.item) this.revisions.set(sent.scale, body.revision);
      const later = left.filter((entry) => entry.item === sent.item && entry.scale === sent.scale);
      if (status === 409) left = left.filter((entry) => !later.includes(entry));
      for (const entry of later) entry.revision = body.revision;
    }
    this.store(left);
  }
}
