// The table of all methods, narrowed down by what its columns say. Without this script the table
// is whole. The choice stands in the address, so that a link can make it: methods.html?family=sparse
(() => {
  const table = document.querySelector(".tag_pft-methods table");
  if (!table) return;
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const several = new Set(["tasks"]); // columns of lists
  const chosen = ["family", "merges", "starts at the base", "tasks"];
  const rows = [...table.tBodies[0].rows].map((row) => {
    const cells = [...row.cells].map((cell) => cell.textContent.trim());
    const titles = [...row.querySelectorAll("[title]")].map((element) => element.title);
    return { row, cells, text: [...cells, ...titles].join(" ").toLowerCase() };
  });
  const values = (column, cells) =>
    several.has(heads[column]) ? cells[column].split(", ") : [cells[column]];

  const make = (parent, name, attributes = {}, text = "") => {
    const element = Object.assign(document.createElement(name), attributes);
    element.textContent = text;
    parent?.append(element);
    return element;
  };
  const form = make(null, "form", { className: "pft-filter" });
  form.setAttribute("role", "search");
  form.setAttribute("aria-label", "Methods");
  const field = (label) => {
    const holder = make(form, "label");
    make(holder, "span", {}, label);
    return holder;
  };
  const query = make(field("words"), "input", { type: "search", name: "words" });
  const selects = chosen.map((head) => {
    const column = heads.indexOf(head);
    const select = make(field(head), "select", { name: head });
    make(select, "option", { value: "" }, "any");
    const found = new Set(rows.flatMap(({ cells }) => values(column, cells)));
    for (const value of found) make(select, "option", { value }, value);
    return { column, select };
  });
  make(form, "button", { type: "reset" }, "Show all");
  const count = make(null, "p", { className: "pft-count" });
  count.setAttribute("role", "status");

  const narrow = () => {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const { row, cells, text } of rows) {
      const shown =
        words.every((word) => text.includes(word)) &&
        selects.every(
          ({ column, select }) => !select.value || values(column, cells).includes(select.value),
        );
      row.hidden = !shown;
      left += shown;
    }
    count.textContent = `${left} of ${rows.length} methods`;
    const address = new URL(location.href);
    for (const { name, value } of [query, ...selects.map(({ select }) => select)]) {
      if (value) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
    }
    if (location.protocol !== "file:" && address.href !== location.href) history.replaceState(null, "", address);
  };
  form.addEventListener("input", narrow);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(narrow));

  const given = new URL(location.href).searchParams;
  for (const control of [query, ...selects.map(({ select }) => select)]) {
    if (given.has(control.name)) control.value = given.get(control.name);
  }
  const place = table.closest(".tag_pft-methods");
  place.querySelector(".cell_output").before(form, count);
  narrow();
})();
