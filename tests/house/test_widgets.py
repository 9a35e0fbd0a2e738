"""Interactive figures work in a built page: without a kernel, without a network.

A small book of its own, with the real configuration and the real static files, so that what the
pages with widgets need is tested however many widgets the book has.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser import launched, opened, served
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from small_book import build, outline

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.site

CELLS = [
    new_markdown_cell("# Widgets\n\nA formula, $h \\leftarrow h + BAx$, and two widgets."),
    new_code_cell(
        "import ipywidgets\n"
        "rank = ipywidgets.IntSlider(4, 1, 64, description='rank')\n"
        "share = ipywidgets.IntProgress(4, 1, 64)\n"
        "ipywidgets.jslink((rank, 'value'), (share, 'value'))\n"
        "ipywidgets.VBox([rank, share])"
    ),
    new_code_cell(
        "import anywidget, traitlets\n"
        "class Count(anywidget.AnyWidget):\n"
        "    _esm = '''\n"
        "    export default { render({ model, el }) {\n"
        '      const button = document.createElement("button");\n'
        '      const show = () => { button.textContent = `count ${model.get("value")}`; };\n'
        '      button.addEventListener("click", () => {\n'
        '        model.set("value", model.get("value") + 1); model.save_changes();\n'
        "      });\n"
        '      model.on("change:value", show); show(); el.append(button);\n'
        "    } };\n"
        "    '''\n"
        "    value = traitlets.Int(0).tag(sync=True)\n"
        "Count()"
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    book = tmp_path_factory.mktemp("book")
    notebook = new_notebook(cells=CELLS)
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    outline(book)
    nbformat.write(notebook, book / "book" / "index.ipynb")
    done = build(book)
    assert done.returncode == 0, done.stdout + done.stderr
    return book / "_build" / "html"


@pytest.fixture(scope="module", params=["http", "file"])
def page(request: pytest.FixtureRequest, site: Path) -> Iterator[Any]:
    with launched() as browser, served(site) as address:
        start = address if request.param == "http" else site.as_uri()
        with opened(browser, f"{start}/book/index.html") as (page, seen):
            page.wait_for_selector(".noUi-handle")
            page.wait_for_selector("button:text('count 0')")
            yield page
            assert seen.none(), seen


def test_a_linked_slider_moves_by_keyboard(page: Any) -> None:
    handle = page.locator(".noUi-handle").first
    handle.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.locator(".widget-readout").first.inner_text() == "7"
    width = page.locator(".progress-bar").first.evaluate("bar => bar.style.width")
    assert float(width.rstrip("%")) == pytest.approx(100 * 6 / 63, abs=0.1)


def test_a_slider_has_a_name(page: Any) -> None:
    assert page.locator(".noUi-handle").first.get_attribute("aria-label") == "rank"


def test_our_own_kind_of_widget_answers(page: Any) -> None:
    page.locator("button:text('count')").click()
    assert page.locator("button:text('count 1')").count() == 1


def test_formulas_are_set(page: Any) -> None:
    assert page.locator("mjx-container").count() > 0


def test_the_page_and_python_have_the_same_anywidget() -> None:
    """Another version of one of them would draw nothing, or draw old things."""
    spec = importlib.util.find_spec("anywidget")
    assert spec is not None and spec.origin is not None
    installed = Path(spec.origin).parent / "nbextension" / "index.js"
    vendored = ROOT / "book" / "_static" / "vendor" / "anywidget" / "index.js"
    assert installed.read_bytes() == vendored.read_bytes(), "run: python tools/vendor.py update"
