// Names and roles that the theme and the tools leave wrong, put right for screen readers and for
// voice control. Found with axe-core. Loaded with "defer": the page has been parsed.
(() => {
  const every = (selector, change) => document.querySelectorAll(selector).forEach(change);

  // An accessible name must contain the text that is seen (WCAG 2.5.3).
  every(
    '.search-button-field[aria-label], summary[aria-label="Toggle hidden content"]',
    (element) => element.removeAttribute("aria-label"),
  );

  // The icons of the colour mode are decoration; Font Awesome replaces them after a while.
  const silence = (button) =>
    button.querySelectorAll("i, svg").forEach((icon) => {
      ["title", "role", "aria-labelledby"].forEach((name) => icon.removeAttribute(name));
      icon.querySelector("title")?.remove();
    });
  every(".theme-switch-button", (button) => {
    silence(button);
    new MutationObserver(() => silence(button)).observe(button, { childList: true, subtree: true });
  });

  // A bibliography has a list role without list items, and a role that was withdrawn.
  every('.citation-list[role="list"], .citation[role="doc-biblioentry"]', (element) =>
    element.removeAttribute("role"),
  );

  // The logo stands outside all landmarks.
  every(".sidebar-primary-item:has(> .navbar-brand)", (element) => {
    element.setAttribute("role", "region");
    element.setAttribute("aria-label", "Book");
  });

  // What opens the pages under a page in the sidebar is an arrow without a name.
  every("summary:has(> .toctree-toggle)", (summary) =>
    summary.setAttribute("aria-label", `Pages under ${summary.closest("li").firstChild.textContent}`),
  );

  // Sliders have a label beside them and no name. They are drawn after the page.
  const named = () =>
    every(".noUi-handle:not([aria-label])", (handle) => {
      const label = handle.closest(".jupyter-widgets")?.querySelector(".widget-label");
      if (label?.textContent) handle.setAttribute("aria-label", label.textContent);
    });
  if (document.querySelector('script[type="application/vnd.jupyter.widget-view+json"]')) {
    new MutationObserver(named).observe(document.body, { childList: true, subtree: true });
  }
})();
