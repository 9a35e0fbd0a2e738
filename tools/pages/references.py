"""The list of references: under author and year, as the text cites them, and who cites them.

A reader finds "Hu et al., 2022" by eye, and gets from the paper to the pages that speak of it.
"""

from collections import defaultdict
from typing import Any

from docutils import nodes
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style as Unsorted
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.sorting.author_year_title import SortingStyle
from sphinx.application import Sphinx


class AuthorYear(BaseLabelStyle):
    """Hu et al., 2022; of two with the same, the second is 2022b."""

    def format_labels(self, sorted_entries: Any) -> Any:
        seen: dict[str, int] = defaultdict(int)
        for entry in sorted_entries:
            people = entry.persons.get("author") or entry.persons.get("editor") or []
            rich = [[*person.rich_prelast_names, *person.rich_last_names] for person in people]
            names = [" ".join(map(str, parts)) for parts in rich]  # without the marks of TeX
            who = names[0] if names else entry.key
            if len(names) == 2:
                who = f"{names[0]} and {names[1]}"
            elif len(names) > 2:
                who = f"{names[0]} et al."
            label = f"{who}, {entry.fields.get('year', 'no year')}"
            seen[label] += 1
            yield label + (chr(ord("a") + seen[label] - 1) if seen[label] > 1 else "")


class AuthorYearStyle(Unsorted):
    default_sorting_style = "author_year_title"
    default_label_style = "pft_author_year"


def setup(app: Sphinx) -> None:
    register_plugin("pybtex.style.labels", "pft_author_year", AuthorYear)
    register_plugin("pybtex.style.formatting", "pft", AuthorYearStyle)
    register_plugin("pybtex.style.sorting", "author_year_title", SortingStyle)
    app.connect("doctree-resolved", link_back)


def link_back(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Under each reference, the pages that cite it; cards of methods come last."""
    entries = list(doctree.findall(nodes.citation))
    if not entries:
        return
    domain: Any = app.env.get_domain("cite")
    keys = {citation.citation_id: citation.key for citation in domain.citations}
    citing: dict[str, set[str]] = defaultdict(set)
    for reference in domain.citation_refs:
        for target in reference.targets:
            citing[target.key].add(reference.docname)
    for entry in entries:
        key = next((keys[i] for i in entry["ids"] if i in keys), None)
        pages = sorted(citing.get(key or "", ()), key=lambda page: ("/methods/" in page, page))
        if not pages:
            continue
        line = nodes.paragraph("", "Cited in ", classes=["pft-cited"])
        for number, page in enumerate(pages):
            title = app.env.titles[page].astext()
            words = f"{title} (its page)" if "/methods/" in page else title
            address = app.builder.get_relative_uri(docname, page)
            line += nodes.Text(", ") if number else nodes.Text("")
            line += nodes.reference("", words, refuri=address, internal=True)
        entry += line
