// What the reader has read and solved, kept in their browser alone: nothing is sent. Chapters are
// the pages with a number in the sidebar. Where a browser keeps nothing, nothing is offered.
(() => {
  const KEY = "pftlab-progress", empty = () => ({ read: [], solved: [] });

  function kept() {
    try {
      return { ...empty(), ...JSON.parse(localStorage.getItem(KEY)) };
    } catch {
      return empty(); // damaged, or no such thing here
    }
  }

  function keep(all) {
    try {
      localStorage.setItem(KEY, JSON.stringify(all));
      return true;
    } catch {
      return false; // a private window, or a full store
    }
  }

  if (!keep(kept())) return;

  const make = (parent, name, properties = {}) => {
    const element = Object.assign(document.createElement(name), properties);
    parent?.append(element);
    return element;
  };
  const root = new URL(document.documentElement.dataset.content_root || "./", location.href).pathname;
  const page = link => new URL(link.href).pathname.slice(root.length).replace(/\.html$/, "");
  const chapters = [...document.querySelectorAll(".bd-links a.internal")]
    .filter(link => /^\d+\./.test(link.textContent.trim()));
  const here = DOCUMENTATION_OPTIONS.pagename;
  const boxes = []; // [list, entry, checkbox]
  let summary = null;

  /** A checkbox that puts `entry` into a list, or takes it out. */
  function offer(list, entry, words) {
    const holder = make(null, "p", { className: "pft-progress" }), label = make(holder, "label");
    const box = make(label, "input", { type: "checkbox" });
    make(label, "span", { textContent: words });
    box.addEventListener("change", () => {
      const all = kept(), others = all[list].filter(other => other !== entry);
      keep({ ...all, [list]: box.checked ? [...others, entry] : others });
      show();
    });
    boxes.push([list, entry, box]);
    return holder;
  }

  function show() {
    const all = kept();
    for (const [list, entry, box] of boxes) box.checked = all[list].includes(entry);
    for (const link of chapters) {
      link.querySelector(".pft-read")?.remove();
      if (!all.read.includes(page(link))) continue;
      const mark = make(link, "span", { className: "pft-read", textContent: " ✓" });
      make(mark, "span", { className: "visually-hidden", textContent: " read" });
    }
    if (summary) sum(all);
  }

  /** On the first page: how far the reader is, where to go on, and how to forget it. */
  function sum(all) {
    summary.replaceChildren();
    const known = chapters.filter(link => all.read.includes(page(link))), { length } = all.solved;
    summary.hidden = !known.length && !length;
    if (summary.hidden) return;
    summary.append(
      `You have read ${known.length} of ${chapters.length} chapters and solved ${length} exercise${length === 1 ? "" : "s"}. `);
    const next = chapters.find(link => !known.includes(link));
    if (next) {
      summary.append("Go on with ");
      make(summary, "a", { href: next.href, textContent: next.textContent.trim().replace(/^\d+\.\s*/, "") });
      summary.append(". ");
    }
    const forget = make(summary, "button", { type: "button", textContent: "Forget this" });
    forget.addEventListener("click", () => {
      if (!confirm("Forget which pages you have read and which exercises you have solved?")) return;
      keep(empty());
      show();
    });
  }

  for (const check of document.querySelectorAll('[class*="tag_check:"]')) {
    const name = [...check.classList].find(each => each.startsWith("tag_check:")).slice("tag_check:".length);
    check.after(offer("solved", name, `I have solved exercise ${name.split(".").at(-1)}`));
  }
  if (chapters.some(link => page(link) === here)) {
    const end = document.querySelector(".pft-foot");
    end?.before(offer("read", here, "I have read this chapter. (Kept in this browser alone.)"));
  }
  const hero = document.querySelector(".pft-hero");
  if (hero) {
    summary = make(null, "p", { className: "pft-progress" });
    hero.after(summary);
  }
  show();
  addEventListener("storage", show); // another tab
  addEventListener("pageshow", show); // back from another page
})();
