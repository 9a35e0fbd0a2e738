"""Every page, light and dark, through axe-core: no violation of WCAG 2.2, levels A and AA."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import launched, opened, served
from test_site import PAGES, SITE

AXE = (Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js").read_text("utf-8")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
THEMES = ("light", "dark")
OTHERS = ["404.html", "genindex.html", "search.html?q=rank"]
pytestmark = pytest.mark.site


def violations(page: Any) -> list[str]:
    """What is wrong with a page in the theme that it shows, a line for each element."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE)
    options = {"runOnly": TAGS, "resultTypes": ["violations"]}
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]}\n{node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


def show(page: Any, theme: str) -> None:
    page.evaluate(
        "theme => Object.assign(document.documentElement.dataset, {theme, mode: theme})", theme
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(SITE) as address:
        yield address


@pytest.mark.parametrize("name", [*PAGES, *OTHERS])
def test_no_violation_in_either_theme(browser: Any, address: str, name: str) -> None:
    # Colours fade when the theme changes, and a colour on its way is neither the one nor the other.
    with opened(browser, f"{address}/{name}", reduced_motion="reduce") as (page, _):
        page.add_style_tag(content="* { transition: none !important; }")
        if "search" in name:
            page.wait_for_selector("#search-results li a")
        for theme in THEMES:
            show(page, theme)
            assert not violations(page), theme


@pytest.mark.parametrize("theme", THEMES)
def test_a_fault_is_found(browser: Any, address: str, theme: str) -> None:
    with opened(browser, f"{address}/book/index.html", reduced_motion="reduce") as (page, _):
        show(page, theme)
        page.evaluate("document.querySelector('article p').style = 'color: #777; background: #888'")
        page.evaluate(
            "document.querySelector('article h1').insertAdjacentHTML('afterend', '<img src=\"x\">')"
        )
        found = "\n".join(violations(page))
        assert "image-alt" in found and "color-contrast" in found
