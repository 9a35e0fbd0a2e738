// The network: tiny-encoder, a BERT (Devlin et al., 2019), with the places where deltas are planted.
//
// `weights` answers for each name of the PyTorch model with {value, turned, trained}; `deltas` holds
// functions (x, h) → h by the module that they are planted at, as in pftlab/core.

const EPSILON = 1e-12;

/** Where the texts of a batch lie, one below the other, and what attention may not see. */
function layoutOf(lengths) {
  const length = Math.max(...lengths), texts = lengths.length, starts = [];
  const mask = new Float32Array(texts * length).fill(-1e9);
  let rows = 0;
  lengths.forEach((own, text) => {
    starts.push(rows);
    rows += own;
    mask.fill(0, text * length, text * length + own);
  });
  return { texts, lengths, length, starts, rows, mask: tf.tensor(mask, [texts, 1, 1, length]) };
}

/** A layer's product with what is planted there. */
const denseOf = (weights, deltas) => (x, name) => {
  const h = linear(x, weights(`${name}.weight`), weights(`${name}.bias`));
  return deltas.has(name) ? deltas.get(name)(x, h) : h;
};

/** What the head reads, (texts, width), of texts, each a list of the numbers of its tokens. */
function featuresOf(texts, weights, deltas, shape) {
  const W = name => weights(`${name}.weight`), b = name => weights(`${name}.bias`);
  const at = (site, x, h) => deltas.has(site) ? deltas.get(site)(x, h) : h;
  const dense = denseOf(weights, deltas);
  const normed = (x, name) => norm(x, W(name), b(name), EPSILON);

  let words = lookUp(texts.flat(), W("bert.embeddings.word_embeddings"));
  let layout = layoutOf(texts.map(ids => ids.length));
  if (deltas.has("bert")) [words, layout] = deltas.get("bert")(words, layout);
  let h = placed(words, layout, W("bert.embeddings.position_embeddings"), W("bert.embeddings.token_type_embeddings"));
  h = normed(h, "bert.embeddings.LayerNorm");

  for (let number = 0; number < shape.layers; number++) {
    const layer = `bert.encoder.layer.${number}`, self = `${layer}.attention.self`;
    const [q, k, v] = ["query", "key", "value"].map(name => dense(h, `${self}.${name}`));
    const read = attention(q, k, v, layout, shape.heads);
    const said = at(`${layer}.attention.output.dropout`, read, dense(read, `${layer}.attention.output.dense`));
    h = normed(sum(said, h), `${layer}.attention.output.LayerNorm`);

    const wide = gelu(dense(h, `${layer}.intermediate.dense`));
    const inner = at(`${layer}.output.dense.input`, wide, wide);
    const out = at(`${layer}.output.dropout`, inner, dense(inner, `${layer}.output.dense`));
    h = normed(sum(out, h), `${layer}.output.LayerNorm`);
  }

  return tanh(dense(firstOfEach(h, layout), "bert.pooler.dense"));
}

/** The logits (texts, classes) of the features of texts. */
const judged = (features, weights, deltas) => denseOf(weights, deltas)(features, "classifier");
