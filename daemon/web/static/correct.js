// The form with the text: drafts are kept in this browser, a line is played from the keyboard, the one that is heard
// is marked. Without this script it is a form like any other.
(() => {
  "use strict";
  const form = document.getElementById("correct");
  if (!form) return;
  const lines = [...form.querySelectorAll(".edit")];
  const media = document.getElementById("media");
  const status = document.getElementById("changed");
  const key = `transcribed:draft:${form.dataset.job}`;
  const fields = lines.flatMap((line) => [...line.querySelectorAll("input, textarea")]);
  const nameOf = (field) => `${field.name[0]}:${field.closest(".edit").dataset.start}:${field.closest(".edit").dataset.end}`;
  // What was written for an earlier version is not saved yet, though the page came with it.
  const isChanged = (field) => field.value !== field.defaultValue || field.closest(".mine, .both") !== null;
  let sending = false;

  const hint = document.getElementById("keys-hint");
  if (hint) hint.hidden = false;

  // Drafts, by the times of their lines: these stay when other lines go.
  const read = () => {
    try {
      const found = JSON.parse(localStorage.getItem(key));
      return found && typeof found === "object" ? found : {};
    } catch {
      return {};
    }
  };
  const write = (draft) => {
    try {
      if (Object.keys(draft).length) localStorage.setItem(key, JSON.stringify(draft));
      else localStorage.removeItem(key);
    } catch { /* no room, or not allowed: then there is no draft */ }
  };
  const keep = () => {
    const draft = read();
    for (const field of fields) {
      if (isChanged(field)) draft[nameOf(field)] = field.value;
      else delete draft[nameOf(field)];
    }
    write(draft);
  };

  const grow = (field) => {
    if (field.localName !== "textarea" || CSS.supports("field-sizing", "content")) return;
    field.rows = 1;
    while (field.scrollHeight > field.clientHeight + 2 && field.rows < 40) field.rows += 1;
  };
  const tell = () => {
    let n = 0;
    for (const line of lines) {
      const changed = [...line.querySelectorAll("input, textarea")].some(isChanged);
      line.classList.toggle("changed", changed);
      n += changed ? 1 : 0;
    }
    if (status) status.textContent = n ? form.dataset.changed.replace("{n}", String(n)) : "";
    return n;
  };

  let timer = 0;
  let kept = false; // drafts of before are not touched until somebody has answered for them
  form.addEventListener("input", (event) => {
    grow(event.target);
    tell();
    if (!kept) return;
    clearTimeout(timer);
    timer = setTimeout(keep, 400);
  });
  form.addEventListener("submit", () => {
    keep();
    sending = true;
    setTimeout(() => { sending = false; }, 4000);
  });
  window.addEventListener("beforeunload", (event) => {
    if (!sending && fields.some(isChanged)) {
      keep();
      event.preventDefault();
    }
  });

  // What was not saved the last time.
  const note = document.getElementById("draft");
  const draft = read();
  const offered = fields.filter((field) => nameOf(field) in draft && draft[nameOf(field)] !== field.value);
  for (const field of fields) {
    if (nameOf(field) in draft && draft[nameOf(field)] === field.value && !isChanged(field)) delete draft[nameOf(field)];
  }
  write(draft);
  const answered = () => {
    kept = true;
    note.hidden = true;
    keep();
    tell();
  };
  if (offered.length) {
    note.hidden = false;
    document.getElementById("draft-take").addEventListener("click", () => {
      for (const field of offered) {
        field.value = draft[nameOf(field)];
        grow(field);
      }
      answered();
      offered[0].focus();
    });
    document.getElementById("draft-drop").addEventListener("click", answered);
  } else {
    kept = true;
    keep();
  }

  // Keys.
  const texts = lines.map((line) => line.querySelector("textarea"));
  const go = (field, step) => {
    const next = texts[texts.indexOf(field.closest(".edit").querySelector("textarea")) + step];
    if (!next) return;
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };
  form.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const control = event.ctrlKey || event.metaKey;
    if (control && !event.altKey && event.key.toLowerCase() === "s") {
      event.preventDefault();
      const stay = form.querySelector('button[name="then"]');
      if (stay) form.requestSubmit(stay);
      return;
    }
    const line = event.target.closest(".edit");
    if (!line) return;
    if (control && event.key === "Enter") line.querySelector("a.clock").click();
    else if (event.key === "Enter" && !event.shiftKey) go(event.target, 1);
    else if (control && event.key === "ArrowDown") go(event.target, 1);
    else if (control && event.key === "ArrowUp") go(event.target, -1);
    else if (event.key === "Escape" && media) {
      if (media.paused) media.play().catch(() => {});
      else media.pause();
    } else return;
    event.preventDefault();
  });

  // The line that is heard.
  if (media) {
    const starts = lines.map((line) => Number(line.dataset.start));
    const follow = document.getElementById("follow");
    let current = null;
    media.addEventListener("timeupdate", () => {
      let found = null;
      for (let n = 0; n < starts.length && starts[n] <= media.currentTime + 0.02; n += 1) found = lines[n];
      if (found === current) return;
      if (current) current.classList.remove("now");
      current = found;
      if (!current) return;
      current.classList.add("now");
      if (!media.paused && follow && follow.checked && !form.contains(document.activeElement)) {
        current.scrollIntoView({ block: "center" });
      }
    });
  }
  for (const text of texts) grow(text);
  tell();
})();
