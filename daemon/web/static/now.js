// Puts in what changed while the page is open. Without this script the page is loaded anew now and then.
(() => {
  "use strict";
  const live = document.getElementById("live");
  if (!live || !window.EventSource) return;
  document.getElementById("reload").hidden = true;

  // What has the focus keeps it when its surroundings are replaced.
  const put = (id, html) => {
    const part = document.getElementById(id);
    if (!part || part.innerHTML === html) return;
    const held = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    part.innerHTML = html;
    if (held) for (const link of part.querySelectorAll("a")) if (link.getAttribute("href") === held) { link.focus(); break; }
  };

  let source = null;
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource("/now/events");
    source.addEventListener("now", (event) => {
      live.textContent = live.dataset.live;
      for (const [id, html] of Object.entries(JSON.parse(event.data))) put(id, html);
    });
    source.addEventListener("error", () => {
      live.textContent = live.dataset.lost;
      if (source.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(open, 10000);
      }
    });
  };
  const close = () => { if (source) { source.close(); source = null; } };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  open();
})();
