// Random numbers from a seed: the same run again, in every browser.

class Draw {
  /** @param seed a whole number; `purpose` keeps draws for different things apart */
  constructor(seed, purpose = "") {
    this.state = seed >>> 0;
    for (const character of purpose) {
      this.state = Math.imul(this.state ^ character.codePointAt(0), 0x01000193) >>> 0;
    }
  }

  /** Uniform in [0, 1), with 32 random bits: mulberry32 (T. Ettinger, public domain). */
  uniform() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** Standard normal (Box and Muller, 1958). */
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** The numbers 0 to n - 1 in a random order (Fisher and Yates). */
  order(n) {
    const numbers = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = Math.floor(this.uniform() * (i + 1));
      [numbers[i], numbers[j]] = [numbers[j], numbers[i]];
    }
    return numbers;
  }
}
