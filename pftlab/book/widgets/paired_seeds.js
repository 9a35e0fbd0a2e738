// Runs with many seeds, of which some are drawn: three intervals for one difference.

const KINDS = { unpaired: "unpaired", paired: "paired", "with texts": "paired, with texts" };
const DRAWS = 1000;

/** mulberry32: the same numbers as `random_numbers` in Python gives. */
function randomNumbers(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
const variance = (list, middle = mean(list)) => list.reduce((sum, x) => sum + (x - middle) ** 2, 0) / (list.length - 1);
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`;

function render({ model, el }) {
  const names = model.get("names"), titles = Object.fromEntries(names), seeds = model.get("seeds");
  const scores = Object.fromEntries(Object.entries(model.get("scores")).map(([name, row]) => [name, unpacked([row])[0]]));
  const [quantiles] = unpacked([model.get("quantiles")]), freedoms = model.get("texts") - 1;
  const box = frame(el, "pft-seeds", "Draw seeds: what do they say about the difference?");
  const fields = html(box, "div", { class: "pft-fields" });
  const method = choice(fields, "Method", names, (name) => assign(model, "method", name));
  const other = choice(fields, "against", names, (name) => assign(model, "other", name));
  const lower = html(box, "div", { class: "pft-fields" });
  const count = slider(lower, "Seeds", { low: 2, high: Math.min(10, seeds.length) }, (n) => `${n} of ${seeds.length}`,
    (n) => assign(model, "count", n));
  button(lower, "Draw other seeds", () => assign(model, "draw", (model.get("draw") % DRAWS) + 1));
  const note = spoken(box);
  const upper = html(box, "div", { class: "pft-plot" });
  const pairs = drawing(upper, "The scores of the two methods; a line joins the runs of one seed", 224, paintPairs);
  const under = html(box, "div", { class: "pft-plot" });
  const bars = drawing(under, "Three intervals for the difference", 176, paintIntervals);
  const told = spoken(box);
  told.textContent = HINT;
  html(box, "p", { class: "pft-small" }, `Strong lines: the seeds that were drawn; faint ones: the others. Dashed: the difference over all ${seeds.length}.`);
  const fill = table(box, "Data table");

  const both = () => [scores[model.get("method")], scores[model.get("other")]];
  const whole = () => { const [a, b] = both(); return mean(a) - mean(b); };

  function chosen(draw) {
    const places = seeds.map((_, i) => i), number = randomNumbers(draw), wanted = model.get("count");
    for (let i = 0; i < wanted; i++) {
      const j = i + Math.floor(number() * (places.length - i));
      [places[i], places[j]] = [places[j], places[i]];
    }
    return places.slice(0, wanted).sort((a, b) => a - b);
  }

  /** Half of an interval from variances and their degrees of freedom. */
  function half(parts) {
    const sum = parts.reduce((total, [v]) => total + v, 0);
    if (!sum) return 0;
    const freedom = sum ** 2 / parts.reduce((total, [v, free]) => total + v ** 2 / free, 0);
    return quantiles[Math.min(quantiles.length, Math.max(1, Math.floor(freedom + 1e-9))) - 1] * Math.sqrt(sum);
  }

  function intervals(draw) {
    const [a, b] = both().map((row) => chosen(draw).map((place) => row[place]));
    const apart = a.map((x, i) => x - b[i]), n = apart.length, alone = n - 1, v = variance(apart) / n;
    const pair = [model.get("method"), model.get("other")].sort().join(" ");
    const text = (model.get("errors")[pair] ?? 0) ** 2, middle = mean(apart);
    const parts = {
      unpaired: [[variance(a) / n, alone], [variance(b) / n, alone]],
      paired: [[v, alone]],
      "with texts": [[v, alone], [text, freedoms]],
    };
    return Object.entries(parts).map(([kind, each]) => [kind, middle, half(each)]);
  }

  function paintPairs(picture, width) {
    const [a, b] = both(), all = [...a, ...b], drawn = new Set(chosen(model.get("draw")));
    const at = { left: 46, right: width - 16, top: 10, bottom: 190 };
    const up = linear([Math.min(...all) - 0.5, Math.max(...all) + 0.5], [at.bottom, at.top]);
    const x = [at.left + (at.right - at.left) * 0.2, at.left + (at.right - at.left) * 0.8];
    axes(picture, at, { scale: (value) => value, label: "", ticks: [] },
      { scale: up, label: model.get("axis"), ticks: ticks(Math.min(...all), Math.max(...all), 5).map((t) => [t, `${Number(t.toPrecision(3))}`]) });
    [model.get("method"), model.get("other")].forEach((name, i) =>
      svg(picture, "text", { x: x[i], y: at.bottom + 22, "text-anchor": "middle" }, titles[name]));
    const marks = [];
    for (const strong of [false, true]) {
      seeds.forEach((seed, i) => {
        if (drawn.has(i) !== strong) return;
        const g = svg(picture, "g", strong ? { "data-key": seed, role: "img", "aria-label": say(i) } : {});
        const line = `M${x[0]},${up(a[i])}L${x[1]},${up(b[i])}`;
        if (strong) svg(g, "path", { class: "pft-halo", d: line, "stroke-width": 12 });
        svg(g, "path", { d: line, fill: "none", stroke: `var(--pft-${strong ? "strong" : "line"})`, "stroke-width": strong ? 2 : 1 });
        for (const [place, score] of [[x[0], a[i]], [x[1], b[i]]]) {
          svg(g, "circle", { cx: place, cy: up(score), r: strong ? 4 : 2, fill: `var(--pft-${strong ? "strong" : "edge"})` });
        }
        if (strong) marks.push(g);
      });
    }
    reachable(marks, (seed) => (told.textContent = say(seeds.indexOf(Number(seed)))));
  }
  function say(place) {
    const [a, b] = both();
    return `Seed ${seeds[place]}: ${titles[model.get("method")]} ${a[place].toFixed(1)}, `
      + `${titles[model.get("other")]} ${b[place].toFixed(1)}, difference ${signed(a[place] - b[place])}.`;
  }

  function paintIntervals(picture, width) {
    const found = intervals(model.get("draw")), truth = whole();
    const ends = [0, truth, ...found.flatMap(([, middle, h]) => [middle - h, middle + h])];
    const at = { left: 12, right: width - 12, top: 6, bottom: 138 };
    const across = linear([Math.min(...ends) - 0.5, Math.max(...ends) + 0.5], [at.left, at.right]);
    axes(picture, at,
      { scale: across, label: "difference, points", ticks: ticks(Math.min(...ends), Math.max(...ends), width < 420 ? 5 : 8).map((t) => [t, `${Number(t.toPrecision(3))}`]) },
      { scale: (value) => value, label: "", ticks: [] });
    svg(picture, "path", { class: "pft-edge", d: `M${across(0)},${at.top}V${at.bottom}` });
    svg(picture, "path", { class: "pft-edge", "stroke-dasharray": "5 4", d: `M${across(truth)},${at.top}V${at.bottom}` });
    const marks = found.map(([kind, middle, h], i) => {
      const y = at.top + 30 + 44 * i, out = Math.abs(middle) > h;
      const g = svg(picture, "g", { "data-key": kind, role: "img", "aria-label": tell(kind, middle, h) });
      svg(g, "rect", { class: "pft-halo", x: across(middle - h) - 4, y: y - 10, width: Math.max(8, across(middle + h) - across(middle - h) + 8), height: 20 });
      svg(g, "path", { d: `M${across(middle - h)},${y}H${across(middle + h)}m0,-5v10M${across(middle - h)},${y - 5}v10`, fill: "none",
        stroke: `var(--pft-${out ? "strong" : "quiet"})`, "stroke-width": 2 });
      svg(g, "circle", { cx: across(middle), cy: y, r: 4.5, fill: `var(--pft-${out ? "strong" : "back"})`, stroke: `var(--pft-${out ? "strong" : "quiet"})`, "stroke-width": 2 });
      svg(g, "text", { class: "pft-label", x: Math.min(Math.max(across(middle), at.left + 54), at.right - 54), y: y - 12, "text-anchor": "middle" }, KINDS[kind]);
      return g;
    });
    reachable(marks, (kind) => {
      const [, middle, h] = intervals(model.get("draw")).find(([each]) => each === kind);
      told.textContent = tell(kind, middle, h);
    });
  }
  const tell = (kind, middle, h) => `${KINDS[kind]}: ${signed(middle)} ± ${h.toFixed(1)} points; `
    + (Math.abs(middle) > h ? "zero is left out." : "zero is inside: we cannot tell.");

  /** The share of many draws in which each interval leaves zero out. */
  function shares() {
    const out = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, 0]));
    for (let draw = 1; draw <= DRAWS; draw++) {
      for (const [kind, middle, h] of intervals(draw)) out[kind] += Math.abs(middle) > h;
    }
    return Object.fromEntries(Object.entries(out).map(([kind, times]) => [kind, times / DRAWS]));
  }

  function draw() {
    const found = intervals(model.get("draw")), places = chosen(model.get("draw")), [a, b] = both();
    method.show(model.get("method"));
    other.show(model.get("other"));
    count.show(model.get("count"));
    const share = shares();
    const which = `${titles[model.get("method")]} minus ${titles[model.get("other")]}`;
    note.textContent = model.get("method") === model.get("other") ? "Choose two methods to compare."
      : `${which}: ${signed(found[0][1])} by the seeds ${places.map((i) => seeds[i]).join(", ")}; ${signed(whole())} by all ${seeds.length}. `
        + `Of ${grouped(DRAWS)} draws of ${model.get("count")} seeds, zero is left out by ${Math.round(100 * share.unpaired)} % unpaired, `
        + `${Math.round(100 * share.paired)} % paired, ${Math.round(100 * share["with texts"])} % paired with texts.`;
    fill(["Seed", titles[model.get("method")], titles[model.get("other")], "Difference"],
      places.map((i) => [seeds[i], a[i].toFixed(1), b[i].toFixed(1), signed(a[i] - b[i])]));
    Object.assign(box.dataset, {
      places: places.join(" "), halves: found.map(([, , h]) => h).join(" "), middle: found[0][1],
      told: Object.values(share).join(" "),
    });
    pairs.redraw();
    bars.redraw();
  }
  return follow(model, ["method", "other", "count", "draw"], draw, pairs, bars);
}

export default { render };
