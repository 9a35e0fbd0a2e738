"""No page is heavy, and no page loads what it does not use."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from test_site import KINDS, OPENED, PAGES, SITE

ROOT = Path(__file__).resolve().parents[2]
HEAVIEST = 900_000  # bytes as sent
LIGHT = {"book/index": 350_000, "book/comparison/explore": 350_000, "book/live/train": 350_000}
pytestmark = pytest.mark.site


def loaded(name: str, path: str) -> Any:
    sys.path.insert(0, str((ROOT / path).parent))
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


benchmark = loaded("page_weight", "benchmarks/page_weight.py")
weight = loaded("weight", "tools/pages/weight.py")


@pytest.mark.parametrize(
    "name",
    [name if name in KINDS else pytest.param(name, marks=pytest.mark.full) for name in OPENED],
)
def test_page_is_light(browser: Any, address: str, name: str) -> None:
    page = benchmark.measure(browser, address, name, slow=1, quiet=300)
    limit = LIGHT.get(name.removesuffix(".html"), HEAVIEST)
    assert page.weight < limit, page.files[:5]


def test_no_page_is_itself_heavy() -> None:
    """What it loads beside itself it has in common with others, which the test above weighs."""
    for name in PAGES:
        page = benchmark.weight_of(name, (SITE / name).read_bytes())
        assert page < 200_000, f"{name}: {page} bytes as sent"


def test_only_pages_with_formulas_load_mathjax_and_only_pages_with_widgets_their_manager() -> None:
    for name in PAGES:
        text = (SITE / name).read_text(encoding="utf-8")
        assert ("tex-mml-chtml.js" in text) == ('class="math ' in text), name
        assert ("pft-figures.js" in text) == ("jupyter.widget-view+json" in text), name
        others = '"model_module": "@jupyter-widgets/controls"' in text
        assert ("embed-amd.js" in text) == others, name


def test_every_icon_is_in_the_small_font() -> None:
    from fontTools.ttLib import TTFont

    (file,) = (SITE / "_static" / weight.FONTS).iterdir()
    have = set(TTFont(file).getBestCmap())
    sheets = [s.read_text("utf-8") for s in SITE.glob("_static/styles/*.css")]
    shown = set()
    for page in SITE.rglob("*.html"):
        for classes in re.findall(r'<i class="([^"]*)"', page.read_text("utf-8")):
            shown |= set(weight.ICON_NAME.findall(classes)) - {"fa-solid", "fa-lg"}
    assert len(shown) > 10
    for icon in shown:
        codes = [re.search(rf'{icon}:before[^{{]*\{{content:"\\([0-9a-f]+)"', s) for s in sheets]
        (code,) = [match[1] for match in codes if match]
        assert int(code, 16) in have, icon
    assert file.stat().st_size < 10_000


PAGE = """<html><head><link href="a/sphinx-design.min.css?v=1" rel="stylesheet" />
<link href="a/pft.css" rel="stylesheet" />
<script src="a/copybutton.js?v=2"></script>
<script defer src="a/scripts/fontawesome.js"></script></head><body>{}</body></html>"""


def test_a_page_keeps_what_its_content_needs() -> None:
    def left(body: str) -> set[str]:
        return set(re.findall(r"[\w.-]+\.(?:js|css)", weight.lighten(PAGE.format(body))))

    assert left("text") == {"pft.css"}
    assert left('<div class="highlight-python">') == {"pft.css", "copybutton.js"}
    assert left('<div class="a sd-card">') == {"pft.css", "sphinx-design.min.css"}


def test_no_page_needs_what_was_taken_away(browser: Any, address: str) -> None:
    """A page with code can copy it, and the icons are drawn."""
    page = browser.new_page()
    page.goto(f"{address}/book/low_rank/lora.html", wait_until="load")
    assert page.locator("div.highlight button.copybtn").count() > 3
    page.evaluate("document.fonts.ready.then(() => true)")
    assert page.evaluate("document.fonts.check('900 16px \"Font Awesome 6 Free\"', '\\uf0c9')")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.fa-bars'), '::before').content")
        == '"\uf0c9"'
    )
    page.close()
