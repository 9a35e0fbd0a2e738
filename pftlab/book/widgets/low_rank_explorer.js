// A measured change of weights, and what a matrix of rank r keeps of it.

function render({ model, el }) {
  const matrices = Object.fromEntries(Object.entries(model.get("matrices")).map(([name, { shape, values, left, right }]) =>
    [name, { shape, values: unpacked(values)[0], left: unpacked(left), right: unpacked(right) }]));
  const box = frame(el, "pft-low-rank", "How much of ΔW a low rank keeps");
  const fields = html(box, "div", { class: "pft-fields" });
  const which = choice(fields, "ΔW of", model.get("names").map((name) => [name, name]), (name) => {
    model.set("name", name);
    assign(model, "rank", Math.min(model.get("rank"), matrices[name].values.length));
  });
  const range = slider(fields, "Rank r", { low: 0, high: 1 }, (r) => `${r}`, (r) => assign(model, "rank", r));
  const note = spoken(box);
  const plot = html(box, "div", { class: "pft-plot" });
  const chart = drawing(plot, "Singular values and the energy that the first r keep", 250, paint);
  const beside = html(box, "div", { class: "pft-side" });
  const [before, after] = ["ΔW", "its reconstruction"].map((words) => {
    const figure = html(beside, "div");
    html(figure, "p", { class: "pft-small" }, words);
    const canvas = html(figure, "canvas", { width: 24, height: 24, role: "img", "aria-label": words });
    canvas.style.width = canvas.style.height = "136px";
    return canvas;
  });
  html(box, "p", { class: "pft-small" }, "The first 24 rows and columns; orange is positive, grey negative, strength is size.");
  const fill = table(box, "Data table");

  const now = () => matrices[model.get("name")];
  const squares = () => now().values.map((value) => value * value);
  const total = (list) => list.reduce((a, b) => a + b, 0);
  const energy = (r) => total(squares().slice(0, r)) / total(squares());

  function paint(picture, width) {
    const values = now().values, count = values.length, r = model.get("rank");
    const at = { left: 60, right: width - 60, top: 12, bottom: 206 };
    const across = linear([0.5, count + 0.5], [at.left, at.right]);
    const up = linear([0, values[0]], [at.bottom, at.top]), kept = linear([0, 1], [at.bottom, at.top]);
    axes(picture, at,
      { scale: across, label: "rank", ticks: ticks(1, count, width < 420 ? 4 : 8).map((t) => [t, `${t}`]) },
      { scale: up, label: "singular value", ticks: ticks(0, values[0], 4).map((t) => [t, `${Number(t.toPrecision(2))}`]) });
    const thick = Math.max(1, (at.right - at.left) / count - 1);
    values.forEach((value, i) => svg(picture, "rect", {
      x: across(i + 1) - thick / 2, y: up(value), width: thick, height: at.bottom - up(value),
      fill: `var(--pft-${i < r ? "trained-edge" : "line"})`,
    }));
    let sum = 0;
    const all = total(squares());
    const curve = squares().map((value, i) => `${across(i + 1)},${kept((sum += value) / all)}`);
    svg(picture, "path", { d: `M${across(0.5)},${kept(0)}L${curve.join("L")}`, fill: "none", stroke: "var(--pft-text)", "stroke-width": 2 });
    for (const share of [0, 0.5, 1]) svg(picture, "text", { x: at.right + 6, y: kept(share) + 4 }, `${100 * share} %`);
    svg(picture, "text", { transform: `translate(${width - 4} ${(at.top + at.bottom) / 2 + 34}) rotate(-90)`, "text-anchor": "middle" }, "energy kept");
    svg(picture, "path", { class: "pft-edge", "stroke-dasharray": "5 4", d: `M${across(r + 0.5)},${at.top}V${at.bottom}` });
  }

  /** left · diag(values) · rightᵀ over the first r terms. */
  function product(r) {
    const { left, right, values } = now(), unit = model.get("unit") ** 2;
    return left.map((a) => right.map((b) => {
      let sum = 0;
      for (let i = 0; i < r; i++) sum += a[i] * values[i] * b[i];
      return sum * unit;
    }));
  }
  const both = pictures(box, () => {
    const whole = product(now().values.length), scale = Math.max(...whole.flat().map(Math.abs)) || 1;
    const near = product(model.get("rank"));
    heat(box, before, whole, scale);
    heat(box, after, near, scale);
    after.setAttribute("aria-label", `its reconstruction with rank ${model.get("rank")}`);
    box.dataset.corner = near[0][0];
  });

  function draw() {
    const { shape, values } = now(), r = model.get("rank"), share = energy(r), size = shape[0] + shape[1];
    const error = Math.sqrt(Math.max(0, 1 - share)), dense = shape[0] * shape[1];
    which.show(model.get("name"));
    range.limit(0, values.length);
    range.show(r);
    note.textContent = `Rank ${r} keeps ${percent(share)} of the energy (error ${percent(error)} of the norm) with `
      + `${grouped(r * size)} parameters, ${percent((r * size) / dense)} of the ${shape[0]} × ${shape[1]} matrix.`;
    fill(["Rank", "Singular value", "Energy kept", "Parameters"],
      values.map((value, i) => [i + 1, Number(value.toPrecision(4)), percent(energy(i + 1)), grouped((i + 1) * size)]));
    Object.assign(box.dataset, { energy: share, error, parameters: r * size });
    chart.redraw();
    both.redraw();
  }
  return follow(model, ["name", "rank"], draw, chart, both);
}

export default { render };
