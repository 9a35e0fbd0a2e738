"""Every page, light and dark, through axe-core: no violation of WCAG 2.2, levels A and AA.

The pages of the book are opened from disk, so that each is also seen to work without a server. A
theme changes colours and nothing else, so of the second one the rules about colours are asked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import opened
from test_site import OPENED, SITE

AXE = (Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js").read_text("utf-8")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
COLOURS = ["color-contrast", "link-in-text-block"]
ASKED = {"light": TAGS, "dark": COLOURS}  # tags or rules; see `runOnly` of axe
OTHERS = sorted({path.name for path in SITE.glob("*.html")} - {"index.html"})  # it leads on
pytestmark = pytest.mark.site


def violations(page: Any, theme: str) -> list[str]:
    """What is wrong with a page in this theme, a line for each element."""
    page.evaluate(
        "theme => Object.assign(document.documentElement.dataset, {theme, mode: theme})", theme
    )
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE)
    # Without "preload" axe reads no style sheet a second time, which from disk it could not.
    options = {"runOnly": ASKED[theme], "resultTypes": ["violations"], "preload": False}
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]}\n{node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


@contextmanager
def still(browser: Any, address: str) -> Iterator[tuple[Any, Any]]:
    """A page whose colours do not fade: one on its way is neither of the one theme nor the other."""
    with opened(browser, address, reduced_motion="reduce") as (page, seen):
        page.add_style_tag(content="* { transition: none !important; }")
        yield page, seen


@pytest.mark.parametrize("name", OPENED)
def test_no_violation_in_either_theme(browser: Any, name: str) -> None:
    with still(browser, (SITE / name).as_uri()) as (page, seen):
        for theme in ASKED:
            assert not violations(page, theme), theme
        assert seen.none(), seen


@pytest.mark.parametrize("name", OTHERS)
def test_no_violation_outside_the_book(browser: Any, address: str, name: str) -> None:
    query = "?q=rank" if name == "search.html" else ""
    with still(browser, f"{address}/{name}{query}") as (page, _):
        if query:
            page.wait_for_selector("#search-results li a")
        for theme in ASKED:
            assert not violations(page, theme), theme


def test_a_fault_is_found(browser: Any, address: str) -> None:
    with still(browser, f"{address}/book/index.html") as (page, _):
        page.evaluate("document.querySelector('article p').style = 'color: #777; background: #888'")
        page.evaluate(
            "document.querySelector('article h1').insertAdjacentHTML('afterend', '<img src=\"x\">')"
        )
        for theme in ASKED:
            assert "color-contrast" in "\n".join(violations(page, theme)), theme
        assert "image-alt" in "\n".join(violations(page, "light"))
