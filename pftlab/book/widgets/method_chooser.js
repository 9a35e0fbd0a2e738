// What a budget leaves, and what speaks for each: counts, our runs, the papers.

const GIB = 2 ** 30;

function render({ model, el }) {
  const methods = model.get("methods"), costs = model.get("costs"), said = model.get("said"), ours = model.get("ours");
  const titles = Object.fromEntries(methods.map(([name, title]) => [name, title]));
  const merges = Object.fromEntries(methods.map(([name, , , merged]) => [name, merged]));
  const fitting = Object.fromEntries(methods.map(([name, , , , kinds]) => [name, kinds.split(" ")]));
  const budgets = model.get("budgets"), counts = model.get("counts");
  const box = frame(el, "pft-chooser", "Which methods does your budget leave?");
  const fields = html(box, "div", { class: "pft-fields" });
  const kind = choice(fields, "The task asks for", model.get("kinds"), (value) => assign(model, "kind", value));
  const base = choice(fields, "Model", model.get("models").map((name) => [name, name]), (value) => assign(model, "model_name", value));
  const amount = choice(fields, "Examples", model.get("amounts"), (value) => assign(model, "amount", value));
  const lower = html(box, "div", { class: "pft-fields" });
  const budget = slider(lower, "Memory", { low: 0, high: budgets.length - 1 }, (i) => `${budgets[i]} GiB`, (i) => assign(model, "budget", budgets[i]));
  const tasks = slider(lower, "Tasks", { low: 0, high: counts.length - 1 }, (i) => grouped(counts[i]), (i) => assign(model, "tasks", counts[i]));
  const batch = choice(lower, "Texts in a step", model.get("batches").map((n) => [n, `${n}`]), (n) => assign(model, "batch", Number(n)));
  const merged = toggle(lower, "no extra time at inference", (on) => assign(model, "merged", on));
  const note = spoken(box);
  const list = html(box, "ol", { class: "pft-left", "aria-label": "Methods that fit" });
  const ruled = html(box, "ul", { class: "pft-left pft-small", "aria-label": "Methods that are ruled out" });
  html(box, "p", { class: "pft-small" },
    "Memory: texts of 512 tokens, weights in 16 bits, 4 for QLoRA, no checkpointing; an estimate from counts. "
    + "Our runs: points of accuracy against LoRA, with 95 % intervals over seeds and test texts (smollm2: seeds alone), "
    + "corrected for the number of methods. All of them are classification by small models.");
  const fill = table(box, "Data table");
  const opened = new Set(); // methods whose tables the reader has opened

  const cost = (name) => costs[model.get("model_name")][name];
  const step = (name) => cost(name)[model.get("batches").indexOf(model.get("batch"))];

  function reason(name) {
    const found = cost(name);
    if (!Array.isArray(found)) return found;
    if (!fitting[name].includes(model.get("kind"))) return "not for this kind of task";
    if (step(name) > model.get("budget") * GIB) return `needs about ${Number((step(name) / GIB).toPrecision(3))} GiB`;
    if (model.get("merged") && !merges[name]) return "cannot be merged, so it takes time at inference";
    return "";
  }
  const classes = () => model.get("kind") === "sequence_classification";
  const worse = (name) => classes() && ours.some(([method, , , verdict]) => method === name && verdict === "worse");

  function candidates() {
    return methods.map(([name]) => name).filter((name) => !reason(name))
      .sort((a, b) => worse(a) - worse(b) || step(a) - step(b));
  }

  /** What our runs say of a method: in a sentence, and table by table. */
  function byOurRuns(name) {
    if (!classes()) return ["none on this kind of task, so we cannot tell.", []];
    if (name === "lora") return ["the others are compared with it.", []];
    const rows = ours.filter(([method]) => method === name), verdicts = {};
    if (!rows.length) return ["none, so we cannot tell.", []];
    for (const [, , , verdict] of rows) verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
    const told = Object.entries(verdicts).map(([verdict, n]) => `${verdict} in ${n}`).join(", ");
    return [`${told} of ${rows.length} tables.`, rows.map(([, on, task, verdict, points]) => `${on}, ${task}: ${verdict} (${points})`)];
  }

  /** A line that opens into the tables behind it; it stays open when the list is drawn anew. */
  function writeOurRuns(entry, name) {
    const [told, tables] = byOurRuns(name);
    if (!tables.length) return void html(entry, "p", { class: "pft-small" }, `By our runs: ${told}`);
    const fold = html(entry, "details", { class: "pft-small" });
    html(fold, "summary", {}, `By our runs: ${told}`);
    const lines = html(fold, "ul");
    for (const line of tables) html(lines, "li", {}, line);
    fold.open = opened.has(name);
    fold.addEventListener("toggle", () => (fold.open ? opened.add(name) : opened.delete(name)));
  }

  function byPapers(name) {
    const rows = said.filter(([method, kinds, amounts]) =>
      method === name && kinds.split(" ").includes(model.get("kind")) && amounts.split(" ").includes(model.get("amount")));
    return rows.length ? `${rows.map(([, , , text, paper]) => `${text} (${paper})`).join("; ")}.` : "we cite none on such a task.";
  }

  function draw() {
    const left = candidates(), out = methods.map(([name]) => name).filter((name) => reason(name)), many = model.get("tasks");
    kind.show(model.get("kind"));
    base.show(model.get("model_name"));
    amount.show(model.get("amount"));
    budget.show(budgets.indexOf(model.get("budget")));
    tasks.show(counts.indexOf(model.get("tasks")));
    batch.show(model.get("batch"));
    merged.show(model.get("merged"));
    note.textContent = left.length
      ? `${left.length} of ${methods.length} fit ${model.get("model_name")} into ${model.get("budget")} GiB, sorted by memory. `
        + (classes() ? "Last come those that our runs found worse than LoRA somewhere." : "Our runs say nothing of such a task.")
      : `None of ${methods.length} fits: take fewer texts in a step, a smaller model, or more memory.`;
    list.replaceChildren();
    for (const name of left) {
      const entry = html(list, "li"), head = html(entry, "p");
      html(head, "strong", {}, titles[name]);
      head.append(`: about ${bytes(step(name))} in training, ${bytes(many * cost(name).at(-1))} of files for `
        + `${many === 1 ? "one task" : `${grouped(many)} tasks`}${merges[name] ? ", can be merged" : ", stays beside the weights"}.`);
      writeOurRuns(entry, name);
      html(entry, "p", { class: "pft-small" }, `By the paper: ${byPapers(name)}`);
    }
    ruled.replaceChildren();
    for (const name of out) html(ruled, "li", {}, `Ruled out: ${titles[name]} (${reason(name)}).`);
    fill(["Method", "Verdict"], [...left, ...out].map((name) => [titles[name], reason(name) || "fits"]));
    Object.assign(box.dataset, { left: left.join(" "), reasons: out.map(reason).join("|") });
  }
  return follow(model, ["kind", "model_name", "amount", "budget", "tasks", "batch", "merged"], draw);
}

export default { render };
