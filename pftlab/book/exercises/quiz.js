// One script for all quizzes of a page; it loads nothing and sends nothing. What is chosen is kept
// in the browser, under one key.
(() => {
  const KEY = "pftlab-quiz";
  const read = () => {
    try { return JSON.parse(localStorage.getItem(KEY)) ?? {}; } catch { return {}; }
  };
  const keep = (all) => {
    try { localStorage.setItem(KEY, JSON.stringify(all)); } catch { /* a private window */ }
  };

  document.querySelectorAll(".pft-quiz:not([data-ready])").forEach((quiz) => {
    quiz.dataset.ready = "true";
    const name = quiz.dataset.quiz;
    const questions = [...quiz.querySelectorAll("fieldset")];
    const score = quiz.querySelector(".pft-quiz-score");
    const again = quiz.querySelector("button");

    const show = (question, index) => {
      const options = [...question.querySelectorAll("input")];
      options.forEach((input, i) => { input.checked = i === index; });
      const chosen = options[index];
      const said = question.querySelector(".pft-quiz-said");
      const right = chosen && "right" in chosen.dataset;
      said.className = `pft-quiz-said${chosen ? (right ? " pft-quiz-right" : " pft-quiz-wrong") : ""}`;
      said.replaceChildren();
      if (!chosen) return;
      const mark = document.createElement("strong");
      mark.textContent = right ? "✓ Right. " : "✗ Not this one. ";
      const words = chosen.parentElement.querySelector("template").content.cloneNode(true);
      said.append(mark, words);
    };
    const count = () => {
      const right = quiz.querySelectorAll("input[data-right]:checked").length;
      const answered = quiz.querySelectorAll("input:checked").length;
      score.textContent = `${right} of ${questions.length} right${answered < questions.length ? ` so far, ${answered} answered` : ""}.`;
      again.disabled = !answered;
    };

    questions.forEach((question, number) => {
      question.addEventListener("change", (event) => {
        const index = [...question.querySelectorAll("input")].indexOf(event.target);
        const all = read();
        (all[name] ??= {})[number] = index;
        keep(all);
        show(question, index);
        count();
      });
    });
    again.addEventListener("click", () => {
      const all = read();
      delete all[name];
      keep(all);
      questions.forEach((question) => show(question, -1));
      count();
      questions[0].querySelector("input").focus();
    });
    const before = read()[name] ?? {};
    questions.forEach((question, number) => show(question, before[number] ?? -1));
    count();
  });
})();
