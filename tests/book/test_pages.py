"""The committed pages: notebooks in order, every citation and link leads somewhere."""

import re
from pathlib import Path

import pytest
from notebooks import checks, form
from pages.ledger import PAGE

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"

MADE = (ROOT / PAGE,)  # by the build
NOTEBOOKS = form.notebooks([str(BOOK)])
PAGES = [*NOTEBOOKS, *sorted(p for p in BOOK.rglob("*.md") if not form.hidden(p.relative_to(BOOK)))]


def prose(page):
    if page.suffix == ".md":
        return page.read_text(encoding="utf-8")
    return "\n\n".join(c.source for c in form.read(page).cells if c.cell_type == "markdown")


def name_of(page):
    return page.relative_to(BOOK).as_posix()


@pytest.mark.parametrize("page", NOTEBOOKS, ids=name_of)
def test_notebook_is_in_order(page):
    assert checks.check(page) == []


@pytest.mark.parametrize("page", NOTEBOOKS, ids=name_of)
def test_a_failure_that_is_shown_is_one(page):
    """A cell that catches an error to print it had one to print."""
    for cell in form.read(page).cells:
        if cell.cell_type == "code" and re.search(r"^except .*:\n +print\(", cell.source, re.M):
            assert cell.outputs, f"{cell.id}: no error came"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_citations_exist(page):
    bibliography = (BOOK / "references.bib").read_text(encoding="utf-8")
    known = set(re.findall(r"^@\w+\{([^,]+),", bibliography, re.MULTILINE))
    cited = re.findall(r"\{cite:\w+\}`(\S[^`]*)`", prose(page))
    keys = {key.strip() for group in cited for key in group.split(",")}
    assert keys <= known, f"not in references.bib: {sorted(keys - known)}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_pages_exist(page):
    targets = re.findall(r"\]\(([^)#\s]+)", prose(page))
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    paths = [(page.parent / target).resolve() for target in local]
    missing = [path for path in paths if not path.exists() and path not in MADE]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pictures_have_alternative_text(page):
    text = prose(page)
    images = re.findall(r"<img\b[^>]*>", text)
    alts = [re.search(r'alt="([^"]*)"', image) for image in images]
    assert all(alt and len(alt[1]) >= checks.ALT_CHARACTERS for alt in alts)


def test_the_doors_say_how_long_they_take():
    """Reading at 200 words a minute, and the minutes that the exercises name."""
    parts = prose(BOOK / "index.md").split(":::{container} pft-door\n")[1:]
    doors = [part.partition(":::")[0] for part in parts]
    assert len(doors) == 3
    for door in doors:
        read, solve = map(int, re.search(r"(\d+) hours to read, and (\d+) for", door).groups())
        pages = [BOOK / name for name in re.findall(r"\]\(([^)#\s]+)", door)]
        texts = [prose(page) for page in pages if page not in MADE]
        words = sum(len(text.split()) for text in texts)
        minutes = sum(int(n) for text in texts for n in re.findall(r"★, (\d+) minutes", text))
        assert abs(words / 200 / 60 - read) < 0.6, door
        assert abs(minutes / 60 - solve) < 1.5, door
