// The player and the words go together: a click on a word plays from it, the word that is heard is marked.
// Without this script every word is a link to the recording at its second.
(() => {
  "use strict";
  const player = document.getElementById("player");
  const media = document.getElementById("media");
  if (!player || !media) return;
  const transcript = document.getElementById("transcript");
  const words = transcript ? [...transcript.querySelectorAll("a.w")] : [];
  const starts = words.map((word) => Number(word.dataset.start));
  const follow = document.getElementById("follow");
  let current = -1;
  let stopAt = null;

  document.getElementById("keys").hidden = false;
  const hint = document.getElementById("text-keys");
  if (hint) hint.hidden = false;

  const broken = () => {
    const note = document.getElementById("broken");
    note.textContent = player.dataset.broken;
    note.hidden = false;
  };
  media.addEventListener("error", broken);
  if (media.error) broken();

  // The last word that begins at or before a second.
  const at = (second) => {
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= second + 0.02) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  };

  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const mark = () => {
    const found = at(media.currentTime);
    if (found === current) return;
    if (current >= 0) {
      words[current].classList.remove("now");
      words[current].removeAttribute("aria-current");
    }
    current = found;
    if (current < 0) return;
    const word = words[current];
    word.classList.add("now");
    word.setAttribute("aria-current", "true");
    const inText = transcript.contains(document.activeElement);
    if (!follow.checked || media.paused || inText) return;
    const box = word.getBoundingClientRect();
    if (box.top < 80 || box.bottom > window.innerHeight - 60) {
      word.scrollIntoView({ block: "center", behavior: still.matches ? "auto" : "smooth" });
    }
  };

  const seek = (second) => {
    if (media.readyState >= 1) media.currentTime = second;
    else media.addEventListener("loadedmetadata", () => { media.currentTime = second; }, { once: true });
  };
  const play = (second, end) => {
    stopAt = end === undefined ? null : Number(end);
    seek(second);
    const begun = media.play();
    if (begun) begun.catch(() => {});
  };

  document.addEventListener("click", (event) => {
    const place = event.target.closest("a[data-start]");
    if (!place || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    play(Number(place.dataset.start), place.dataset.end);
  });
  for (const button of player.querySelectorAll("[data-skip]")) {
    button.addEventListener("click", () => {
      media.currentTime = Math.max(0, media.currentTime + Number(button.dataset.skip));
    });
  }
  document.getElementById("rate").addEventListener("change", (event) => {
    media.playbackRate = Number(event.target.value);
  });

  // Words are one stop for the tab key; arrows go from word to word and from paragraph to paragraph.
  const focus = (index) => {
    if (index < 0 || index >= words.length) return;
    for (const word of transcript.querySelectorAll('a.w[tabindex="0"]')) word.tabIndex = -1;
    words[index].tabIndex = 0;
    words[index].focus();
  };
  const beside = (index, step) => {
    const here = words[index].closest("p");
    let found = index;
    while (found >= 0 && found < words.length && words[found].closest("p") === here) found += step;
    if (found < 0 || found >= words.length) return index;
    return words.indexOf(words[found].closest("p").querySelector("a.w"));
  };
  if (words.length) {
    words[0].tabIndex = 0;
    transcript.addEventListener("keydown", (event) => {
      const index = words.indexOf(document.activeElement);
      if (index < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
      const step = getComputedStyle(words[index]).direction === "rtl" ? -1 : 1;
      if (event.key === "ArrowRight") focus(index + step);
      else if (event.key === "ArrowLeft") focus(index - step);
      else if (event.key === "ArrowDown") focus(beside(index, 1));
      else if (event.key === "ArrowUp") focus(beside(index, -1));
      else if (event.key === "Home") focus(0);
      else if (event.key === "End") focus(words.length - 1);
      else if (event.key === " ") {
        if (media.paused) play(starts[index]);
        else media.pause();
      } else if (event.key === "Escape") media.pause();
      else return;
      event.preventDefault();
    });
  }

  let frame = 0;
  const watch = () => {
    mark();
    if (stopAt !== null && media.currentTime >= stopAt) {
      stopAt = null;
      media.pause();
    }
    frame = media.paused ? 0 : requestAnimationFrame(watch);
  };
  media.addEventListener("play", () => { if (!frame) frame = requestAnimationFrame(watch); });
  media.addEventListener("timeupdate", mark);
  media.addEventListener("seeked", mark);
  if (player.dataset.t) {
    seek(Number(player.dataset.t));
    media.addEventListener("loadedmetadata", mark, { once: true });
  }
})();
