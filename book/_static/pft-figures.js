// The book's own interactive figures, drawn without Jupyter's manager of widgets: a figure is one
// module with a `render`, and its model is its state. A page that shows widgets of other kinds has
// the manager, which then draws these as well.
(() => {
  if (globalThis.requirejs) return;
  const scripts = (kind) => [...document.querySelectorAll(`script[type="application/vnd.jupyter.widget-${kind}+json"]`)];
  const modules = new Map(); // source → module
  const styles = new Set();

  function load(source) {
    if (!modules.has(source)) {
      const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      modules.set(source, import(address).finally(() => URL.revokeObjectURL(address)));
    }
    return modules.get(source);
  }

  function style(text) {
    if (!text || styles.has(text)) return;
    styles.add(text);
    document.head.append(Object.assign(document.createElement("style"), { textContent: text }));
  }

  /** What a figure knows of its model: as with the manager, without anybody behind it. */
  function modelOf(state) {
    const heard = new Map(); // event → functions
    return {
      get: (name) => state[name],
      set(name, value) {
        if (JSON.stringify(state[name]) === JSON.stringify(value)) return;
        state[name] = value;
        for (const act of [...(heard.get(`change:${name}`) ?? [])]) act();
      },
      on: (event, act) => heard.set(event, [...(heard.get(event) ?? []), act]),
      off: (event, act) => heard.set(event, (heard.get(event) ?? []).filter((other) => other !== act)),
      save_changes() {},
      send() {},
    };
  }

  /** Each figure by itself, so that a fault in one leaves the others. */
  function draw() {
    const entries = Object.assign({}, ...scripts("state").map((script) => JSON.parse(script.textContent).state));
    const models = new Map();
    for (const view of scripts("view")) {
      const { model_id: id } = JSON.parse(view.textContent), state = entries[id]?.state;
      if (!state?._esm) continue;
      if (!models.has(id)) models.set(id, modelOf(state));
      load(state._esm).then(({ default: figure }) => {
        style(state._css);
        const el = document.createElement("div");
        el.className = "widget-subarea";
        view.before(el);
        figure.render({ model: models.get(id), el });
      });
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", draw);
  else draw();
})();
