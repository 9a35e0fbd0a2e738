// How much attention each head of each layer pays to the prefix, for one sentence.

function render({ model, el }) {
  const sentences = model.get("sentences").map((each) =>
    ({ ...each, shares: unpacked(each.shares), vectors: unpacked(each.vectors) }));
  const layers = model.get("layers"), heads = model.get("heads"), length = model.get("length");
  const box = frame(el, "pft-prefix", "Which heads look at the prefix");
  const fields = html(box, "div", { class: "pft-fields" });
  const which = choice(fields, "Sentence", sentences.map(({ text }, i) => [i, text]), (i) => assign(model, "sentence", Number(i)));
  const note = spoken(box);
  const first = html(box, "div", { class: "pft-plot" });
  const grid = drawing(first, "Attention to the prefix: layers downwards, heads across", cellsHigh(layers.length), paintGrid);
  const told = spoken(box);
  told.textContent = HINT;
  html(box, "p", { class: "pft-small" },
    "Numbers: per cent of a head's attention that goes to the prefix, mean over the words. Choose a head to see its words.");
  const title = html(box, "p");
  const words = html(box, "ol", { class: "pft-words", "aria-label": "The sentence, and what of the attention of each word goes to the prefix" });
  const second = html(box, "div", { class: "pft-plot" });
  const bars = drawing(second, "Attention to each vector of the prefix, mean over the words", 150, paintVectors, "img");
  const fill = table(box, "Data table");

  const now = () => sentences[model.get("sentence")];
  const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  const row = (i, j) => i * heads + j;
  const share = (i, j) => mean(now().shares[row(i, j)]);
  const chosen = () => row(model.get("row"), model.get("head"));

  function paintGrid(picture, width) {
    const marks = cells(picture, width, {
      rows: layers, columns: Array.from({ length: heads }, (_, j) => j),
      rowLabel: "layer", columnLabel: "head", colour: "var(--pft-prompt)",
    }, (i, j) => ({
      share: share(i, j), text: (100 * share(i, j)).toFixed(0), chosen: row(i, j) === chosen(),
      label: `Layer ${layers[i]}, head ${j}: ${(100 * share(i, j)).toFixed(0)} % to the prefix`,
    }));
    const said = (key) => marks.find((mark) => mark.dataset.key === key).getAttribute("aria-label");
    reachable(marks, (key) => (told.textContent = `${said(key)}.`), (key) => {
      const [i, j] = key.split(" ").map(Number);
      model.set("row", i);
      assign(model, "head", j);
    }, heads);
  }

  function paintVectors(picture, width) {
    const values = now().vectors[chosen()], most = Math.max(...values) || 1;
    const at = { left: 46, right: width - 14, top: 10, bottom: 108 };
    const across = linear([0.5, length + 0.5], [at.left, at.right]), up = linear([0, most], [at.bottom, at.top]);
    axes(picture, at,
      { scale: across, label: "vector of the prefix", ticks: ticks(1, length, width < 420 ? 5 : 10).filter(Number.isInteger).map((t) => [t, `${t}`]) },
      { scale: up, label: "", ticks: ticks(0, most, 3).map((t) => [t, percent(t)]) });
    const thick = Math.max(1, (at.right - at.left) / length - 2);
    values.forEach((value, i) => svg(picture, "rect", {
      x: across(i + 1) - thick / 2, y: up(value), width: thick, height: at.bottom - up(value), fill: "var(--pft-prompt)",
    }));
  }

  function draw() {
    const i = model.get("row"), j = model.get("head"), { tokens, shares, even } = now();
    const all = layers.flatMap((_, a) => Array.from({ length: heads }, (_, b) => [share(a, b), a, b]));
    const [most, top, at] = all.reduce((a, b) => (b[0] > a[0] ? b : a)), above = all.filter(([value]) => value > even).length;
    which.show(model.get("sentence"));
    note.textContent = `${above} of ${all.length} heads look at the prefix more than evenly (${percent(even)}); `
      + `most: layer ${layers[top]}, head ${at}, with ${percent(most)}. Mean of all: ${percent(mean(all.map(([value]) => value)))}.`;
    title.textContent = `Layer ${layers[i]}, head ${j}: ${percent(share(i, j))}; word by word:`;
    words.replaceChildren();
    tokens.forEach((token, t) => {
      const item = html(words, "li", {}, `${token} `), value = shares[chosen()][t];
      html(item, "small", {}, `${(100 * value).toFixed(0)} %`);
      html(item, "b", { style: `width: ${100 * value}%`, "aria-hidden": "true" });
    });
    fill(["Layer", ...Array.from({ length: heads }, (_, b) => `Head ${b}`)],
      layers.map((layer, a) => [layer, ...Array.from({ length: heads }, (_, b) => percent(share(a, b)))]));
    Object.assign(box.dataset, {
      share: share(i, j), even, above, words: shares[chosen()].join(" "), vectors: now().vectors[chosen()].join(" "),
    });
    grid.redraw();
    bars.redraw();
  }
  return follow(model, ["sentence", "row", "head"], draw, grid, bars);
}

export default { render };
