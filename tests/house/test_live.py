"""The interactive figures in JupyterLab: what the reader chooses and what Python holds are one."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from browser import launched, opened
from lab import jupyterlab, run, wait_for_kernel
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.site

SHOW = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import numpy as np
import made_up
from IPython.display import display
from pftlab.book.widgets import *
normal = np.random.default_rng(0).normal
counter = ParameterCounter('bert-base', models=('bert-base', 'gpt2'))
tradeoff = TradeoffExplorer(made_up.grid(1), base='tiny', task='reviews')
placement = PlacementExplorer()
low_rank = LowRankExplorer({{'query': normal(size=(40, 36))}}, rank=5)
nf4 = NF4Explorer(normal(size=(64, 64)))
budget, prefix = BudgetPlayer(made_up.ranks()), made_up.prefixed()
scale = ScaleCurve(made_up.grid(1), task='reviews')
display(counter, tradeoff, placement, low_rank, nf4, budget, prefix, scale)
"""
FIGURES = ("counter", "tradeoff", "placement", "low-rank", "nf4", "budget", "prefix", "scale")
ASK = """
import json
print('STATE', json.dumps([counter.settings['lora']['rank'], tradeoff.cost, placement.site,
                           low_rank.rank, nf4.block, budget.frame, [prefix.row, prefix.head],
                           scale.task]), 'END')
"""
TELL = """
counter.base, tradeoff.families = 'gpt2', ['low_rank']
placement.function, low_rank.rank, nf4.format = 'relu', 20, 'fp4'
budget.frame, prefix.sentence, scale.shown = 4, 2, scale.shown[:2]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a notebook in JupyterLab."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in (SHOW, ASK, TELL)])
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, folder / "figures.ipynb")
    with jupyterlab(folder, "figures.ipynb") as address:
        yield address


def test_python_and_the_page_are_one(lab: str) -> None:
    with launched() as browser, opened(browser, lab) as (page, seen):
        wait_for_kernel(page)
        cells = page.locator(".jp-Notebook .jp-CodeCell")
        run(page, cells.nth(0))
        for name in FIGURES:
            # Lab lays out what is in sight, and a figure is drawn when its width is known
            page.locator(f".pft-{name}").scroll_into_view_if_needed()
            page.locator(f".pft-{name} svg.pft-drawing *").first.wait_for(state="attached")

        # what the reader chooses reaches Python, by keyboard and by mouse
        for name, label in (
            ("counter", "Rank"),
            ("low-rank", "Rank r"),
            ("nf4", "Weights in a block"),
            ("budget", "Step"),
        ):
            control = page.locator(f".pft-{name}").get_by_label(label, exact=True)
            control.focus()
            page.keyboard.press("ArrowRight")
            assert control.evaluate("node => node === document.activeElement"), "Lab took the key"
        page.locator(".pft-tradeoff").get_by_label("Cost", exact=True).select_option("memory")
        page.locator(".pft-placement svg [data-key=attention]").click()
        page.locator(".pft-prefix svg [data-key='0 2']").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.locator(".pft-scale").get_by_label("Task", exact=True).select_option("pairs")
        run(page, cells.nth(1))
        page.wait_for_selector("pre:has-text('END')")
        said = page.locator("pre", has_text="END").last.inner_text()
        state = json.loads(re.search(r"STATE (.*) END", said)[1])  # type: ignore[index]
        assert state == [16, "memory", "attention", 6, 128, 1, [1, 2], "pairs"]

        # what is assigned in Python reaches the reader
        run(page, cells.nth(2))
        page.wait_for_selector(".pft-scale[data-marks='4']")
        data = "box => ({...box.dataset})"
        shown = {name: page.locator(f".pft-{name}").evaluate(data) for name in FIGURES}
        assert int(shown["counter"]["trainable"]) == 12 * 2 * 16 * (768 + 768)
        assert len(shown["tradeoff"]["visible"].split()) == 1
        assert shown["placement"]["name"] == "Scaled parallel adapter beside attention"
        assert int(shown["low-rank"]["parameters"]) == 20 * 76
        assert int(shown["nf4"]["levels"]) == 15
        assert (shown["budget"]["step"], shown["budget"]["budget"]) == ("40", "20")
        assert len(shown["prefix"]["words"].split()) == len("xyz")
        assert not seen.outside, seen.outside
