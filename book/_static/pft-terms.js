// Terms of the glossary: what a term means appears when the pointer rests on it or the keyboard
// reaches it, or at a first tap; a second tap leads to the entry. It stays while the pointer is on it, and Escape takes it away (WCAG 1.4.13).
(() => {
  const tip = document.createElement("div");
  tip.id = "pft-tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  let shown = null;
  let waiting = 0;

  const place = () => {
    const word = shown.getClientRects()[0];
    const width = document.documentElement.clientWidth;
    const left = Math.max(8, Math.min(word.left, width - tip.offsetWidth - 8));
    const above = word.top > tip.offsetHeight + 12;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${(above ? word.top - tip.offsetHeight - 6 : word.bottom + 6) + window.scrollY}px`;
  };
  const hide = () => {
    clearTimeout(waiting);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  };
  const show = (term) => {
    hide();
    shown = term;
    tip.textContent = term.dataset.meaning;
    tip.hidden = false;
    term.setAttribute("aria-describedby", tip.id);
    place();
  };
  const later = () => {
    clearTimeout(waiting);
    waiting = setTimeout(hide, 200);
  };

  let opens = false; // whether the tap that is going on is a first one
  document.querySelectorAll(".pft-term").forEach((term) => {
    term.addEventListener("pointerdown", (event) => (opens = event.pointerType === "touch" && shown !== term));
    term.addEventListener("click", (event) => {
      if (!opens) return;
      event.preventDefault();
      opens = false;
      show(term);
    });
    term.addEventListener("mouseenter", () => show(term));
    term.addEventListener("mouseleave", later);
    term.addEventListener("focus", () => show(term));
    term.addEventListener("blur", hide);
  });
  tip.addEventListener("mouseenter", () => clearTimeout(waiting));
  tip.addEventListener("mouseleave", later);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  document.addEventListener("pointerdown", (event) => {
    if (shown && !event.target.closest?.(".pft-term, #pft-tip")) hide();
  });
  window.addEventListener("resize", hide);
  document.body.append(tip);
})();
