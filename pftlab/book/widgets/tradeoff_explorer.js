// What a method costs against what it reaches: sizes as curves, seeds as dots, and what is behind.

const COSTS = {
  trainable: { name: "trainable parameters", label: "trainable parameters, without the head", say: short },
  memory: { name: "memory of a training step", label: "memory of a training step", say: bytes },
  forgotten: { name: "what the base forgot", label: "rise of the base's held-out loss", say: (v) => signed(v, 3), even: true },
  seconds: { name: "training time", label: "training time, seconds, all on one device", say: (v) => `${short(v)} s` },
};
const STEPS = 100; // of the budget; the last one is no limit
const NEAR = 44, SAME = 13; // pixels within which a mark is meant, and within which marks hide each other
const CHOSEN = ["base", "task", "protocol", "metric", "cost", "reference", "families", "search", "budget", "opened"];
const ADDRESS = "#tradeoff?"; // of a state, behind the address of the page

const signed = (value, digits) => (value === 0 ? "0" : `${value < 0 ? "−" : "+"}${Number(Math.abs(value).toPrecision(digits))}`);

function render({ model, el }) {
  const box = frame(el, "pft-tradeoff", "Cost against score"), waiting = spoken(box);
  let stop = () => {};
  waiting.textContent = COMING;
  Promise.all([fetched(model, "tradeoff"), fetched(model, "pages").catch(() => ({}))]).then(([index, pages]) => {
    waiting.remove();
    stop = show(model, box, index, pages);
  }, () => (waiting.textContent = MISSING));
  return () => stop();
}

function show(model, box, { comparisons, families: all, scores, methods }, pages) {
  const styles = Object.fromEntries(all), pieces = {}; // number of the comparison → its data
  const nothing = { points: [], commands: [], devices: [], references: {}, control: null };
  const place = (each) => ["base", "task", "protocol"].every((name) => each[name] === model.get(name));
  const piece = () => pieces[comparisons.findIndex(place)] ?? nothing;
  const address = addressed(model, box);
  let lit = "", placed = []; // the point that is looked at, and where points are drawn

  // Controls

  const fields = html(box, "div", { class: "pft-fields" });
  const listed = comparisons.map(({ base, task, protocol, methods: many }, number) =>
    [String(number), `${task} on ${base}: ${many} methods, ${protocol}`]);
  const where = choice(fields, "Task and base", listed, (value) => {
    const each = comparisons[value];
    for (const name of ["base", "task", "protocol", "metric"]) model.set(name, each[name]);
    model.set("opened", "");
    assign(model, "budget", null);
  });
  const metric = choice(fields, "Score", [], (value) => assign(model, "metric", value));
  const reference = choice(fields, "Show", [], (value) => assign(model, "reference", value));
  const cost = choice(fields, "Cost", [], (value) => {
    model.set("budget", null); // its unit is another
    assign(model, "cost", value);
  });
  const sought = html(fields, "div", { class: "pft-field" }), seek = unique();
  html(sought, "label", { for: seek }, "Find");
  const search = html(sought, "input", { id: seek, type: "search", placeholder: "lora, bitfit", autocomplete: "off", spellcheck: "false" });
  search.addEventListener("input", () => assign(model, "search", search.value));
  const families = html(box, "fieldset");
  html(families, "legend", {}, "Families");
  const names = Object.keys(styles);
  const boxes = Object.fromEntries(Object.entries(styles).map(([family, { name, marker }]) => {
    const pair = html(families, "span", { class: "pft-pair" });
    const each = toggle(pair, name, (on) => {
      const kept = model.get("families").filter((other) => other !== family);
      assign(model, "families", on ? names.filter((f) => f === family || kept.includes(f)) : kept);
    });
    each.field.append(sign(marker, family));
    const only = html(pair, "button", { type: "button", class: "pft-only", "aria-label": `only ${name}` }, "only");
    only.addEventListener("click", () => assign(model, "families", model.get("families").join() === family ? names : [family]));
    return [family, { ...each, only, name }];
  }));
  const row = html(box, "div", { class: "pft-fields" });
  const budget = slider(row, "Budget", { low: 0, high: STEPS }, () => sayBudget(), (position) =>
    assign(model, "budget", position >= STEPS ? null : toBudget(position)));
  const note = spoken(box);
  const plot = html(box, "div", { class: "pft-plot pft-held" });
  const plane = drawing(plot, "Methods: cost across, score upwards", 380, paint);
  const tip = html(plot, "div", { class: "pft-tip", "aria-hidden": "true", hidden: "" });
  const told = spoken(box);
  told.textContent = HINT;
  const step = html(box, "div", { class: "pft-buttons" });
  button(step, "◀ Previous mark", () => walk(-1));
  button(step, "Next mark ▶", () => walk(1));
  const small = html(box, "p", { class: "pft-small" });
  const list = html(box, "ul", { class: "pft-names", "aria-label": "Methods, best score first" });
  const behind = html(box, "div", { class: "pft-behind" });
  const fill = table(box, "Data table");

  // What the state means

  const here = () => piece().points;
  const offered = () => Object.keys(COSTS).filter((name) =>
    (name !== "forgotten" || here().every((p) => p.forgotten !== null)) && (name !== "seconds" || piece().devices.length === 1));
  const words = () => model.get("search").toLowerCase().split(",").map((word) => word.trim()).filter(Boolean);
  const wanted = (point) => !words().length || words().some((word) => point.name.toLowerCase().includes(word));
  const drawn = () => here().filter((p) => model.get("families").includes(p.family) && model.get("metric") in p.scores);
  const visible = () => drawn().filter(wanted);
  const price = (point) => point[model.get("cost")];
  const mean = (point) => point.scores[model.get("metric")][0];
  const half = (point) => point.scores[model.get("metric")][1] ?? 0;
  const kind = () => scores[model.get("metric")];
  const merit = (point) => worth(kind(), mean(point));
  const limit = () => model.get("budget") ?? Infinity;
  const affordable = () => visible().filter((point) => price(point) <= limit());
  const cheapest = (list) => [...list].sort((a, b) => price(a) - price(b) || merit(b) - merit(a));
  const ranked = (list) => [...list].sort((a, b) => merit(b) - merit(a));
  const best = () => cheapest(affordable()).reduce((top, p) => (top && merit(top) >= merit(p) ? top : p), null);
  const even = () => COSTS[model.get("cost")].even;
  const runs = (point) => point.runs.map((text) => JSON.parse(text)); // [seed, scores, seconds, commit, date, device, command]
  const values = (point) => {
    const at = Object.keys(point.scores).sort().indexOf(model.get("metric"));
    return runs(point).map((run) => run[1][at]).filter((value) => value !== null);
  };
  const compared = () => (model.get("reference") in piece().references ? model.get("reference") : "");
  const difference = (point, name = compared()) => point.differences[name]?.[model.get("metric")];
  /** Is the interval of the differences clear of zero? */
  const toldApart = (found) => found?.[1] != null && Math.abs(found[0]) > found[1];
  /** What is drawn upwards: [mean, half of its interval or null]; the reference itself is at zero. */
  const level = (point) => {
    if (!compared()) return [mean(point), point.scores[model.get("metric")][1]];
    if (point.key === piece().references[compared()][0]) return [0, null];
    return difference(point) ?? [NaN, null];
  };
  function front() {
    const found = [];
    for (const point of cheapest(visible())) if (!found.length || merit(point) > merit(found.at(-1))) found.push(point);
    return found;
  }
  function curves(points) {
    const found = new Map();
    for (const point of cheapest(points)) found.set(point.method, [...(found.get(point.method) ?? []), point]);
    return [...found.values()].filter((sizes) => sizes.length > 1);
  }
  function ends() {
    const prices = here().map(price).filter((value) => even() || value > 0);
    return prices.length ? [Math.min(...prices), Math.max(...prices)] : [1, 10];
  }
  function toBudget(position) {
    const [low, high] = ends(), part = position / STEPS;
    return Number((even() ? low + (high - low) * part : low * (high / low) ** part).toPrecision(6));
  }
  function position() {
    const [low, high] = ends(), now = model.get("budget");
    if (now === null || high === low) return STEPS;
    return Math.round(STEPS * (even() ? (now - low) / (high - low) : Math.log(Math.max(now, low) / low) / Math.log(high / low)));
  }
  const sayBudget = () => (model.get("budget") === null ? "no limit" : COSTS[model.get("cost")].say(model.get("budget")));

  // Words

  const score = (point) => `${model.get("metric")} ${written(kind(), mean(point))} `
    + (point.runs.length > 1 ? `± ${scored(kind(), half(point))}, ${point.runs.length} seeds` : "(one seed)");
  const bill = (point) => `${grouped(point.trainable)} trainable (${percent(point.share)}), ${bytes(point.memory)}`
    + (point.forgotten === null ? "" : `, forgot ${signed(point.forgotten, 3)}`);
  function against(point, name) {
    const found = difference(point, name), [, title] = piece().references[name];
    if (!found) return "";
    const unit = kind().times === 100 ? " points" : "", sign = found[0] < 0 ? "−" : "+";
    const size = `${sign}${scored(kind(), Math.abs(found[0]))}${found[1] === null ? "" : ` ± ${scored(kind(), found[1])}`}${unit}`;
    const verdict = found[1] === null ? "one seed cannot tell" : toldApart(found) ? "told apart" : "cannot be told apart";
    return `${size} against ${title}, ${verdict}`;
  }
  const chosenAgainst = (point) => (compared() && difference(point) ? `; ${against(point, compared())}` : "");
  const tell = (point) => `${point.name}: ${score(point)}; ${bill(point)}${chosenAgainst(point)}.`;

  // The drawing

  function paint(picture, width) {
    placed = [];
    if (!here().length) return;
    const shown = drawn(), [low, high] = ends(), say = COSTS[model.get("cost")].say;
    const at = { left: 46, right: width - 14, top: 12, bottom: 332 };
    const free = !even() && here().some((point) => price(point) === 0); // such as a linear probe
    const zero = free ? low / (high / low) ** 0.15 / 2 : low;
    const margin = even() ? (high - low) * 0.06 || 0.1 : (high / low) ** 0.06 * 1.2;
    const across = even()
      ? linear([low - margin, high + margin], [at.left, at.right])
      : logarithmic([(free ? zero : low) / margin, high * margin], [at.left, at.right]);
    const x = (point) => across(even() ? price(point) : price(point) || zero);
    const [up, upwards] = heights(shown, at);
    let marks = even() ? ticks(low - margin, high + margin, width < 420 ? 3 : 6) : powers(low / margin, high * margin, width < 420 ? 4 : 7);
    if (say === bytes) marks = doubles(low / margin, high * margin, width < 420 ? 4 : 7);
    if (marks.length < 2) marks = ticks(low, high, 3).filter((value) => value > 0);
    axes(picture, at,
      { scale: (value) => across(even() ? value : value || zero), label: COSTS[model.get("cost")].label,
        ticks: [...(free ? [[0, "0"]] : []), ...marks.map((value) => [value, say(value)])] },
      upwards);
    const cut = svg(picture, "clipPath", { id: unique() });
    svg(cut, "rect", { x: at.left, y: at.top - 1, width: at.right - at.left, height: at.bottom - at.top + 2 });
    const inside = { "clip-path": `url(#${cut.id})` };
    if (Number.isFinite(limit())) {
      const line = Math.max(at.left, Math.min(at.right, across(even() ? limit() : Math.max(limit(), zero))));
      svg(picture, "path", { class: "pft-edge", "stroke-dasharray": "5 4", d: `M${line},${at.top}V${at.bottom}` });
    }
    const obstacles = [];
    const controlled = rule(picture, at, up);
    const edge = compared() ? [] : front();
    if (edge.length > 1) {
      const spots = edge.map((p) => [x(p), up(mean(p))]);
      svg(picture, "path", { class: "pft-edge pft-front", d: spots.map(([a, b], i) => (i ? `H${a}V${b}` : `M${a},${b}`)).join("") });
      spots.slice(1).forEach(([a, b], i) => {
        obstacles.push([spots[i][0], spots[i][1] - 2, a, spots[i][1] + 2], [a - 2, b, a + 2, spots[i][1]]);
      });
    }
    const spot = (point) => [x(point), up(level(point)[0])];
    for (const sizes of curves(shown.filter((p) => Number.isFinite(level(p)[0])))) {
      svg(picture, "path", { class: "pft-curve", "data-method": sizes[0].method, stroke: `var(--pft-${sizes[0].family})`,
        opacity: wanted(sizes[0]) ? 1 : 0.15, d: sizes.map((p, i) => `${i ? "L" : "M"}${spot(p).join()}`).join("") });
    }
    const order = cheapest(shown.filter(wanted)).filter((p) => Number.isFinite(level(p)[0])), top = best();
    for (const point of shown.filter((p) => !wanted(p) && Number.isFinite(level(p)[0]))) {
      const [px, py] = spot(point);
      svg(picture, "circle", { class: "pft-ghost", cx: px, cy: py, r: 3 });
    }
    const many = order.length > 20;
    const marksDrawn = order.map((point) => {
      const [px, py] = spot(point), colour = `var(--pft-${point.family})`, [value, width_] = level(point);
      const chosen = point.key === model.get("opened");
      const g = svg(picture, "g", {
        "data-key": point.key, "data-method": point.method, role: "button", "aria-label": tell(point), "aria-pressed": chosen,
        class: `pft-mark${chosen ? " pft-chosen" : ""}${many ? " pft-many" : ""}`, opacity: price(point) <= limit() ? 1 : 0.3,
      });
      const spread = svg(g, "g", { class: "pft-spread", ...inside });
      if (width_) {
        const [a, b] = (compared() ? [value - width_, value + width_] : within(kind(), value - width_, value + width_)).map(up);
        svg(spread, "path", { d: `M${px},${a}V${b}M${px - 4},${a}h8M${px - 4},${b}h8`, stroke: colour, "stroke-width": 1.5, fill: "none" });
      }
      if (!compared()) for (const each of values(point)) svg(spread, "circle", { class: "pft-seed", cx: px, cy: up(each), r: 2, fill: colour });
      const hollow = compared() && !toldApart(difference(point));
      svg(g, "circle", { class: "pft-halo", cx: px, cy: py, r: 12 });
      svg(g, "path", { class: "pft-sign", d: outline(styles[point.family].marker, px, py, point === top ? 8 : 6),
        fill: hollow ? "var(--pft-back)" : colour, stroke: hollow ? colour : "var(--pft-back)", "stroke-width": hollow ? 2 : 1 });
      placed.push({ point, x: px, y: py, g });
      return g;
    });
    label(picture, at, placed, [...new Set([top, ...edge])].filter(Boolean), obstacles, compared() ? undefined : controlled);
    // by keyboard; what the pointer means is the nearest mark, not the uppermost
    reachable(marksDrawn, (key) => document.activeElement?.dataset.key === key && look(key));
    marksDrawn.forEach((mark) => {
      mark.addEventListener("blur", () => look(""));
      mark.addEventListener("keydown", (event) => {
        if (event.key === "Escape") look("");
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        open(mark.dataset.key);
      });
    });
    look(lit);
  }

  /** The axis upwards. Seeds and means are inside; of an interval that is much wider, what fits. */
  function heights(shown, at) {
    const points = shown.filter((p) => Number.isFinite(level(p)[0]));
    const near = points.flatMap((p) => (compared() ? [level(p)[0]] : [level(p)[0], ...values(p)]));
    if (compared()) near.push(0);
    if (!near.length) near.push(0, 1);
    const low = Math.min(...near), high = Math.max(...near), room = (high - low) * 0.12 || 0.01;
    const far = points.flatMap((p) => [level(p)[0] - (level(p)[1] ?? 0), level(p)[0] + (level(p)[1] ?? 0)]);
    const reach = [Math.max(low - room, Math.min(low, ...far)), Math.min(high + room, Math.max(high, ...far))];
    if (!compared()) return scoreAxis(kind(), within(kind(), ...reach), at);
    const unit = kind().times === 100 ? ", points" : "", scale = linear(reach, [at.bottom, at.top]);
    return [scale, { scale, label: `difference from ${piece().references[compared()][1]}${unit}`,
      ticks: ticks(...reach, 6).map((value) => [value, signed(kind().times * value, 3)]) }];
  }

  const control = () => (piece().control?.metric === model.get("metric") ? piece().control : null);
  /** What is drawn across: no difference, or the score without pretraining where it is in sight. */
  function rule(picture, at, up) {
    const y = compared() ? up(0) : control() ? up(control().mean) : Infinity;
    if (y > at.bottom || y < at.top) return;
    svg(picture, "path", { class: "pft-edge", "stroke-dasharray": compared() ? "none" : "2 4", d: `M${at.left},${y}H${at.right}` });
    return y;
  }

  /** Names beside the marks that matter, and beside as many others as find room; so for the control. */
  function label(picture, at, marks, first, obstacles, line) {
    const taken = [...obstacles, ...marks.map(({ x, y }) => [x - 7, y - 7, x + 7, y + 7])];
    const clash = (a) => a[0] < at.left || a[2] > at.right + 10 || a[1] < at.top - 8 || a[3] > at.bottom
      || taken.some((b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]);
    const rank = new Map(ranked(marks.map(({ point }) => point)).map((point, i) => [point, i]));
    const order = [...marks].sort((a, b) => first.includes(b.point) - first.includes(a.point) || rank.get(a.point) - rank.get(b.point));
    const named = new Set(), several = new Set(curves(marks.map(({ point }) => point)).map(([{ method }]) => method));
    const titled = ({ point }) => (several.has(point.method) ? methods[point.method].title : point.name);
    // All are written before the first is measured: the page is then laid out once, and not once for each.
    const texts = order.map((mark) => svg(mark.g, "text", { class: "pft-label", "aria-hidden": "true" }, titled(mark)));
    const widths = texts.map((text) => text.getComputedTextLength());
    for (const [i, { point, x, y }] of order.entries()) {
      const text = texts[i], w = widths[i];
      if (several.has(point.method) && named.has(point.method)) { // one name for a curve
        text.remove();
        continue;
      }
      const spots = [[x + 11, y + 4], [x - 11 - w, y + 4], [x + 6, y - 10], [x - 6 - w, y - 10], [x + 6, y + 19], [x - 6 - w, y + 19]];
      const found = spots.find(([left, line]) => !clash([left, line - 10, left + w, line + 3]));
      if (!found) {
        text.remove();
        continue;
      }
      put(null, text, { x: found[0], y: found[1] });
      taken.push([found[0], found[1] - 10, found[0] + w, found[1] + 3]);
      named.add(point.method);
    }
    if (line === undefined) return;
    const text = svg(picture, "text", { class: "pft-label pft-quiet pft-control" }, control().name), w = text.getComputedTextLength();
    const lefts = Array.from({ length: Math.max(1, Math.ceil((at.right - w - at.left) / 10)) }, (_, i) => at.right - w - 10 * i);
    const found = [line - 5, line + 14].flatMap((y) => lefts.map((x) => [x, y])).find(([x, y]) => !clash([x, y - 10, x + w, y + 3]));
    if (found) put(null, text, { x: found[0], y: found[1] });
    else text.remove(); // the words below the drawing say it, too
  }

  // Looking at a mark, and opening it

  const nearest = (event) => {
    const { left, top } = plane.picture.getBoundingClientRect();
    const apart = ({ x, y }) => Math.hypot(x - (event.clientX - left), y - (event.clientY - top));
    return placed.map((each) => ({ ...each, far: apart(each) })).filter((each) => each.far < NEAR).sort((a, b) => a.far - b.far);
  };
  /** The other marks that stand where this one does. */
  const hidden = (key) => {
    const mine = placed.find(({ point }) => point.key === key);
    return mine ? placed.filter((each) => each !== mine && Math.hypot(each.x - mine.x, each.y - mine.y) < SAME) : [];
  };

  function look(key) {
    lit = placed.some(({ point }) => point.key === key) ? key : "";
    const point = here().find((each) => each.key === lit);
    const mark = placed.find((each) => each.point === point);
    plane.picture.classList.toggle("pft-some", Boolean(lit));
    for (const each of box.querySelectorAll("[data-method]")) {
      each.classList.toggle("pft-same", Boolean(lit) && each.dataset.method === point.method);
      each.classList.toggle("pft-here", Boolean(lit) && each.dataset.key === lit);
    }
    box.dataset.lit = lit;
    plane.picture.querySelector(".pft-above")?.remove();
    tip.hidden = !mark;
    if (!mark) {
      told.textContent = HINT;
      return;
    }
    const others = hidden(point.key).map((each) => each.point.name);
    told.textContent = tell(point) + (others.length ? ` At the same place: ${others.join(", ")}.` : "");
    tip.replaceChildren();
    const title = html(tip, "p", { class: "pft-tip-title" });
    title.append(sign(styles[point.family].marker, point.family), ` ${point.name}`);
    html(tip, "p", {}, score(point));
    html(tip, "p", { class: "pft-quiet" }, `${grouped(point.trainable)} trained, ${percent(point.share)}`);
    if (compared() && difference(point)) html(tip, "p", { class: "pft-quiet" }, against(point, compared()));
    if (others.length) html(tip, "p", { class: "pft-quiet" }, `also here: ${others.slice(0, 3).join(", ")}${others.length > 3 ? " …" : ""}`);
    Object.assign(tip.style, spotFor(mark));
    const above = mark.g.cloneNode(true); // the others cannot hide it
    for (const name of ["data-key", "data-method", "role", "aria-label", "aria-pressed", "tabindex"]) above.removeAttribute(name);
    put(plane.picture, above, { class: "pft-mark pft-same pft-here pft-above", opacity: 1, "aria-hidden": "true" });
  }

  /** Where the words about a mark stand: beside it, where they hide the fewest other marks. */
  function spotFor({ x, y }) {
    const w = tip.offsetWidth, h = tip.offsetHeight, most = Math.max(0, plot.clientWidth - w);
    const inside = (value) => Math.max(0, Math.min(most, value));
    const spots = [[x + 16, y - h / 2], [x - 16 - w, y - h / 2], [inside(x - w / 2), y - h - 16], [inside(x - w / 2), y + 16],
      [x + 14, y - h - 6], [x + 14, y + 6], [x - 14 - w, y - h - 6], [x - 14 - w, y + 6]];
    const hides = ([left, top]) => (left < 0 || left > most || top < -40 ? 1000 : 0)
      + placed.filter((each) => each.x > left - 6 && each.x < left + w + 6 && each.y > top - 6 && each.y < top + h + 6).length;
    const [left, top] = spots.reduce((a, b) => (hides(b) < hides(a) ? b : a));
    return { left: `${inside(left)}px`, top: `${top}px` };
  }

  function open(key) {
    lit = "";
    assign(model, "opened", key === model.get("opened") ? "" : key);
  }

  /** A click means the nearest mark; a second one there, the next of those that it hides. */
  function click(event) {
    const there = nearest(event);
    if (!there.length) return;
    const heap = there.filter((each) => each.far < SAME || each === there[0]).map((each) => each.point.key);
    const now = heap.indexOf(model.get("opened"));
    const next = now < 0 ? heap[0] : heap[now + 1] ?? "";
    assign(model, "opened", next);
    const held = plane.picture.contains(document.activeElement) ? document.activeElement : null;
    const mark = placed.find(({ point }) => point.key === next)?.g;
    if (mark) mark.focus({ preventScroll: true });
    else held?.blur();
    look(next);
  }

  function walk(by) {
    const keys = cheapest(visible()).map((point) => point.key);
    const now = keys.indexOf(model.get("opened"));
    lit = keys[now < 0 ? (by > 0 ? 0 : keys.length - 1) : (now + by + keys.length) % keys.length] ?? "";
    assign(model, "opened", lit);
  }

  plane.picture.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    const there = nearest(event); // of marks that hide one another, the one that is open
    const kept = there.find(({ point, far }) => far < SAME && point.key === model.get("opened"));
    look((kept ?? there[0])?.point.key ?? "");
  });
  plane.picture.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && look(""));
  plane.picture.addEventListener("click", click);

  function fillNames() {
    const had = list.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    list.replaceChildren();
    const first = new Map();
    for (const point of ranked(visible())) if (!first.has(point.method)) first.set(point.method, point);
    const buttons = [...first.values()].map((point) => {
      const node = html(html(list, "li"), "button", { type: "button", "data-key": point.key, "data-method": point.method, "aria-pressed": point.key === model.get("opened") });
      node.append(sign(styles[point.family].marker, point.family), methods[point.method].title);
      html(node, "small", {}, scored(kind(), mean(point)));
      node.addEventListener("mouseleave", () => look(""));
      node.addEventListener("blur", () => look(""));
      node.addEventListener("click", () => open(point.key));
      return node;
    });
    reachable(buttons, (key) => look(key));
    if (had !== undefined) buttons.find((node) => node.dataset.key === had)?.focus();
  }

  // What is behind a mark

  function unfold() {
    behind.replaceChildren();
    const point = here().find((each) => each.key === model.get("opened"));
    if (!point) return;
    const method = methods[point.method], { chapter, source } = pages[point.method] ?? {};
    html(behind, "p", { class: "pft-title" }, point.name);
    html(behind, "p", {}, `${score(point)}; ${bill(point)}.`);
    for (const name of Object.keys(piece().references)) {
      const text = against(point, name);
      if (text) html(behind, "p", {}, `Seed by seed, ${text}.`);
    }
    const ways = html(behind, "p", { class: "pft-ways" });
    const root = document.documentElement.dataset.content_root;
    if (chapter && root !== undefined) html(ways, "a", { href: root + chapter }, "Read about it");
    if (source) html(html(ways, "a", { href: source.includes("://") ? source : root + source }), "code", {}, method.file);
    else html(ways, "code", {}, method.file);
    html(ways, "a", { href: method.url }, method.paper.replace(/\).*/, ")"));
    copied(behind, "Run it again", point.repeat);
    const text = (values) => Object.entries(values).map(([name, value]) => `${name} = ${value === null ? "none" : Array.isArray(value) ? value.join(", ") || "none" : value}`).join("; ");
    html(behind, "p", { class: "pft-small" }, `Settings: ${text(point.hyperparameters) || "none"}. Training: ${text(point.training)}.`);
    const rows = table(behind, "Runs");
    behind.querySelector("details").open = true;
    const lines = runs(point), names = Object.keys(point.scores).sort();
    rows(["Seed", ...names.map((name) => scores[name].axis), "Seconds", "Date", "Commit", "Device", "Called as"],
      lines.map(([seed, each, seconds, commit, date, device, command]) => [seed,
        ...each.map((value, i) => (value === null ? "–" : scored(scores[names[i]], value))), seconds.toFixed(1),
        date.slice(0, 10), commit.slice(0, 12) || "not recorded", piece().devices[device], piece().commands[command]]));
  }

  function draw() {
    where.show(String(comparisons.findIndex(place)));
    const number = comparisons.findIndex(place);
    if (number < 0) {
      note.textContent = `There are no results of ${model.get("task")} on ${model.get("base")} (${model.get("protocol")}). Choose from the list.`;
      plane.redraw();
      return;
    }
    if (!pieces[number]) {
      note.textContent = COMING;
      fetched(model, `tradeoff-${number}`).then((found) => {
        pieces[number] = found;
        draw();
        address.arrive();
      }, () => (note.textContent = MISSING));
      return;
    }
    metric.fill([...new Set(here().flatMap((point) => Object.keys(point.scores)))].map((name) => [name, scores[name].axis.replace(/, %$/, "")]));
    metric.show(model.get("metric"));
    reference.fill([["", "the scores"], ...Object.entries(piece().references).map(([name, [, title]]) => [name, `difference from ${title}`])]);
    reference.show(compared());
    if (!offered().includes(model.get("cost"))) model.set("cost", "trainable");
    cost.fill(offered().map((name) => [name, COSTS[name].name]));
    cost.show(model.get("cost"));
    budget.show(position());
    if (document.activeElement !== search) search.value = model.get("search");
    for (const [family, each] of Object.entries(boxes)) {
      each.show(model.get("families").includes(family));
      const alone = model.get("families").join() === family;
      each.only.textContent = alone ? "all" : "only";
      each.only.setAttribute("aria-label", alone ? "all families" : `only ${each.name}`);
    }
    const shown = visible(), afforded = affordable(), top = best();
    note.textContent = top
      ? `Best of ${afforded.length} within the budget (${sayBudget()}): ${tell(top)}${luck(afforded, top)}`
      : `Nothing of what is shown is within the budget (${sayBudget()}).`;
    small.textContent = legend();
    fill(["Method", "Trainable", "Share", "Memory", "Forgotten", kind().axis, "± 95 %", "Seeds", ...(compared() ? ["Difference", "± 95 %"] : [])],
      cheapest(shown).map((p) => [p.name, grouped(p.trainable), percent(p.share), bytes(p.memory),
        p.forgotten === null ? "–" : signed(p.forgotten, 3), scored(kind(), mean(p)), p.runs.length > 1 ? scored(kind(), half(p)) : "–", p.runs.length,
        ...(compared() ? difference(p)?.slice(0, 2).map((value) => (value === null ? "–" : scored(kind(), value))) ?? ["–", "–"] : [])]));
    const keys = (list) => list.map((point) => point.key).join(" ");
    Object.assign(box.dataset, { budget: model.get("budget") ?? "", visible: keys(cheapest(shown)), affordable: keys(cheapest(afforded)),
      front: keys(front()), best: top?.key ?? "", opened: model.get("opened"), costs: offered().join(" "), curves: curves(shown).map(([{ method }]) => method).join(" ") });
    fillNames();
    unfold();
    plane.redraw();
    address.keep();
  }

  /** Of many, the best by its mean was lucky in part. */
  function luck(list, top) {
    const name = Object.keys(piece().references).find((each) => piece().references[each][0] !== top.key);
    if (list.length < 10 || !name || !difference(top, name)) return "";
    return ` The highest of ${list.length} means owes a part to luck; it is ${against(top, name)}.`;
  }

  function legend() {
    const lines = compared()
      ? "Each mark: the mean over seeds of the difference from the reference, run against run of the same seed, with its 95 % interval. Hollow: zero is within it."
      : "Small dots: seeds. Bars: 95 % intervals of the mean over seeds. Grey steps: the Pareto front, which nothing beats in both.";
    const sizes = curves(drawn()).length ? " A line joins the sizes of one method." : "";
    const random = control() ? ` ${control().name}: ${written(kind(), control().mean)}.` : "";
    const clock = offered().includes("seconds") ? "" : " Time is no axis here: not all runs had one device in the same way.";
    return `${lines}${sizes} Faint: beyond the budget.${random}${clock}`;
  }

  const end = follow(model, CHOSEN, draw, plane);
  return () => {
    end();
    address.stop();
  };
}

/** The marker of a family, as a small picture. */
function sign(marker, family) {
  const small = svg(null, "svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" });
  svg(small, "path", { d: outline(marker, 8, 8, 5.5), fill: `var(--pft-${family})` });
  return small;
}

/**
 * The state in the address of the page, so that a view can be sent to somebody: what differs from
 * how the figure began. One figure of a page has it, the first.
 */
function addressed(model, box) {
  const none = { keep: () => {}, arrive: () => {}, stop: () => {} };
  const root = document.documentElement;
  if (root.dataset.content_root === undefined || document.querySelector(".pft-tradeoff") !== box) return none;
  const begin = Object.fromEntries(CHOSEN.map((name) => [name, model.get(name)]));
  const written = (value) => (Array.isArray(value) ? value.join(".") : String(value ?? ""));
  const read = (name, text) => (name === "families" ? text.split(".") : name === "budget" ? (text ? Number(text) : null) : text);
  let last = null, came = location.hash.startsWith(ADDRESS);
  const take = () => {
    if (!location.hash.startsWith(ADDRESS)) return;
    const given = new URLSearchParams(location.hash.slice(ADDRESS.length));
    for (const name of CHOSEN) model.set(name, given.has(name) ? read(name, given.get(name)) : begin[name]);
    if (!(model.get("cost") in COSTS)) model.set("cost", begin.cost);
    model.save_changes();
  };
  take();
  window.addEventListener("hashchange", take);
  return {
    keep() {
      const differs = CHOSEN.filter((name) => written(model.get(name)) !== written(begin[name]));
      const text = new URLSearchParams(differs.map((name) => [name, written(model.get(name))])).toString();
      if (last !== null && text !== last) history.replaceState(history.state, "", text ? ADDRESS + text : location.pathname + location.search);
      last = text;
    },
    arrive() {
      if (came) box.scrollIntoView();
      came = false;
    },
    stop: () => window.removeEventListener("hashchange", take),
  };
}

/** A command with a button that copies it. */
function copied(parent, title, text) {
  const line = html(parent, "div", { class: "pft-command" });
  html(line, "span", {}, title);
  const code = html(line, "code", { tabindex: 0 }, text);
  const copy = button(line, "Copy", () => {
    const select = () => {
      getSelection().selectAllChildren(code);
      copy.show(document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C");
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => copy.show("Copied"), select);
    else select();
  });
}

export default { render };
