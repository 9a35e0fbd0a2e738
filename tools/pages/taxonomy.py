"""The map of the first page, the cards of its families, and the drawing on a method's own page.

    ```{family-map}
    :alt: what the drawing shows
    ```

draws the layer with all families (see `layer`), each a link to its own page, and

    ```{family} adapter
    What its methods train.
    ```

makes a card with this text and all methods of the family, which lead to their own pages;

    ```{method-drawing} lora
    ```

is the layer with the places of one method in orange.
"""

import re
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pftlab.facts import FACTS, FAMILIES, Facts
from pftlab.registry import METHODS

from . import layer

INDEX = "book/methods"
FINE_TUNING = "book/foundations/finetuning"  # one chapter for the whole family
TOGETHER = {  # chapter → the methods that it teaches beside one another
    FINE_TUNING: ("full", "linear_probe", "top_layers", "frozen_bottom"),
    "book/adapter/placement": ("pfeiffer", "residual", "parallel", "adapter_plus"),
    "book/sparse/masks": ("random_mask", "fish_mask", "lt_sft", "diff_pruning"),
    "book/others/hybrids": ("mam", "unipelt"),
}


class Drawing(nodes.General, nodes.Element):
    """A drawing, as the text of an SVG, whose groups become links: to families (`targets`), and to
    methods (`methods`)."""


def setup(app: Sphinx) -> None:
    app.add_node(Drawing, html=(draw, leave))  # EPUB pages are HTML, too
    app.add_directive("family-map", FamilyMap)
    app.add_directive("family", Family)
    app.add_directive("method-drawing", MethodDrawing)
    app.connect("doctree-resolved", resolve)


def page_of_family(env: Any, family: str) -> tuple[str, str]:
    """(page, anchor) of a family."""
    home = FINE_TUNING if family == "finetune" else f"book/{family}/index"
    return (home, "") if home in env.found_docs else (INDEX, f"family-{family.replace('_', '-')}")


def page_of_method(env: Any, method: Facts) -> tuple[str, str]:
    """(page, anchor) of a method: its card."""
    home = f"{INDEX}/{method.name}"
    return (home, "") if home in env.found_docs else (INDEX, f"method-{method.name}")


def chapter_of(method: Facts) -> str:
    """The page that teaches this method by name; not every method has one."""
    own = f"book/{method.family}/{method.name}"
    return next((page for page, names in TOGETHER.items() if method.name in names), own)


def has_chapter(env: Any, method: Facts) -> bool:
    return chapter_of(method) in env.found_docs


def to(target: tuple[str, str], words: str, **attributes: Any) -> nodes.reference:
    """A link whose address is found when the page is written."""
    return nodes.reference("", words, internal=True, pft_target=target, **attributes)


class FamilyMap(SphinxDirective):
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # what it links to depends on which pages there are
        targets = {family: page_of_family(self.env, family) for family in FAMILIES}
        svg = layer.map_of_families()
        return [Drawing(svg=svg, alt=self.options["alt"], targets=targets)]


class MethodDrawing(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in FACTS:
            raise self.error(f"No method {name!r}. Choose one of {', '.join(FACTS)}.")
        facts = FACTS[name]
        places = layer.places_of(facts.where, METHODS[name].at or ())
        alt = f"A transformer layer. What {facts.title} trains is orange: {', '.join(places)}."
        svg = layer.drawing_of_method(places).replace('role="group"', 'role="img"')
        return [Drawing(svg=svg, alt=alt, targets={})]


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
                kind = "pft-chapter" if has_chapter(self.env, method) else "pft-listed"
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
        for kind in ("targets", "methods"):
            targets = drawing.get(kind, {})
            drawing[f"addresses_of_{kind}"] = {name: address(to) for name, to in targets.items()}


def draw(self: Any, node: Drawing) -> None:
    alt = self.attval(node["alt"])
    svg = re.sub(r"<svg\b([^>]*)>", rf'<svg\1 aria-label="{alt}">', node["svg"], count=1)
    for family, target in node["addresses_of_targets"].items():
        svg = re.sub(
            rf'<g data-family="{family}">(.*?)</g>',
            rf'<a class="pft-place pft-place-{family}" href="{self.attval(target)}">\1</a>',
            svg,
        )
    for method, target in node["addresses_of_methods"].items():
        svg = re.sub(
            rf'<g data-method="{method}" data-family="(\w+)">(.*?</text>)</g>',
            rf'<a class="pft-dot pft-dot-\1" href="{self.attval(target)}">\2</a>',
            svg,
        )
    self.body.append(f'<div class="pft-map">{svg}</div>\n')


def leave(self: Any, node: Drawing) -> None:
    pass
