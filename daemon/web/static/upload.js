// Sends recordings in pieces, goes on after any interruption, and shows what becomes of them.
// Without this script the form is sent as a whole.
"use strict";

(() => {
  const form = document.getElementById("upload");
  if (!form) return;
  const words = JSON.parse(form.dataset.words);
  const input = document.getElementById("files");
  const drop = document.getElementById("drop");
  const list = document.getElementById("came");
  const API = "/api/v1/uploads";
  const PIECE = 8 * 1024 * 1024;
  const AT_ONCE = 2;
  const ENDED = ["done", "failed", "quarantined", "cancelled", "vanished"];
  const waiting = [];
  let running = 0;
  let following = null;

  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const say = (text) => { document.getElementById("said").textContent = text; };
  const trouble = (error) => words["trouble_" + (error.code || "").replace("upload_", "")] || error.message;

  /** One row of the list, with what is shown in it. */
  class Row {
    constructor(name) {
      this.item = document.createElement("li");
      this.name = document.createElement("b");
      this.name.textContent = name;
      this.name.dir = "auto";
      this.badge = document.createElement("span");
      this.badge.className = "badge";
      this.bar = document.createElement("progress");
      this.bar.max = 1;
      this.bar.value = 0;
      this.bar.setAttribute("aria-label", name);
      this.note = document.createElement("p");
      this.note.className = "hint";
      this.note.hidden = true;
      const head = document.createElement("div");
      head.className = "row between";
      head.append(this.name, this.badge);
      this.item.append(head, this.bar, this.note);
      list.prepend(this.item);
      document.getElementById("none").hidden = true;
    }
    state(word, tone) {
      this.badge.textContent = word;
      this.badge.className = "badge " + (tone || "");
    }
    progress(part) {
      this.bar.value = part;
      this.state(Math.floor(part * 100) + " %", "run");
    }
    tell(text, bad) {
      this.note.hidden = !text;
      this.note.textContent = text;
      this.note.className = bad ? "bad" : "hint";
    }
    fail(error) {
      this.bar.hidden = true;
      this.state(words.failed, "bad");
      this.tell(trouble(error), true);
      say(this.name.textContent + ": " + trouble(error));
    }
    done(job) {
      this.bar.hidden = true;
      this.tell("", false);
      if (job === null) {
        this.state(words.in_place, "ok");
        return;
      }
      const link = document.createElement("a");
      link.href = "/jobs/" + job;
      link.textContent = this.name.textContent;
      link.dir = "auto";
      this.name.replaceWith(link);
      this.name = link;
      this.state(words.in_queue, "");
      this.item.dataset.job = job;
      follow();
    }
  }

  class Refused extends Error {
    constructor(error) {
      super(error.message);
      this.code = error.code;
    }
  }

  async function ask(url, options) {
    const response = await window.transcribed.send(url, options);
    if (response.ok) return response.status === 204 ? null : response.json();
    let error = { message: words.failed, code: String(response.status) };
    try { error = (await response.json()).error; } catch { /* no JSON: a proxy's own page */ }
    if (response.status >= 500 && response.status !== 507) throw new Error(error.message);
    throw new Refused(error);
  }

  /** Send bytes; the answer is where to go on. Rejects where the connection broke. */
  function piece(id, blob, offset, onProgress) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("PATCH", API + "/" + id);
      request.setRequestHeader("Content-Type", "application/offset+octet-stream");
      request.setRequestHeader("Upload-Offset", offset);
      request.setRequestHeader("X-CSRF-Token", window.transcribed.csrf());
      request.setRequestHeader("Accept", "application/json");
      request.upload.onprogress = (event) => onProgress(offset + event.loaded);
      request.onerror = request.onabort = () => reject(new Error("connection"));
      request.onload = () => {
        const right = request.getResponseHeader("Upload-Offset");
        if ((request.status === 204 || request.status === 409) && right !== null) {
          resolve(Number(right));
          return;
        }
        let error = { message: words.failed, code: String(request.status) };
        try { error = JSON.parse(request.responseText).error; } catch { /* no JSON */ }
        const again = request.status === 409 || (request.status >= 500 && request.status !== 507);
        reject(again ? new Error(error.message) : new Refused(error));
      };
      request.send(blob);
    });
  }

  const keyOf = (file, folder) => ["upload", folder, file.name, file.size, file.lastModified].join("|");
  const remember = (key, id) => { try { localStorage.setItem(key, id); } catch { /* not allowed: then anew */ } };
  const forget = (key) => { try { localStorage.removeItem(key); } catch { /* not there */ } };
  const known = (key) => { try { return localStorage.getItem(key); } catch { return null; } };

  /** The upload of a file: the one that was begun before, or a new one. */
  async function begun(task) {
    const id = known(task.key);
    if (id) {
      try {
        return await ask(API + "/" + id);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        forget(task.key);
      }
    }
    const options = {};
    if (task.language) options.language = task.language;
    if (task.task) options.task = task.task;
    const upload = await ask(API, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ folder: task.folder, name: task.file.name, size_bytes: task.file.size, options }),
    });
    remember(task.key, upload.id);
    return upload;
  }

  async function send(task) {
    let tries = 0;
    for (;;) {
      try {
        let upload = await begun(task);
        const row = [...list.querySelectorAll("li[data-upload]")].find((one) => one.dataset.upload === upload.id);
        if (row) row.remove();
        let offset = upload.offset;
        while (!upload.path && offset < task.file.size) {
          const blob = task.file.slice(offset, Math.min(offset + PIECE, task.file.size));
          offset = await piece(upload.id, blob, offset, (sent) => task.row.progress(sent / task.file.size));
          task.row.tell("", false);
          task.row.progress(offset / task.file.size);
          tries = 0;
        }
        if (!upload.path) upload = await ask(API + "/" + upload.id + "/finish", { method: "POST", headers: { "Content-Type": "application/json" } });
        forget(task.key);
        task.row.done(upload.job);
        say(task.file.name + ": " + words.in_queue);
        return;
      } catch (error) {
        if (error instanceof Refused) {
          if (error.code === "upload_unknown" && tries++ < 2) { forget(task.key); continue; }
          task.row.fail(error);
          return;
        }
        task.row.tell(words.again, false);
        await pause(Math.min(30000, 1000 * 2 ** tries++));
      }
    }
  }

  async function work() {
    if (running >= AT_ONCE) return;
    const task = waiting.shift();
    if (!task) return;
    running += 1;
    try { await send(task); } finally { running -= 1; work(); }
  }

  function add(files) {
    const values = new FormData(form);
    for (const file of files) {
      const row = new Row(file.name);
      if (file.size > Number(form.dataset.max)) { row.fail({ code: "upload_large", message: "" }); continue; }
      if (file.size === 0) { row.fail({ code: "upload_empty", message: "" }); continue; }
      row.state(words.waits, "");
      const folder = values.get("folder");
      waiting.push({ file, row, folder, key: keyOf(file, folder), language: values.get("language"), task: values.get("task") });
      work();
    }
  }

  /** Ask how the jobs stand, until all have ended. */
  async function follow() {
    if (following) return;
    following = (async () => {
      for (;;) {
        const rows = [...list.querySelectorAll("li[data-job]")].filter((row) => !row.dataset.ended);
        if (!rows.length) return;
        for (const row of rows) {
          try {
            const job = await ask("/api/v1/jobs/" + row.dataset.job);
            const badge = row.querySelector(".badge");
            const end = job.state === "done" && job.outcome !== "ok" ? job.outcome : job.state;
            badge.textContent = words["state_" + end] || end;
            const bad = ["failed", "quarantined"].includes(job.state);
            badge.className = "badge " + (bad ? "bad" : job.state === "done" ? "ok" : "run");
            if (ENDED.includes(job.state)) {
              row.dataset.ended = "1";
              say(row.textContent.trim());
              if (job.state === "done") await preview(row, job.id);
            }
          } catch (error) {
            if (error instanceof Refused) row.dataset.ended = "1";
          }
        }
        await pause(2000);
      }
    })();
    try { await following; } finally { following = null; }
  }

  async function preview(row, id) {
    const response = await fetch("/api/v1/jobs/" + id + "/transcript?format=txt", { credentials: "same-origin" });
    if (!response.ok) return;
    const text = (await response.text()).trim().replace(/\s+/g, " ");
    const shown = document.createElement("p");
    shown.className = "muted";
    shown.dir = "auto";
    shown.textContent = text.length > 200 ? text.slice(0, 199) + "…" : text;
    row.append(shown);
  }

  /** Uploads that broke off before: their file must be chosen again, a page cannot open it by itself. */
  async function leftovers() {
    const answer = await ask(API);
    for (const upload of answer.uploads) {
      const row = new Row(upload.name);
      row.item.dataset.upload = upload.id;
      row.progress(upload.size_bytes ? upload.offset / upload.size_bytes : 0);
      row.tell(words.choose_again, false);
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet small";
      button.textContent = words.remove;
      button.addEventListener("click", async () => {
        try { await ask(API + "/" + upload.id, { method: "DELETE" }); row.item.remove(); } catch (error) { row.fail(error); }
      });
      row.item.append(button);
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    delete form.dataset.sent;
    if (!input.files.length) { input.focus(); say(words.trouble_no_file); return; }
    add(input.files);
    input.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer || ![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer || !event.dataTransfer.files.length) return;
    event.preventDefault();
    drop.classList.remove("over");
    add(event.dataTransfer.files);
  });
  window.addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });
  leftovers().catch(() => {});
  follow();
})();
