"""The built book in a real browser: it opens, has no errors, and its figures have alternatives."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).resolve().parents[2] / "_build" / "html"
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and continuous integration must have it.")
        pytest.skip("Chromium is not installed: the browser tests are left out.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def pages() -> list[Path]:
    found = sorted(SITE.rglob("*.html"))
    return [
        p
        for p in found
        if p.parts[-2] != "_static" and p.name not in ("genindex.html", "search.html")
    ]


def test_the_book_was_built() -> None:
    assert (SITE / "index.html").is_file(), "build the book first: make book"
    assert len(pages()) >= 6


def test_pages_open_without_errors_and_with_alternative_texts(browser: Any) -> None:
    for path in pages():
        page = browser.new_page(viewport={"width": 360, "height": 740})
        errors: list[str] = []
        page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        page.route("http*://**", lambda route: route.abort())  # offline readers see the text too
        page.goto(path.as_uri(), wait_until="load")
        assert page.title(), path
        bare = page.eval_on_selector_all(
            "main img", "images => images.filter(i => !(i.alt || '').trim()).map(i => i.src)"
        )
        assert not bare, f"{path.name}: images without alternative text: {bare}"
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 380, f"{path.name}: {width} pixels wide on a phone"
        ours = [e for e in errors if "THEBE" not in e and "MathJax" not in e and "require" not in e]
        assert not ours, f"{path.name}: {ours}"
        page.close()
