// What is wider than its place: it says so, and on a phone it takes less room. Without scripts it
// scrolls all the same. Loaded with "defer": the page has been parsed.
(() => {
  const article = document.querySelector(".bd-article");
  if (!article) return;
  const phone = matchMedia("(max-width: 40rem)");
  const LEAST = 0.72; // of a formula's own size: what is smaller is hard to read

  // A table of a single row is told downwards on a phone, a line for each of its columns.
  for (const table of article.querySelectorAll(".pst-scrollable-table-container > table")) {
    const [heads, cells] = [...table.querySelectorAll("tr")].map((row) => [...row.children]);
    if (table.rows.length !== 2 || !table.tHead || heads.length < 3 || heads.length !== cells.length) continue;
    const down = document.createElement("table");
    down.className = `${table.className} pft-down`;
    const body = down.createTBody();
    const lines = heads.map(() => {
      const row = body.insertRow(), head = document.createElement("th");
      head.scope = "row";
      row.append(head);
      return [head, row.insertCell()];
    });
    const turn = () => {
      const from = phone.matches ? [heads, cells] : [0, 1].map((i) => lines.map((line) => line[i]));
      const to = phone.matches ? [0, 1].map((i) => lines.map((line) => line[i])) : [heads, cells];
      if (phone.matches === down.isConnected) return;
      from.forEach((list, i) => list.forEach((cell, k) => to[i][k].append(...cell.childNodes)));
      (phone.matches ? table : down).replaceWith(phone.matches ? down : table);
    };
    phone.addEventListener("change", turn);
    turn();
  }

  // A formula may become a little smaller before it has to scroll.
  const formulas = [...article.querySelectorAll("div.math")];
  const fit = () => {
    for (const box of formulas) {
      box.style.fontSize = "";
      for (let size = 1; size > LEAST && box.clientWidth && box.scrollWidth > box.clientWidth + 1; ) {
        size = Math.max(LEAST, (size * (box.clientWidth - 2)) / box.scrollWidth);
        box.style.fontSize = `${size}em`;
      }
    }
  };

  // Where a box has more to show, its edge fades.
  const SCROLL = ".pst-scrollable-table-container, div.math, .highlight pre, .cell_output, .cell_output pre, .pft-scroll, a.dark-light.image-reference";
  const say = (box) => {
    const rest = box.scrollWidth - box.clientWidth;
    const more = rest < 3 ? "" : [box.scrollLeft > 1 && "left", box.scrollLeft < rest - 1 && "right"].filter(Boolean).join(" ");
    if ((box.dataset.pftMore ?? "") !== more) box.dataset.pftMore = more;
  };
  const sized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const box = target.closest(SCROLL); // none, when a table was turned meanwhile
      if (box) say(box);
    }
  });
  const watch = () => {
    for (const box of article.querySelectorAll(SCROLL)) {
      sized.observe(box);
      for (const inside of box.querySelectorAll(":scope > :is(table, mjx-container), :scope > a > img, :scope > img")) sized.observe(inside);
    }
  };
  article.addEventListener("scroll", ({ target }) => target.matches?.(SCROLL) && say(target), { capture: true, passive: true });
  watch();
  if (formulas.length) {
    const set = () => window.MathJax?.startup?.promise?.then(() => {
      fit();
      watch();
      formulas.forEach(say);
    });
    if (document.readyState === "complete") set();
    else addEventListener("load", set);
    let width = article.clientWidth;
    new ResizeObserver(() => {
      if (article.clientWidth === width) return;
      width = article.clientWidth;
      fit();
    }).observe(article);
  }
})();
