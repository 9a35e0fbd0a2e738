// What methods learn and what they forget, while the learning rate moves.

function render({ model, el }) {
  const points = model.get("points"), rates = model.get("rates"), least = model.get("least");
  const box = frame(el, "pft-forgetting", "Learned against forgotten"), keys = [...new Set(points.map((p) => p.method))];
  const rate = slider(box, "Learning rate", { low: 0, high: rates.length - 1 }, (i) => power(rates[i]), (i) => assign(model, "chosen", i));
  const note = spoken(box);
  const plot = html(box, "div", { class: "pft-plot" });
  const plane = drawing(plot, "Methods: what the base lost across, accuracy upwards; a line for each method through all rates", 340, paint);
  const told = spoken(box);
  told.textContent = HINT;
  html(box, "p", { class: "pft-small" }, `Lines join the means of a method from the lowest rate to the highest. Bars: 95 % intervals over seeds. A rise below ${least} is drawn at ${least}.`);
  const fill = table(box, "Data table");

  const here = () => points.filter((point) => point.rate === model.get("chosen"));
  const tell = (p) => `${p.name} at ${power(rates[p.rate])}: accuracy ${(100 * p.learned[0]).toFixed(1)} % ± ${(100 * p.learned[1]).toFixed(1)}, `
    + `forgets ${nats(p.forgotten[0])} ± ${nats(p.forgotten[1])} nats.`;

  function paint(picture, width) {
    const at = { left: 46, right: width - 16, top: 12, bottom: 292 };
    const ends = points.flatMap(({ learned: [mean, half] }) => [mean - half, mean + half]);
    const low = Math.max(0, Math.min(...ends) - 0.02), high = Math.min(1, Math.max(...ends) + 0.02);
    const up = linear([low, high], [at.bottom, at.top]);
    const most = Math.max(...points.map((p) => p.forgotten[0] + p.forgotten[1])) * 1.3;
    const scale = logarithmic([least * 0.8, most], [at.left, at.right]), across = (value) => scale(Math.max(value, least));
    axes(picture, at,
      { scale: across, label: "rise of the held-out loss, nats", ticks: powers(least, most).map((v) => [v, String(Number(v.toPrecision(1)))]) },
      { scale: up, label: "accuracy (%)", ticks: ticks(low, high).map((v) => [v, String(Math.round(100 * v))]) });
    const marks = [];
    for (const method of keys) {
      const on = points.filter((p) => p.method === method), colour = `var(--pft-${on[0].family})`;
      svg(picture, "path", { d: `M${on.map((p) => `${across(p.forgotten[0])},${up(p.learned[0])}`).join("L")}`, fill: "none", stroke: colour,
        "stroke-width": 1.2, "stroke-dasharray": on[0].dashes });
      for (const point of on) {
        const x = across(point.forgotten[0]), y = up(point.learned[0]);
        if (point.rate !== model.get("chosen")) {
          svg(picture, "circle", { cx: x, cy: y, r: 2, fill: colour });
          continue;
        }
        const g = svg(picture, "g", { "data-key": method, role: "img", "aria-label": tell(point) });
        svg(g, "circle", { class: "pft-halo", cx: x, cy: y, r: 12 });
        const [[, tall], [, wide]] = [point.learned, point.forgotten];
        svg(g, "path", { d: `M${x},${up(point.learned[0] - tall)}V${up(point.learned[0] + tall)}M${across(point.forgotten[0] - wide)},${y}H${across(point.forgotten[0] + wide)}`,
          stroke: colour, "stroke-width": 1.5, fill: "none" });
        svg(g, "path", { d: outline(point.marker, x, y), fill: colour });
        marks.push(g);
      }
    }
    names(picture, at, here().map((point) => ({ name: point.name, x: across(point.forgotten[0]), y: up(point.learned[0]) })),
      points.map((point) => [across(point.forgotten[0]), up(point.learned[0])]));
    reachable(marks, (key) => (told.textContent = tell(here().find((p) => p.method === key))));
  }

  function draw() {
    rate.show(model.get("chosen"));
    const order = [...here()].sort((a, b) => a.forgotten[0] - b.forgotten[0]);
    note.textContent = `At ${power(rates[model.get("chosen")])}, ${order[0].name} forgets least (${nats(order[0].forgotten[0])} nats) and ${order.at(-1).name} most (${nats(order.at(-1).forgotten[0])}).`;
    fill(["Method", "Learning rate", "Accuracy (%)", "± 95 %", "Forgets (nats)", "± 95 %"],
      order.map((p) => [p.name, power(rates[p.rate]), (100 * p.learned[0]).toFixed(1), (100 * p.learned[1]).toFixed(1), p.forgotten[0].toFixed(3), p.forgotten[1].toFixed(3)]));
    Object.assign(box.dataset, { marks: here().length, least: order[0].method, most: order.at(-1).method });
    plane.redraw();
  }
  return follow(model, ["chosen"], draw, plane);
}

/** Write each name near its mark, where it covers no mark and no other name, and few of the small dots. */
function names(picture, at, marks, dots) {
  const taken = [], over = ([left, line], w, x, y, room) => x > left - room && x < left + w + room && y > line - 11 - room && y < line + 4 + room;
  for (const { name, x, y } of [...marks].sort((a, b) => a.y - b.y)) {
    const lead = svg(picture, "path", { stroke: "var(--pft-edge)", "stroke-width": 0.8 });
    const text = svg(picture, "text", { class: "pft-label" }, name), w = text.getComputedTextLength();
    const spots = [0, 1, 2, 3, 4, 5].flatMap((far) => [[x + 10, y - 8 - 16 * far], [x + 10, y + 18 + 16 * far],
      [x - 10 - w, y - 8 - 16 * far], [x - 10 - w, y + 18 + 16 * far]].map((spot) => [spot, far]));
    const cost = ([spot, far]) => {
      const [left, line] = spot;
      const out = left < at.left || left + w > at.right + 12 || line - 11 < at.top || line + 4 > at.bottom;
      return 1000 * out + 2 * far + dots.filter(([dx, dy]) => over(spot, w, dx, dy, 2)).length
        + 100 * marks.filter((mark) => over(spot, w, mark.x, mark.y, 7)).length
        + 100 * taken.filter(([a, b, c]) => a < left + w && left < a + c && Math.abs(b - line) < 15).length;
    };
    const [[left, line], far] = spots.reduce((a, b) => (cost(b) < cost(a) ? b : a));
    put(null, text, { x: left, y: line });
    if (far) put(null, lead, { d: `M${x},${y}L${left < x ? left + w : left},${line - 4}` });
    taken.push([left, line, w]);
  }
}

const nats = (value) => String(Number(value.toFixed(2)));
/** 0.003 → "3e-3" */
const power = (value) => value.toExponential(0).replace("+", "");

export default { render };
