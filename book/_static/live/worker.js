// The worker: it trains one or two models on the same batches, and answers the page.
//
// from the page   {open: parts}  {prepare: {runs, examples, steps, seed}}  {go: true | false}
//                 {ask: text}
// to the page     {opened}  {prepared: [{count, total}]}  {step, losses, seconds}
//                 {step, scores: [{accuracy, changes}]}  {finished}  {answers}  {failed: words}

const SHAPE = { layers: 4, heads: 4, width: 128, inner: 512 };
const BATCH = 16, SCORED = 50; // texts at once
const SCORES = 6; // in a run, beside the one before it

const state = { turn: 0, features: [] }; // what goes on ends when its turn is over

const answers = {
  async open({ kernels, weights, language, reviews }) {
    await startKernels(kernels);
    state.base = new Base(bytesOf(weights), SHAPE);
    state.tokenizer = new Tokenizer(language);
    const tokens = rows => rows.map(([text, label]) => ({ ids: state.tokenizer.encode(text), label }));
    state.train = tokens(reviews.train);
    // texts of one length beside each other need little padding
    state.heldOut = tokens(reviews.held_out).sort((a, b) => a.ids.length - b.ids.length);
    postMessage({ opened: true });
  },

  prepare({ runs, examples, steps, seed }) {
    state.turn += 1;
    for (const model of state.models ?? []) model.dispose();
    state.models = runs.map(({ method, options }) =>
      new Model(state.base, method, options, new Draw(seed, "start")));
    state.rates = runs.map(({ rate }) => rate);
    state.order = new Draw(seed, "order");
    Object.assign(state, { steps, step: 0, examples, queue: [] });
    const total = [...state.base.tensors.values()].reduce((n, { values }) => n + values.length, 0);
    postMessage({ prepared: state.models.map(({ count }) => ({ count, total })) });
    score();
  },

  async go(going) {
    const turn = ++state.turn;
    while (going && turn === state.turn && state.step < state.steps) {
      advance();
      await new Promise(resolve => setTimeout(resolve)); // messages come in between the steps
    }
  },

  ask(text) {
    const rows = [state.tokenizer.encode(text)];
    postMessage({ answers: state.models.map(model => ({
      before: model.before(() => model.probabilities(rows)[0]), now: model.probabilities(rows)[0],
    })) });
  },
};

/** One step of every model, on the same texts. */
function advance() {
  while (state.queue.length < BATCH) state.queue.push(...state.order.order(state.examples));
  const texts = state.queue.splice(0, BATCH).map(row => state.train[row]);
  const rows = texts.map(({ ids }) => ids), labels = texts.map(({ label }) => label);
  const factor = schedule(state.step + 1, state.steps), seconds = [];
  const losses = state.models.map((model, i) => {
    const from = performance.now();
    const loss = model.step(rows, labels, state.rates[i] * factor);
    seconds.push((performance.now() - from) / 1000);
    return loss;
  });
  state.step += 1;
  postMessage({ step: state.step, losses, seconds });
  const every = Math.max(1, Math.round(state.steps / SCORES));
  if (state.step % every === 0 || state.step === state.steps) score();
  if (state.step === state.steps) postMessage({ finished: true });
}

/** Share of the held-out texts that each model gets right, and how far its weights have moved. */
function score() {
  const scores = state.models.map(model => {
    let right = 0;
    for (let from = 0, batch = 0; from < state.heldOut.length; from += SCORED, batch++) {
      const texts = state.heldOut.slice(from, from + SCORED), rows = texts.map(({ ids }) => ids);
      const found = model.count ? model.probabilities(rows) : model.probabilitiesOf(
        // where the head alone is trained, it reads the same all the time
        state.features[batch] ??= tf.tidy(() => model.features(rows)));
      found.forEach((classes, i) => {
        right += classes.indexOf(Math.max(...classes)) === texts[i].label;
      });
    }
    return { accuracy: right / state.heldOut.length, changes: changesOf(model) };
  });
  postMessage({ step: state.step, scores });
}

onmessage = async ({ data }) => {
  try {
    for (const [kind, content] of Object.entries(data)) await answers[kind](content);
  } catch (error) {
    state.turn += 1;
    postMessage({ failed: String(error?.message ?? error) });
  }
};
