"""The map of the first page: a drawing whose parts are links, and a card for each family.

    ```{family-map} families.svg
    :alt: what the drawing shows
    ```

puts the drawing into the page, where each group that names a family, `<g data-family="adapter">`,
becomes a link to that family, and

    ```{family} adapter
    What its methods train.
    ```

makes a card with this text and all methods of the family. Both link to a family's own page and to
a method's own chapter where they exist, and to the index of all methods otherwise.
"""

import re
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pftlab.facts import FACTS, FAMILIES, Facts

INDEX = "book/methods"
FINE_TUNING = "book/foundations/finetuning"  # one chapter for the whole family


class Drawing(nodes.General, nodes.Element):
    """The drawing, as the text of an SVG file."""


def setup(app: Sphinx) -> None:
    app.add_node(Drawing, html=(draw, leave))  # EPUB pages are HTML, too
    app.add_directive("family-map", FamilyMap)
    app.add_directive("family", Family)
    app.connect("doctree-resolved", resolve)


def page_of_family(env: Any, family: str) -> tuple[str, str]:
    """(page, anchor) of a family."""
    home = FINE_TUNING if family == "finetune" else f"book/{family}/index"
    return (home, "") if home in env.found_docs else (INDEX, f"family-{family.replace('_', '-')}")


def page_of_method(env: Any, method: Facts) -> tuple[str, str]:
    """(page, anchor) of a method."""
    home = FINE_TUNING if method.family == "finetune" else f"book/{method.family}/{method.name}"
    return (home, "") if home in env.found_docs else (INDEX, f"method-{method.name}")


def to(target: tuple[str, str], words: str, **attributes: Any) -> nodes.reference:
    """A link whose address is found when the page is written."""
    return nodes.reference("", words, internal=True, pft_target=target, **attributes)


class FamilyMap(SphinxDirective):
    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # what it links to depends on which pages there are
        relative, absolute = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        svg = Path(absolute).read_text(encoding="utf-8")
        targets = {family: page_of_family(self.env, family) for family in FAMILIES}
        return [Drawing(svg=svg, alt=self.options["alt"], targets=targets)]


class Family(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        family = self.arguments[0]
        if family not in FAMILIES:
            raise self.error(f"No family {family!r}. Choose one of {', '.join(FAMILIES)}.")
        card = nodes.container(classes=["pft-family", f"pft-family-{family}"])
        title = nodes.paragraph(classes=["pft-family-title"])
        title += to(page_of_family(self.env, family), FAMILIES[family].title.capitalize())
        card += title
        self.state.nested_parse(self.content, self.content_offset, card)
        methods = nodes.bullet_list(classes=["pft-methods"])
        for method in FACTS.values():
            if method.family == family:
                target = page_of_method(self.env, method)
                kind = "pft-listed" if target[0] == INDEX else "pft-chapter"
                text = nodes.paragraph("", "", to(target, method.title, classes=[kind]))
                methods += nodes.list_item("", text)
        card += methods
        return [card]


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    def address(target: tuple[str, str]) -> str:
        page, anchor = target
        return app.builder.get_relative_uri(docname, page) + (f"#{anchor}" if anchor else "")

    for reference in doctree.findall(nodes.reference):
        if "pft_target" in reference:
            reference["refuri"] = address(reference["pft_target"])
            del reference["pft_target"]
    for drawing in doctree.findall(Drawing):
        drawing["addresses"] = {f: address(t) for f, t in drawing["targets"].items()}


def draw(self: Any, node: Drawing) -> None:
    alt = self.attval(node["alt"])
    svg = re.sub(r"<svg\b([^>]*)>", rf'<svg\1 aria-label="{alt}">', node["svg"], count=1)
    # An image has no links inside: in the page the drawing is a group, with a name in place of the
    # title and the description that the file has for those who open it alone.
    svg = svg.replace('role="img"', 'role="group"')
    svg = re.sub(r' aria-labelledby="[^"]*"|\s*<(title|desc)\b.*?</\1>', "", svg)
    # The style sheet of the site takes the place of the file's own, for the reader chooses a theme.
    svg = re.sub(r"\s*<style>.*?</style>", "", svg, flags=re.DOTALL)
    for family, target in node["addresses"].items():
        svg = re.sub(
            rf'<g data-family="{family}">(.*?)</g>',
            rf'<a class="pft-place pft-place-{family}" href="{self.attval(target)}">\1</a>',
            svg,
            flags=re.DOTALL,
        )
    self.body.append(f'<div class="pft-map">{svg}</div>\n')


def leave(self: Any, node: Drawing) -> None:
    pass
