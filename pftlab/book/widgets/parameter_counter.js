// How many parameters a method trains, and what a training step then holds in memory.

const PARTS = {
  weights: "weights", gradients: "gradients", optimiser: "AdamW's state",
  activations: "kept for the backward pass",
};
const NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8;
// bytes of a weight, a gradient, and the optimiser's state for a trained parameter
const BYTES = { 32: [4, 4, 8], 16: [2, 2, 12], 4: [2, 2, 12] };
const WORDS = {
  rank: "Rank", start_rank: "Rank at the start", at: "Sites", bottleneck: "Bottleneck", length: "Length",
  hidden: "Its network", count: "Layers", block: "Block", frequencies: "Frequencies",
};

/** A bottleneck of width m in a stream of width d: two matrices and two biases. */
const bottleneck = (d, m) => 2 * d * m + m + d;
/** The same with hypercomplex layers of 4 terms and rank 1: s, t and a bias, twice. */
const hypercomplex = (d, m) => 2 * (d + m) + m + d;
const prefix = (model, length) => 2 * model.keys * length * model.layers;
const places = (model, at) => at.filter((place) => place in model.sites);

/** The sum of `size(d_in, d_out)` over the maps at these places of every layer. */
const sum = (model, at, size) =>
  model.layers * places(model, at).reduce((all, place) => all + size(...model.sites[place]), 0);
/** [m, n] with m n = width, m the divisor next to the square root from below. */
function factors(width) {
  let m = Math.floor(Math.sqrt(width));
  while (width % m) m--;
  return [m, width / m];
}
/** Two factors of a Kronecker product; the second is of low rank, where that is smaller. */
function kronecker(d_in, d_out, rank) {
  const [[a, b], [l, k]] = [factors(d_in), factors(d_out)];
  return l * a + (rank < Math.max(k, b) / 2 ? rank * (k + b) : k * b);
}

const QV = ["attention.query", "attention.value"];
// method → [parameters that it adds, parameters of the base that it trains, of the added frozen]
const FORMULAS = {
  full: (m) => [0, m.total],
  top_layers: (m, { count }) => [0, Math.min(count, m.layers) * m.layer + m.behind],
  bitfit: (m) => [0, m.biases],
  layer_norm: (m) => [0, m.norms],
  lora: (m, { rank, at }) => [sum(m, at, (i, o) => rank * (i + o)), 0],
  lora_fa: (m, { rank, at }) => [sum(m, at, (i, o) => rank * (i + o)), 0, sum(m, at, (i) => rank * i)],
  dora: (m, { rank, at }) => [sum(m, at, (i, o) => rank * (i + o) + o), 0],
  adalora: (m, { start_rank, at }) => [sum(m, at, (i, o) => start_rank * (i + o + 1)), 0],
  vera: (m, { rank, at }) => [sum(m, at, (i, o) => rank + o), 0],
  loha: (m, { rank, at }) => [sum(m, at, (i, o) => 2 * rank * (i + o)), 0],
  lokr: (m, { rank, at }) => [sum(m, at, (i, o) => kronecker(i, o, rank)), 0],
  oft: (m, { block, at }) => [sum(m, at, (i) => (i * (block - 1)) / 2), 0],
  fourierft: (m, { frequencies }) => [sum(m, QV, () => frequencies), 0],
  houlsby: (m, s) => [2 * m.layers * bottleneck(m.width, s.bottleneck), m.norms],
  pfeiffer: (m, s) => [m.layers * bottleneck(m.width, s.bottleneck), 0],
  parallel: (m, s) => [m.layers * bottleneck(m.width, s.bottleneck), 0],
  residual: (m, s) => [m.layers * (bottleneck(m.width, s.bottleneck) + 2 * m.width), 0],
  adapter_plus: (m, s) => [m.layers * (bottleneck(m.width, s.bottleneck) + m.width), 0],
  compacter: (m, s) => [4 ** 3 + 2 * m.layers * hypercomplex(m.width, s.bottleneck), m.norms],
  compacter_plus_plus: (m, s) => [4 ** 3 + m.layers * hypercomplex(m.width, s.bottleneck), m.norms],
  prompt_tuning: (m, s) => [s.length * m.width, 0],
  prefix_tuning: (m, { length, hidden }) => {
    if (hidden === null) return [prefix(m, length), 0];
    const made = prefix(m, 1); // keys and values of one position, in all layers
    return [length * m.width + (m.width + 1) * hidden + (hidden + 1) * made, 0];
  },
  p_tuning_v2: (m, s) => [prefix(m, s.length), 0],
  llama_adapter: (m, s) => [m.layers * (s.length * m.width + m.heads), 0],
  ia3: (m) => [m.layers * (2 * m.keys + m.inner), 0],
  mam: (m, s) => [FORMULAS.prefix_tuning(m, s)[0] + FORMULAS.parallel(m, s)[0], 0],
  loreft: (m, { rank }) => [m.layers * rank * (2 * m.width + 1), 0],
};

/** { trainable, added, total }; trainable is 0 where the method has nothing to train. */
export function count(model, method, settings) {
  const [added, opened, still = 0] = FORMULAS[method](model, settings);
  return { trainable: added - still + opened, added, total: model.total + added, stored: added + opened };
}

/** Numbers a token that one layer keeps for the backward pass. */
function kept(model, method, settings) {
  const { width, query, keys, inner } = model;
  const always = 2 * width + 2 * query + 2 * keys + model.middle * inner, full = always + 2 * width + inner;
  if (method === "full") return full;
  if (method === "top_layers") return full * Math.min(1, settings.count / model.layers);
  return always + beside(model, method, settings);
}

/** Widths of what linear maps at these places read; those that read the same share it. */
function inputs(model, at) {
  const any = (...names) => (names.some((name) => at.includes(name)) ? 1 : 0);
  return model.width * (any("attention.query", "attention.key", "attention.value") + any("ffn.gate", "ffn.up"))
    + model.query * any("attention.output") + model.inner * any("ffn.down");
}

/** What a method's own modules keep of it. */
function beside(model, method, settings) {
  const { width, query, keys, inner } = model, middle = settings.bottleneck, rank = settings.rank ?? settings.start_rank;
  const at = places(model, settings.at ?? QV), ranks = rank * at.length;
  const all = (size) => at.reduce((total, place) => total + size(...model.sites[place]), 0), out = all((i, o) => o);
  switch (method) {
    case "lora": case "adalora": return inputs(model, at) + ranks;
    case "lora_fa": return ranks;
    case "dora": return inputs(model, at) + ranks + 2 * out;
    case "vera": return ranks + out;
    case "lokr": return inputs(model, at) + all((i, o) => factors(o)[0] * factors(i)[1]);
    case "loha": case "oft": case "fourierft": return inputs(model, at);
    case "houlsby": case "compacter": return 2 * (width + 2 * middle);
    case "compacter_plus_plus": return width + 2 * middle;
    case "pfeiffer": case "parallel": case "mam": return width + middle; // their ReLU keeps its output alone
    case "residual": return 2 * width + middle;
    case "adapter_plus": return 2 * (width + middle);
    case "llama_adapter": return query + 2 * model.heads * settings.length;
    case "loreft": return width + 2 * rank;
    case "ia3": return 2 * keys + inner;
    default: return 0;
  }
}

/** Bytes of a training step, by what they are: an estimate. */
export function memory(model, method, settings, { precision, batch, length }) {
  const { trainable, added } = count(model, method, settings);
  const [weight, gradient, optimiser] = BYTES[precision];
  const packed = precision === "4" && method !== "full" ? model.linear : 0;
  const tokens = batch * (length + (method === "prompt_tuning" ? settings.length : 0));
  let numbers = tokens * kept(model, method, settings);
  if (["prefix_tuning", "p_tuning_v2", "mam"].includes(method)) numbers += batch * settings.length * 2 * model.keys;
  let frozen = model.total - packed + added;
  if (method === "vera") { // the random matrices that all layers share, sized for the largest
    const ends = places(model, settings.at).map((place) => model.sites[place]);
    frozen += settings.rank * (Math.max(...ends.map(([i]) => i)) + Math.max(...ends.map(([, o]) => o)));
  }
  return {
    weights: NF4_BYTES * packed + weight * frozen,
    gradients: gradient * trainable,
    optimiser: optimiser * trainable,
    activations: weight * model.layers * numbers,
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
    + "without dropout and checkpointing. With 4 bits, full fine-tuning still has 16.");
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
    for (const { name, values, words } of method().controls) {
      const place = (value) => {
        const found = values.findIndex((each) => JSON.stringify(each) === JSON.stringify(value));
        if (found >= 0 || words) return found;
        return values.filter((each) => each <= value).length - 1; // set from Python, between two
      };
      if (words) {
        const list = choice(own, WORDS[name], words.map((text, i) => [i, text]), (i) => change(name, values[i]));
        controls[name] = (value) => list.show(place(value));
      } else {
        const range = slider(own, WORDS[name], { low: 0, high: values.length - 1 }, (i) => grouped(settings()[name]),
          (i) => change(name, values[i]));
        controls[name] = (value) => range.show(place(value));
      }
    }
  }

  function rows() {
    const shape = models[model.get("base")];
    const options = { precision: model.get("precision"), batch: model.get("batch"), length: model.get("length_of_text") };
    return [
      [method().title, memory(shape, method().name, settings(), options)],
      ["Full fine-tuning", memory(shape, "full", {}, options)],
    ];
  }
  const whole = (parts) => Object.values(parts).reduce((a, b) => a + b, 0);

  function paint(picture, width) {
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
    const shape = models[model.get("base")], counted = count(shape, method().name, settings());
    base.show(model.get("base"));
    which.show(model.get("method"));
    precision.show(model.get("precision"));
    batch.show(Math.log2(model.get("batch")));
    length.show(Math.log2(model.get("length_of_text")));
    for (const [name, show] of Object.entries(controls)) show(settings()[name]);
    const width = model.get("precision") === "32" ? 4 : 2;
    const stacks = rows(), [mine, full] = stacks.map(([, parts]) => whole(parts));
    trainable[0].textContent = grouped(counted.trainable);
    trainable[1].textContent = `${percent(counted.trainable / counted.total)} of ${short(counted.total)}`;
    file[0].textContent = bytes(width * counted.stored);
    file[1].textContent = `full: ${bytes(width * shape.total)}`;
    held[0].textContent = bytes(mine);
    held[1].textContent = `${percent(mine / full)} of full fine-tuning`;
    note.textContent = counted.trainable
      ? `${method().title} trains ${grouped(counted.trainable)} parameters of ${model.get("base")}.`
      : `${method().title} has nothing to train: ${model.get("base")} has no biases.`;
    fill(["Training", ...Object.values(PARTS), "sum"],
      stacks.map(([name, parts]) => [name, ...Object.keys(PARTS).map((part) => bytes(parts[part])), bytes(whole(parts))]));
    Object.assign(box.dataset, {
      trainable: counted.trainable, total: counted.total, checkpoint: width * counted.stored,
      memory: JSON.stringify(stacks.map(([, parts]) => parts)),
    });
    bars.redraw();
  }
  return follow(model, ["base", "method", "settings", "precision", "batch", "length_of_text"], draw, bars);
}

export default { render };
