"""Explain a term of the glossary where a page first uses it.

The first use becomes a link to the entry that carries its definition; `pft-terms.js` shows it to a
mouse and to the keyboard. An entry with a remark in parentheses, such as "head (of a task)", has a
word that also means other things, so only the role {term} links it.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


class Term(nodes.Inline, nodes.TextElement):
    """A word with what it means. Its text is the word, for whoever asks the page for its text."""


# Where a word is not a use of the term in running text.
NOT_IN = (
    Term, nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.math, nodes.raw,
    nodes.citation, nodes.caption, nodes.table, nodes.rubric, addnodes.glossary,
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A term, what it means, and where the glossary has it."""

    word: str
    meaning: str
    address: str

    def pattern(self) -> re.Pattern[str] | None:
        """Finds the word, or its plural, in text; None if only a role may link it."""
        if "(" in self.word:
            return None
        flags = re.IGNORECASE if self.word.islower() else re.NOFLAG
        return re.compile(rf"(?<![\w-]){re.escape(self.word)}(?:e?s)?(?![\w-])", flags)


def setup(app: Sphinx) -> None:
    app.add_node(Term, html=(open_term, close_term))
    app.connect("doctree-resolved", explain)


def entries(app: Sphinx, docname: str) -> Iterator[Entry]:
    """The glossary's terms, with addresses as seen from `docname`."""
    builder, env = app.builder, app.env
    homes = {home for home, _ in env.get_domain("std")._terms.values()}  # type: ignore[attr-defined]
    for home in sorted(homes):
        for item in env.get_doctree(home).findall(nodes.definition_list_item):
            (definition,) = item.findall(nodes.definition)
            meaning = next(definition.findall(nodes.paragraph)).astext()
            for term in item.findall(nodes.term):
                address = f"{builder.get_relative_uri(docname, home)}#{term['ids'][0]}"
                yield Entry(term.astext(), " ".join(meaning.split()), address)


def explain(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if app.builder.name != "html":
        return
    known = list(entries(app, docname))
    if any(doctree.findall(addnodes.glossary)):
        return
    explained: set[str] = set()
    for reference in list(doctree.findall(nodes.reference)):
        for entry in known:
            if reference.get("refuri") == entry.address:
                reference.replace_self(link(reference.astext(), entry))
                explained.add(entry.meaning)
    patterns = [(entry, entry.pattern()) for entry in known]
    for text in list(doctree.findall(nodes.Text)):
        ancestors = list(ancestors_of(text))
        if not any(isinstance(a, nodes.paragraph) for a in ancestors):
            continue
        if any(isinstance(a, NOT_IN) for a in ancestors):
            continue
        found = [
            (match, entry)
            for entry, pattern in patterns
            if pattern and entry.meaning not in explained and (match := pattern.search(text))
        ]
        # Of overlapping words the longer one counts: "soft prompt" before "prompt".
        found.sort(key=lambda pair: (pair[0].start(), -pair[0].end()))
        parts: list[nodes.Node] = []
        done = 0
        for match, entry in found:
            if match.start() < done or entry.meaning in explained:
                continue
            explained.add(entry.meaning)
            parts += [nodes.Text(text[done : match.start()]), link(match[0], entry)]
            done = match.end()
        if parts:
            parent = text.parent
            parent[parent.index(text) : parent.index(text) + 1] = [*parts, nodes.Text(text[done:])]


def ancestors_of(node: nodes.Node) -> Iterator[nodes.Node]:
    while node.parent is not None:
        node = node.parent
        yield node


def link(words: str, entry: Entry) -> Term:
    return Term("", words, address=entry.address, meaning=entry.meaning)


def open_term(self: Any, node: Term) -> None:
    self.body.append(
        f'<a class="reference internal pft-term" href="{html.escape(node["address"])}" '
        f'data-meaning="{html.escape(node["meaning"])}">'
    )


def close_term(self: Any, node: Term) -> None:
    self.body.append("</a>")
