// The page "Train it here": the reader chooses, a worker trains, the page shows.

(() => {
  const place = document.getElementById("pft-live");
  if (!place) return;
  const here = document.currentScript.src.replace(/[^/]*$/, "parts/");
  const PARTS = ["program", "kernels", "weights", "language", "reviews"];
  const { methods, sites, megabytes } = globalThis.pftLive.choices;
  const RATES = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1];
  const NAMES = ["A", "B"];
  const OPTIONS = {
    lora: [["rank", "rank", [1, 2, 4, 8, 16, 32], 8]],
    houlsby: [["bottleneck", "bottleneck", [4, 8, 16, 32, 64], 16]],
    prompt_tuning: [["length", "vectors", [1, 5, 10, 20], 10]],
  };
  const EXAMPLE = "The soup was far from bad.";
  const percent = share => `${(100 * share).toFixed(1)} %`;
  const whole = number => number.toLocaleString("en");

  function make(parent, name, properties = {}, text) {
    const { attributes = {}, ...own } = properties;
    const element = Object.assign(document.createElement(name), own);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent?.append(element);
    return element;
  }

  let fields = 0;

  /** A control with its label above it. */
  function field(parent, words, name, properties = {}) {
    const box = make(parent, "div", { className: "pft-live-field" });
    const id = `pft-live-field-${fields++}`;
    make(box, "label", { htmlFor: id }, words);
    return make(box, name, { id, ...properties });
  }

  function select(parent, words, choices, chosen) {
    const control = field(parent, words, "select");
    for (const [value, text] of choices) make(control, "option", { value }, text);
    control.value = String(chosen);
    return control;
  }

  // ---- the form --------------------------------------------------------------------------------

  place.replaceChildren();
  const form = make(place, "form", { className: "pft-live-form" });
  const numbers = list => list.map(number => [number, whole(number)]);

  function runForm(number, first) {
    const box = make(form, "fieldset");
    make(box, "legend", { className: `run-${number}` }, `Method ${NAMES[number]}`);
    const row = make(box, "div", { className: "pft-live-row" });
    const titles = Object.entries(methods).map(([name, { title }]) => [name, title]);
    const method = select(row, "method", number ? [["", "none"], ...titles] : titles, first);
    const rate = select(row, "learning rate", RATES.map(value => [value, value]), RATES[0]);
    const own = make(row, "div", { className: "pft-live-own" });
    let options = {}, at = [];
    const change = () => {
      own.replaceChildren();
      [options, at] = [{}, []];
      rate.parentElement.hidden = !method.value;
      if (!method.value) return;
      rate.value = String(methods[method.value].rate);
      for (const [key, words, choices, chosen] of OPTIONS[method.value] ?? []) {
        options[key] = select(own, words, numbers(choices), chosen);
      }
      if (method.value !== "lora") return;
      const places = make(own, "fieldset", { className: "pft-live-sites" });
      make(places, "legend", {}, "beside which matrices");
      at = sites.map(site => {
        const label = make(places, "label");
        const box = make(label, "input", { type: "checkbox", value: site });
        box.checked = ["attention.query", "attention.value"].includes(site);
        make(label, "span", {}, site);
        return box;
      });
    };
    method.addEventListener("change", change);
    change();
    return () => method.value && {
      method: method.value, rate: Number(rate.value),
      options: {
        ...Object.fromEntries(Object.entries(options).map(([key, { value }]) => [key, Number(value)])),
        ...(at.length && { alpha: 16, at: at.filter(box => box.checked).map(box => box.value) }),
      },
    };
  }

  const readers = [runForm(0, "lora"), runForm(1, "linear_probe")];
  const common = make(form, "div", { className: "pft-live-row" });
  const examples = select(common, "training texts", numbers([16, 64, 256, 1000]), 1000);
  const steps = select(common, "steps", numbers([30, 60, 120, 240]), 60);
  const seed = field(common, "seed", "input", { type: "number", value: 0, min: 0, max: 9999, required: true });
  const buttons = make(form, "div", { className: "pft-live-row" });
  const start = make(buttons, "button", { type: "submit", className: "pft-live-main" }, "Train");
  const reset = make(buttons, "button", { type: "button", disabled: true }, "Reset");
  make(buttons, "span", { className: "pft-live-note" }, `The first press loads ${megabytes} MB.`);
  const progress = make(place, "progress", { max: 1, value: 0, attributes: { "aria-label": "steps done" } });
  const status = make(place, "p", { className: "pft-live-status", attributes: { role: "status" } });
  const shown = make(place, "div", { className: "pft-live-shown" });
  shown.hidden = true;

  // ---- what is seen ----------------------------------------------------------------------------

  const tables = make(shown, "div", { className: "pft-live-scroll", tabIndex: 0,
    attributes: { role: "region", "aria-label": "Numbers of both runs" } });
  const figures = make(shown, "div", { className: "pft-live-figures" });
  const figure = caption => {
    const element = make(figures, "figure");
    const holder = make(element, "div");
    make(element, "figcaption", {}, caption);
    return holder;
  };
  const lossFigure = figure("Loss of the training texts, mean of five steps.");
  const scoreFigure = figure("Accuracy on 200 held-out texts, whose words of praise and blame are in no training text.");
  const mapFigures = NAMES.map(name => figure(
    `${name}: how far the trained numbers of each place have moved (root mean square). Blue is frozen.`));
  const asking = make(shown, "form", { className: "pft-live-row" });
  const sentence = field(asking, "a review of your own", "input",
    { type: "text", value: EXAMPLE, maxLength: 400, required: true });
  sentence.parentElement.classList.add("pft-live-sentence");
  make(asking, "button", { type: "submit" }, "Ask both");
  const answers = make(shown, "div", { attributes: { "aria-live": "polite" } });

  let worker = null, runs = [], phase = "new", history = null, drawing = false;

  function say(words) {
    status.textContent = words;
  }

  function enter(next) {
    phase = next;
    start.textContent = { running: "Pause", paused: "Go on", loading: "Loading" }[next] ?? "Train";
    start.disabled = next === "loading";
    reset.disabled = !["running", "paused", "finished"].includes(next);
    const fixed = ["loading", "running", "paused"].includes(next);
    for (const control of form.querySelectorAll("select, input")) control.disabled = fixed;
  }

  const title = run => `${NAMES[runs.indexOf(run)]}: ${methods[run.method].title}`;

  /** Draw once a frame, however fast the steps come. */
  function draw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      paint();
    });
  }

  function paint() {
    const { steps, losses, scores, seconds } = history;
    const smooth = losses.map(list => list.map(([step], i) => {
      const last = list.slice(Math.max(0, i - 4), i + 1);
      return [step, last.reduce((sum, [, loss]) => sum + loss, 0) / last.length];
    }));
    const accuracies = runs.map((_, i) => scores.map(({ step, values }) => [step, values[i].accuracy]));
    const ends = list => list.map((line, i) =>
      `${title(runs[i])} ${line.length ? line.at(-1)[1].toFixed(2) : "not begun"}`).join("; ");
    lossFigure.replaceChildren(pftCharts.curves({
      lines: smooth, steps, range: [0, 1], ticks: [0, 0.5, 1], write: value => value.toFixed(1),
      label: `Loss so far. ${ends(smooth)}`,
    }));
    scoreFigure.replaceChildren(pftCharts.curves({
      lines: accuracies, steps, range: [0.4, 1], ticks: [0.4, 0.6, 0.8, 1], dots: true,
      write: value => `${Math.round(100 * value)} %`, label: `Accuracy so far. ${ends(accuracies)}`,
    }));
    const latest = scores.at(-1)?.values ?? [];
    const all = latest.flatMap(({ changes }) => Object.values(changes).flatMap(Object.values));
    mapFigures.forEach((holder, i) => {
      holder.parentElement.hidden = i >= runs.length;
      if (i >= runs.length) return;
      const cells = latest[i]?.changes ?? {};
      const [where, far] = Object.entries(cells).flatMap(([row, columns]) => Object.entries(columns)
        .map(([column, moved]) => [`${row} ${column}`, moved])).reduce((a, b) => (b[1] > a[1] ? b : a), ["nowhere", 0]);
      holder.replaceChildren(pftCharts.changes(cells, Math.max(...all, 0),
        `${title(runs[i])}: ${Object.values(cells).flatMap(Object.keys).length} places are trained; most has moved ${where}, by ${far.toExponential(1)}`));
    });
    const table = make(null, "table");
    const head = make(make(table, "thead"), "tr");
    for (const words of ["", "trained", "loss", "accuracy before", "now", "a step"]) {
      make(head, words ? "th" : "td", words ? { scope: "col" } : {}, words);
    }
    const body = make(table, "tbody");
    runs.forEach((run, i) => {
      const row = make(body, "tr");
      make(row, "th", { scope: "row", className: `run-${i}` }, title(run));
      const took = seconds[i].length ? seconds[i].toSorted((a, b) => a - b)[seconds[i].length >> 1] : null;
      for (const words of [
        run.count ? `${whole(run.count)} (${Number(((100 * run.count) / run.total).toPrecision(2))} %)` : "the head",
        smooth[i].length ? smooth[i].at(-1)[1].toFixed(3) : "",
        accuracies[i].length ? percent(accuracies[i][0][1]) : "",
        accuracies[i].length ? percent(accuracies[i].at(-1)[1]) : "",
        took ? `${Math.round(1000 * took)} ms` : "",
      ]) make(row, "td", {}, words);
    });
    tables.replaceChildren(table);
  }

  // ---- the worker ------------------------------------------------------------------------------

  /** Load a script, which puts its content into pftLive. */
  function loaded(name) {
    return new Promise((resolve, reject) => {
      const script = make(document.head, "script", { src: `${here}${name}.js` });
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${name}.js could not be loaded.`));
    });
  }

  async function open() {
    for (const [number, name] of PARTS.entries()) {
      say(`Loading, part ${number + 1} of ${PARTS.length}.`);
      if (!globalThis.pftLive[name]) await loaded(name);
    }
    const { program, ...parts } = Object.fromEntries(PARTS.map(name => [name, globalThis.pftLive[name]]));
    // from a text, not from an address: a page that was opened as a file may start no other
    const address = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
    worker = new Worker(address);
    worker.onmessage = ({ data }) => heard(data);
    worker.onerror = event => fail(event.message);
    const opened = new Promise((resolve, reject) => { worker.onopened = resolve; worker.onfailed = reject; });
    worker.postMessage({ open: parts });
    await opened;
    for (const name of PARTS) globalThis.pftLive[name] = true; // the worker has them now
  }

  function fail(words) {
    worker?.terminate();
    worker = null;
    enter("new");
    say(`It stopped: ${words}`);
  }

  function heard(data) {
    if (data.failed) return fail(data.failed);
    if (data.opened) return worker.onopened();
    if (data.prepared) data.prepared.forEach((facts, i) => Object.assign(runs[i], facts));
    if (data.losses) {
      data.losses.forEach((loss, i) => history.losses[i].push([data.step, loss]));
      data.seconds.forEach((time, i) => history.seconds[i].push(time));
      progress.value = data.step / history.steps;
    }
    if (data.scores) history.scores.push({ step: data.step, values: data.scores });
    if (data.answers) return answered(data.answers);
    if (data.finished) {
      enter("finished");
      const ends = history.scores.at(-1).values.map(({ accuracy }, i) => `${title(runs[i])} ${percent(accuracy)}`);
      say(`Done. Held-out accuracy: ${ends.join("; ")}. Now ask with a sentence of your own, below.`);
    }
    draw();
  }

  function answered(given) {
    answers.replaceChildren();
    const labels = ["negative", "positive"];
    given.forEach(({ before, now }, i) => {
      const line = make(answers, "p", { className: "pft-live-answer" });
      make(line, "strong", { className: `run-${i}` }, title(runs[i]));
      for (const [when, classes] of [["before", before], ["now", now]]) {
        const best = classes.indexOf(Math.max(...classes));
        const item = make(line, "span", {}, `${when}: ${labels[best]}, ${percent(classes[best])}`);
        const bar = make(item, "span", { className: "pft-live-bar", attributes: { "aria-hidden": "true" } });
        make(bar, "span").style.width = `${100 * classes[1]}%`; // how positive
      }
    });
  }

  form.addEventListener("submit", async event => {
    event.preventDefault();
    if (phase === "running" || phase === "paused") {
      const going = phase === "paused";
      worker.postMessage({ go: going });
      enter(going ? "running" : "paused");
      return say(going ? "Training." : `Paused at step ${history.losses[0].length} of ${history.steps}.`);
    }
    runs = readers.map(read => read()).filter(Boolean);
    if (runs.some(({ options }) => options.at && !options.at.length)) {
      return say("LoRA has no matrix to stand beside. Tick at least one.");
    }
    const lists = () => runs.map(() => []);
    history = { steps: Number(steps.value), losses: lists(), seconds: lists(), scores: [] };
    enter("loading");
    try {
      if (!worker) {
        await open();
        form.querySelector(".pft-live-note").remove();
      }
    } catch (error) {
      return fail(error?.message ?? String(error));
    }
    answers.replaceChildren();
    progress.value = 0;
    worker.postMessage({ prepare: {
      runs, examples: Number(examples.value), steps: history.steps, seed: Number(seed.value),
    } });
    worker.postMessage({ go: true });
    enter("running");
    say("Training.");
    shown.hidden = false;
  });

  reset.addEventListener("click", () => {
    worker.postMessage({ go: false });
    enter("new");
    progress.value = 0;
    shown.hidden = true;
    say("Reset.");
    start.focus();
  });

  asking.addEventListener("submit", event => {
    event.preventDefault();
    worker?.postMessage({ ask: sentence.value });
  });

  enter("new");
})();
