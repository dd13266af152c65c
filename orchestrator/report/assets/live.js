// Keeps the page of `regatta watch --web` up to date: asks for the version of what it shows, and takes the new page's parts.
(() => {
  "use strict";
  const PARTS = ["#live", "header .meta", "header nav", "main"];
  const SECONDS = 2;
  let version = document.documentElement.dataset.version;

  // What the reader chose, by the place of each element among its kind.
  const pressed = () => [...document.querySelectorAll("main .switch button, main .scale button, main .smooth button")];
  function choices() {
    return {
      buttons: new Map(pressed().map((b) => [place(b), { pressed: b.getAttribute("aria-pressed"), ...b.dataset }])),
      focus: pressed().includes(document.activeElement) ? place(document.activeElement) : null,
      open: new Set([...document.querySelectorAll("main details[open] > summary")].map((s) => s.textContent)),
    };
  }
  function place(button) {
    const chart = button.closest("figure").querySelector(".chart").id;
    return [chart, button.parentElement.getAttribute("aria-label"), button.textContent].join("|");
  }
  function restore(kept) {
    for (const button of pressed()) {
      const was = kept.buttons.get(place(button));
      if (!was) continue;
      button.setAttribute("aria-pressed", was.pressed);
      if (was.scale) button.dataset.scale = was.scale;
      if (place(button) === kept.focus) button.focus({ preventScroll: true });
    }
    for (const summary of document.querySelectorAll("main details > summary")) {
      summary.parentElement.open = kept.open.has(summary.textContent);
    }
  }

  async function ask(path) {
    const answer = await fetch(path, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    return answer.text();
  }
  async function look() {
    try {
      const newest = await ask("version");
      if (newest === version) return;
      const page = new DOMParser().parseFromString(await ask("./"), "text/html");
      const kept = choices();
      for (const part of PARTS) {
        const [old, fresh] = [document.querySelector(part), page.querySelector(part)];
        if (old && fresh) old.replaceWith(fresh);
      }
      version = page.documentElement.dataset.version;
      restore(kept);
      document.dispatchEvent(new Event("regatta-replaced"));
    } catch {
      document.querySelector("#live").textContent = "`regatta watch` does not answer: this is its last state.";
    }
  }
  const again = () => setTimeout(async () => { await look(); again(); }, SECONDS * 1000);
  again();
})();
