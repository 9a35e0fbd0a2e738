"""What a chapter has: its sections, its claims in one form, code within its width, figures read."""

import re
from collections.abc import Iterator

from pages.ledger import CITED, COLUMNS, HEADING, VERDICTS, claims, table

from pftlab.facts import FAMILIES

from .page import Block, CodeCell, Page

CODE_COLUMNS = 84
READ_WORDS = 8  # what at least is said of a figure

QUESTION = "The question."
MADE_WITH = "Made with"
CHAPTER = ("Summary", "Exercises", "Quiz", "Further reading")
METHOD = (
    "The maths",
    "From scratch",
    "Is it right?",
    "What goes wrong",
    "When to use it",
    "Claim ledger",
    *CHAPTER,
)
EXERCISES = "exercises:"


def about_a_method(page: Page) -> bool:
    """Whether the page is a chapter on one method of a family."""
    folder, _, file = page.name.rpartition("/")
    return folder in FAMILIES and file.endswith(".ipynb") and file != "index.ipynb"


def is_chapter(page: Page) -> bool:
    """Whether the page is a chapter with exercises, of a method or of another question."""
    folder, _, file = page.name.rpartition("/")
    graded = any(tag.startswith(EXERCISES) for cell in page.cells for tag in cell.tags)
    return graded and bool(folder) and file != "index.ipynb"


def sections(page: Page) -> Iterator[str]:
    """Sections of the template that a chapter lacks."""
    if not is_chapter(page) and not about_a_method(page):
        return
    headings = {
        block.text.partition(":")[0].strip() for block in page.blocks if block.kind == "heading"
    }
    for wanted in METHOD if about_a_method(page) else CHAPTER:
        if wanted not in headings:
            yield f"has no section called {wanted!r}"
    first = page.blocks[0].where if page.blocks else ""
    opening = [b for b in page.blocks if b.where == first and b.text.startswith(QUESTION)]
    if not opening:
        yield f"its first cell does not ask: **{QUESTION}** …"
    if not any(block.text.startswith(MADE_WITH) for block in page.blocks):
        yield f"does not end with {MADE_WITH!r} and the versions"
    tags = [tag for cell in page.cells for tag in cell.tags]
    if about_a_method(page) and not any(tag.startswith("lib") for tag in tags):
        yield "shows nothing of the package's code (a cell with the tag lib:…)"
    if about_a_method(page) and "predict" not in tags:
        yield "has nothing to predict (a cell with the tag predict)"


def ledger(page: Page) -> Iterator[str]:
    """A claim ledger in another form, or under another name, than the page of all claims reads."""
    headings = [block for block in page.blocks if block.kind == "heading" and is_chapter(page)]
    for block in headings:
        named = f"{'#' * block.level} {block.text}"
        if block.text.lower().startswith("claim") and named != HEADING:
            yield f"{block.where}: the claims stand under {HEADING!r}, not {named!r}"
    rows = table(page.markdown)
    if not rows:
        return  # of a chapter on a method that is a fault, which `sections` tells
    if tuple(rows[0]) != COLUMNS:
        yield f"{HEADING}: the columns are {rows[0]}, and must be {list(COLUMNS)}"
        return
    if any(len(row) != len(COLUMNS) or not all(row) for row in rows):
        yield f"{HEADING}: a row has not {len(COLUMNS)} cells, each with words in it"
        return
    if not CITED.search(rows[1][0]):
        yield f"{HEADING}: the first claim does not cite its paper"
    for claim in claims(page.markdown):
        if claim.kind is None:
            yield (
                f"{HEADING}: a verdict is none of {', '.join(VERDICTS)}, with or without a colon "
                f"and more: {claim.verdict[:50]!r}"
            )


def code_width(page: Page) -> Iterator[str]:
    """Lines of code that a page would cut at its right edge."""
    for cell in page.cells:
        for number, line in enumerate(cell.source.split("\n"), start=1):
            if len(line) > CODE_COLUMNS:
                yield f"{cell.where}: line {number} has {len(line)} columns, at most {CODE_COLUMNS}"


def unread_figures(page: Page) -> Iterator[str]:
    """Figures of which nothing is said before the next heading."""
    parts = list(page.parts)
    for place, part in enumerate(parts):
        if isinstance(part, CodeCell) and part.figure and not said_after(parts[place + 1 :]):
            yield f"{part.where}: says nothing of its figure before the next heading"


def said_after(parts: list[Block | CodeCell]) -> bool:
    for part in parts:
        if isinstance(part, Block) and part.kind == "heading":
            return False
        if isinstance(part, Block) and len(re.findall(r"\w+", part.text)) >= READ_WORDS:
            return part.kind != "alt" or said_after(parts[parts.index(part) + 1 :])
    return False
