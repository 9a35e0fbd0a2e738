"""Numbers in sentences: each comes from the page's code or outputs, a formula, or a citation.

A number in prose is backed if

* the paragraph cites somebody, or
* it stands so in the code of the page, in an output or in a formula, or
* an output of its section rounds to it, in the unit that follows it, or
* it is a difference ("by …", "… points") or a ratio ("… times") of two numbers of one output of its
  section, or
* it claims nothing: a small whole number, a year, the number of an equation, a section or a seed, a
  number of bits, a side of a matrix, a power of ten, the level of an interval, or
* a page that the paragraph links to has it, or
* `evidence.txt` lists it for the page, with the reason.

Exercises and quizzes are left out: what they suppose is no finding.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import combinations, pairwise
from pathlib import Path

from .page import Block, CodeCell, Page, read

EVERY_PAGE = "*"
LISTED = Path(__file__).with_name("evidence.txt")

NUMBER = re.compile(r"(?<![\w.,])[-−+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
INTERVAL = re.compile(r"(\d+(?:\.\d+)?) ± +(\d+(?:\.\d+)?)")
IN_PROSE = re.compile(
    r"(?<![\w.,/^_-])(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?![\w]|[.,]\d|-[A-Za-z]*\d)"
)
# what stands before or behind a number that names or counts something and claims nothing
NAMES = re.compile(
    r"(?:Equations?|Eq\.|Sections?|Sec\.|Tables?|Figures?|Algorithm|Appendix|[Ee]xercises?|[Cc]hapters?"
    r"|[Ww]eeks?|[Ss]eeds?|[Ll]ayers?|[Rr]anks?|[Ss]teps?|[Pp]ython|[Vv]ersions?|Questions?|Items?|page)"
    r"\s(?:\d+(?:,| to| and| or)?\s)*$"
)
BITS = re.compile(r"^[ -]bits?\b")
SHAPE = re.compile(r"\d × $|^ × \d")
LEVELS = re.compile(r"^ % (?:confidence )?intervals?\b")
NO_SENTENCE = ("heading", "formula", "code")
BOOK = Path(__file__).resolve().parents[2] / "book"
SMALL = 12  # a number of things that a reader counts
YEARS = range(1900, 2031)
ROUND = (50, *(10**zeros for zeros in range(10)))
LIST = r"(?:(?:, and |, | and | to | or )\d+(?:\.\d+)?)*"
PERCENT = re.compile(rf"^{LIST} %")
# by what a number of an output is multiplied where the sentence has a unit
UNITS = {
    PERCENT: (1.0, 100.0),
    re.compile(rf"^{LIST} points?\b"): (1.0, 100.0),
    re.compile(rf"^{LIST} (?:thousand|kB)\b"): (1.0, 1e-3),
    re.compile(rf"^{LIST} (?:million|M|MB)\b"): (1.0, 1e-6),
    re.compile(rf"^{LIST} (?:billion|GB)\b"): (1.0, 1e-9),
    re.compile(rf"^{LIST} MiB\b"): (1.0, 2.0**-20),
}
PRINTED = 200  # numbers of an output, at most, whose differences are looked at; a widget has more
COUNTED = 1000  # from where on a number of an output is a count, whose share a sentence may give
DIFFERENCE = re.compile(rf"^{LIST} (?:points?|% (?:more|less)|MiB|bits?)\b")
BY = re.compile(r"\bby (?:\d+(?:\.\d+)? (?:and|to|or) )?$")
TIMES = re.compile(r"^ times\b")


def unbacked(page: Page) -> Iterator[str]:
    """Numbers in sentences which nothing on the page backs, and no line of the list."""
    for block, match in unfound(page):
        if not {(page.name, match["number"]), (EVERY_PAGE, match["number"])} & listed():
            yield f"{block.where}: nothing backs {match['number']}: {around(block, match)}"


def unfound(page: Page) -> Iterator[tuple[Block, re.Match[str]]]:
    """Numbers in sentences which nothing on the page backs."""
    for place, block in enumerate(page.parts):
        if isinstance(block, CodeCell) or block.kind in NO_SENTENCE:
            continue
        if cited(page, block) or is_task(block):
            continue
        for match in IN_PROSE.finditer(block.text):
            number = match["number"]
            before, after = block.text[: match.start()], block.text[match.end() :]
            if not claims_nothing(number, before, after) and not backed(
                number, page, place, before, after
            ):
                yield block, match


def cited(page: Page, block: Block) -> bool:
    """Whether a paragraph cites somebody, or the table that a cell is of."""
    if block.kind != "cell":
        return block.cites
    return any(b.cites for b in page.blocks if b.where == block.where and b.kind == "cell")


def is_task(block: Block) -> bool:
    """Whether a block belongs to an exercise or a quiz: what it supposes is no finding."""
    return block.where.startswith(("exercise", "quiz"))


def around(block: Block, match: re.Match[str]) -> str:
    return f"… {block.text[max(0, match.start() - 50) : match.end() + 40]} …"


def claims_nothing(number: str, before: str, after: str) -> bool:
    """Whether a number only names, counts to a dozen, or is a round one."""
    if NAMES.search(before) or SHAPE.search(before):
        return True
    if BITS.match(after) or LEVELS.match(after) or SHAPE.match(after):
        return True
    if "." in number:
        return False
    whole = int(number.replace(",", ""))
    return whole <= SMALL or whole in YEARS or whole in ROUND


def backed(number: str, page: Page, place: int, before: str, after: str) -> bool:
    """Whether code, outputs or formulas of the page hold the number, or lead to it.

    Exactly, anywhere on the page; rounded, scaled, or as a difference or a ratio of two numbers of
    one output, in the section alone: on a page with many numbers, one of them is always near.
    """
    wanted, half = float(number.replace(",", "")), half_unit(number)
    if wanted in written(page):
        return True
    block = page.parts[place]
    if isinstance(block, Block) and any(wanted in written(to) for to in linked(page, block)):
        return True
    near = section(page, place)
    scale = next((by for unit, by in UNITS.items() if unit.match(after)), (1.0,))
    if any(abs(value * by - wanted) <= half for values in near for value in values for by in scale):
        return True
    if PERCENT.match(after):  # the share of a count in another
        shares = (
            100 * min(pair) / max(pair)
            for values in near
            if len(values) <= PRINTED
            for pair in combinations([value for value in values if value >= COUNTED], 2)
        )
        if any(abs(share - wanted) <= half for share in shares):
            return True
    if DIFFERENCE.match(after) or BY.search(before):
        return any(
            abs(abs(one - other) * by - wanted) <= half
            for values in near
            if len(values) <= PRINTED
            for one, other in combinations(values, 2)
            for by in scale
        )
    if TIMES.match(after):
        return any(
            abs(max(one, other) / min(one, other) - wanted) <= half
            for values in near
            if len(values) <= PRINTED
            for one, other in combinations(values, 2)
            if one and other
        )
    return False


def half_unit(number: str) -> float:
    """Half of one in the last place that a number shows."""
    places = len(number.partition(".")[2])
    return 0.5000001 * 10.0**-places


def values_in(text: str) -> tuple[float, ...]:
    """The numbers in a text, each once and without its sign, and the ends of intervals."""
    found = (number.lstrip("+-−").replace(",", "") for number in NUMBER.findall(text))
    ends = [
        end
        for mean, half in INTERVAL.findall(text)
        for end in (float(mean) - float(half), float(mean) + float(half))
    ]
    return tuple(dict.fromkeys([*map(float, found), *ends]))


def linked(page: Page, block: Block) -> list[Page]:
    """The pages of the book that a paragraph links to."""
    here = (BOOK / page.name).parent
    paths = [(here / link.partition("#")[0]).resolve() for link in block.links]
    inside = (path for path in paths if path.is_relative_to(BOOK) and path.suffix == ".ipynb")
    return [other(path) for path in inside if path.is_file()]


@cache
def other(path: Path) -> Page:
    return read(path, BOOK)


@lru_cache(maxsize=64)
def written(page: Page) -> frozenset[float]:
    """All numbers in code, outputs, formulas and paragraphs with a citation."""
    texts = [text for cell in page.cells for text in (cell.source, cell.outputs)]
    texts += [text for block in page.blocks for text in (*block.formulas, *block.code)]
    texts += [block.text for block in page.blocks if block.cites]
    return frozenset(value for text in texts for value in values_in(text))


@lru_cache(maxsize=4)
def sections(page: Page) -> dict[int, tuple[tuple[float, ...], ...]]:
    """For the place of each part of the page the outputs of its section; of all if it has none."""
    everything = tuple(values_in(cell.outputs) for cell in page.cells)
    starts = [
        place
        for place, part in enumerate(page.parts)
        if isinstance(part, Block) and part.kind == "heading" and part.level == 2
    ]
    found: dict[int, tuple[tuple[float, ...], ...]] = {}
    for start, end in pairwise([0, *starts, len(page.parts)]):
        cells = [part for part in page.parts[start:end] if isinstance(part, CodeCell)]
        inside = tuple(values_in(cell.outputs) for cell in cells)
        inside += tuple(values_in(cell.shown) for cell in cells)
        found |= dict.fromkeys(range(start, end), inside if any(inside) else everything)
    return found


def section(page: Page, place: int) -> tuple[tuple[float, ...], ...]:
    return sections(page)[place]


@cache
def listed() -> frozenset[tuple[str, str]]:
    """Page and number of each line of the list by hand."""
    lines: Iterable[str] = LISTED.read_text(encoding="utf-8").splitlines()
    rows = [line.split(maxsplit=2) for line in lines if line and not line.startswith("#")]
    return frozenset((page, number) for page, number, _why in rows)
