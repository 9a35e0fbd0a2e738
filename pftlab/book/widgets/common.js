// What all interactive figures share. It stands in front of each widget's own script, in one
// module: nothing here may be exported, and nothing may be loaded but the book's own data.

// What is said about a mark stands below the drawing: above, it would move the mark away from the
// finger that points at it.
const HINT = "Point at a mark, or go through them with the arrow keys, to read about it.";
const SVG = "http://www.w3.org/2000/svg";
// JupyterLab takes the arrow keys from every focused element that is no text field, unless that
// element itself says otherwise.
const KEEPS_KEYS = "data-lm-suppress-shortcuts";

/** A name that nothing else on the page has; every figure is a module of its own. */
function unique() {
  globalThis.pftNamed = (globalThis.pftNamed ?? 0) + 1;
  return `pft-${globalThis.pftNamed}`;
}

// Elements

function put(parent, node, attributes, text) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
}

function html(parent, tag, attributes = {}, text) {
  const node = document.createElement(tag);
  if (["input", "select", "button", "summary"].includes(tag)) node.setAttribute(KEEPS_KEYS, "true");
  return put(parent, node, attributes, text);
}

function svg(parent, tag, attributes = {}, text) {
  return put(parent, document.createElementNS(SVG, tag), attributes, text);
}

/** The box of a widget, with its title; `name` is the class of the box. */
function frame(root, name, title) {
  const box = html(root, "div", { class: `pft-widget ${name}`, role: "group", "aria-label": title });
  html(box, "p", { class: "pft-title" }, title);
  return box;
}

// Controls: each has a visible label, and a `show` that brings it to a state without a signal.

function choice(parent, label, options, change) {
  const id = unique();
  const field = html(parent, "div", { class: "pft-field" });
  html(field, "label", { for: id }, label);
  const select = html(field, "select", { id });
  const fill = (given) => {
    select.replaceChildren();
    given.forEach(([value, text]) => html(select, "option", { value }, text));
  };
  fill(options);
  select.addEventListener("change", () => change(select.value));
  return { field, fill, show: (value) => (select.value = value) };
}

/** A slider over `low` … `high`; `say` makes the words for a position. */
function slider(parent, label, { low, high, step = 1 }, say, change) {
  const id = unique();
  const field = html(parent, "div", { class: "pft-field pft-wide" });
  html(field, "label", { for: id }, label);
  const input = html(field, "input", { id, type: "range", min: low, max: high, step });
  const output = html(field, "output", { for: id });
  input.addEventListener("input", () => change(Number(input.value)));
  const show = (position) => {
    input.value = position;
    output.textContent = say(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  const limit = (least, most) => {
    input.min = least;
    input.max = most;
  };
  return { field, input, show, limit };
}

function toggle(parent, label, change) {
  const field = html(parent, "label", { class: "pft-toggle" });
  const input = html(field, "input", { type: "checkbox" });
  html(field, "span", {}, label);
  input.addEventListener("change", () => change(input.checked));
  return { field, input, show: (on) => (input.checked = on) };
}

/** A button; its `show` changes the words on it. */
function button(parent, label, act) {
  const node = html(parent, "button", { type: "button", class: "pft-go" }, label);
  node.addEventListener("click", act);
  return { node, show: (words) => (node.textContent = words) };
}

/** A folded table. `fill(head, rows)`: cells are text; a row may be an array with a `key`. */
function table(parent, title) {
  const details = html(parent, "details", { class: "pft-data" });
  html(details, "summary", {}, title);
  const scroll = html(details, "div", { class: "pft-scroll", tabindex: 0, role: "group", "aria-label": title });
  scroll.setAttribute(KEEPS_KEYS, "true");
  const inside = html(scroll, "table");
  return (head, rows) => {
    inside.replaceChildren();
    const top = html(html(inside, "thead"), "tr");
    head.forEach((text) => html(top, "th", { scope: "col" }, text));
    const body = html(inside, "tbody");
    for (const row of rows) {
      const line = html(body, "tr");
      row.forEach((text, i) => html(line, i ? "td" : "th", i ? {} : { scope: "row" }, text));
    }
  };
}

/** A line of text that screen readers read out when it changes. */
function spoken(parent, name = "pft-note") {
  return html(parent, "p", { class: name, role: "status" });
}

// Drawing

/** A drawing as wide as its place. `draw(picture, width)` is called again when that changes. */
function drawing(parent, label, height, draw, role = "group") {
  const picture = svg(parent, "svg", { role, "aria-label": label, height, class: "pft-drawing" });
  let width = 0;
  const redraw = () => {
    if (width < 40) return;
    picture.setAttribute("viewBox", `0 0 ${width} ${picture.getAttribute("height")}`);
    // what has the focus is drawn anew, and gets it back
    const inside = picture.contains(document.activeElement);
    const key = inside ? document.activeElement.dataset.key : undefined;
    picture.replaceChildren();
    draw(picture, width);
    if (key !== undefined) picture.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  };
  const observer = new ResizeObserver(() => {
    const now = Math.round(parent.clientWidth);
    if (now === width) return;
    width = now;
    redraw();
  });
  observer.observe(parent);
  return { picture, redraw, stop: () => observer.disconnect() };
}

const linear = (from, to) => (value) =>
  to[0] + ((value - from[0]) / (from[1] - from[0] || 1)) * (to[1] - to[0]);
const logarithmic = (from, to) => {
  const scale = linear(from.map(Math.log10), to);
  return (value) => scale(Math.log10(value));
};

/** Round numbers from `low` to `high`, about `wanted` of them. */
function ticks(low, high, wanted = 5) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}

/** The powers of ten from `low` to `high`, at most `most`. */
function powers(low, high, most = 6) {
  const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
  const step = Math.max(1, Math.ceil((last - first + 1) / most));
  const found = [];
  for (let k = first; k <= last; k += step) found.push(10 ** k);
  return found;
}

/** The powers of two from `low` to `high`, at most `most`: round numbers of bytes. */
function doubles(low, high, most = 6) {
  const first = Math.ceil(Math.log2(low)), last = Math.floor(Math.log2(high));
  const step = Math.max(1, Math.ceil((last - first + 1) / most));
  const found = [];
  for (let k = first; k <= last; k += step) found.push(2 ** k);
  return found;
}

/** Lines and numbers of both axes. `at` = { left, right, top, bottom } of the plane. */
function axes(picture, at, across, up) {
  for (const [value, text] of across.ticks) {
    const x = across.scale(value);
    svg(picture, "path", { class: "pft-grid", d: `M${x},${at.top}V${at.bottom}` });
    svg(picture, "text", { x, y: at.bottom + 16, "text-anchor": "middle" }, text);
  }
  for (const [value, text] of up.ticks) {
    const y = up.scale(value);
    svg(picture, "path", { class: "pft-grid", d: `M${at.left},${y}H${at.right}` });
    svg(picture, "text", { x: at.left - 6, y: y + 4, "text-anchor": "end" }, text);
  }
  const middle = (at.left + at.right) / 2;
  svg(picture, "text", { x: middle, y: at.bottom + 34, "text-anchor": "middle" }, across.label);
  if (up.label) {
    const turned = `translate(13 ${(at.top + at.bottom) / 2}) rotate(-90)`;
    svg(picture, "text", { transform: turned, "text-anchor": "middle" }, up.label);
  }
}

/**
 * A grid of numbers, a cell for each row and column: `cell(row, column)` gives its `share` of full,
 * the `text` in it, what is said of it (`label`), whether it is `chosen`, or nothing for no cell.
 * Returns the marks; the key of each is "row column".
 */
function cells(picture, width, { rows, columns, rowLabel, columnLabel, colour, high = 26 }, cell) {
  const left = 50, top = 36, wide = Math.min(76, (width - left) / columns.length);
  svg(picture, "text", { x: 0, y: top - 6 }, rowLabel);
  svg(picture, "text", { x: left + (wide * columns.length) / 2, y: 11, "text-anchor": "middle" }, columnLabel);
  columns.forEach((name, j) => svg(picture, "text", { x: left + (j + 0.5) * wide, y: top - 6, "text-anchor": "middle" }, name));
  return rows.flatMap((name, i) => {
    const y = top + i * high;
    svg(picture, "text", { x: 34, y: y + high / 2 + 4, "text-anchor": "end" }, name);
    return columns.flatMap((_, j) => {
      const found = cell(i, j);
      if (!found) return [];
      const { share, text, label, chosen } = found, x = left + j * wide;
      const g = svg(picture, "g", { "data-key": `${i} ${j}`, role: "button", "aria-pressed": chosen, "aria-label": label });
      svg(g, "rect", { class: "pft-cell", x: x + 1, y: y + 1, width: wide - 3, height: high - 3, rx: 3 });
      const filled = (high - 3) * share;
      svg(g, "rect", { x: x + 1, y: y + high - 2 - filled, width: wide - 3, height: filled, fill: colour, opacity: 0.45 });
      svg(g, "text", { x: x + wide / 2, y: y + high / 2 + 4, "text-anchor": "middle" }, text);
      svg(g, "rect", { class: `pft-part pft-frame${chosen ? " pft-framed" : ""}`, x: x + 1, y: y + 1, width: wide - 3, height: high - 3, rx: 3 });
      return [g];
    });
  });
}
const cellsHigh = (rows, high = 26) => 38 + rows * high;

/** The outline of a family's marker around (x, y). */
function outline(shape, x, y, s = 6) {
  switch (shape) {
    case "s": return `M${x - s},${y - s}h${2 * s}v${2 * s}h${-2 * s}z`;
    case "D": return `M${x},${y - s * 1.3}L${x + s * 1.3},${y}L${x},${y + s * 1.3}L${x - s * 1.3},${y}z`;
    case "^": return `M${x},${y - s * 1.2}L${x + s * 1.2},${y + s}L${x - s * 1.2},${y + s}z`;
    case "v": return `M${x},${y + s * 1.2}L${x + s * 1.2},${y - s}L${x - s * 1.2},${y - s}z`;
    case "P": {
      const t = s / 2.2;
      return `M${x - t},${y - s}h${2 * t}v${s - t}h${s - t}v${2 * t}h${t - s}v${s - t}h${-2 * t}v${t - s}h${t - s}v${-2 * t}h${s - t}z`;
    }
    default: return `M${x - s},${y}a${s},${s} 0 1,0 ${2 * s},0a${s},${s} 0 1,0 ${-2 * s},0z`;
  }
}

/**
 * Makes marks reachable: one of them is in the tab order, the arrow keys lead to the others,
 * and pointing or focusing tells about it; a click, Enter or the space bar opens it. In a grid,
 * `across` marks make a row, and the arrows up and down lead to the row above and below.
 */
function reachable(marks, tell, open, across = 1) {
  marks.forEach((mark, i) => {
    mark.setAttribute("tabindex", i ? -1 : 0);
    mark.setAttribute(KEEPS_KEYS, "true");
    const act = () => tell(mark.dataset.key);
    mark.addEventListener("mouseenter", act);
    mark.addEventListener("focus", () => {
      marks.forEach((other) => other.setAttribute("tabindex", other === mark ? 0 : -1));
      act();
    });
    mark.addEventListener("click", () => open?.(mark.dataset.key));
    mark.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowDown: i + across, ArrowLeft: i - 1, ArrowUp: i - across, Home: 0, End: marks.length - 1 }[event.key];
      if (to !== undefined) {
        event.preventDefault();
        if (across === 1) marks[Math.min(marks.length - 1, Math.max(0, to))].focus();
        else marks[to]?.focus();
      } else if (open && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        open(mark.dataset.key);
      }
    });
  });
}

// Matrices as pictures

/** A colour of the style sheet, for what cannot name it; black must never stand in for it. */
const colourOf = (box, name) => getComputedStyle(box).getPropertyValue(`--pft-${name}`).trim();

/** Numbers as a picture, a pixel each: orange is positive, grey negative, strength is size. */
function heat(box, canvas, matrix, scale) {
  const context = canvas.getContext("2d");
  canvas.width = matrix[0].length;
  canvas.height = matrix.length;
  context.clearRect(0, 0, canvas.width, canvas.height);
  const [positive, negative] = ["trained-edge", "quiet"].map((name) => colourOf(box, name));
  matrix.forEach((row, y) => row.forEach((value, x) => {
    context.globalAlpha = Math.min(1, Math.abs(value) / scale);
    context.fillStyle = value > 0 ? positive : negative;
    context.fillRect(x, y, 1, 1);
  }));
}

/** Paints pictures of pixels now and when the page changes its colours, which they cannot follow. */
function pictures(box, paint) {
  const again = () => (colourOf(box, "quiet") ? paint() : requestAnimationFrame(again)); // the style sheet may come later
  const themes = new MutationObserver(again);
  for (const node of [document.documentElement, document.body]) {
    themes.observe(node, { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "class"] });
  }
  return { redraw: again, stop: () => themes.disconnect() };
}

// State

/** Plays the `frame` of a model up to `last`; what the reader does by hand stops it. */
function player(model, last, milliseconds, draw) {
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
  };
  const pause = () => {
    stop();
    draw();
  };
  const begin = () => {
    if (model.get("frame") === last) assign(model, "frame", 0);
    timer = setInterval(() => {
      const next = model.get("frame") + 1;
      assign(model, "frame", Math.min(next, last));
      if (next >= last) pause();
    }, milliseconds);
    draw();
  };
  const go = (k) => {
    stop();
    const frame = Math.min(last, Math.max(0, k));
    if (frame === model.get("frame")) draw();
    else assign(model, "frame", frame);
  };
  return { go, stop, playing: () => Boolean(timer), toggle: () => (timer ? pause() : begin()) };
}

/**
 * Data that is too large for the state: with it all the same where it is not the book's own, from the
 * site on one of its pages (a script, since a page opened as a file may read nothing else), and from
 * the kernel in a notebook.
 */
function fetched(model, name) {
  const inline = model.get("inline") ?? {}, root = document.documentElement.dataset.content_root;
  if (name in inline) return Promise.resolve(inline[name]);
  return new Promise((resolve, reject) => {
    if (root === undefined) {
      model.on("msg:custom", (told) => told.name === name && resolve(told.data));
      model.send({ ask: name });
      return;
    }
    const held = (globalThis.pftData ??= {});
    if (name in held) return resolve(held[name]);
    const script = html(document.head, "script", { src: `${root}_static/data/${name}.js` });
    script.addEventListener("load", () => resolve(held[name]));
    script.addEventListener("error", () => reject(new Error(`${name} is not there`)));
  });
}

/** Answers when the reader comes near: what is large and far down need not be fetched before. */
function near(box) {
  return new Promise((resolve) => {
    const observer = new IntersectionObserver((seen) => {
      if (!seen.some((each) => each.isIntersecting)) return;
      observer.disconnect();
      resolve();
    }, { rootMargin: "600px" });
    observer.observe(box);
  });
}

/** What a figure says while its data comes, and when it does not come. */
const COMING = "The data is being loaded …";
const MISSING = "The data of this figure is not there. Open the page in the book, or run its cell in a notebook.";

function assign(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

/** Draws now and whenever one of `names` changes; returns the way to end it. */
function follow(model, names, draw, ...drawings) {
  names.forEach((name) => model.on(`change:${name}`, draw));
  draw();
  return () => {
    names.forEach((name) => model.off(`change:${name}`, draw));
    drawings.forEach((each) => each.stop());
  };
}

// Numbers

const grouped = (number) => Math.round(number).toLocaleString("en-US");

/** 1200000 → "1.2 M" */
function short(number) {
  for (const [limit, unit] of [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
    if (number >= limit) return `${Number((number / limit).toPrecision(3))}${unit}`;
  }
  return `${Number(number.toPrecision(3))}`;
}

function bytes(number) {
  for (const [limit, unit] of [[2 ** 40, " TiB"], [2 ** 30, " GiB"], [2 ** 20, " MiB"], [2 ** 10, " KiB"]]) {
    if (number >= limit) return `${Number((number / limit).toPrecision(3))}${unit}`;
  }
  return `${Math.round(number)} B`;
}

/** The numbers of the rows of text that Python's `packed` made. */
const unpacked = (rows) => rows.map((row) => row.split(" ").map(Number));

const percent = (share) => `${Number((100 * share).toPrecision(3))} %`;

// Scores: `kind` is what Python's `scores` in data.py tells of one.

/** A number that is higher for a better value. */
const worth = (kind, value) => (kind.higher ? value : -value);
/** A value, or a distance between two, without its unit: 0.8391 → "83.9". */
const scored = (kind, value) => (kind.times * value).toFixed(kind.decimals);
const written = (kind, value) => `${scored(kind, value)} ${kind.unit}`.trim();
const apart = (kind, distance) => `${scored(kind, Math.abs(distance))}${kind.times === 100 ? " points" : ""}`;
/** The part of `low` … `high` in which values can be: where an axis or an interval ends. */
const within = (kind, low, high) => [Math.max(low, kind.low ?? -Infinity), Math.min(high, kind.high ?? Infinity)];

/** The axis of a score that shows `values`, and a little room beside them: [scale, what `axes` needs]. */
function scoreAxis(kind, values, { top, bottom }) {
  const least = Math.min(...values), most = Math.max(...values), room = (most - least) * 0.06 || 0.01;
  const ends = within(kind, least - room, most + room), scale = linear(ends, [bottom, top]);
  return [scale, { scale, label: kind.axis,
    ticks: ticks(...ends, 6).map((value) => [value, String(Number((kind.times * value).toPrecision(4)))]) }];
}

/** The text cut into lines of about `most` characters, at spaces. */
function lines(text, most) {
  const found = [""];
  for (const word of text.split(" ")) {
    const last = found.length - 1;
    if (found[last] && found[last].length + word.length + 1 > most) found.push(word);
    else found[last] = found[last] ? `${found[last]} ${word}` : word;
  }
  return found;
}
