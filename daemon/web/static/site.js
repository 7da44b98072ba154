// What all pages share. Everything works without; this only saves a way.
"use strict";

window.transcribed = {
  /** What a request that changes something sends as X-CSRF-Token. */
  csrf() {
    const meta = document.querySelector('meta[name="csrf-token"]');
    return meta ? meta.content : "";
  },

  /** fetch with the token, and with the page that asks for a login where one is needed. */
  async send(url, options = {}) {
    const headers = new Headers(options.headers || {});
    headers.set("X-CSRF-Token", this.csrf());
    if (!headers.has("Accept")) headers.set("Accept", "application/json");
    const response = await fetch(url, { ...options, headers, credentials: "same-origin" });
    if (response.status === 401) location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
    return response;
  },
};

document.addEventListener("DOMContentLoaded", () => {
  // A second press of a button would send a second time.
  for (const form of document.querySelectorAll('form[method="post"]')) {
    form.addEventListener("submit", (event) => {
      const asked = form.dataset.confirm || (event.submitter && event.submitter.dataset.confirm);
      if (asked && !window.confirm(asked)) {
        event.preventDefault();
        return;
      }
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "1";
      window.setTimeout(() => delete form.dataset.sent, 4000);
    });
  }
  // A filter works as soon as it is chosen.
  for (const field of document.querySelectorAll("form.filters select")) {
    field.addEventListener("change", () => field.form.requestSubmit());
  }
  // "/" leads to the search, as on many pages.
  document.addEventListener("keydown", (event) => {
    const inText = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || inText || event.ctrlKey || event.metaKey || event.altKey) return;
    const field = document.querySelector('input[type="search"]');
    if (field) {
      event.preventDefault();
      field.focus();
    }
  });
});
