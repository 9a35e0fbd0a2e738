// The methods: what each trains, how it starts, and where it acts. The same names, shapes and
// formulas as in pftlab, whose files are named beside each; a test compares 20 steps of every one.
//
// plan(base, options, draw) → {parameters: name → {shape, values}, deltas(weights): site → (x, h) → h}
// The head is not part of it: it is trained with every method.

const layersOf = shape => Array.from({ length: shape.layers }, (_, i) => `bert.encoder.layer.${i}`);
const zeros = shape => ({ shape, values: new Float32Array(shape.reduce((a, b) => a * b, 1)) });
const filled = (shape, draw) => {
  const tensor = zeros(shape);
  for (let i = 0; i < tensor.values.length; i++) tensor.values[i] = draw();
  return tensor;
};
/** Parameters of the base that are trained themselves: copies, from which training goes on. */
const opened = (base, fits) => new Map([...base.tensors].filter(([name]) => fits(name))
  .map(([name, { shape, values }]) => [name, { shape, values: values.slice() }]));
const isNorm = name => /LayerNorm\.(weight|bias)$/.test(name);

const SITES = {
  "attention.query": "attention.self.query",
  "attention.key": "attention.self.key",
  "attention.value": "attention.self.value",
  "attention.output": "attention.output.dense",
  "ffn.up": "intermediate.dense",
  "ffn.down": "output.dense",
};

const METHODS = {
  // pftlab/finetune/linear_probe.py
  linear_probe: {
    plan: () => ({ parameters: new Map(), deltas: () => new Map() }),
  },

  // pftlab/sparse/bitfit.py
  bitfit: {
    plan: base => ({
      parameters: opened(base, name => name.endsWith(".bias")), deltas: () => new Map(),
    }),
  },

  // pftlab/others/ia3.py: l ⊙ h
  ia3: {
    plan(base) {
      const parameters = new Map(), sites = new Map();
      for (const layer of layersOf(base.shape)) {
        for (const [module, site, name, width] of [
          ["attention.self.key", "", "pft_ia3", base.shape.width],
          ["attention.self.value", "", "pft_ia3", base.shape.width],
          ["output.dense", ".input", "pft_ia3_input", base.shape.inner],
        ]) {
          const factors = `${layer}.${module}.${name}.l`;
          parameters.set(factors, filled([width], () => 1));
          sites.set(`${layer}.${module}${site}`, factors);
        }
      }
      const deltas = weights => new Map([...sites].map(([site, factors]) =>
        [site, (x, h) => rescale(h, weights(factors))]));
      return { parameters, deltas };
    },
  },

  // pftlab/low_rank/lora.py: h + (alpha / r) B A x
  lora: {
    plan(base, { rank, alpha, at }, draw) {
      const parameters = new Map(), sites = [];
      for (const layer of layersOf(base.shape)) {
        for (const name of at) {
          const site = `${layer}.${SITES[name]}`;
          const [wide, narrow] = base.tensors.get(`${site}.weight`).shape;
          const limit = 1 / Math.sqrt(narrow); // PyTorch's kaiming_uniform_ with a = √5
          parameters.set(`${site}.pft_lora.A`, filled([rank, narrow], () => (2 * draw.uniform() - 1) * limit));
          parameters.set(`${site}.pft_lora.B`, zeros([wide, rank]));
          sites.push(site);
        }
      }
      const deltas = weights => new Map(sites.map(site => [site, (x, h) => {
        const [A, B] = ["A", "B"].map(name => weights(`${site}.pft_lora.${name}`));
        return sum(h, scaled(linear(linear(x, A), B), alpha / rank));
      }]));
      return { parameters, deltas };
    },
  },

  // pftlab/adapter/houlsby.py: h + U gelu(D h + d) + u behind both sub-layers; norms train too
  houlsby: {
    plan(base, { bottleneck }, draw) {
      const parameters = opened(base, isNorm), { width } = base.shape, sites = [], STD = 0.01;
      const cut = () => { // a normal that ends at two deviations
        for (;;) {
          const number = draw.normal();
          if (Math.abs(number) <= 2) return STD * number;
        }
      };
      for (const layer of layersOf(base.shape)) {
        for (const site of [`${layer}.attention.output.dropout`, `${layer}.output.dropout`]) {
          const here = `${site}.pft_houlsby`;
          parameters.set(`${here}.down.weight`, filled([bottleneck, width], cut));
          parameters.set(`${here}.down.bias`, zeros([bottleneck]));
          parameters.set(`${here}.up.weight`, filled([width, bottleneck], cut));
          parameters.set(`${here}.up.bias`, zeros([width]));
          sites.push([site, here]);
        }
      }
      const deltas = weights => new Map(sites.map(([site, here]) => [site, (x, h) => {
        const part = (z, name) => linear(z, weights(`${here}.${name}.weight`), weights(`${here}.${name}.bias`));
        return sum(h, part(gelu(part(h, "down")), "up"));
      }]));
      return { parameters, deltas };
    },
  },

  // pftlab/prompt/prompt_tuning.py: vectors behind [CLS], which start as words of the vocabulary
  prompt_tuning: {
    plan(base, { length }, draw) {
      const POPULATION = 5000, { width } = base.shape, prompt = zeros([length, width]);
      const words = base.tensors.get("bert.embeddings.word_embeddings.weight").values;
      draw.order(POPULATION).slice(0, length).forEach((word, place) =>
        prompt.values.set(words.subarray(word * width, (word + 1) * width), place * width));
      const name = "bert.pft_prompt_tuning.P";
      const deltas = weights => new Map([["bert", (words, layout) => {
        const longer = layoutOf(layout.lengths.map(own => own + length));
        return [insert(words, longer, weights(name)), longer];
      }]]);
      return { parameters: new Map([[name, prompt]]), deltas };
    },
  },

  // pftlab/finetune/full.py
  full: {
    plan: base => ({ parameters: opened(base, () => true), deltas: () => new Map() }),
  },
};
