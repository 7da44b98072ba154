// A recording that is in hand: its page is loaded anew once its state is another. Without this script one loads it anew.
(() => {
  "use strict";
  const state = document.getElementById("state");
  if (!state) return;
  const ENDED = ["done", "failed", "quarantined", "cancelled", "vanished"]; // it had not when the page was made
  let before = null;
  const look = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch(`/api/v1/jobs/${state.dataset.job}`, { credentials: "same-origin" });
      if (!response.ok) return;
      const now = (await response.json()).state;
      const busy = document.activeElement && document.activeElement.closest("form"); // somebody is about to choose
      if ((ENDED.includes(now) || (before !== null && now !== before)) && !busy) location.reload();
      else if (!busy) before = now;
    } catch { /* no connection: again in a moment */ }
  };
  look();
  setInterval(look, 2500);
})();
