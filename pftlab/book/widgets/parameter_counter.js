// How many parameters a method trains, and what a training step then holds in memory.

const PARTS = {
  weights: "weights", gradients: "gradients", optimiser: "AdamW's state",
  activations: "kept for the backward pass",
};
const NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8;
// bytes of a weight, a gradient, and the optimiser's state for a trained parameter
const BYTES = { 32: [4, 4, 8], 16: [2, 2, 12], 4: [2, 2, 12] };
// the entries of a row of costs: see `Cost` in pftlab/experiments/costs.py
const COST = ["trainable", "added", "other", "stored", "packable", "token", "text", "step"];

const equal = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** The cost of a method as it is set; a text says why there is none. */
export function cost(rows, controls, settings) {
  if (typeof rows === "string") return rows;
  const place = controls.reduce((at, { name, values }) =>
    at * values.length + values.findIndex((value) => equal(value, settings[name])), 0);
  if (!rows[place]?.length) return "Set so, the method does not go with this model.";
  return Object.fromEntries(COST.map((name, i) => [name, rows[place][i]]));
}

/** Bytes of a training step, by what they are: an estimate. */
export function memory(cost, total, { precision, batch, length }) {
  const [weight, gradient, optimiser] = BYTES[precision];
  const packed = precision === "4" ? cost.packable : 0;
  return {
    weights: NF4_BYTES * packed + weight * (total - packed + cost.added) + cost.other,
    gradients: gradient * cost.trainable,
    optimiser: optimiser * cost.trainable,
    activations: weight * (cost.step + batch * (cost.text + length * cost.token)),
  };
}

function render({ model, el }) {
  const box = frame(el, "pft-counter", "What a method trains, and what training holds in memory");
  const models = model.get("models"), methods = model.get("methods");
  const method = () => methods.find((each) => each.name === model.get("method"));
  const settings = () => model.get("settings")[model.get("method")];

  const fields = html(box, "div", { class: "pft-fields" });
  const base = choice(fields, "Model", model.get("order").map((name) => [name, `${name} (${short(models[name].total)})`]),
    (value) => assign(model, "base", value));
  const which = choice(fields, "Method", methods.map(({ name, title }) => [name, title]),
    (value) => assign(model, "method", value));
  const own = html(box, "div", { class: "pft-fields" });
  const training = html(box, "div", { class: "pft-fields" });
  const precision = choice(training, "Frozen weights",
    [["32", "32 bits"], ["16", "16 bits"], ["4", "4 bits (NF4)"]], (value) => assign(model, "precision", value));
  const batch = slider(training, "Sequences in a step", { low: 0, high: 7 }, (k) => `${2 ** k}`,
    (k) => assign(model, "batch", 2 ** k));
  const length = slider(training, "Tokens in each", { low: 5, high: 13 }, (k) => `${2 ** k}`,
    (k) => assign(model, "length_of_text", 2 ** k));

  const numbers = html(box, "div", { class: "pft-numbers" });
  const number = (name) => {
    const place = html(numbers, "div");
    html(place, "p", { class: "pft-small" }, name);
    return [html(place, "p", { class: "pft-large" }), html(place, "p", { class: "pft-small" })];
  };
  const trainable = number("Trainable parameters");
  const file = number("Checkpoint");
  const held = number("Training memory, estimated");
  const note = spoken(box);

  const plot = html(box, "div", { class: "pft-plot" });
  const bars = drawing(plot, "Training memory as stacked bars", 132, paint);
  const key = html(plot, "ul", { class: "pft-key", "aria-label": "Colours" });
  for (const [part, words] of Object.entries(PARTS)) {
    const entry = html(key, "li");
    svg(svg(entry, "svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }), "rect",
      { width: 14, height: 14, fill: `var(--pft-${part})` });
    html(entry, "span", {}, words);
  }
  const told = spoken(box);
  told.textContent = HINT;
  html(box, "p", { class: "pft-small" },
    "Activations are those of the layers alone, for attention that does not store its scores, "
    + "without dropout and checkpointing. With 4 bits, what is trained still has 16.");
  const fill = table(box, "Data table");

  let made = "";
  const controls = {};
  function build() {
    if (made === model.get("method")) return;
    made = model.get("method");
    own.replaceChildren();
    for (const name of Object.keys(controls)) delete controls[name];
    const change = (name, value) => assign(model, "settings",
      { ...model.get("settings"), [made]: { ...settings(), [name]: value } });
    for (const { name, label, values, words } of method().controls) {
      const place = (value) => values.findIndex((each) => equal(each, value));
      const set = (i) => change(name, values[i]);
      const control = values.some((value) => typeof value !== "number")
        ? choice(own, label, words.map((text, i) => [i, text]), set)
        : slider(own, label, { low: 0, high: values.length - 1 }, (i) => words[i], set);
      controls[name] = (value) => control.show(place(value));
    }
  }

  const known = {}; // model → method → rows of costs
  const title = (name) => methods.find((each) => each.name === name).title;
  const priced = (name) => cost(known[model.get("base")][name],
    methods.find((each) => each.name === name).controls, model.get("settings")[name]);
  /** The methods that are compared, as far as they go with the model: [title, bytes by part]. */
  function rows() {
    const { total } = models[model.get("base")];
    const options = { precision: model.get("precision"), batch: model.get("batch"), length: model.get("length_of_text") };
    return [...new Set([method().name, model.get("reference")])].map((name) => [title(name), priced(name)])
      .filter(([, each]) => typeof each !== "string")
      .map(([name, each]) => [name, memory(each, total, options)]);
  }
  const whole = (parts) => Object.values(parts).reduce((a, b) => a + b, 0);

  function paint(picture, width) {
    if (!known[model.get("base")]) return;
    const stacks = rows(), most = Math.max(...stacks.map(([, parts]) => whole(parts)));
    const x = linear([0, most], [0, width - 76]);
    stacks.forEach(([name, parts], i) => {
      const y = 8 + i * 60, words = Object.keys(PARTS).map((part) => `${PARTS[part]} ${bytes(parts[part])}`);
      const bar = svg(picture, "g", { "data-key": i, role: "img", "aria-label": `${name}: ${bytes(whole(parts))}; ${words.join(", ")}` });
      svg(bar, "text", { x: 0, y: y + 10 }, name);
      let from = 0;
      for (const part of Object.keys(PARTS)) {
        svg(bar, "rect", { x: x(from), y: y + 16, width: x(parts[part]), height: 26, fill: `var(--pft-${part})`, stroke: "var(--pft-back)" });
        from += parts[part];
      }
      svg(bar, "rect", { class: "pft-halo", x: 0, y: y + 16, width: Math.max(2, x(from)), height: 26 });
      svg(bar, "text", { x: x(from) + 6, y: y + 34 }, bytes(from));
    });
    const marks = [...picture.querySelectorAll("g")];
    reachable(marks, (i) => (told.textContent = marks[i].getAttribute("aria-label")));
  }

  function draw() {
    build();
    const name = model.get("base"), shape = models[name];
    base.show(name);
    which.show(model.get("method"));
    precision.show(model.get("precision"));
    batch.show(Math.log2(model.get("batch")));
    length.show(Math.log2(model.get("length_of_text")));
    for (const [each, show] of Object.entries(controls)) show(settings()[each]);
    if (!known[name]) {
      note.textContent = COMING;
      fetched(model, `costs-${name}`).then((costs) => {
        known[name] = costs;
        draw();
      }, () => (note.textContent = MISSING));
      return;
    }
    const width = model.get("precision") === "32" ? 4 : 2, counted = priced(method().name);
    const stacks = rows(), sums = stacks.map(([, parts]) => whole(parts)), full = sums.at(-1);
    const there = typeof counted !== "string", all = shape.total + (there ? counted.added : 0);
    const words = there
      ? [grouped(counted.trainable), `${percent(counted.trainable / all)} of ${short(all)}`,
        bytes(width * counted.stored), `full: ${bytes(width * shape.total)}`,
        bytes(sums[0]), `${percent(sums[0] / full)} of ${title(model.get("reference")).toLowerCase()}`]
      : ["–", "", "–", "", "–", ""];
    [trainable, file, held].flat().forEach((place, i) => (place.textContent = words[i]));
    note.textContent = there ? `${method().title} trains ${grouped(counted.trainable)} parameters of ${name}.` : counted;
    fill(["Training", ...Object.values(PARTS), "sum"],
      stacks.map(([each, parts]) => [each, ...Object.keys(PARTS).map((part) => bytes(parts[part])), bytes(whole(parts))]));
    Object.assign(box.dataset, {
      trainable: there ? counted.trainable : "", total: all, checkpoint: there ? width * counted.stored : "",
      memory: JSON.stringify(stacks.map(([, parts]) => parts)),
    });
    bars.redraw();
  }
  return follow(model, ["base", "method", "settings", "precision", "batch", "length_of_text"], draw, bars);
}

export default { render };
