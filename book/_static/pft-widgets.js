// On pages with widgets, between require.js and the widget manager: every module that a widget
// asks for comes from this book, so that the page needs no network.
(() => {
  const root = new URL("vendor/", document.currentScript.src).href;
  requirejs.config({
    paths: {
      anywidget: `${root}anywidget/index`,
      // Both are defined inside embed-amd.js, which finds its icon fonts beside these paths.
      "@jupyter-widgets/html-manager": `${root}html-manager/index`,
      "@jupyter-widgets/html-manager/dist/libembed-amd": `${root}html-manager/libembed-amd`,
    },
  });

  // The widgets' labels speak to MathJax 2; the book has MathJax 3. Widgets are drawn on "load",
  // when MathJax is there if the page uses it.
  const translate = () => {
    const mathjax = window.MathJax;
    if (!mathjax || mathjax.Hub) return;
    mathjax.Hub = {
      Queue: ([, , element]) => {
        element.classList.add("mathjax_process");
        mathjax.startup?.promise.then(() => mathjax.typesetPromise([element]));
      },
    };
  };
  window.addEventListener("load", translate);
})();
