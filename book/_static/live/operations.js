// What the network is made of: each operation with its gradient, on the kernels of TensorFlow.js.
//
// The tape and the gradients are written here, and not taken from the library, for three reasons. A
// frozen weight asks for none, and a step is twice as fast without them. The library's tape copies
// whatever it keeps. And WebAssembly has a fast matrix product for two plain matrices only: where
// one must be turned, turning it first is faster. What is no matrix product goes over each number
// once, in JavaScript: the library would go over it once for every sign in the formula.
//
// Hidden states of a batch are one matrix, (rows, width), the texts one below the other and without
// padding. Where its rows lie, a layout says (encoder.js).

let tape = null; // {operations, needed: ids of the tensors whose gradient is asked for}

/**
 * Call `compute(save)` → [value, (gradient of the value, what was saved) → gradients of `inputs`],
 * and write it on the tape where one of the inputs needs its gradient.
 */
function operation(inputs, compute) {
  const isNeeded = tape !== null && inputs.some(({ id }) => tape.needed.has(id));
  let saved = [], back;
  const [value] = tf.tidy(() => {
    const [value, gradients] = compute(tensors => { if (isNeeded) saved = tensors; });
    back = gradients;
    return [value, ...saved];
  });
  if (isNeeded) {
    tape.needed.add(value.id);
    tape.operations.push({ inputs, value, saved, back });
  }
  return value;
}

/** The number that `compute` gives, and its gradients by `variables`, as arrays. */
function withGradients(compute, variables) {
  let loss, arrays; // not given back by `tidy`, which would look for tensors in every number
  tf.tidy(() => {
    const { operations, needed } = tape = { operations: [], needed: new Set(variables.map(({ id }) => id)) };
    let result;
    try { result = compute(); } finally { tape = null; }
    const gradients = new Map([[result.id, tf.scalar(1)]]);
    for (const { inputs, value, saved, back } of operations.reverse()) {
      const found = tf.tidy(() => back(gradients.get(value.id), saved));
      inputs.forEach(({ id }, i) => {
        if (needed.has(id)) gradients.set(id, gradients.has(id) ? tf.add(gradients.get(id), found[i]) : found[i]);
      });
    }
    [loss] = result.dataSync();
    arrays = variables.map(({ id }) => gradients.get(id).dataSync());
  });
  return [loss, arrays];
}

const turned = matrix => tf.transpose(matrix, [1, 0]);

/** The sum over the rows. */
function rowSum(x) {
  const [rows, width] = x.shape, from = x.dataSync(), sums = new Float32Array(width);
  for (let row = 0, at = 0; row < rows; row++) for (let i = 0; i < width; i++, at++) sums[i] += from[at];
  return tf.tensor(sums, [width]);
}

/**
 * x Wᵀ + b.
 * @param x (rows, in)
 * @param W {value (out, in), turned (in, out) while it is frozen, trained}
 * @param b {value (out), trained}, or nothing
 */
function linear(x, W, b) {
  const inputs = [x, ...(W.trained ? [W.value] : []), ...(b?.trained ? [b.value] : [])];
  return operation(inputs, save => {
    save([x, W.value]);
    const value = tf.fused.matMul({ a: x, b: W.trained ? turned(W.value) : W.turned, bias: b?.value });
    return [value, (dy, [x, weight]) => [
      tf.matMul(dy, weight),
      ...(W.trained ? [tf.matMul(turned(dy), x)] : []),
      ...(b?.trained ? [rowSum(dy)] : []),
    ]];
  });
}

/** x + y, of the same shape. */
function sum(x, y) {
  return operation([x, y], () => [tf.add(x, y), dy => [dy, dy]]);
}

/** l ⊙ x: a factor for each column. */
function rescale(x, l) {
  return operation([x, l.value], save => {
    save([x, l.value]);
    return [tf.mul(x, l.value), (dy, [x, l]) => [tf.mul(dy, l), rowSum(tf.mul(dy, x))]];
  });
}

/** s x, for a number s. */
function scaled(x, s) {
  return operation([x], () => [tf.mul(x, s), dy => [tf.mul(dy, s)]]);
}

/** Layer norm of each row (Ba et al., 2016): γ (x − mean) / √(variance + ε) + β. */
function norm(x, gamma, beta, epsilon) {
  const trained = [gamma, beta].filter(each => each.trained).map(each => each.value);
  const [rows, width] = x.shape;
  return operation([x, ...trained], () => {
    const g = gamma.value.dataSync(), b = beta.value.dataSync(), from = x.dataSync();
    const z = new Float32Array(from.length), y = new Float32Array(from.length), spread = new Float32Array(rows);
    for (let row = 0; row < rows; row++) {
      const start = row * width, end = start + width;
      let mean = 0, variance = 0;
      for (let i = start; i < end; i++) mean += from[i];
      mean /= width;
      for (let i = start; i < end; i++) variance += (from[i] - mean) ** 2;
      spread[row] = 1 / Math.sqrt(variance / width + epsilon);
      for (let i = start; i < end; i++) {
        z[i] = (from[i] - mean) * spread[row];
        y[i] = z[i] * g[i - start] + b[i - start];
      }
    }
    return [tf.tensor(y, x.shape), dy => {
      const up = dy.dataSync(), dx = new Float32Array(up.length);
      const dgamma = new Float32Array(width), dbeta = new Float32Array(width);
      for (let row = 0; row < rows; row++) {
        const start = row * width, end = start + width;
        let mean = 0, along = 0;
        for (let i = start; i < end; i++) {
          const dz = up[i] * g[i - start];
          mean += dz;
          along += dz * z[i];
          dgamma[i - start] += up[i] * z[i];
          dbeta[i - start] += up[i];
        }
        mean /= width;
        along /= width;
        for (let i = start; i < end; i++) dx[i] = (up[i] * g[i - start] - mean - z[i] * along) * spread[row];
      }
      return [
        tf.tensor(dx, x.shape),
        ...(gamma.trained ? [tf.tensor(dgamma, [width])] : []),
        ...(beta.trained ? [tf.tensor(dbeta, [width])] : []),
      ];
    }];
  });
}

/**
 * x Φ(x), with the distribution function Φ of the normal (Hendrycks and Gimpel, 2016). Φ is found
 * to 1e-7 by Abramowitz and Stegun, 7.1.26, out of the same power of e as its density.
 */
function gelu(x) {
  return operation([x], save => {
    const from = x.dataSync(), y = new Float32Array(from.length), slope = new Float32Array(from.length);
    for (let i = 0; i < from.length; i++) {
      const here = from[i], power = Math.exp(-0.5 * here * here);
      const t = 1 / (1 + 0.3275911 * Math.SQRT1_2 * Math.abs(here));
      const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
      const tail = 0.5 * series * power, phi = here < 0 ? tail : 1 - tail;
      y[i] = here * phi;
      slope[i] = phi + here * power * 0.3989422804014327; // 1 / √2π
    }
    const gradient = tf.tensor(slope, x.shape);
    save([gradient]);
    return [tf.tensor(y, x.shape), (dy, [gradient]) => [tf.mul(dy, gradient)]];
  });
}

function tanh(x) {
  return operation([x], save => {
    const y = tf.tanh(x);
    save([y]);
    return [y, (dy, [y]) => [tf.mul(dy, tf.sub(1, tf.square(y)))]];
  });
}

/** (rows, width) → (texts, heads, positions, width / heads), with zeros where a text has ended. */
function padded(x, { texts, lengths, length }, heads) {
  const width = x.shape[1] / heads, from = x.dataSync(), to = new Float32Array(texts * heads * length * width);
  let at = 0;
  for (let text = 0; text < texts; text++) {
    for (let place = 0; place < lengths[text]; place++) {
      for (let head = 0; head < heads; head++) {
        const start = ((text * heads + head) * length + place) * width;
        for (let i = 0; i < width; i++) to[start + i] = from[at++];
      }
    }
  }
  return tf.tensor(to, [texts, heads, length, width]);
}

/** The way back, without what stands where a text has ended. */
function packed(x, { texts, lengths, length, rows }) {
  const [, heads, , width] = x.shape, from = x.dataSync(), to = new Float32Array(rows * heads * width);
  let at = 0;
  for (let text = 0; text < texts; text++) {
    for (let place = 0; place < lengths[text]; place++) {
      for (let head = 0; head < heads; head++) {
        const start = ((text * heads + head) * length + place) * width;
        for (let i = 0; i < width; i++) to[at++] = from[start + i];
      }
    }
  }
  return tf.tensor(to, [rows, heads * width]);
}

/** softmax(Q Kᵀ / √d) V of each head (Vaswani et al., 2017, Eq. 1). q, k, v: (rows, width). */
function attention(q, k, v, layout, heads) {
  const scale = 1 / Math.sqrt(q.shape[1] / heads);
  return operation([q, k, v], save => {
    const [Q, K, V] = [q, k, v].map(x => padded(x, layout, heads));
    const scores = tf.add(tf.mul(tf.matMul(Q, K, false, true), scale), layout.mask);
    const P = tf.softmax(scores);
    save([Q, K, V, P]);
    return [packed(tf.matMul(P, V), layout), (dy, [Q, K, V, P]) => {
      const dO = padded(dy, layout, heads), dP = tf.matMul(dO, V, false, true);
      const dS = tf.mul(tf.mul(P, tf.sub(dP, tf.sum(tf.mul(dP, P), -1, true))), scale);
      return [tf.matMul(dS, K), tf.matMul(dS, Q, true), tf.matMul(P, dO, true)].map(x => packed(x, layout));
    }];
  });
}

/** Rows of a matrix by their numbers. */
function rowsOf(x, numbers) {
  const width = x.shape[1], from = x.dataSync(), to = new Float32Array(numbers.length * width);
  numbers.forEach((number, row) => to.set(from.subarray(number * width, (number + 1) * width), row * width));
  return tf.tensor(to, [numbers.length, width]);
}

/** The way back: a matrix of `shape` with the rows of `x` added at their numbers. */
function addedAt(x, numbers, shape) {
  const width = shape[1], from = x.dataSync(), to = new Float32Array(shape[0] * width);
  numbers.forEach((number, row) => {
    for (let i = 0; i < width; i++) to[number * width + i] += from[row * width + i];
  });
  return tf.tensor(to, shape);
}

/** The vectors of tokens: (tokens) → (tokens, d). */
function lookUp(ids, table) {
  return operation([table.value], () => [
    rowsOf(table.value, ids), dy => [addedAt(dy, ids, table.value.shape)],
  ]);
}

/** x + the vectors of the positions in each text + that of the first type. */
function placed(x, layout, position, type) {
  const places = layout.lengths.flatMap(length => Array.from({ length }, (_, place) => place));
  const first = places.map(() => 0);
  return operation([x, position.value, type.value], () => [
    tf.add(tf.add(x, rowsOf(position.value, places)), rowsOf(type.value, first)),
    dy => [dy, ...(position.trained
      ? [addedAt(dy, places, position.value.shape), addedAt(dy, first, type.value.shape)] : [])],
  ]);
}

/** The vectors of a prompt behind the first of each text's words; `layout` is that with the prompt. */
function insert(words, layout, prompt) {
  const n = prompt.value.shape[0], width = words.shape[1], from = [], at = [];
  layout.lengths.forEach((length, text) => {
    for (let place = 0; place < length; place++) {
      if (place > 0 && place <= n) at.push(layout.starts[text] + place);
      else from.push(layout.starts[text] + place);
    }
  });
  const each = at.map((_, i) => i % n); // which of the prompt's vectors
  return operation([words, prompt.value], () => {
    const shape = [layout.rows, width];
    const both = tf.add(addedAt(words, from, shape), addedAt(rowsOf(prompt.value, each), at, shape));
    return [both, dy => [rowsOf(dy, from), addedAt(rowsOf(dy, at), each, prompt.value.shape)]];
  });
}

/** The first row of each text: (rows, d) → (texts, d). */
function firstOfEach(x, { starts }) {
  return operation([x], () => [rowsOf(x, starts), dy => [addedAt(dy, starts, x.shape)]]);
}

/** Mean over the texts of −log softmax(logits)[label]. */
function crossEntropy(logits, labels) {
  const [texts, classes] = logits.shape;
  const hot = tf.tensor(labels.flatMap(label => Array.from({ length: classes }, (_, i) => +(i === label))), [texts, classes]);
  return operation([logits], save => {
    const shifted = tf.sub(logits, tf.max(logits, 1, true));
    const logs = tf.sub(shifted, tf.log(tf.sum(tf.exp(shifted), 1, true)));
    save([tf.exp(logs), hot]);
    return [tf.mul(tf.sum(tf.mul(logs, hot)), -1 / texts), (dy, [p, hot]) => [
      tf.mul(tf.mul(tf.sub(p, hot), 1 / texts), dy),
    ]];
  });
}
