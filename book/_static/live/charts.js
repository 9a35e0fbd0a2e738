// The drawings of the page: two curves and the maps of change, as SVG that follows the theme.

const pftCharts = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 320, HEIGHT = 194, LEFT = 40, RIGHT = 10, TOP = 10, BOTTOM = 36;
  const ROWS = ["embeddings", "0", "1", "2", "3", "head"];
  const COLUMNS = ["query", "key", "value", "output", "up", "down", "norm", "words"];

  function drawn(parent, name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  function picture(width, height, label) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    return svg;
  }

  /**
   * Curves over the steps.
   * @param curves [[[step, value], …], …], one a run
   * @param range [low, high] of the values; `ticks` of them; `write` a value
   */
  function curves({ lines, steps, range: [low, high], ticks, write, label, dots }) {
    const svg = picture(WIDTH, HEIGHT, label);
    const x = step => LEFT + (step / steps) * (WIDTH - LEFT - RIGHT);
    const y = value => {
      const inside = Math.min(high, Math.max(low, value));
      return TOP + (1 - (inside - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    };
    for (const tick of ticks) {
      drawn(svg, "line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) });
      drawn(svg, "text", { class: "tick end", x: LEFT - 5, y: y(tick) + 4 }, write(tick));
    }
    for (const tick of [0, steps / 2, steps]) {
      drawn(svg, "text", { class: "tick middle", x: x(tick), y: HEIGHT - 20 }, Math.round(tick));
    }
    drawn(svg, "text", { class: "tick middle", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 5 }, "step");
    lines.forEach((points, run) => {
      if (!points.length) return;
      drawn(svg, "polyline", {
        class: `run run-${run}`, points: points.map(([s, v]) => `${x(s)},${y(v)}`).join(" "),
      });
      if (dots) for (const [s, v] of points) drawn(svg, "circle", { class: `dot run-${run}`, cx: x(s), cy: y(v), r: 3 });
    });
    return svg;
  }

  /** A cell for each place: blue where all is frozen, the more orange the more it has moved. */
  function changes(cells, most, label) {
    const side = 30, left = 76, top = 54;
    const svg = picture(left + COLUMNS.length * side + 6, top + ROWS.length * 22 + 2, label);
    COLUMNS.forEach((column, i) => drawn(svg, "text", {
      class: "tick", x: 0, y: 0, transform: `translate(${left + i * side + 12} ${top - 6}) rotate(-45)`,
    }, column));
    ROWS.forEach((row, j) => {
      drawn(svg, "text", { class: "tick end", x: left - 6, y: top + j * 22 + 15 }, /\d/.test(row) ? `layer ${row}` : row);
      COLUMNS.forEach((column, i) => {
        const moved = cells?.[row]?.[column];
        const there = row === "embeddings" ? ["norm", "words"].includes(column)
          : row === "head" ? column === "output" : column !== "words";
        if (!there) return;
        const place = { x: left + i * side, y: top + j * 22, width: side - 2, height: 20 };
        drawn(svg, "rect", { ...place, class: "frozen" });
        if (moved === undefined) return;
        const strength = most ? Math.sqrt(moved / most) : 0;
        const cell = drawn(svg, "rect", { ...place, class: "moved", "fill-opacity": 0.12 + 0.88 * strength });
        drawn(cell, "title", {}, `${row} ${column}: ${moved.toExponential(1)}`);
      });
    });
    return svg;
  }

  return { curves, changes };
})();
