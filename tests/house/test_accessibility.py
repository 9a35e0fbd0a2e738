"""Through axe-core: the pages outside the book, and that a fault is found.

The pages of the book go through it where they are looked at, in test_site.py.
"""

from typing import Any

import pytest
from axe import ASKED, still, violations
from test_site import SITE

OTHERS = sorted({path.name for path in SITE.glob("*.html")} - {"index.html"})  # it leads on
pytestmark = pytest.mark.site


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
