"""Formulas as MathML, for readers of the EPUB, whose programs run no scripts.

MathJax itself, as vendored for the pages, turns all formulas into MathML in one session of
Chromium, before the first page is written. A number that a formula is given, as by "tag{1}", stands
beside it as text: MathJax would make a kind of table row of it (mlabeledtr) that MathML Core has
not, and readers that know no other show its symbols one below the other.
"""

import html
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

TAG = re.compile(r"\s*\\tag\{([^{}]*)\}")
MATHJAX = "book/_static/vendor/mathjax/tex-mml-chtml.js"
CONVERT = """async (formulas) => {
  await MathJax.startup.promise;
  const found = [];
  for (const [display, tex] of formulas) found.push(await MathJax.tex2mmlPromise(tex, {display}));
  return found;
}"""


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("env-check-consistency", convert_all)


def convert_all(app: Sphinx, env: Any) -> None:
    if app.config.html_math_renderer != "mathml":
        return
    formulas = sorted(
        {
            (isinstance(node, nodes.math_block), TAG.sub("", node.astext()))
            for page in env.found_docs
            for node in env.get_doctree(page).findall()
            if isinstance(node, nodes.math | nodes.math_block)
        }
    )
    converted = convert(formulas, (Path(app.srcdir) / MATHJAX).as_uri())
    app.builder.formulas = dict(zip(formulas, converted, strict=True))  # type: ignore[attr-defined]


def convert(formulas: list[tuple[bool, str]], mathjax: str) -> list[str]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise ExtensionError("The EPUB needs Chromium (Debian, Ubuntu: apt install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(mathjax)  # a page from the same disk, so that the script may load its parts
        page.evaluate("document.open(); document.write('<body></body>'); document.close()")
        page.add_script_tag(url=mathjax)
        found = page.evaluate(CONVERT, formulas)
        browser.close()
    failed = [tex for (_, tex), text in zip(formulas, found, strict=True) if "<merror" in text]
    if failed:
        raise ExtensionError(f"MathJax cannot read the formula {failed[0]!r}.")
    labelled = [tex for (_, tex), text in zip(formulas, found, strict=True) if "mlabeledtr" in text]
    if labelled:
        raise ExtensionError(f"No number can be set inside the formula {labelled[0]!r}.")
    return found


def inline(self: Any, node: nodes.math) -> None:
    self.body.append(self.builder.formulas[False, node.astext()])
    raise nodes.SkipNode


def block(self: Any, node: nodes.math_block) -> None:
    numbers = [str(node["number"])] if node["number"] else TAG.findall(node.astext())
    self.body.append(self.starttag(node, "div", CLASS="math"))
    for number in numbers:
        self.body.append(f'<span class="eqno">({html.escape(number)})</span>')
    self.body.append(self.builder.formulas[True, TAG.sub("", node.astext())])
    self.body.append("</div>\n")
    raise nodes.SkipNode
