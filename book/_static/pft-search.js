// On the page of search results: excerpts are of the article alone, without what stands around it,
// and a page that was opened as a file, which may read no other, does not try to make any.
(() => {
  if (typeof Search === "undefined") return;
  if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  const furniture = ".headerlink, script, style, nav, h1, .pft-foot, .highlight, .math, svg";
  Search.htmlToText = (text, anchor) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const article = page.querySelector("article.bd-article") ?? page.body;
    article.querySelectorAll(furniture).forEach((element) => element.remove());
    const part = (anchor && article.querySelector(anchor)) || article;
    return part.textContent.replace(/\s+/g, " ").trim();
  };
})();
