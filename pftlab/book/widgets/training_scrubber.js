// Sixty steps of LoRA, recorded: matrices fill, singular values rise, sentences turn right.

const PAUSE = 160; // milliseconds between two frames

function render({ model, el }) {
  const box = frame(el, "pft-scrubber", "Sixty steps of LoRA"), waiting = spoken(box);
  let stop = () => {};
  waiting.textContent = COMING;
  near(box).then(() => fetched(model, "recording")).then((recording) => {
    waiting.remove();
    stop = show(model, box, recording);
  }, () => (waiting.textContent = MISSING));
  return () => stop();
}

/** One run with its numbers unpacked; entries(frame, site) are corners of the matrices B and A. */
function opened(run, { sites, shown, rank }) {
  const bytes = Int8Array.from(atob(run.entries), (letter) => letter.charCodeAt(0));
  const [unitB, unitA] = run.units, half = shown * rank;
  const rows = (from, columns, unit) => Array.from({ length: half / columns }, (_, i) =>
    Array.from(bytes.subarray(from + i * columns, from + (i + 1) * columns), (value) => value * unit));
  return {
    ...run, sure: unpacked(run.sure), singular: unpacked(run.singular),
    entries(frame, site) {
      const from = 2 * half * (frame * sites.length + site);
      return { B: rows(from, rank, unitB), A: rows(from + half, shown, unitA) };
    },
  };
}

function show(model, box, recording) {
  const { steps, sites, sentences, labels, rank, scale, shown, task } = recording;
  const runs = recording.runs.map((run) => opened(run, recording)), last = steps.length - 1, total = steps[last];
  const layers = [...new Set(sites.map(([layer]) => layer))], kinds = [...new Set(sites.map(([, kind]) => kind))];

  const fields = html(box, "div", { class: "pft-fields" });
  const rate = choice(fields, "Learning rate", runs.map(({ lr }, i) => [String(i), `${lr}`]), (value) => assign(model, "run", Number(value)));
  const where = slider(fields, "Step", { low: 0, high: last }, (k) => `${steps[k]} of ${total}`, (k) => film.go(k));
  const buttons = html(box, "div", { class: "pft-buttons" });
  const play = button(buttons, "Play", () => film.toggle());
  button(buttons, "Step back", () => film.go(model.get("frame") - 1));
  button(buttons, "Step on", () => film.go(model.get("frame") + 1));
  const film = player(model, last, PAUSE, () => draw());
  const note = spoken(box);
  const first = html(box, "div", { class: "pft-plot" });
  const curves = drawing(first, "Accuracy and training loss over the steps", 236, paintCurves, "img");
  const parts = html(box, "div", { class: "pft-side pft-matrices" });
  const grown = html(parts, "div", { class: "pft-grown" });
  const grid = drawing(grown, "How far each matrix has changed: layers downwards, sites across", cellsHigh(layers.length), paintGrid);
  const heats = html(parts, "div", { class: "pft-side" });
  const canvases = Object.fromEntries([["B", rank, shown, "B"], ["A", shown, rank, "A"], ["ΔW", shown, shown, "s · B A"]].map(([name, wide, high, words]) => {
    const figure = html(heats, "div");
    html(figure, "p", { class: "pft-small" }, words);
    const canvas = html(figure, "canvas", { width: wide, height: high, role: "img" });
    canvas.style.width = `${wide * 8}px`;
    canvas.style.height = `${high * 8}px`;
    return [name, canvas];
  }));
  const bars = html(html(parts, "div", { class: "pft-grown" }), "div", { class: "pft-plot" });
  const values = drawing(bars, "The singular values of the chosen change", 150, paintValues, "img");
  const told = spoken(box);
  told.textContent = "Choose a matrix in the grid to look into it.";
  const list = html(box, "ol", { class: "pft-sentences", "aria-label": "Test sentences" });
  const items = sentences.map(({ text, label }) => {
    const item = html(list, "li");
    const sign = html(item, "b", {});
    html(item, "span", {}, text);
    const part = html(item, "small", {});
    html(item, "i", { "aria-hidden": "true" });
    return { item, sign, part, label };
  });
  html(box, "p", { class: "pft-small" },
    `Corners of the matrices, ${shown} of ${recording.width} rows or columns; orange is positive, grey negative. Outlined bars: step ${total}. `
    + `Sentences: the first of each form and label among the test texts of ${task.name}, each with the probability of its right label. `
    + `Recorded by ${recording.command}.`);
  const fill = table(box, "Data table");

  const run = () => runs[model.get("run")];
  const largest = Math.max(...runs.flatMap((each) => each.singular.flat()));
  const spectrum = (frame, site, of = run()) => of.singular[frame].slice(site * rank, (site + 1) * rank);
  const norm = (frame, site) => Math.hypot(...spectrum(frame, site));
  const named = (site) => `${sites[site][1]}, layer ${sites[site][0]}`;
  const right = (frame) => run().sure[frame].map((sure) => sure > 0.5);

  function paintCurves(picture, width) {
    const at = { left: 50, right: width - 14 }, now = model.get("frame");
    const across = linear([0, total], [at.left, at.right]);
    const upper = { ...at, top: 10, bottom: 96 }, lower = { ...at, top: 112, bottom: 196 };
    const most = Math.max(...run().losses) * 1.05;
    const share = linear([0.4, 1], [upper.bottom, upper.top]), loss = linear([0, most], [lower.bottom, lower.top]);
    for (const value of [0.5, 0.75, 1]) {
      svg(picture, "path", { class: "pft-grid", d: `M${at.left},${share(value)}H${at.right}` });
      svg(picture, "text", { x: at.left - 6, y: share(value) + 4, "text-anchor": "end" }, `${100 * value}`);
    }
    axes(picture, lower,
      { scale: across, label: "step", ticks: ticks(0, total, 6).map((t) => [t, `${t}`]) },
      { scale: loss, label: "", ticks: ticks(0, most, 3).map((t) => [t, `${Number(t.toPrecision(2))}`]) });
    const line = (points, attributes) => svg(picture, "path", { d: `M${points.map((p) => p.join()).join("L")}`, fill: "none", "stroke-width": 2, ...attributes });
    const score = run().accuracy.map((value, i) => [across(steps[i]), share(value)]);
    const losses = run().losses.map((value, i) => [across(i + 1), loss(value)]);
    const done = losses.slice(0, steps[now]);
    line(score, { stroke: "var(--pft-line)" });
    line(losses, { stroke: "var(--pft-line)" });
    line(score.slice(0, now + 1), { stroke: "var(--pft-low_rank)" });
    if (done.length) line(done, { stroke: "var(--pft-text)", "stroke-width": 1.5 });
    svg(picture, "path", { class: "pft-edge", "stroke-dasharray": "2 3", d: `M${across(steps[now])},${upper.top}V${lower.bottom}` });
    svg(picture, "circle", { cx: across(steps[now]), cy: share(run().accuracy[now]), r: 4, fill: "var(--pft-low_rank)" });
    svg(picture, "text", { class: "pft-label", x: at.left + 6, y: upper.top + 8 }, `accuracy on ${task.test} test texts, %`);
    svg(picture, "text", { class: "pft-label", x: at.left + 6, y: lower.top + 8 }, "training loss");
  }

  function paintGrid(picture, width) {
    const now = model.get("frame"), most = Math.max(...sites.map((_, site) => norm(last, site)));
    const marks = cells(picture, width, { rows: layers, columns: kinds, rowLabel: "layer", columnLabel: "size of the change", colour: "var(--pft-trained-edge)" }, (i, j) => {
      const site = sites.findIndex(([layer, kind]) => layer === layers[i] && kind === kinds[j]);
      if (site < 0) return null;
      const size = norm(now, site);
      return { share: Math.min(1, size / most), text: size.toFixed(2), chosen: site === model.get("site"), label: `${named(site)}: size of the change ${size.toFixed(2)}` };
    });
    const find = (key) => sites.findIndex(([layer, kind]) => { const [i, j] = key.split(" "); return layer === layers[i] && kind === kinds[j]; });
    reachable(marks, (key) => (told.textContent = `${marks.find((mark) => mark.dataset.key === key).getAttribute("aria-label")}.`),
      (key) => assign(model, "site", find(key)), kinds.length);
  }

  function paintValues(picture, width) {
    const now = spectrum(model.get("frame"), model.get("site")), end = spectrum(last, model.get("site"));
    const at = { left: 34, right: width - 8, top: 20, bottom: 112 }, high = Math.max(...end, 1e-6);
    const across = linear([0.5, rank + 0.5], [at.left, at.right]), up = linear([0, high], [at.bottom, at.top]);
    axes(picture, at, { scale: across, label: "singular values", ticks: end.map((_, i) => [i + 1, `${i + 1}`]) },
      { scale: up, label: "", ticks: ticks(0, high, 3).map((t) => [t, `${Number(t.toPrecision(2))}`]) });
    const thick = ((at.right - at.left) / rank) * 0.7;
    end.forEach((value, i) => {
      const x = across(i + 1) - thick / 2, top = up(Math.min(high, now[i]));
      svg(picture, "rect", { x, y: top, width: thick, height: Math.max(0, at.bottom - top), fill: "var(--pft-trained-edge)" });
      svg(picture, "rect", { x, y: up(value), width: thick, height: Math.max(0, at.bottom - up(value)), fill: "none", stroke: "var(--pft-edge)" });
    });
  }

  const looks = pictures(box, () => {
    const k = model.get("frame"), site = model.get("site");
    const { A, B } = run().entries(k, site);
    const product = B.map((row) => A[0].map((_, j) => scale * row.reduce((sum, value, r) => sum + value * A[r][j], 0)));
    const end = run().entries(last, site);
    const strong = (matrix) => Math.max(...matrix.flat().map(Math.abs)) || 1;
    const whole = end.B.map((row) => end.A[0].map((_, j) => scale * row.reduce((sum, value, r) => sum + value * end.A[r][j], 0)));
    heat(box, canvases.B, B, strong(end.B));
    heat(box, canvases.A, A, strong(end.A));
    heat(box, canvases.ΔW, product, strong(whole));
    for (const [name, canvas] of Object.entries(canvases)) canvas.setAttribute("aria-label", `${name} of ${named(site)} at step ${steps[k]}`);
    box.dataset.corner = product[0][0];
  });

  function draw() {
    const k = model.get("frame"), site = model.get("site"), now = right(k), before = right(0);
    rate.show(String(model.get("run")));
    where.show(k);
    play.show(film.playing() ? "Pause" : "Play");
    note.setAttribute("aria-live", film.playing() ? "off" : "polite"); // not every frame is read out
    const turned = now.filter((yes, i) => yes && !before[i]).length, lost = now.filter((yes, i) => !yes && before[i]).length;
    note.textContent = `Step ${steps[k]} of ${total}: accuracy ${percent(Number(run().accuracy[k].toFixed(3)))}`
      + (k ? `, loss ${run().losses[steps[k] - 1].toFixed(2)}` : ", B is zero and nothing has changed") + `. Of ${sentences.length} sentences ${now.filter(Boolean).length} are right`
      + (k ? `: ${turned} turned right, ${lost} turned wrong.` : ".");
    items.forEach(({ item, sign, part, label }, i) => {
      const sure = run().sure[k][i];
      item.className = now[i] ? "pft-right" : "pft-wrong";
      item.classList.toggle("pft-turned", now[i] !== before[i]);
      sign.textContent = now[i] ? "✓" : "✗";
      sign.setAttribute("aria-label", now[i] ? "right" : "wrong");
      sign.setAttribute("role", "img");
      part.textContent = `${labels[label]} ${(100 * sure).toFixed(0)} %`;
      item.style.setProperty("--part", `${100 * sure}%`);
    });
    fill(["Layer", "Site", "Size of the change", "Largest singular value", "Smallest"], sites.map(([layer, kind], i) =>
      [layer, kind, norm(k, i).toFixed(3), spectrum(k, i)[0].toFixed(3), spectrum(k, i).at(-1).toFixed(3)]));
    Object.assign(box.dataset, { step: steps[k], accuracy: run().accuracy[k], right: now.map(Number).join(" "),
      norm: norm(k, site), playing: film.playing(), largest });
    for (const each of [curves, grid, values, looks]) each.redraw();
  }
  return follow(model, ["run", "site", "frame"], draw, curves, grid, values, looks, film);
}

export default { render };
