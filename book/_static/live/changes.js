// How far the weights have moved, by layer and by place.

const ROWS = ["embeddings", "0", "1", "2", "3", "head"];
const COLUMNS = ["query", "key", "value", "output", "up", "down", "norm", "words"];
const COLUMN_OF = [
  [/LayerNorm/, "norm"],
  [/attention\.self\.(query|key|value)/, null], // by its own name
  [/attention\.output/, "output"],
  [/intermediate/, "up"],
  [/\.output\./, "down"],
];

/** Where a parameter stands: [row, column]. */
function placeOf(name) {
  const layer = name.match(/layer\.(\d+)/)?.[1];
  if (!layer) return [/classifier|pooler/.test(name) ? "head" : "embeddings",
    /LayerNorm/.test(name) ? "norm" : /classifier|pooler/.test(name) ? "output" : "words"];
  for (const [pattern, column] of COLUMN_OF) {
    const found = name.match(pattern);
    if (found) return [layer, column ?? found[1]];
  }
  return [layer, "output"];
}

/** Root mean square change of what is trained at each place: row → column → number. */
function changesOf(model) {
  const sums = {};
  for (const [name, { values }] of model.parameters) {
    const [row, column] = placeOf(name), start = model.start.get(name);
    const cell = ((sums[row] ??= {})[column] ??= { squares: 0, count: 0 });
    for (let i = 0; i < values.length; i++) cell.squares += (values[i] - start[i]) ** 2;
    cell.count += values.length;
  }
  return Object.fromEntries(Object.entries(sums).map(([row, cells]) => [row,
    Object.fromEntries(Object.entries(cells).map(([column, { squares, count }]) =>
      [column, Math.sqrt(squares / count)]))]));
}
