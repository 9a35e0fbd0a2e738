"""The claims of all chapters on one page, book/appendix/ledger.md, made when the book is built.

A chapter with claims ends with a table under the heading "Claim ledger": what the paper claims,
what we ran, and a verdict. This module reads these tables and writes them one below the other. The
rules that a table keeps are tested on every page (tools/prose/template.py).
"""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

PAGE = "book/appendix/ledger.md"
HEADING = "## Claim ledger"
COLUMNS = ("the paper claims", "we ran", "verdict")
MEANING = {
    "holds here": "Our runs, or a count, show what the claim says.",
    "holds in part": "They show some of it, or show it on some of our models and not on others.",
    "does not hold here": "They show something else.",
    "cannot be seen at this size": "They cannot tell, or nothing was run that could.",
}
VERDICTS = tuple(MEANING)

ROW = re.compile(r"^\|(.*)\|\s*$", re.MULTILINE)
BAR = re.compile(r"(?<!\\)\|")
LINK = re.compile(r"\]\((?P<page>[^)#\s:]*)(?P<place>#[^)\s]*)?\)")
CITED = re.compile(r"\{cite:\w+\}`[^`]+`")


@dataclass(frozen=True)
class Claim:
    """A row of a chapter's ledger, its cells as they are written."""

    claimed: str
    ran: str
    verdict: str

    @property
    def kind(self) -> str | None:
        """The verdict without what follows it; None if it is none of `VERDICTS`."""
        said = self.verdict.partition(":")[0].strip()
        return said if said in VERDICTS else None


def setup(app: Sphinx) -> None:
    # Before the table of contents looks which pages there are.
    app.connect("config-inited", write, priority=100)


def write(app: Sphinx, config: Config) -> None:
    """Write the page if it is missing or says something else."""
    text, page = ledger(Path(app.srcdir) / "book"), Path(app.srcdir) / PAGE
    if text and not (page.is_file() and page.read_text(encoding="utf-8") == text):
        page.parent.mkdir(exist_ok=True)
        page.write_text(text, encoding="utf-8")


def table(markdown: str) -> list[list[str]]:
    """The rows of the table below the heading, its head first; none if there is no such table."""
    below = markdown.partition(f"{HEADING}\n")[2]
    below = re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [[cell.strip() for cell in BAR.split(row)] for row in ROW.findall(below)]
    return [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def claims(markdown: str) -> list[Claim]:
    """The claims in a chapter's text, in their order."""
    return [Claim(*row) for row in table(markdown)[1:]]


def chapters(book: Path) -> Iterator[tuple[str, str, list[Claim]]]:
    """(path in the book, title, claims) of the chapters with a ledger, in the order of the book."""
    contents = book.parent / "_toc.yml"
    listed = contents.read_text(encoding="utf-8") if contents.is_file() else ""
    order = [book.parent / f"{file}.ipynb" for file in re.findall(r"file: (\S+)", listed)]

    def place(path: Path) -> tuple[int, Path]:
        return (order.index(path) if path in order else len(order)), path

    for path in sorted(book.glob("*/*.ipynb"), key=place):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        if found := claims(text):
            title = re.search(r"^# (.+)$", text, re.MULTILINE)
            yield path.relative_to(book).as_posix(), title[1] if title else path.stem, found


def from_here(cell: str, chapter: str) -> str:
    """A cell of a chapter with its links as the page of all claims must write them."""

    def link(match: re.Match[str]) -> str:
        folder, file = posixpath.split(chapter)
        page = posixpath.normpath(posixpath.join(folder, match["page"] or file))
        return f"](../{page}{match['place'] or ''})"

    return LINK.sub(link, cell)


def ledger(book: Path) -> str:
    """The page, as MyST text; nothing if no chapter has claims."""
    found = list(chapters(book))
    if not found:
        return ""
    counts = Counter(claim.kind for _, _, claims in found for claim in claims)
    verdicts = "\n".join(f"| {kind} | {counts[kind]} | {said} |" for kind, said in MEANING.items())
    return f"""# Claims, and what we saw

**The question.** What do the papers claim, and what of it did we see? Here are the claims of all
chapters, with what we ran and a verdict. "Here" means our models, which are small. A claim about
seven billion parameters that small models cannot show is neither confirmed nor refuted by them.
Read a verdict with what stands beside it: often it is one base, one task and a few seeds. A paper
is cited where its claims begin; the rows below it are of the same paper.

| verdict | claims | what it means |
|---|---:|---|
{verdicts}

{"".join(section(*chapter) for chapter in found)}"""


def section(chapter: str, title: str, claims: list[Claim]) -> str:
    """The claims of one chapter."""
    rows = ""
    for claim in claims:
        cells = (claim.claimed, claim.ran, claim.verdict)
        rows += "| " + " | ".join(from_here(cell, chapter) for cell in cells) + " |\n"
    return f"""## {title}

From [the chapter](../{chapter}#claim-ledger).

| {" | ".join(COLUMNS)} |
|---|---|---|
{rows}
"""
