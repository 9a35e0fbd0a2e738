// A model in training: the base, a method, a head, and one step after the other.

/** The base as it was pretrained, for all runs together. */
class Base {
  /** @param bytes of model.safetensors; `shape` {layers, heads, width, inner} */
  constructor(bytes, shape) {
    this.shape = shape;
    this.tensors = new Map([...tensorsOf(bytes)].filter(([name]) => name.startsWith("bert.")));
    this.frozen = new Map([...this.tensors].map(([name, { shape, values }]) => {
      const value = tf.tensor(values, shape);
      // the products of the way back take W as it is, those of the way forward take it turned
      const isMatrix = shape.length === 2 && !name.includes("embeddings");
      return [name, { value, turned: isMatrix ? turned(value) : null, trained: false }];
    }));
  }
}

class Model {
  /**
   * @param base a `Base`
   * @param method its name in METHODS; `options` its hyper-parameters
   * @param draw where its random numbers come from
   */
  constructor(base, method, options, draw, classes = 2) {
    const { width } = base.shape;
    const { parameters, deltas } = METHODS[method].plan(base, options, draw);
    this.base = base;
    this.deltas = deltas(name => this.weight(name));
    this.head = new Map([
      // as transformers starts a head: normal, with a deviation of 0.02
      ["classifier.weight", filled([classes, width], () => 0.02 * draw.normal())],
      ["classifier.bias", zeros([classes])],
    ]);
    this.parameters = new Map([...parameters, ...this.head]);
    this.start = new Map([...this.parameters].map(([name, { values }]) => [name, values.slice()]));
    this.optimiser = new AdamW(this.parameters);
    this.live = new Map();
    this.upload();
  }

  /** How many numbers the method trains, without the head. */
  get count() {
    return [...this.parameters].reduce((n, [name, { values }]) =>
      n + (this.head.has(name) ? 0 : values.length), 0);
  }

  weight(name) {
    return this.live.get(name) ?? this.base.frozen.get(name);
  }

  /** Give the network what is trained, as it is now. */
  upload() {
    this.dispose();
    this.live = new Map([...this.parameters].map(([name, { shape, values }]) =>
      [name, { value: tf.tensor(values, shape), trained: true }]));
  }

  /** One step on a batch of token numbers and their labels; the loss before it. */
  step(rows, labels, rate) {
    const names = [...this.live.keys()], variables = names.map(name => this.live.get(name).value);
    const [loss, found] = withGradients(() => crossEntropy(this.logits(rows), labels), variables);
    const gradients = new Map(names.map((name, i) => [name, found[i]]));
    this.optimiser.step(gradients, rate);
    this.upload();
    return loss;
  }

  features(rows) {
    return featuresOf(rows, name => this.weight(name), this.deltas, this.base.shape);
  }

  judged(features) {
    return judged(features, name => this.weight(name), this.deltas);
  }

  logits(rows) {
    return this.judged(this.features(rows));
  }

  /** What `compute` gives with the parameters as they were at the start. */
  before(compute) {
    const now = new Map([...this.parameters].map(([name, { values }]) => [name, values.slice()]));
    const put = from => {
      for (const [name, { values }] of this.parameters) values.set(from.get(name));
      this.upload();
    };
    put(this.start);
    const found = compute();
    put(now);
    return found;
  }

  dispose() {
    for (const { value } of this.live.values()) value.dispose();
  }

  /** The probabilities of the classes for each text, [[…], …]. */
  probabilities(rows) {
    return tf.tidy(() => tf.softmax(this.logits(rows)).arraySync());
  }

  /** The same of texts whose features are known. */
  probabilitiesOf(features) {
    return tf.tidy(() => tf.softmax(this.judged(features)).arraySync());
  }
}
