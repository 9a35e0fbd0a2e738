// The network: tiny-encoder, a BERT (Devlin et al., 2019), with the places where deltas are planted.
//
// `weights` answers for each name of the PyTorch model with {value, turned, trained}; `deltas` holds
// functions (x, h) → h by the module that they are planted at, as in pftlab/core.

const PADDING = 0, EPSILON = 1e-12;

/** What TensorFlow.js needs of a batch. */
function batchOf(rows) {
  const length = Math.max(...rows.map(row => row.length));
  const ids = new Int32Array(rows.length * length).fill(PADDING);
  const mask = new Float32Array(rows.length * length).fill(-1e9);
  rows.forEach((row, text) => row.forEach((id, place) => {
    ids[text * length + place] = id;
    mask[text * length + place] = 0;
  }));
  return { texts: rows.length, length, ids, mask };
}

/** The logits (texts, classes) of a batch. */
function logitsOf(batch, weights, deltas, shape) {
  const W = name => weights(`${name}.weight`), b = name => weights(`${name}.bias`);
  const at = (site, x, h) => deltas.has(site) ? deltas.get(site)(x, h) : h;
  const dense = (x, name) => at(name, x, linear(x, W(name), b(name)));
  const normed = (x, name) => norm(x, W(name), b(name), EPSILON);
  const { texts } = batch;

  let words = lookUp(batch.ids, W("bert.embeddings.word_embeddings"));
  let mask = tf.tensor(batch.mask, [texts, 1, 1, batch.length]);
  if (deltas.has("bert")) [words, mask] = deltas.get("bert")(words, mask);
  let h = placed(words, texts, W("bert.embeddings.position_embeddings"), W("bert.embeddings.token_type_embeddings"));
  h = normed(h, "bert.embeddings.LayerNorm");

  for (let number = 0; number < shape.layers; number++) {
    const layer = `bert.encoder.layer.${number}`, self = `${layer}.attention.self`;
    const [q, k, v] = ["query", "key", "value"].map(name => dense(h, `${self}.${name}`));
    const read = attention(q, k, v, mask, shape.heads);
    const said = at(`${layer}.attention.output.dropout`, read, dense(read, `${layer}.attention.output.dense`));
    h = normed(sum(said, h), `${layer}.attention.output.LayerNorm`);

    const wide = gelu(dense(h, `${layer}.intermediate.dense`));
    const inner = at(`${layer}.output.dense.input`, wide, wide);
    const out = at(`${layer}.output.dropout`, inner, dense(inner, `${layer}.output.dense`));
    h = normed(sum(out, h), `${layer}.output.LayerNorm`);
  }

  const pooled = tanh(dense(firstOfEach(h, texts), "bert.pooler.dense"));
  return dense(pooled, "classifier");
}
