"""What the book's prose keeps, on every page; see `__main__.py` for the command.

`page.py` takes a page apart; `language.py`, `symbols.py`, `template.py` and `evidence.py`
hold the rules, each a function from a page to what is wrong with it, one line each.
"""

from pathlib import Path

from pages.ledger import PAGE

from . import evidence, language, symbols, template
from .page import Page, read

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"

RULES = (
    language.spelling,
    language.repeated_words,
    language.long_sentences,
    language.long_paragraphs,
    language.words_to_avoid,
    symbols.not_in_the_notation,
    symbols.told_twice,
    symbols.other_shapes,
    template.sections,
    template.ledger,
    template.code_width,
    template.unread_figures,
    evidence.unbacked,
)


def pages() -> list[Path]:
    """All pages of the book that people write."""
    return sorted(
        path
        for kind in ("*.md", "*.ipynb")
        for path in BOOK.rglob(kind)
        if not is_made(path.relative_to(BOOK))
    )


def is_made(path: Path) -> bool:
    """Whether a build makes the page, or an editor left it."""
    return (
        path.parts[0] == "methods"
        or path == Path(PAGE).relative_to("book")
        or any(part.startswith((".", "_")) for part in path.parts)
    )


def faults(page: Page) -> list[str]:
    """What is wrong with a page, by all rules."""
    return [f"{page.name}: {fault}" for rule in RULES for fault in rule(page)]


def check(path: Path) -> list[str]:
    """What is wrong with the page in the file `path`, one line each."""
    return faults(read(path, BOOK))
