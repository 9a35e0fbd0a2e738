"""Symbols in formulas: each stands on the page on notation, with one meaning on one page.

A symbol is a letter, Latin or Greek, with its accent or its alphabet: `W`, `\\widetilde W`,
`\\mathcal{L}`. Words in formulas (`\\text{in}`), names of functions and numbers are none.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .page import Page, read

BOOK = Path(__file__).resolve().parents[2] / "book"
NOTATION = "notation.md"

GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi "
    "pi rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma "
    "Upsilon Phi Psi Omega ell"
).split()
NO_SYMBOLS = re.compile(
    r"\\(?:text|mathrm|operatorname|textbf|texttt|tag|label|begin|end|color|mathit)\*?\s*"
    r"\{(?:[^{}]|\{[^{}]*\})*\}"
)
ACCENT = r"\\(?:widetilde|widehat|tilde|hat|bar|overline|mathcal|mathbb|mathbf|boldsymbol|vec|dot)"
SYMBOL = re.compile(
    rf"(?P<accent>{ACCENT})(?![A-Za-z])\s*\{{?\s*(?P<of>\\(?:{'|'.join(GREEK)})(?![A-Za-z])|[A-Za-z])\s*\}}?"
    rf"|\\(?P<greek>{'|'.join(GREEK)})(?![A-Za-z])"
    r"|\\[A-Za-z]+"  # a command: a function, a relation, a space
    r"|(?P<letter>[A-Za-z])"
)
NORM = re.compile(r"(?:\\rVert|\\\||\|)_\{?F\}?")  # which norm, Frobenius's
TRANSPOSED = re.compile(r"\^\s*(?:\{\s*(?:\\top|T)\s*\}|\\top|T(?![A-Za-z]))")
FORMULA = re.compile(r"\$([^$]+)\$")


def symbols(formula: str) -> list[str]:
    """The symbols of a formula in TeX, each once, in their order."""
    for no_symbol in (NO_SYMBOLS, NORM, TRANSPOSED):
        formula = no_symbol.sub(" ", formula)
    found = []
    for match in SYMBOL.finditer(formula):
        if match["accent"]:
            found.append(f"{match['accent']} {match['of']}")
        elif match["greek"]:
            found.append(f"\\{match['greek']}")
        elif match["letter"]:
            found.append(match["letter"])
    return list(dict.fromkeys(found))


def in_cell(cell: str) -> list[str]:
    return [symbol for formula in FORMULA.findall(cell) for symbol in symbols(formula)]


@cache
def notation() -> Page:
    return read(BOOK / NOTATION, BOOK)


def tables(page: Page, first: str) -> Iterator[list[str]]:
    """The rows of those tables whose first column is called `first`."""
    for rows in page.tables:
        if rows and rows[0] and rows[0][0] == first:
            yield from rows[1:]


@cache
def of_the_book() -> frozenset[str]:
    """Symbols that mean the same on every page."""
    rows = tables(notation(), "symbol")
    return frozenset(symbol for row in rows for symbol in in_cell(row[0]))


def of_one_page(page: Page) -> set[str]:
    """Symbols that the page on notation lists for this page alone."""
    rows = tables(notation(), "page")
    return {symbol for row in rows if f"]({page.name})" in row[0] for symbol in in_cell(row[1])}


def not_in_the_notation(page: Page) -> Iterator[str]:
    """Symbols that the page uses and the page on notation does not have."""
    if page.name == NOTATION:
        return  # it tells of all pages
    known = of_the_book() | of_one_page(page)
    told: set[str] = set()
    for block in page.blocks:
        for formula in block.formulas:
            for symbol in symbols(formula):
                if symbol not in known | told:
                    told.add(symbol)
                    yield f"{block.where}: {symbol} is not on book/{NOTATION}: {formula[:50]}"


def told_twice(page: Page) -> Iterator[str]:
    """On the page on notation itself: symbols with two meanings, or of a page without them."""
    if page.name != NOTATION:
        return
    everywhere = [row[0] for row in tables(page, "symbol")]
    of_pages = [(row[0], symbol) for row in tables(page, "page") for symbol in row[1].split(", ")]
    for told in sorted({str(one) for rows in (everywhere, of_pages) for one in doubles(rows)}):
        yield f"two meanings of {told}"
    for link, formula in of_pages:
        target = re.search(r"\]\(([^)]+)\)", link)
        if target is None or not (BOOK / target[1]).is_file():
            yield f"{link} is no page of the book"
            continue
        used = {
            symbol
            for block in read(BOOK / target[1], BOOK).blocks
            for each in block.formulas
            for symbol in symbols(each)
        }
        if gone := [symbol for symbol in in_cell(formula) if symbol not in used]:
            yield f"{link} has no {', '.join(gone)}"


def doubles(rows: Iterable[Any]) -> set[Any]:
    return {row for row, times in Counter(rows).items() if times > 1}


def other_shapes(page: Page) -> Iterator[str]:
    """Symbols to which a table of the page gives another shape than the page on notation."""
    shapes = {row[0]: row[2] for row in tables(notation(), "symbol") if len(row) > 2 and row[2]}
    for rows in page.tables:
        if page.name != NOTATION and rows[0][:2] == ["symbol", "shape"]:
            for symbol, shape, *_ in rows[1:]:
                if shape and shapes.get(symbol, shape) != shape:
                    yield f"{symbol} has the shape {shape}, on book/{NOTATION} {shapes[symbol]}"
