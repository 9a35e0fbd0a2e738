"""Outputs of notebooks as a reader of the pages needs them.

* An interactive figure has its stored picture beside it, which stands there until the figure is
  drawn, and for good where no scripts run.
* The output of a cell with the tag `predict`, and the paragraph behind it that tells what came out,
  are folded, so that a reader can guess before looking. They open by keyboard and without scripts,
  also in the EPUB. A cell with a `guess` (pftlab/book/guess.py) asks for it in a form before them.
* A check of an answer that nobody has written yet says nothing.
* What a cell printed in columns keeps them: it scrolls where other text would wrap.
* A short formula and the full stop behind it stay in one line, and so does a short name with a
  hyphen.
"""

import re
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform

from pftlab.book.guess import Guess, guess_of
from pftlab.core.errors import BadValue

WIDGET = "application/vnd.jupyter.widget-view+json"
PREDICT = "tag_predict"
CHECK = "tag_check:"
UNANSWERED = "… Not written yet."
GAP = re.compile(r"(?<=\S) {2,}(?=\S)")  # between two columns
CLOSING = re.compile(r"[.,;:!?)\]”’]+")
SHORT = 24  # characters of TeX; what is longer may have to break
NAME = 16  # characters of code


class Reveal(nodes.General, nodes.Element):
    """What opens when the reader has guessed; `guess`, where one is asked for, and its `number`."""


def setup(app: Sphinx) -> None:
    app.add_node(Reveal, html=(open_reveal, close_reveal))  # EPUB pages are HTML, too
    app.add_post_transform(KeepPictures)
    app.add_post_transform(KeepColumns)
    app.add_post_transform(FoldOutputs)
    app.add_post_transform(KeepStops)
    app.add_post_transform(KeepNames)


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


class KeepColumns(SphinxPostTransform):
    """Before outputs are folded."""

    default_priority = 890
    formats = ("html",)

    def run(self, **_: Any) -> None:
        for output in self.document.findall(nodes.container):
            if "cell_output" in output.get("classes", []):
                for block in output.findall(nodes.literal_block):
                    if is_in_columns(block.astext()):
                        block["classes"].append("pft-columns")


def is_in_columns(text: str) -> bool:
    """Whether at least two lines have three columns."""
    return sum(len(GAP.findall(line)) >= 2 for line in text.splitlines()) >= 2


class KeepStops(SphinxPostTransform):
    """A formula is a box, behind which a line may end: not before a full stop."""

    default_priority = 900
    formats = ("html",)

    def run(self, **_: Any) -> None:
        for formula in list(self.document.findall(nodes.math)):
            behind = formula.next_node(descend=False, siblings=True)
            if not isinstance(behind, nodes.Text) or len(formula.astext()) > SHORT:
                continue
            if found := CLOSING.match(behind):
                formula.parent.replace(behind, nodes.Text(behind[found.end() :]))
                both = nodes.inline("", "", classes=["pft-together"])
                formula.replace_self(both)
                both += [formula, nodes.Text(found[0])]


class KeepNames(SphinxPostTransform):
    """A line may end behind a hyphen: not within a name such as `mini-decoder`."""

    default_priority = 900
    formats = ("html",)

    def run(self, **_: Any) -> None:
        for name in self.document.findall(nodes.literal):
            if "-" in name.astext() and len(name.astext()) <= NAME:
                name["classes"].append("pft-together")


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
                    if given := (cell.get("cell_metadata") or {}).get("guess"):
                        reveal["guess"] = self.read(given, output)
                        reveal["number"] = cell["cell_index"]
                    behind = cell.next_node(descend=False, siblings=True)
                    if isinstance(behind, nodes.paragraph) and "Predict" not in behind.astext():
                        cell.parent.remove(behind)
                        reveal.append(behind)
                    output.replace_self(reveal)

    def read(self, given: dict[str, Any], output: nodes.Element) -> Guess:
        alts = [image.get("alt", "") for image in output.findall(nodes.image)]
        try:
            return guess_of(given, "\n".join([output.astext(), *alts]))
        except BadValue as error:
            raise ExtensionError(f"{self.env.docname}: {error}") from error


def open_reveal(self: Any, node: Reveal) -> None:
    if "guess" in node:
        form = guess_form if self.builder.name == "html" else guess_words
        self.body.append(form(node["guess"], f"pft-guess-{node['number']}"))
    self.body.append(
        '<details class="pft-predict">\n<summary>Predict first, then see what came out</summary>\n'
    )


def close_reveal(self: Any, node: Reveal) -> None:
    self.body.append("</details>\n")


def guess_words(guess: Guess, name: str) -> str:
    """For paper and for a page without scripts, where the reader guesses by heart."""
    return (
        f'<p class="pft-guess-words"><strong>Your guess:</strong> {escape(guess.ask)} '
        f"({escape(guess.options)})</p>\n"
    )


def guess_form(guess: Guess, name: str) -> str:
    """A slider or choices, which pft-guess.js puts beside the truth; shown where scripts run."""
    if guess.choices:
        buttons = "".join(
            f'<label><input type="radio" name="{name}" value="{escape(choice)}" required> '
            f"<span>{escape(choice)}</span></label>\n"
            for choice in guess.choices
        )
        control = f"<fieldset><legend>{escape(guess.ask)}</legend>\n{buttons}</fieldset>\n"
    else:
        lowest, highest, step = guess.lowest, guess.highest, guess.step
        middle = lowest + step * round((highest - lowest) / step / 2)
        value = f"{middle:g}{escape(guess.unit)}"
        control = (
            f'<label for="{name}">{escape(guess.ask)}</label>\n'
            f'<input type="range" id="{name}" min="{lowest:g}" max="{highest:g}" step="{step:g}" '
            f'value="{middle:g}" aria-valuetext="{value}">\n'
            f'<span class="pft-guess-value" aria-hidden="true">{value}</span>\n'
        )
    return (
        f'<div class="pft-guess" data-truth="{escape(guess.truth)}" '
        f'data-unit="{escape(guess.unit)}">\n{guess_words(guess, name)}'
        f'<form aria-label="Your guess">\n{control}<button type="submit">Guess and look</button>\n'
        '</form>\n<p class="pft-guess-verdict" role="status"></p>\n</div>\n'
    )
