// Draws the charts in the colours of the theme, switches them, and switches the theme. Needs Plotly, nothing else.
(() => {
  "use strict";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";

  // A copy of the figure's layout with the theme's colours in it.
  function themed(layout) {
    const out = structuredClone(layout);
    const soft = colour("--soft");
    out.font = { family: getComputedStyle(document.body).fontFamily, size: 12, color: soft };
    out.paper_bgcolor = out.plot_bgcolor = "rgba(0,0,0,0)";
    out.dragmode = touch ? false : "zoom";
    out.hoverlabel = {
      bgcolor: colour("--raised"), bordercolor: colour("--line"), font: { color: colour("--ink") }, namelength: 40,
    };
    for (const [name, axis] of Object.entries(out)) {
      if (!/^[xy]axis\d*$/.test(name)) continue;
      Object.assign(axis, { gridcolor: colour("--grid"), linecolor: colour("--line"), fixedrange: touch });
      axis.title = Object.assign({ standoff: 8 }, axis.title);
    }
    for (const note of out.annotations || []) {
      note.font = Object.assign({ color: colour("--ink") }, note.font);
    }
    return out;
  }

  const charts = [];
  for (const div of document.querySelectorAll(".chart")) {
    const figures = JSON.parse(document.getElementById(div.dataset.figures).textContent);
    const groups = [...div.closest("figure").querySelectorAll(".switch")];
    const chosen = () => groups.map((g) => g.querySelector("[aria-pressed=true]").dataset.key).join("|");
    const draw = () => {
      const figure = figures[chosen()];
      return Plotly.react(div, structuredClone(figure.data), themed(figure.layout), {
        displayModeBar: false, responsive: true, showLink: false, plotlyServerURL: "",
      });
    };
    for (const group of groups) {
      group.addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (!button) return;
        for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
        draw();
      });
    }
    charts.push(draw);
  }

  const toggle = document.getElementById("theme");
  function repaint() {
    toggle.textContent = isDark() ? "Light" : "Dark";
    for (const draw of charts) draw();
  }
  // A browser may refuse storage to a file: the choice then lasts as long as the page.
  const stored = (action) => { try { return action(localStorage); } catch { return null; } };
  const kept = stored((s) => s.getItem("regatta-theme"));
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    stored((s) => s.setItem("regatta-theme", root.dataset.theme));
    repaint();
  });
  dark.addEventListener("change", repaint);
  repaint();
  root.dataset.drawn = "true";
})();
