// How the search weighs what it finds; Sphinx writes it into its own script. The numbers are
// Sphinx's. An entry of the glossary stands behind a page that has the word as its title, and the card of
// a method behind its chapter.
var Scorer = {
  score: ([document, title, anchor, , score]) => {
    if (document.endsWith("/glossary") && anchor) return Math.min(score, 15);
    const asked = (new URLSearchParams(location.search).get("q") ?? "").trim().toLowerCase();
    const name = title.replace(/^<span.*?<\/span>/, "").toLowerCase(); // without its number
    const named = name === asked ? 20 : 0; // it is what the page is called
    return score + named - document.startsWith("book/methods/");
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
