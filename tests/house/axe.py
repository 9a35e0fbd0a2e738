"""What axe-core finds wrong with a page: WCAG 2.2, levels A and AA."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import opened

AXE = (Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js").read_text("utf-8")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
COLOURS = ["color-contrast", "link-in-text-block"]
# A theme changes colours and nothing else, so of the second one the rules about colours are asked.
ASKED = {"light": TAGS, "dark": COLOURS}  # tags or rules; see `runOnly` of axe


def violations(page: Any, theme: str, but: Sequence[str] = ()) -> list[str]:
    """What is wrong with a page in this theme, a line for each element, `but` these (selectors)."""
    page.evaluate(
        "theme => Object.assign(document.documentElement.dataset, {theme, mode: theme})", theme
    )
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE)
    # Without "preload" axe reads no style sheet a second time, which from disk it could not.
    options = {"runOnly": ASKED[theme], "resultTypes": ["violations"], "preload": False}
    where = {"include": [["html"]], "exclude": [[selector] for selector in but]}
    run = "([where, options]) => axe.run(where, options)"
    found = page.evaluate(run, [where, options])["violations"]
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
