"""The matrix that the book shows is the one that the contract keeps.

After a method or a refusal was added, `pytest tests/contract/test_matrix.py --matrix
book/results/matrix.json` writes it anew, and `tools/notebooks run book/appendix` the page.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from test_contract import REFUSED
from tiny import MODELS, method, tiny

import pftlab as pft
from pftlab import METHODS

STORED = Path(__file__).resolve().parents[2] / "book" / "results" / "matrix.json"


def test_the_book_shows_what_is_refused_and_why(
    request: pytest.FixtureRequest, record_property: Any
) -> None:
    """That the other cells work is what `test_contract.py` proves."""
    found = {name: dict.fromkeys(MODELS, "works") for name in METHODS}
    for name, architecture in sorted(REFUSED):
        with pytest.raises(pft.PftError) as refusal:
            method(name).attach(tiny(architecture))
        found[name][architecture] = f"refused: {refusal.value}"
    for name, row in found.items():
        for architecture, outcome in row.items():
            reason = outcome.removeprefix("works").removeprefix("refused: ")
            record_property("cell", (name, architecture, reason))
    if not request.config.getoption("--matrix", default=None):
        stored = json.loads(STORED.read_text(encoding="utf-8"))
        assert stored == found, "the book's matrix is out of date: see the top of this file"
