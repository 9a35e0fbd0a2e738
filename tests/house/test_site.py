"""The built book: it loads nothing from outside, and it works in a real browser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from axe import ASKED, still, violations
from browser import opened

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.glob("book/**/*.html"))
# The cards of the methods come from one program: one of each family is opened in the browser.
SHOWN = ("discriminative", "adapter_fusion", "llama_adapter", "lora", "diff_pruning", "ia3")
OPENED = [
    name for name in PAGES if not name.startswith("book/methods/") or Path(name).stem in SHOWN
]
# One page of each kind: what is alike on all pages, and slow to look at, is looked at on them.
KINDS = {
    "book/" + name + ".html"
    for name in (
        *("index", "how_to_use", "notation", "glossary", "references", "teaching", "methods"),
        *("live/train", "foundations/bill", "prompt/index", "low_rank/lora", "methods/lora"),
        *("language_models/serving", "comparison/explore", "comparison/all_methods"),
        *("appendix/matrix", "appendix/ledger"),
    )
}
ALIKE = (".highlight", "mjx-container", ".bd-sidebar-primary")  # code, formulas, the contents
CUT_FORMULAS = """
[...document.querySelectorAll("main div.math")]
    .filter(box => box.querySelector("mjx-math").getBoundingClientRect().left
        < box.getBoundingClientRect().left - 1)
    .map(box => box.textContent.slice(0, 80))
"""
OUTSIDE = re.compile(r"^\s*(?:https?:)?//", re.IGNORECASE)
pytestmark = pytest.mark.site


class Loaded(HTMLParser):
    """Collects the addresses of what a page loads by itself (not of its links)."""

    LOADING = {"script", "img", "iframe", "source", "audio", "video", "embed", "object", "track"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in self.LOADING:
            self.addresses += [given[name] for name in ("src", "data", "poster") if name in given]
            self.addresses += re.split(r",\s*", given.get("srcset", ""))
        if tag == "link" and given.get("rel") not in ("canonical", "search", "license"):
            self.addresses.append(given.get("href", ""))
        self.addresses += styles(given.get("style", ""))


def styles(text: str) -> list[str]:
    """The addresses in a style sheet."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    imported = re.findall(r"@import\s+['\"]([^'\"]+)", text)
    return imported + re.findall(r"url\(\s*['\"]?([^'\")]+)", text)


def outside(addresses: list[str]) -> list[str]:
    return [address for address in addresses if OUTSIDE.match(address)]


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<img alt="" src="http://example.org/a.png">',
        "<p style=\"background: url('https://example.org/a.png')\">",
    ],
)
def test_an_outside_address_is_found(text: str) -> None:
    assert outside(Loaded(text).addresses)


def test_links_to_outside_are_no_loads() -> None:
    assert not outside(Loaded('<a href="https://arxiv.org">paper</a>').addresses)


def test_the_book_was_built() -> None:
    assert (SITE / "index.html").is_file(), "build the book first: make book"
    sources = [p for p in (ROOT / "book").rglob("*") if p.suffix in (".md", ".ipynb")]
    wanted = {
        p.relative_to(ROOT).with_suffix(".html").as_posix()
        for p in sources
        if not any(part.startswith((".", "_")) for part in p.relative_to(ROOT).parts)
        and p.name != "README.md"  # of the folder, for who opens it in JupyterLab
    }
    assert wanted == set(PAGES)


def test_no_page_loads_anything_from_outside() -> None:
    for path in SITE.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not outside(Loaded(text).addresses), path.relative_to(SITE)
    for path in SITE.rglob("*.css"):
        assert not outside(styles(path.read_text(encoding="utf-8"))), path.relative_to(SITE)


@pytest.mark.parametrize("name", OPENED)
def test_page(browser: Any, name: str) -> None:
    """From disk, so that it is also seen to work without a server; light, dark, and on a phone."""
    with still(browser, (SITE / name).as_uri()) as (page, seen):
        assert page.title()
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.locator("main article h1").count() == 1
        bare = "images => images.filter(i => !(i.alt || '').trim()).map(i => i.src)"
        assert page.eval_on_selector_all("main img", bare) == []
        broken = "images => images.filter(i => !i.naturalWidth).map(i => i.src)"
        assert page.eval_on_selector_all("main img", broken) == []
        if page.locator("main .math").count():
            page.evaluate("MathJax.startup.promise.then(() => true)")
            assert page.locator("mjx-container").count() > 0
            assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
        for theme in ASKED:
            assert not violations(page, theme, [] if name in KINDS else ALIKE), theme
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, "wider than a phone"
        assert page.evaluate(CUT_FORMULAS) == [], "begin left of where one can scroll"
        assert seen.none(), seen


def test_there_is_a_page_of_each_kind() -> None:
    assert set(OPENED) >= KINDS


def nameless_controls(page: Any) -> list[str]:
    """Roles of the controls that a screen reader could not name."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "textbox", "searchbox", "slider", "checkbox", "combobox"}
    return [
        node["role"]["value"]
        for node in tree
        if not node["ignored"]
        and node["role"]["value"] in roles
        and not node.get("name", {}).get("value", "").strip()
    ]


def test_the_first_page_leads_to_the_book(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/index.html") as (page, _):
        page.wait_for_url("**/book/index.html")
        assert page.locator("nav.bd-links a").count() >= len(PAGES) - 1


def test_dark_mode_keeps_text_readable(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/book/index.html", color_scheme="dark") as (page, _):
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        colours = page.evaluate(
            "['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k])"
        )
        text, ground = (sum(map(int, re.findall(r"\d+", c)[:3])) for c in colours)
        assert text - ground > 300, colours


def test_the_keyboard_reaches_the_text(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/book/index.html") as (page, _):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.textContent.trim()")
        assert focused.lower() == "skip to main content"


def test_search_finds_a_word(browser: Any, address: str) -> None:
    with opened(browser, f"{address}/search.html?q=pretrained") as (page, seen):
        page.wait_for_selector("#search-results li a")
        assert seen.none(), seen
