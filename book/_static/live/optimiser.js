// AdamW and its rate, as pftlab/training/optimiser.py has them.

const BETAS = [0.9, 0.999], TINY = 1e-8;

/** The factor on the peak rate: a linear rise to 1, then a linear fall. `step` counts from 1. */
function schedule(step, steps, warmup = 0.06) {
  const rising = Math.max(1, Math.round(warmup * steps));
  return step <= rising ? step / rising : (steps + 1 - step) / (steps + 1 - rising);
}

class AdamW {
  /** @param parameters name → {shape, values}, which are moved in place. No weight decay. */
  constructor(parameters) {
    this.parameters = parameters;
    this.moments = new Map([...parameters].map(([name, { values }]) =>
      [name, [new Float32Array(values.length), new Float32Array(values.length)]]));
    this.steps = 0;
  }

  /**
   * @param gradients name → Float32Array
   * @param rate of this step
   * @param clip largest norm of all gradients together
   */
  step(gradients, rate, clip = 1) {
    let squares = 0;
    for (const gradient of gradients.values()) {
      for (let i = 0; i < gradient.length; i++) squares += gradient[i] * gradient[i];
    }
    const factor = Math.min(1, clip / (Math.sqrt(squares) + 1e-6));
    this.steps += 1;
    const [one, two] = BETAS.map(beta => 1 - beta ** this.steps);
    const size = rate / one, root = Math.sqrt(two);
    for (const [name, { values }] of this.parameters) {
      const gradient = gradients.get(name), [mean, square] = this.moments.get(name);
      for (let i = 0; i < values.length; i++) {
        const g = gradient[i] * factor;
        mean[i] = BETAS[0] * mean[i] + (1 - BETAS[0]) * g;
        square[i] = BETAS[1] * square[i] + (1 - BETAS[1]) * g * g;
        values[i] -= size * mean[i] / (Math.sqrt(square[i]) / root + TINY);
      }
    }
  }
}
