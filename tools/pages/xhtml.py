"""HTML of outputs as the EPUB must have it: well-formed, and nothing that waits for a script."""

from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.application import Sphinx

DEAD = ("script", "style", "button", "input", "select", "noscript")  # without a script


def setup(app: Sphinx) -> None:
    app.connect("doctree-resolved", clean_all)


def clean_all(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if app.builder.name != "epub":
        return
    for raw in list(doctree.findall(nodes.raw)):
        if "html" in raw.get("format", "").split():
            raw.replace_self(nodes.raw("", clean(raw.astext()), format="html"))


def clean(fragment: str) -> str:
    soup = BeautifulSoup(fragment, "html.parser")
    for element in soup.find_all(DEAD):
        element.decompose()
    for element in soup.find_all(True):
        for name in [name for name in element.attrs if name.startswith("on")]:
            del element[name]
    return soup.decode(formatter="minimal")
