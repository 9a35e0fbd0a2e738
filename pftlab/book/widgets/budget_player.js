// AdaLoRA's budget: the rank of every matrix over a training, played, stepped through or scrubbed.

const PAUSE = 400; // milliseconds between two allocations

function render({ model, el }) {
  const places = model.get("places"), steps = model.get("steps"), ranks = unpacked(model.get("ranks"));
  const total = model.get("total_steps"), last = steps.length - 1, start = Math.max(...ranks[0]);
  const sites = [...new Set(places.map(([, site]) => site))];
  const layers = [...new Set(places.map(([layer]) => layer))].sort((a, b) => a - b);
  const number = (i, j) => places.findIndex(([layer, site]) => layer === layers[i] && site === sites[j]);
  const brief = sites.map((site) => site.split(".").at(-1));
  const box = frame(el, "pft-budget", "AdaLoRA shares its budget");

  const fields = html(box, "div", { class: "pft-fields" });
  const where = slider(fields, "Step", { low: 0, high: last }, (k) => `${steps[k]} of ${total}`, (k) => film.go(k));
  const buttons = html(box, "div", { class: "pft-buttons" });
  const play = button(buttons, "Play", () => film.toggle());
  button(buttons, "Step back", () => film.go(model.get("frame") - 1));
  button(buttons, "Step on", () => film.go(model.get("frame") + 1));
  const note = spoken(box);
  const first = html(box, "div", { class: "pft-plot" });
  const grid = drawing(first, "The rank of each matrix: layers downwards, sites across", cellsHigh(layers.length), paintGrid);
  const told = spoken(box);
  told.textContent = HINT;
  const second = html(box, "div", { class: "pft-plot" });
  const curve = drawing(second, "Ranks over the steps of training: the mean of all matrices, and the chosen one", 210, paintCurve, "img");
  html(box, "p", { class: "pft-small" },
    "A cell is filled as far as its rank reaches of the rank at the start. Choose a matrix to draw its rank as a dashed line.");
  const fill = table(box, "Data table");

  const film = player(model, last, PAUSE, () => draw());
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  const named = (k) => `${places[k][1]} of layer ${places[k][0]}`;

  function paintGrid(picture, width) {
    const now = ranks[model.get("frame")];
    const marks = cells(picture, width, {
      rows: layers, columns: width < 420 ? brief.map((name) => name.slice(0, 6)) : brief,
      rowLabel: "layer", columnLabel: "", colour: "var(--pft-low_rank)",
    }, (i, j) => {
      const k = number(i, j);
      if (k < 0) return null;
      return { share: now[k] / start, text: `${now[k]}`, chosen: k === model.get("chosen"),
        label: `${named(k)}: rank ${now[k]}, at the start ${ranks[0][k]}, at the end ${ranks[last][k]}` };
    });
    const said = (key) => marks.find((mark) => mark.dataset.key === key).getAttribute("aria-label");
    reachable(marks, (key) => (told.textContent = `${said(key)}.`), (key) => {
      const k = number(...key.split(" ").map(Number));
      assign(model, "chosen", k === model.get("chosen") ? -1 : k);
    }, sites.length);
  }

  function paintCurve(picture, width) {
    const at = { left: 46, right: width - 14, top: 12, bottom: 166 }, k = model.get("chosen");
    const across = linear([0, total], [at.left, at.right]);
    const most = Math.max(...ranks.flat());
    const up = linear([0, most], [at.bottom, at.top]);
    axes(picture, at,
      { scale: across, label: "step", ticks: ticks(0, total, width < 420 ? 4 : 8).map((t) => [t, `${t}`]) },
      { scale: up, label: "rank", ticks: ticks(0, most, 4).filter(Number.isInteger).map((t) => [t, `${t}`]) });
    const path = (value) => ranks.map((row, i) => `${i ? "H" : "M"}${across(steps[i])}${i ? "V" : ","}${up(value(row))}`).join("") + `H${at.right}`;
    const line = (value, dashes) => svg(picture, "path", { d: path(value), fill: "none", stroke: "var(--pft-low_rank)", "stroke-width": 2, "stroke-dasharray": dashes });
    line((row) => sum(row) / row.length, "");
    if (k >= 0) line((row) => row[k], "5 3");
    svg(picture, "path", { class: "pft-edge", "stroke-dasharray": "2 3", d: `M${across(steps[model.get("frame")])},${at.top}V${at.bottom}` });
  }

  function draw() {
    const now = ranks[model.get("frame")], k = model.get("frame"), chosen = model.get("chosen");
    where.show(k);
    play.show(film.playing() ? "Pause" : "Play");
    note.setAttribute("aria-live", film.playing() ? "off" : "polite"); // not every frame is read out
    const most = Math.max(...now), least = Math.min(...now);
    const those = (rank) => places.map((_, i) => i).filter((i) => now[i] === rank);
    const which = (rank) => (those(rank).length > 2 ? `${those(rank).length} matrices` : those(rank).map(named).join(" and "));
    note.textContent = `Step ${steps[k]} of ${total}: ${sum(now)} of ${sum(ranks[0])} triplets are left. `
      + (most === least ? `Every matrix has rank ${most}.`
        : `Most rank: ${which(most)} with ${most}; least: ${which(least)} with ${least}.`)
      + (chosen >= 0 ? ` Chosen: ${named(chosen)}, rank ${now[chosen]}.` : "");
    fill(["Layer", "Site", "Rank at the start", "Now", "At the end"],
      places.map(([layer, site], i) => [layer, site, ranks[0][i], now[i], ranks[last][i]]));
    Object.assign(box.dataset, { step: steps[k], budget: sum(now), ranks: now.join(" "), playing: film.playing() });
    grid.redraw();
    curve.redraw();
  }
  return follow(model, ["frame", "chosen"], draw, grid, curve, film);
}

export default { render };
