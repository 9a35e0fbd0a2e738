// Four bits a weight: the levels over a histogram of weights, and the error against the block.

const BINS = 61;
const FORMATS = { NF4: ["frozen-edge", ""], int4: ["text", "7 4"], fp4: ["quiet", "2 4"] };

/** The level nearest to `value`; of two equally near ones the lower. */
function nearest(levels, value) {
  let best = levels[0];
  for (const level of levels) if (Math.abs(level - value) < Math.abs(best - value)) best = level;
  return best;
}

/** ‖W − W'‖ / ‖W‖, blocks rounded to `levels` times their largest size. */
export function error(weights, levels, block) {
  let wrong = 0, all = 0;
  for (let start = 0; start < weights.length; start += block) {
    const part = weights.slice(start, start + block);
    const largest = Math.max(...part.map(Math.abs)) || 1;
    for (const weight of part) {
      wrong += (weight - largest * nearest(levels, weight / largest)) ** 2;
      all += weight ** 2;
    }
  }
  return Math.sqrt(wrong / (all || 1));
}

function render({ model, el }) {
  const weights = unpacked(model.get("weights")).flat(), levels = model.get("levels"), names = model.get("names");
  const blocks = Array.from({ length: 9 }, (_, k) => 2 ** (k + 4));
  const errors = Object.fromEntries(names.map((name) => [name, blocks.map((block) => error(weights, levels[name], block))]));
  const box = frame(el, "pft-nf4", "Four bits a weight");
  const fields = html(box, "div", { class: "pft-fields" });
  const format = choice(fields, "Format", names.map((name) => [name, name]), (name) => assign(model, "format", name));
  const range = slider(fields, "Weights in a block", { low: 4, high: 12 }, (k) => `${2 ** k}`, (k) => assign(model, "block", 2 ** k));
  const note = spoken(box);
  const first = html(box, "div", { class: "pft-plot" });
  const histogram = drawing(first, "Histogram of the weights, each divided by the largest of its block, and the levels", 200, paintWeights, "img");
  const second = html(box, "div", { class: "pft-plot" });
  const chart = drawing(second, "Error against the size of a block, a line for each format", 260, paintErrors);
  const key = html(box, "ul", { class: "pft-key", "aria-label": "Lines" });
  for (const name of names) {
    const entry = html(key, "li"), [colour, dashes] = FORMATS[name];
    const sign = svg(entry, "svg", { viewBox: "0 0 28 14", "aria-hidden": "true" });
    sign.style.width = "28px";
    svg(sign, "path", { d: "M0,7H28", stroke: `var(--pft-${colour})`, "stroke-width": 2.5, "stroke-dasharray": dashes });
    html(entry, "span", {}, name);
  }
  const told = spoken(box);
  told.textContent = HINT;
  const fill = table(box, "Data table");

  function scaled() {
    const block = model.get("block"), found = [];
    for (let start = 0; start < weights.length; start += block) {
      const part = weights.slice(start, start + block), largest = Math.max(...part.map(Math.abs)) || 1;
      part.forEach((weight) => found.push(weight / largest));
    }
    return found;
  }
  function paintWeights(picture, width) {
    const at = { left: 46, right: width - 14, top: 12, bottom: 158 };
    const counts = new Array(BINS).fill(0);
    for (const value of scaled()) counts[Math.min(BINS - 1, Math.floor(((value + 1) / 2) * BINS))]++;
    const across = linear([-1, 1], [at.left, at.right]), most = Math.max(...counts), up = linear([0, most], [at.bottom, at.top]);
    axes(picture, at,
      { scale: across, label: "weight / largest of its block", ticks: [-1, -0.5, 0, 0.5, 1].map((t) => [t, `${t}`]) },
      { scale: up, label: "weights", ticks: ticks(0, most, 3).map((t) => [t, short(t)]) });
    const thick = (at.right - at.left) / BINS;
    counts.forEach((count, i) => svg(picture, "rect", {
      x: at.left + i * thick, y: up(count), width: Math.max(1, thick - 1), height: at.bottom - up(count), fill: "var(--pft-edge)", opacity: 0.55,
    }));
    for (const level of levels[model.get("format")]) {
      svg(picture, "path", { class: "pft-level", d: `M${across(level)},${at.top}V${at.bottom}`, stroke: `var(--pft-${FORMATS[model.get("format")][0]})`, "stroke-width": 1.5 });
    }
  }
  function paintErrors(picture, width) {
    const at = { left: 46, right: width - 14, top: 12, bottom: 214 };
    const across = linear([4, 12], [at.left + 8, at.right - 8]), most = Math.max(...names.flatMap((name) => errors[name])) * 1.05;
    const up = linear([0, most], [at.bottom, at.top]);
    axes(picture, at,
      { scale: across, label: "weights in a block", ticks: blocks.filter((_, i) => width > 420 || i % 2 === 0).map((b) => [Math.log2(b), `${b}`]) },
      { scale: up, label: "error, % of the norm", ticks: ticks(0, most, 5).map((t) => [t, `${Number((100 * t).toPrecision(3))}`]) });
    const marks = [];
    for (const name of names) {
      const [colour, dashes] = FORMATS[name];
      const path = errors[name].map((value, i) => `${across(i + 4)},${up(value)}`).join("L");
      svg(picture, "path", { d: `M${path}`, fill: "none", stroke: `var(--pft-${colour})`, "stroke-width": 2, "stroke-dasharray": dashes });
      errors[name].forEach((value, i) => {
        const chosen = name === model.get("format") && blocks[i] === model.get("block");
        const g = svg(picture, "g", { "data-key": `${name} ${blocks[i]}`, role: "button", "aria-pressed": chosen, class: chosen ? "pft-chosen" : "",
          "aria-label": `${name}, blocks of ${blocks[i]}: error ${percent(value)} of the norm` });
        svg(g, "circle", { class: "pft-halo", cx: across(i + 4), cy: up(value), r: 11 });
        svg(g, "circle", { cx: across(i + 4), cy: up(value), r: 4, fill: `var(--pft-${colour})` });
        marks.push(g);
      });
    }
    reachable(marks, (key) => (told.textContent = marks.find((m) => m.dataset.key === key).getAttribute("aria-label")), (key) => {
      const [name, block] = key.split(" ");
      model.set("format", name);
      assign(model, "block", Number(block));
    });
  }
  function draw() {
    const name = model.get("format"), block = model.get("block"), i = blocks.indexOf(block);
    format.show(name);
    range.show(Math.log2(block));
    const others = names.filter((each) => each !== name).map((each) => `${each} ${percent(errors[each][i])}`);
    note.textContent = `${name} in blocks of ${block}: error ${percent(errors[name][i])} of the norm (${others.join(", ")}), `
      + `${Number((4 + 32 / block).toPrecision(4))} bits a weight with a constant of 32 bits a block.`;
    fill(["Block", ...names], blocks.map((each, k) => [each, ...names.map((n) => percent(errors[n][k]))]));
    Object.assign(box.dataset, { error: errors[name][i], bits: 4 + 32 / block, levels: levels[name].length });
    histogram.redraw();
    chart.redraw();
  }
  return follow(model, ["format", "block"], draw, histogram, chart);
}

export default { render };
