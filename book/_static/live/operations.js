// What the network is made of: each operation with its gradient, on the kernels of TensorFlow.js.
//
// The gradients are written here, and not taken from the library, for two reasons. A frozen weight
// asks for none, and a step is twice as fast without them. And WebAssembly has a fast matrix
// product for two plain matrices only: where one must be turned, turning it first is faster.
// Hidden states of a batch are one matrix, (texts · positions, width).

/** Call `compute(save)` → [value, gradient of the value → gradients of `inputs`], on the tape. */
function operation(inputs, compute) {
  return tf.customGrad((...given) => {
    const [value, gradFunc] = compute(given.at(-1));
    return { value, gradFunc };
  })(...inputs);
}

const turned = matrix => tf.transpose(matrix, [1, 0]);
/** The sum over the rows, as a product with ones: that is the fast kernel. */
const rowSum = x => tf.reshape(tf.matMul(tf.ones([1, x.shape[0]]), x), [x.shape[1]]);

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
    const product = tf.matMul(x, W.trained ? turned(W.value) : W.turned);
    const value = b ? tf.add(product, b.value) : product;
    return [value, (dy, [x, weight]) => [
      tf.matMul(dy, weight),
      ...(W.trained ? [tf.matMul(turned(dy), x)] : []),
      ...(b?.trained ? [rowSum(dy)] : []),
    ]];
  });
}

/** x + y, of the same shape. */
function sum(x, y) {
  // two tensors, as the tape disposes of each when it has added it to others
  return operation([x, y], () => [tf.add(x, y), dy => [tf.clone(dy), tf.clone(dy)]]);
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
  return operation([x, ...trained], save => {
    const centred = tf.sub(x, tf.mean(x, 1, true));
    const spread = tf.rsqrt(tf.add(tf.mean(tf.square(centred), 1, true), epsilon));
    const z = tf.mul(centred, spread);
    save([z, spread, gamma.value]);
    return [tf.add(tf.mul(z, gamma.value), beta.value), (dy, [z, spread, g]) => {
      const dz = tf.mul(dy, g);
      const along = tf.mul(z, tf.mean(tf.mul(dz, z), 1, true));
      const dx = tf.mul(tf.sub(tf.sub(dz, tf.mean(dz, 1, true)), along), spread);
      return [
        dx,
        ...(gamma.trained ? [rowSum(tf.mul(dy, z))] : []),
        ...(beta.trained ? [rowSum(dy)] : []),
      ];
    }];
  });
}

/** x Φ(x), with the distribution function Φ of the normal (Hendrycks and Gimpel, 2016). */
function gelu(x) {
  return operation([x], save => {
    const phi = tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5);
    save([x, phi]);
    return [tf.mul(x, phi), (dy, [x, phi]) => {
      const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
      return [tf.mul(dy, tf.add(phi, tf.mul(x, density)))];
    }];
  });
}

function tanh(x) {
  return operation([x], save => {
    const y = tf.tanh(x);
    save([y]);
    return [y, (dy, [y]) => [tf.mul(dy, tf.sub(1, tf.square(y)))]];
  });
}

/**
 * softmax(Q Kᵀ / √d) V of each head (Vaswani et al., 2017, Eq. 1).
 * @param q, k, v (texts · positions, width)
 * @param mask (texts, 1, 1, positions): 0, or −10⁹ where there is padding
 */
function attention(q, k, v, mask, heads) {
  const [texts, , , length] = mask.shape, width = q.shape[1] / heads;
  const split = x => tf.transpose(tf.reshape(x, [texts, length, heads, width]), [0, 2, 1, 3]);
  const joined = x => tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [texts * length, heads * width]);
  const scale = 1 / Math.sqrt(width);
  return operation([q, k, v], save => {
    const [Q, K, V] = [split(q), split(k), split(v)];
    const scores = tf.add(tf.mul(tf.matMul(Q, K, false, true), scale), mask);
    const P = tf.softmax(scores);
    save([Q, K, V, P]);
    return [joined(tf.matMul(P, V)), (dy, [Q, K, V, P]) => {
      const dO = split(dy), dP = tf.matMul(dO, V, false, true);
      const dS = tf.mul(tf.mul(P, tf.sub(dP, tf.sum(tf.mul(dP, P), -1, true))), scale);
      return [
        joined(tf.matMul(dS, K)), joined(tf.matMul(dS, Q, true)), joined(tf.matMul(P, dO, true)),
      ];
    }];
  });
}

/** The vectors of tokens: (tokens) → (tokens, d). That of padding is never trained. */
function lookUp(ids, table) {
  const value = () => tf.gather(table.value, tf.tensor1d(ids, "int32"));
  if (!table.trained) return value();
  return operation([table.value], () => [value(), dy => {
    const width = dy.shape[1], gradient = dy.dataSync(), sums = new Float32Array(table.value.size);
    ids.forEach((id, row) => {
      if (id === PADDING) return;
      for (let i = 0; i < width; i++) sums[id * width + i] += gradient[row * width + i];
    });
    return [tf.tensor(sums, table.value.shape)];
  }]);
}

/** x + the vectors of the positions of each text + that of the first type. */
function placed(x, texts, position, type) {
  const length = x.shape[0] / texts, width = x.shape[1];
  const inputs = position.trained ? [x, position.value, type.value] : [x];
  return operation(inputs, () => {
    const places = tf.slice(position.value, [0, 0], [length, -1]);
    const both = tf.add(places, tf.slice(type.value, [0, 0], [1, -1]));
    const value = tf.reshape(tf.add(tf.reshape(x, [texts, length, width]), both), [-1, width]);
    return [value, dy => {
      if (!position.trained) return [tf.clone(dy)];
      const sums = tf.reshape(rowSum(tf.reshape(dy, [texts, length * width])), [length, width]);
      const filled = (some, table) => tf.pad(some, [[0, table.value.shape[0] - some.shape[0]], [0, 0]]);
      const all = tf.reshape(rowSum(sums), [1, width]);
      return [tf.clone(dy), filled(sums, position), filled(all, type)];
    }];
  });
}

/** The vectors of a prompt behind the first of each text's words: (texts · (positions + n), d). */
function insert(words, texts, prompt) {
  const width = words.shape[1], n = prompt.value.shape[0];
  const apart = tf.reshape(words, [texts, -1, width]);
  return operation([prompt.value], () => {
    const many = tf.tile(tf.expandDims(prompt.value, 0), [texts, 1, 1]);
    const first = tf.slice(apart, [0, 0, 0], [-1, 1, -1]);
    const rest = tf.slice(apart, [0, 1, 0], [-1, -1, -1]);
    return [tf.reshape(tf.concat([first, many, rest], 1), [-1, width]), dy => {
      const here = tf.slice(tf.reshape(dy, [texts, -1, width]), [0, 1, 0], [-1, n, -1]);
      return [tf.reshape(rowSum(tf.reshape(here, [texts, n * width])), [n, width])];
    }];
  });
}

/** The first row of each text: (texts · positions, d) → (texts, d). */
function firstOfEach(x, texts) {
  const length = x.shape[0] / texts, width = x.shape[1];
  return operation([x], () => [
    tf.reshape(tf.slice(tf.reshape(x, [texts, length, width]), [0, 0, 0], [-1, 1, -1]), [texts, width]),
    dy => [tf.reshape(
      tf.pad(tf.reshape(dy, [texts, 1, width]), [[0, 0], [0, length - 1], [0, 0]]), [-1, width])],
  ]);
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
