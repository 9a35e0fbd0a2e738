"""Outputs of notebooks as a reader of the pages needs them.

* An interactive figure has its stored picture beside it, which stands there until the figure is
  drawn, and for good where no scripts run.
* The output of a cell with the tag `predict`, and the paragraph behind it that tells what came out,
  are folded, so that a reader can guess before looking. They open by keyboard and without scripts,
  also in the EPUB.
* A check of an answer that nobody has written yet says nothing.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

WIDGET = "application/vnd.jupyter.widget-view+json"
PREDICT = "tag_predict"
CHECK = "tag_check:"
UNANSWERED = "… Not written yet."


class Reveal(nodes.General, nodes.Element):
    """What opens when the reader has guessed."""


def setup(app: Sphinx) -> None:
    app.add_node(Reveal, html=(open_reveal, close_reveal))  # EPUB pages are HTML, too
    app.add_post_transform(KeepPictures)
    app.add_post_transform(FoldOutputs)


class KeepPictures(SphinxPostTransform):
    """Before MyST-NB takes the best kind of each output and drops the others."""

    default_priority = 3
    formats = ("html",)

    def run(self, **_: Any) -> None:
        if self.app.builder.name != "html":
            return
        for bundle in list(self.document.findall(nodes.container)):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            kinds = {child.get("mime_type"): child for child in bundle.children}
            if WIDGET in kinds and "image/png" in kinds:
                still = nodes.container("", kinds["image/png"].deepcopy(), classes=["pft-still"])
                bundle.parent.insert(bundle.parent.index(bundle) + 1, still)


class FoldOutputs(SphinxPostTransform):
    default_priority = 900
    formats = ("html",)

    def run(self, **_: Any) -> None:
        for cell in list(self.document.findall(nodes.container)):
            classes = cell.get("classes", [])
            if "cell" not in classes:
                continue
            for output in [child for child in cell if "cell_output" in child.get("classes", [])]:
                if any(name.startswith(CHECK) for name in classes):
                    if output.astext().strip() == UNANSWERED:
                        cell.remove(output)
                elif PREDICT in classes:
                    reveal = Reveal("", output.deepcopy())
                    behind = cell.next_node(descend=False, siblings=True)
                    if isinstance(behind, nodes.paragraph) and "Predict" not in behind.astext():
                        cell.parent.remove(behind)
                        reveal.append(behind)
                    output.replace_self(reveal)


def open_reveal(self: Any, node: Reveal) -> None:
    self.body.append(
        '<details class="pft-predict">\n<summary>Predict first, then see what came out</summary>\n'
    )


def close_reveal(self: Any, node: Reveal) -> None:
    self.body.append("</details>\n")
