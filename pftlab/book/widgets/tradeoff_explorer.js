// What a method costs against what it reaches; every point opens the runs behind it.

const COSTS = {
  trainable: { name: "trainable parameters", label: "trainable parameters, without the head", say: short },
  seconds: { name: "training time", label: "training time, seconds", say: (v) => `${short(v)} s` },
  memory: { name: "memory", label: "memory of a training step", say: bytes },
};
const STEPS = 100; // of the budget; the last one is no limit

function render({ model, el }) {
  const box = frame(el, "pft-tradeoff", "Cost against score"), waiting = spoken(box);
  let stop = () => {};
  waiting.textContent = COMING;
  fetched(model, "tradeoff").then((index) => {
    waiting.remove();
    stop = show(model, box, index);
  }, () => (waiting.textContent = MISSING));
  return () => stop();
}

function show(model, box, { pairs, families: all, scores }) {
  const styles = Object.fromEntries(all), pieces = {}; // number of the pair → its data
  const pair = () => pairs.findIndex(([b, t]) => b === model.get("base") && t === model.get("task"));
  const piece = () => pieces[pair()] ?? { points: [], commands: [], devices: [] };
  const of = (place) => [...new Set(pairs.map((each) => each[place]))];
  const same = (list) => list.map((value) => [value, value]);

  const fields = html(box, "div", { class: "pft-fields" });
  const base = choice(fields, "Base", same(of(0)), (value) => begin(value, model.get("task")));
  const task = choice(fields, "Task", same(of(1)), (value) => begin(model.get("base"), value));
  const metric = choice(fields, "Score", [], (value) => assign(model, "metric", value));
  const cost = choice(fields, "Cost", Object.entries(COSTS).map(([name, { name: text }]) => [name, text]), (value) => {
    model.set("budget", null); // its unit is another
    assign(model, "cost", value);
  });
  const families = html(box, "fieldset");
  html(families, "legend", {}, "Families");
  const boxes = Object.fromEntries(Object.entries(styles).map(([family, { name, marker }]) => {
    const each = toggle(families, name, (on) => {
      const kept = model.get("families").filter((other) => other !== family);
      assign(model, "families", on ? Object.keys(styles).filter((f) => f === family || kept.includes(f)) : kept);
    });
    const sign = svg(each.field, "svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" });
    svg(sign, "path", { d: outline(marker, 8, 8, 5.5), fill: `var(--pft-${family})` });
    return [family, each];
  }));
  const row = html(box, "div", { class: "pft-fields" });
  const budget = slider(row, "Budget", { low: 0, high: STEPS }, () => sayBudget(), (position) =>
    assign(model, "budget", position >= STEPS ? null : toBudget(position)));
  const note = spoken(box);
  const plot = html(box, "div", { class: "pft-plot" });
  const plane = drawing(plot, "Methods: cost across, score upwards", 360, paint);
  const told = spoken(box);
  told.textContent = HINT;
  html(box, "p", { class: "pft-small" },
    "Bars: 95 % confidence intervals over seeds. Line: the Pareto front, which nothing beats in both. "
    + "Faint: beyond the budget. Choose a point to see its runs.");
  const behind = html(box, "div", { class: "pft-behind" });
  const fill = table(box, "Data table");

  /** Another base or task: the nearest that there is, with its own main score, and no budget. */
  function begin(wantedBase, wantedTask) {
    const changed = wantedBase === model.get("base") ? "task" : "base";
    const there = pairs.find(([b, t]) => b === wantedBase && t === wantedTask)
      ?? pairs.find(([b, t]) => (changed === "base" ? b === wantedBase : t === wantedTask));
    ["base", "task", "metric"].forEach((name, i) => model.set(name, there[i]));
    model.set("opened", "");
    assign(model, "budget", null);
  }

  const here = () => piece().points;
  const visible = () => here().filter((p) => model.get("families").includes(p.family) && model.get("metric") in p.scores);
  const price = (point) => point[model.get("cost")];
  const mean = (point) => point.scores[model.get("metric")][0];
  const half = (point) => point.scores[model.get("metric")][1] ?? 0;
  const kind = () => scores[model.get("metric")];
  const merit = (point) => worth(kind(), mean(point));
  const reach = (point) => within(kind(), mean(point) - half(point), mean(point) + half(point));
  const limit = () => model.get("budget") ?? Infinity;
  const affordable = () => visible().filter((point) => price(point) <= limit());
  const cheapest = (list) => [...list].sort((a, b) => price(a) - price(b) || merit(b) - merit(a));
  const best = () => cheapest(affordable()).reduce((top, p) => (top && merit(top) >= merit(p) ? top : p), null);
  function front() {
    const found = [];
    for (const point of cheapest(visible())) if (!found.length || merit(point) > merit(found.at(-1))) found.push(point);
    return found;
  }
  function ends() {
    const prices = here().map(price).filter((value) => value > 0);
    return prices.length ? [Math.min(...prices), Math.max(...prices)] : [1, 10];
  }
  function toBudget(position) {
    const [low, high] = ends();
    return Number((low * (high / low) ** (position / STEPS)).toPrecision(6));
  }
  function position() {
    const [low, high] = ends(), now = model.get("budget");
    if (now === null || high === low) return STEPS;
    return Math.round((STEPS * Math.log(Math.max(now, low) / low)) / Math.log(high / low));
  }
  const sayBudget = () => (model.get("budget") === null ? "no limit" : COSTS[model.get("cost")].say(model.get("budget")));
  const tell = (point) => `${point.name}: ${model.get("metric")} ${written(kind(), mean(point))} `
    + (point.runs.length > 1 ? `± ${scored(kind(), half(point))}, ${point.runs.length} seeds` : "(one seed)")
    + `; ${grouped(point.trainable)} trainable (${percent(point.share)}), ${short(point.seconds)} s, ${bytes(point.memory)}.`;

  function paint(picture, width) {
    if (!here().length) return;
    const shown = visible(), [low, high] = ends(), say = COSTS[model.get("cost")].say;
    const at = { left: 46, right: width - 14, top: 12, bottom: 312 };
    const free = here().some((point) => price(point) === 0); // such as a linear probe
    const zero = free ? low / (high / low) ** 0.15 / 2 : low;
    const margin = (high / low) ** 0.06 * 1.2;
    const across = logarithmic([(free ? zero : low) / margin, high * margin], [at.left, at.right]);
    const x = (point) => across(price(point) || zero);
    const values = here().filter((p) => model.get("metric") in p.scores).flatMap(reach);
    const [up, upwards] = scoreAxis(kind(), values, at);
    let marks = powers(low / margin, high * margin, width < 420 ? 4 : 7);
    if (marks.length < 2) marks = ticks(low, high, 3).filter((value) => value > 0);
    axes(picture, at,
      { scale: (value) => across(value || zero), label: COSTS[model.get("cost")].label,
        ticks: [...(free ? [[0, "0"]] : []), ...marks.map((value) => [value, say(value)])] },
      upwards);
    if (Number.isFinite(limit())) {
      const line = Math.max(at.left, Math.min(at.right, across(Math.max(limit(), zero))));
      svg(picture, "path", { class: "pft-edge", "stroke-dasharray": "5 4", d: `M${line},${at.top}V${at.bottom}` });
    }
    const edge = front();
    if (edge.length > 1) {
      const path = edge.map((p, i) => (i ? `H${x(p)}V${up(mean(p))}` : `M${x(p)},${up(mean(p))}`)).join("");
      svg(picture, "path", { class: "pft-edge pft-front", d: path });
    }
    const order = cheapest(shown), top = best();
    const marksDrawn = order.map((point) => {
      const px = x(point), py = up(mean(point)), colour = `var(--pft-${point.family})`;
      const chosen = point.key === model.get("opened");
      const g = svg(picture, "g", {
        "data-key": point.key, role: "button", "aria-label": tell(point), "aria-pressed": chosen,
        class: chosen ? "pft-chosen" : "", opacity: price(point) <= limit() ? 1 : 0.3,
      });
      svg(g, "circle", { class: "pft-halo", cx: px, cy: py, r: 12 });
      if (half(point)) {
        const [a, b] = reach(point).map(up);
        svg(g, "path", { d: `M${px},${a}V${b}M${px - 4},${a}h8M${px - 4},${b}h8`, stroke: colour, "stroke-width": 1.5, fill: "none" });
      }
      svg(g, "path", { d: outline(styles[point.family].marker, px, py, point === top ? 8 : 6), fill: colour });
      return g;
    });
    label(picture, at, order.map((p) => ({ point: p, x: x(p), y: up(mean(p)) })), new Set([top, ...edge]));
    reachable(marksDrawn, (key) => (told.textContent = tell(here().find((p) => p.key === key))),
      (key) => assign(model, "opened", key === model.get("opened") ? "" : key));
  }

  /** Names beside the best and the points of the front, where they cover nothing. */
  function label(picture, at, placed, wanted) {
    const taken = placed.map(({ x, y }) => [x - 9, y - 9, x + 9, y + 9]);
    const clash = (a) => a[0] < at.left || a[2] > at.right || a[1] < at.top - 8 || a[3] > at.bottom
      || taken.some((b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]);
    for (const { point, x, y } of placed.filter((each) => wanted.has(each.point)).reverse()) {
      const text = svg(picture, "text", { class: "pft-label", "aria-hidden": "true" }, point.name);
      const w = text.getComputedTextLength();
      const spots = [[x + 11, y + 4], [x - 11 - w, y + 4], [x + 6, y - 12], [x - 6 - w, y - 12], [x + 6, y + 22], [x - 6 - w, y + 22]];
      const spot = spots.find(([left, line]) => !clash([left, line - 11, left + w, line + 3]));
      if (!spot) {
        text.remove();
        continue;
      }
      put(null, text, { x: spot[0], y: spot[1] });
      taken.push([spot[0], spot[1] - 11, spot[0] + w, spot[1] + 3]);
    }
  }

  function open() {
    behind.replaceChildren();
    const point = here().find((each) => each.key === model.get("opened"));
    if (!point) return;
    html(behind, "p", { class: "pft-title" }, `The runs behind ${point.name}`);
    const list = (values) => Object.entries(values).map(([name, value]) => `${name} = ${JSON.stringify(value)}`).join(", ");
    html(behind, "p", {}, `Hyper-parameters: ${list(point.hyperparameters) || "none"}.`);
    html(behind, "p", {}, `Training: ${list(point.training)}.`);
    const rows = table(behind, "Runs");
    behind.querySelector("details").open = true;
    const runs = point.runs.map((text) => JSON.parse(text)); // [seed, scores, seconds, commit, date, device, command]
    const names = Object.keys(point.scores).sort();
    rows(["Seed", ...names.map((name) => scores[name].axis), "Seconds", "Date", "Commit", "Device"],
      runs.map(([seed, values, seconds, commit, date, device]) => [seed,
        ...values.map((value, i) => (value === null ? "–" : scored(scores[names[i]], value))), seconds.toFixed(1),
        date.slice(0, 10), commit.slice(0, 12), piece().devices[device]]));
    for (const number of new Set(runs.map((run) => run.at(-1)))) {
      html(html(behind, "p", {}, "Command: "), "code", {}, piece().commands[number]);
    }
  }

  function draw() {
    base.show(model.get("base"));
    task.show(model.get("task"));
    const number = pair();
    if (number >= 0 && !pieces[number]) {
      note.textContent = COMING;
      fetched(model, `tradeoff-${number}`).then((found) => {
        pieces[number] = found;
        draw();
      }, () => (note.textContent = MISSING));
      return;
    }
    metric.fill(same([...new Set(here().flatMap((point) => Object.keys(point.scores)))]));
    metric.show(model.get("metric"));
    cost.show(model.get("cost"));
    budget.show(position());
    for (const [family, each] of Object.entries(boxes)) each.show(model.get("families").includes(family));
    const shown = visible(), afforded = affordable(), top = best();
    note.textContent = top
      ? `Best of ${afforded.length} within the budget (${sayBudget()}): ${tell(top)}`
      : `Nothing of what is shown is within the budget (${sayBudget()}).`;
    fill(["Method", "Trainable", "Share", "Seconds", "Memory", kind().axis, "± 95 %", "Seeds"],
      cheapest(shown).map((p) => [p.name, grouped(p.trainable), percent(p.share), short(p.seconds), bytes(p.memory),
        scored(kind(), mean(p)), p.runs.length > 1 ? scored(kind(), half(p)) : "–", p.runs.length]));
    const keys = (list) => list.map((point) => point.key).join(" ");
    Object.assign(box.dataset, { budget: model.get("budget") ?? "", visible: keys(cheapest(shown)), affordable: keys(cheapest(afforded)), front: keys(front()), best: top?.key ?? "" });
    open();
    plane.redraw();
  }
  return follow(model, ["base", "task", "metric", "cost", "families", "budget", "opened"], draw, plane);
}

export default { render };
