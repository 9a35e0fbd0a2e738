// A transformer block, and where a method stands in it.

const LABELS = { site: "It changes h, the output of", function: "Function Δh", form: "Insertion", composition: "Composition h ←" };
// x of the main column, of query and value beside it, and of the branch
const MAIN = 118, QUERY = 58, VALUE = 178, BRANCH = 288, WIDE = 346, HIGH = 452;
// where each site's input leaves the column and where its output is, from the top; data flows upwards,
// as in all drawings of the book
const ENDS = { projections: [412, 352], heads: [412, 294], attention: [412, 238], ffn: [182, 80] };
const PARTS = [ // [key, text, centre, top, width, height]
  ["projections", "query", QUERY, 366, 52, 28], ["", "key", MAIN, 366, 52, 28], ["projections", "value", VALUE, 366, 52, 28],
  ["heads", "attention heads", MAIN, 310, 172, 28], ["attention", "output projection", MAIN, 252, 172, 28],
  ["ffn", "up projection, φ", MAIN, 140, 172, 28], ["ffn", "down projection", MAIN, 94, 172, 28],
];

function render({ model, el }) {
  const given = model.get("choices"), designs = model.get("designs"), names = given.map(([name]) => name);
  const choices = Object.fromEntries(given.map(([name, options]) => [name, Object.fromEntries(options)]));
  const box = frame(el, "pft-placement", "One view of many methods");
  const fields = html(box, "div", { class: "pft-fields" });
  const selects = Object.fromEntries(names.map((name) => [name,
    choice(fields, LABELS[name], Object.entries(choices[name]), (value) => assign(model, name, value))]));
  const name = spoken(box, "pft-title");
  const equation = html(box, "p");
  const code = html(box, "p");
  const plot = html(box, "div", { class: "pft-plot" });
  const block = drawing(plot, "A transformer block; choose what the method changes", HIGH, paint);
  const told = spoken(box, "pft-small");
  const buttons = html(box, "fieldset");
  html(buttons, "legend", {}, "Go to a method with a name");
  for (const design of designs) {
    html(buttons, "button", { type: "button", class: "pft-go" }, design.name).addEventListener("click", () => {
      names.forEach((each) => model.set(each, design[each]));
      model.save_changes();
    });
  }
  const fill = table(box, "Table of the methods");

  const distance = (design) => names.filter((each) => design[each] !== model.get(each)).length;
  const reads = () => (model.get("form") === "sequential" ? "h" : "x");

  function paint(picture, width) {
    const left = Math.max(0, (width - WIDE) / 2);
    const shift = svg(picture, "g", { transform: `translate(${left} 0) scale(${Math.min(1, width / WIDE)})` });
    const id = unique();
    for (const [kind, colour] of [["plain", "edge"], ["lit", "trained-edge"]]) {
      const marker = svg(svg(shift, "defs"), "marker", { id: `${id}-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" });
      svg(marker, "path", { d: "M0,0L8,4L0,8z", fill: `var(--pft-${colour})` });
    }
    const line = (d, lit) => svg(shift, "path", { d, class: lit ? "pft-lit" : "pft-edge", "marker-end": `url(#${id}-${lit ? "lit" : "plain"})` });
    const site = model.get("site"), sequential = model.get("form") === "sequential", [start, end] = ENDS[site];

    // the block itself, and around each sub-layer its residual connection
    line(`M${MAIN},444V396`);
    for (const x of [QUERY, VALUE]) line(`M${MAIN},412H${x}V396`);
    for (const x of [QUERY, MAIN, VALUE]) line(`M${x},366V340`);
    line(`M${MAIN},310V282`);
    line(`M${MAIN},252V218`);
    line(`M${MAIN},426H14V208H${MAIN - 12}`);
    line(`M${MAIN},198V170`);
    line(`M${MAIN},140V124`);
    line(`M${MAIN},94V58`);
    line(`M${MAIN},190H14V48H${MAIN - 12}`);
    line(`M${MAIN},38V12`);
    for (const y of [208, 48]) {
      svg(shift, "circle", { class: "pft-part", cx: MAIN, cy: y, r: 10 });
      svg(shift, "text", { x: MAIN, y: y + 4, "text-anchor": "middle" }, "+");
    }
    const marks = [];
    for (const [key, text, x, y, w, h] of PARTS) {
      const on = key === site;
      const g = svg(shift, "g", { class: on ? "pft-on" : "" });
      svg(g, "rect", { class: "pft-part pft-frozen", x: x - w / 2, y, width: w, height: h, rx: 4 });
      svg(g, "text", { x, y: y + h / 2 + 4, "text-anchor": "middle" }, text);
      if (key && !marks.some((mark) => mark.dataset.key === key)) {
        put(null, g, { "data-key": key, role: "button", "aria-pressed": on, "aria-label": `${text}: change the output h of ${choices.site[key]}` });
        marks.push(g);
      } else if (key) {
        g.addEventListener("click", () => assign(model, "site", key));
        g.style.cursor = "pointer";
      }
    }
    // the path that the method adds
    const exits = site === "projections" ? [QUERY, VALUE] : [MAIN];
    const join = (y) => exits.forEach((x) => {
      line(`M${BRANCH},${y}H${x + 6}`, true);
      svg(shift, "circle", { class: "pft-delta", cx: x, cy: y, r: 5 });
    });
    const boxTop = sequential ? end - 22 : (start + end) / 2 - 22;
    if (sequential) {
      const from = end + 10, to = end - 10;
      exits.forEach((x) => svg(shift, "path", { class: "pft-lit", d: `M${x},${from}H${BRANCH}` }));
      join(to);
    } else {
      svg(shift, "path", { class: "pft-lit", d: `M${MAIN},444V${start}H${BRANCH}V${boxTop + 44}` });
      svg(shift, "path", { class: "pft-lit", d: `M${BRANCH},${boxTop}V${end}` });
      join(end);
    }
    svg(shift, "rect", { class: "pft-delta", x: BRANCH - 58, y: boxTop, width: 116, height: 44, rx: 6 });
    const formula = choices.function[model.get("function")].replace("z", reads());
    svg(shift, "text", { x: BRANCH, y: boxTop + 18, "text-anchor": "middle" }, "Δh");
    svg(shift, "text", { x: BRANCH, y: boxTop + 35, "text-anchor": "middle" }, formula);
    svg(shift, "text", { x: MAIN + 8, y: 440 }, "x");
    reachable(marks, (key) => (told.textContent = marks.find((m) => m.dataset.key === key).getAttribute("aria-label")),
      (key) => assign(model, "site", key));
  }

  function draw() {
    for (const each of names) selects[each].show(model.get(each));
    const least = Math.min(...designs.map(distance)), near = designs.filter((d) => distance(d) === least);
    const here = least ? undefined : near[0];
    const differs = (design) => names.filter((each) => design[each] !== model.get(each))
      .map((each) => choices[each][design[each]]).join("; ");
    name.textContent = here ? here.name
      : `No method of the paper's table. ${near.length > 1 ? "The nearest are" : "The nearest is"} `
        + near.map((design) => `${design.name} (with ${differs(design)})`).join(", ") + ".";
    equation.textContent = `Δh = ${choices.function[model.get("function")].replace("z", reads())}`
      + `,  h ← ${choices.composition[model.get("composition")]}`
      + (model.get("composition") === "gated" ? ", λ: the share of attention that goes to the prefix" : "");
    code.replaceChildren();
    if (here?.code) html(code, "code", {}, here.code);
    else code.textContent = here ? "Not in this package." : "";
    const place = choices.site[model.get("site")];
    told.textContent = model.get("form") === "sequential"
      ? `The data's path: the output h of ${place} goes through Δh, and the result takes its place.`
      : `The data's path: what enters the sub-layer, x, goes through Δh as well, and joins the output h of ${place}.`;
    fill(["Method", ...names, "in this package"],
      designs.map((d) => [d.name, ...names.map((each) => choices[each][d[each]]), d.code || "–"]));
    Object.assign(box.dataset, { name: here?.name ?? "", nearest: near.map((design) => design.name).join("|") });
    block.redraw();
  }
  return follow(model, names, draw, block);
}

export default { render };
