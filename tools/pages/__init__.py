"""What the book's pages have beside the theme; a Sphinx extension, loaded by `_config.yml`.

It adds to every page the ways to run and to cite it and what other sites show of it, explains terms
of the glossary where a page first uses them, folds what is to be predicted, keeps a picture for
each figure that needs scripts, draws the map of the first page, gathers the claims of all chapters,
writes the 404 page, the sitemap, the data of the figures and what the page that trains loads, and
takes from the finished pages what they load and do not use.

What needs to know where the book's repository is (Colab, Binder, the sitemap, the social card)
is left out while the setting `pft_repository` is empty. The environment variable PFTLAB_REPOSITORY
stands in for the setting, so that a fork can publish its own copy unchanged.
"""

from typing import Any

from sphinx.application import Sphinx

from . import (
    address,
    cards,
    data,
    extras,
    foot,
    head,
    ledger,
    live,
    mathml,
    outputs,
    references,
    search,
    taxonomy,
    terms,
    tradeoff,
    weight,
    xhtml,
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect everything to the build."""
    for part in (
        address,
        cards,
        ledger,
        outputs,
        terms,
        taxonomy,
        tradeoff,
        mathml,
        references,
        search,
        xhtml,
        foot,
        head,
        extras,
        data,
        live,
        weight,
    ):
        part.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
