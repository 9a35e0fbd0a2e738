// Methods over the size of the base; two of them are compared.

const DASHES = ["", "7 4", "2 4", "7 3 2 3"];

function render({ model, el }) {
  const series = model.get("series"), points = model.get("points"), tasks = model.get("tasks"), scores = model.get("scores");
  const names = Object.fromEntries(series.map(([key, name]) => [key, name]));
  const families = Object.fromEntries(series.map(([key, , family]) => [key, family]));
  const markers = Object.fromEntries(series.map(([key, , , marker]) => [key, marker]));
  // lines of one family have one colour, and dashes of their own
  const dashes = Object.fromEntries(series.map(([key, , family], i) =>
    [key, DASHES[series.slice(0, i).filter((other) => other[2] === family).length % DASHES.length]]));
  const box = frame(el, "pft-scale", "Methods over the size of the base");
  const fields = html(box, "div", { class: "pft-fields" });
  const task = choice(fields, "Task", tasks.map(([name]) => [name, name]), (value) => begin(value));
  const method = choice(fields, "Compare", [], (value) => assign(model, "method", value));
  const reference = choice(fields, "with", [], (value) => assign(model, "reference", value));
  const shown = html(box, "fieldset");
  html(shown, "legend", {}, "Lines");
  const boxes = Object.fromEntries(series.map(([key, name]) => {
    const each = toggle(shown, name, (on) => {
      const kept = model.get("shown").filter((other) => other !== key);
      assign(model, "shown", on ? series.map(([k]) => k).filter((k) => k === key || kept.includes(k)) : kept);
    });
    const sign = svg(each.field, "svg", { viewBox: "0 0 34 16", width: 34, height: 16, "aria-hidden": "true" });
    svg(sign, "path", { d: "M0,8H34", stroke: `var(--pft-${families[key]})`, "stroke-width": 2, "stroke-dasharray": dashes[key] });
    svg(sign, "path", { d: outline(markers[key], 17, 8, 5), fill: `var(--pft-${families[key]})` });
    return [key, each];
  }));
  const note = spoken(box);
  const plot = html(box, "div", { class: "pft-plot" });
  const plane = drawing(plot, "Score upwards, parameters of the base across; a line for each method", 320, paint);
  const told = spoken(box);
  told.textContent = HINT;
  html(box, "p", { class: "pft-small" }, "Bars: 95 % confidence intervals over seeds. A line joins the means of one method.");
  const fill = table(box, "Data table");

  const here = () => points.filter((point) => point.task === model.get("task"));
  const curve = (key) => here().filter((point) => point.series === key);
  const there = (name = model.get("task")) => series.map(([key]) => key).filter((key) => points.some((p) => p.task === name && p.series === key));
  const half = (point) => point.interval ?? 0;
  const metric = () => Object.fromEntries(tasks)[model.get("task")];
  const kind = () => scores[metric()];
  const reach = (point) => within(kind(), point.mean - half(point), point.mean + half(point));
  const key = (point) => `${point.series} ${point.base}`;
  const tell = (point) => `${names[point.series]} on ${point.base} (${short(point.size)} parameters): ${metric()} ${written(kind(), point.mean)} `
    + (point.seeds > 1 ? `± ${scored(kind(), half(point))}, ${point.seeds} seeds` : "(one seed)")
    + `; trains ${percent(point.share)}, peak learning rate ${Number(point.lr.toPrecision(3))}.`;

  /** Another task: its own lines are shown, and the comparison stays if it has both. */
  function begin(name) {
    const keys = there(name);
    model.set("shown", keys);
    for (const [side, other] of [["method", keys[0]], ["reference", keys.at(-1)]]) {
      if (!keys.includes(model.get(side))) model.set(side, other);
    }
    assign(model, "task", name);
  }

  /** Pairs of points of the two methods on one base, smallest base first. */
  function pairs() {
    const others = Object.fromEntries(curve(model.get("reference")).map((point) => [point.base, point]));
    return curve(model.get("method")).filter((point) => point.base in others).map((point) => [point, others[point.base]]);
  }

  function paint(picture, width) {
    const all = here(), sizes = [...new Set(all.map((point) => point.size))].sort((a, b) => a - b);
    const at = { left: 46, right: width - 16, top: 12, bottom: 272 };
    const across = logarithmic([sizes[0] / 1.5, sizes.at(-1) * 1.5], [at.left, at.right]);
    const [up, upwards] = scoreAxis(kind(), all.flatMap(reach), at);
    const kept = []; // sizes whose words do not touch
    for (const size of sizes) if (!kept.length || across(size) - across(kept.at(-1)) > 52) kept.push(size);
    axes(picture, at,
      { scale: across, label: "parameters of the base", ticks: kept.map((size) => [size, short(size)]) },
      upwards);
    const marks = [];
    for (const line of series.map(([k]) => k).filter((k) => model.get("shown").includes(k))) {
      const on = curve(line), colour = `var(--pft-${families[line]})`, compared = [model.get("method"), model.get("reference")].includes(line);
      svg(picture, "path", { d: `M${on.map((p) => `${across(p.size)},${up(p.mean)}`).join("L")}`, fill: "none", stroke: colour,
        "stroke-width": compared ? 2.5 : 1.5, "stroke-dasharray": dashes[line] });
      for (const point of on) {
        const x = across(point.size), y = up(point.mean);
        const g = svg(picture, "g", { "data-key": key(point), role: "img", "aria-label": tell(point) });
        svg(g, "circle", { class: "pft-halo", cx: x, cy: y, r: 12 });
        if (half(point)) {
          const [a, b] = reach(point).map(up);
          svg(g, "path", { d: `M${x},${a}V${b}M${x - 4},${a}h8M${x - 4},${b}h8`, stroke: colour, "stroke-width": 1.5, fill: "none" });
        }
        svg(g, "path", { d: outline(markers[line], x, y), fill: colour });
        marks.push(g);
      }
    }
    reachable(marks, (k) => (told.textContent = tell(points.find((p) => p.task === model.get("task") && key(p) === k))));
  }

  function say() {
    const both = pairs(), sizes = new Set(here().map((point) => point.base)).size;
    if (model.get("method") === model.get("reference")) return "Choose two methods to compare.";
    const which = `${names[model.get("method")]} against ${names[model.get("reference")]}`;
    if (!both.length) return `${which}: no base has both.`;
    const gap = ([a, b]) => {
      const side = worth(kind(), a.mean) > worth(kind(), b.mean) ? "ahead" : "behind";
      const known = a.seeds > 1 && b.seeds > 1, clear = Math.abs(a.mean - b.mean) > half(a) + half(b);
      return `${apart(kind(), a.mean - b.mean)} ${side} on ${a.base} (${short(a.size)})`
        + (known ? `, intervals ${clear ? "apart" : "overlap"}` : "");
    };
    return `${which}: ${both.map(gap).join("; ")}.` + (sizes < 2 ? " One size makes no curve: results on other bases are missing." : "");
  }

  function draw() {
    task.show(model.get("task"));
    for (const [control, name] of [[method, "method"], [reference, "reference"]]) {
      control.fill(there().map((k) => [k, names[k]]));
      control.show(model.get(name));
    }
    for (const [k, each] of Object.entries(boxes)) {
      each.field.hidden = !there().includes(k);
      each.show(model.get("shown").includes(k));
    }
    note.textContent = say();
    fill(["Method", "Base", "Parameters", kind().axis, "± 95 %", "Seeds", "Learning rate", "Trains"],
      model.get("shown").flatMap(curve).map((p) => [names[p.series], p.base, short(p.size), scored(kind(), p.mean),
        p.seeds > 1 ? scored(kind(), half(p)) : "–", p.seeds, Number(p.lr.toPrecision(3)), percent(p.share)]));
    Object.assign(box.dataset, { gaps: pairs().map(([a, b]) => `${a.base} ${worth(kind(), b.mean) - worth(kind(), a.mean)}`).join("|"), marks: model.get("shown").flatMap(curve).length });
    plane.redraw();
  }
  return follow(model, ["task", "shown", "method", "reference"], draw, plane);
}

export default { render };
