// A guess beside the truth: the reader moves a slider or chooses, then the output below opens, and
// both stand together. Without this script the output opens by itself (<details>).
(() => {
  for (const box of document.querySelectorAll(".pft-guess")) {
    const form = box.querySelector("form"), verdict = box.querySelector(".pft-guess-verdict");
    const slider = form.querySelector("input[type=range]"), { truth, unit } = box.dataset;

    /** Where a number stands on the line, in per cent. */
    const place = number => (100 * (number - slider.min)) / (slider.max - slider.min);

    function line(guess) {
      const drawn = document.createElement("span");
      drawn.className = "pft-guess-line";
      drawn.setAttribute("aria-hidden", "true");
      for (const [kind, number] of [["guess", guess], ["truth", truth]]) {
        const mark = document.createElement("span");
        mark.className = `pft-guess-${kind}`;
        mark.style.left = `${place(number)}%`;
        drawn.append(mark);
      }
      return drawn;
    }

    slider?.addEventListener("input", () => {
      const words = `${slider.value}${unit}`;
      form.querySelector(".pft-guess-value").textContent = words;
      slider.setAttribute("aria-valuetext", words);
    });

    form.addEventListener("submit", event => {
      event.preventDefault();
      const guess = slider ? slider.value : form.querySelector(":checked").value;
      const near = slider ? Math.abs(guess - truth) <= slider.step / 2 : guess === truth;
      verdict.textContent =
        `You guessed: ${guess}${unit}. It came out: ${truth}${unit}.${near ? " Right." : ""}`;
      if (slider) verdict.append(line(guess));
      box.nextElementSibling.open = true;
    });
  }
})();
