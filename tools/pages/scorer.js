// How the search weighs what it finds; Sphinx writes it into its own script. The numbers are
// Sphinx's. An entry of the glossary stands behind a page that has the word as its title.
var Scorer = {
  score: ([document, , anchor, , score]) =>
    document.endsWith("/glossary") && anchor ? Math.min(score, 15) : score,
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
