"""What search engines and messengers show of a page."""

import html
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

LONGEST = 200
NO_WORDS = (nodes.raw, nodes.math)  # markup, and formulas in TeX
CARD = "_static/social-card.png"
CARD_ALT = "PFT Lab: a transformer layer in blue, with the small parts that are trained in orange."


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", add)


def add(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if doctree is None or app.builder.name != "html":
        return
    site, base = app.config.html_title, app.config.html_baseurl
    title = app.env.titles[page].astext()
    about = description(doctree)
    properties = {
        "og:type": "article",
        "og:site_name": site,
        "og:title": title if title == site else f"{title} · {site}",
        "og:description": about,
    }
    if base:  # addresses in these have to be absolute
        properties |= {
            "og:url": f"{base}{page}.html",
            "og:image": f"{base}{CARD}",
            "og:image:alt": CARD_ALT,
            "og:image:width": "1200",
            "og:image:height": "630",
        }
    lines = [f'<meta name="description" content="{html.escape(about)}" />'] * bool(about)
    lines += [
        f'<meta property="{name}" content="{html.escape(value)}" />'
        for name, value in properties.items()
        if value
    ]
    if base:
        lines.append('<meta name="twitter:card" content="summary_large_image" />')
    context["metatags"] = context.get("metatags", "") + "\n".join(["", *lines, ""])


def description(doctree: nodes.document) -> str:
    """The first paragraph of running text, without what is no words, cut at a word."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            words = paragraph.deepcopy()
            for other in list(words.findall(lambda node: isinstance(node, NO_WORDS))):
                other.parent.remove(other)
            text = " ".join(words.astext().split())
            return text if len(text) <= LONGEST else text[:LONGEST].rpartition(" ")[0] + " …"
    return ""
