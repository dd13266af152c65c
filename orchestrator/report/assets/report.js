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
      if (note.xshift) Object.assign(note, { bgcolor: colour("--ground"), opacity: 0.85, borderpad: 0 }); // a line's name
    }
    return out;
  }

  // The figure with its axis of values in the scale that the reader chose: "log", "linear" or null for its own.
  function scaled(layout, scale) {
    const own = layout.yaxis.type === "log" ? "log" : "linear";
    if (!scale || scale === own) return layout;
    const { range, tickmode, tickvals, ticktext, ...axis } = layout.yaxis;
    return { ...layout, yaxis: { ...axis, type: scale, autorange: true } };
  }

  // The figure without the variants that the reader hides, smoothed on request, and with names where they fit.
  const hidden = new Set();
  function shown(figure, smooth, own, width) {
    const data = figure.data.filter((trace) => !hidden.has(trace.meta)).map((trace) => ({ ...trace }));
    for (const trace of smooth ? data : []) {
      if (trace.mode === "lines" && !trace.fill) trace.y = averaged(trace.y);
    }
    const { annotations = [], margin, ...layout } = figure.layout;
    const ends = (own && width >= 600 && figure.ends || []).filter((end) => !hidden.has(end.variant));
    const names = ends.map(({ variant, ...end }) => end);
    const room = Math.max(0, ...ends.map((end) => 8 + 6.5 * end.text.length));
    const right = Math.max(margin.r, Math.min(room, width / 4));
    return { data, layout: { ...layout, margin: { ...margin, r: right }, annotations: [...annotations, ...names] } };
  }
  // Each value averaged with up to two on both sides, not across gaps.
  function averaged(values) {
    return values.map((value, i) => {
      if (value === null) return null;
      let [from, to] = [i, i];
      while (from > i - 2 && from > 0 && values[from - 1] !== null) from -= 1;
      while (to < i + 2 && to < values.length - 1 && values[to + 1] !== null) to += 1;
      const part = values.slice(from, to + 1);
      return part.reduce((sum, v) => sum + v, 0) / part.length;
    });
  }

  let charts = [];
  function equipChart(div) {
    const figures = JSON.parse(document.getElementById(div.dataset.figures).textContent);
    const groups = [...div.closest("figure").querySelectorAll(".switch")];
    const log = div.closest("figure").querySelector(".scale button");
    const smooth = div.closest("figure").querySelector(".smooth button");
    const chosen = () => groups.map((g) => g.querySelector("[aria-pressed=true]").dataset.key).join("|");
    const draw = () => {
      const own = figures[chosen()];
      const layout = scaled(own.layout, log && log.dataset.scale);
      if (log) log.setAttribute("aria-pressed", String(layout.yaxis.type === "log"));
      const isSmooth = smooth && smooth.getAttribute("aria-pressed") === "true";
      const figure = shown({ ...own, layout }, isSmooth, layout === own.layout, div.clientWidth);
      return Plotly.react(div, structuredClone(figure.data), themed(figure.layout), {
        displayModeBar: false, showLink: false, plotlyServerURL: "",
      });
    };
    // Drawn again at another width, because the names at the lines' ends need room; Plotly's own way keeps them.
    let width = div.clientWidth;
    new ResizeObserver(() => {
      if (!div.isConnected || div.clientWidth === width) return; // live.js may have replaced it
      width = div.clientWidth;
      draw().then(() => Plotly.Plots.resize(div));
    }).observe(div);
    for (const group of groups) {
      group.addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (!button) return;
        for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
        draw();
      });
    }
    if (log) {
      log.addEventListener("click", () => {
        log.dataset.scale = log.getAttribute("aria-pressed") === "true" ? "linear" : "log";
        draw();
      });
    }
    if (smooth) {
      smooth.addEventListener("click", () => {
        smooth.setAttribute("aria-pressed", String(smooth.getAttribute("aria-pressed") !== "true"));
        draw();
      });
    }
    charts.push(draw);
  }

  function equipFilter(button) {
    button.setAttribute("aria-pressed", String(!hidden.has(button.dataset.variant)));
    button.addEventListener("click", () => {
      const name = button.dataset.variant;
      if (!hidden.delete(name)) hidden.add(name);
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
      for (const draw of charts) draw();
    });
  }

  // The number that a cell begins with, in seconds where it is a time; text sorts after numbers.
  const units = { ms: 0.001, s: 1, min: 60, h: 3600 };
  function value(cell) {
    const [, digits, unit] = cell.innerText.trim().match(/^(-?[\d,.]+(?:e[-+]?\d+)?)\s*(ms|s|min|h)?/) || [];
    return digits === undefined ? null : parseFloat(digits.replaceAll(",", "")) * (units[unit] || 1);
  }
  function compare(a, b) {
    const [x, y] = [value(a), value(b)];
    if (x !== null && y !== null) return x - y;
    if (x === null && y === null) return a.innerText.localeCompare(b.innerText);
    return x === null ? 1 : -1;
  }
  function equipTable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].sort((a, b) => compare(a.cells[column], b.cells[column]));
        table.tBodies[0].append(...(down ? rows.reverse() : rows));
      });
    });
  }

  function equipCopy(button) {
    button.addEventListener("click", async () => {
      const lines = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(lines.textContent);
      } catch { // a page opened as a file has no clipboard of its own
        getSelection().selectAllChildren(lines);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
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
  function equip() {
    charts = [];
    document.querySelectorAll(".chart").forEach(equipChart);
    document.querySelectorAll("table.sortable").forEach(equipTable);
    document.querySelectorAll("button.copy").forEach(equipCopy);
    document.querySelectorAll(".filter button").forEach(equipFilter);
    repaint();
  }
  equip();
  document.addEventListener("regatta-replaced", equip); // by live.js
  root.dataset.drawn = "true";
})();
