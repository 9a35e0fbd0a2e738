"""How nbval compares the notebooks, as a plugin: `pytest -p notebooks.nbval_rules --nbval book`.

Words and whole numbers must agree. A decimal number may differ by one in its last place, or by a
thousandth: processors sum in other orders. What is only a rounding error, such as 1.2e-07, may
differ tenfold. In a cell with the tag "tolerance-2", which trains so long that roundings grow, a
decimal number may differ by 2. A cell has a budget of processor time; the clock stops only what
hangs.
"""

import re
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from .execution import CELL_SECONDS

DECIMAL = re.compile(r"[-−]?\d+\.\d+(?:e[-+]?\d+)?|[-−]?\d+e[-+]?\d+")
ROUNDING_ERROR = 1e-5
TOLERANCE = "tolerance-"
SLACK = 2  # times the budget: a busy processor's caches cost time, too


class Near(str):
    """Text that equals another whose decimal numbers are about the same."""

    tolerance = 0.0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        if str.__eq__(self, other):
            return True
        return isinstance(other, str) and near(self, other, self.tolerance)

    def __ne__(self, other: object) -> bool:
        return not self == other


def near(one: str, two: str, tolerance: float = 0.0) -> bool:
    """Tell whether two texts differ in nothing but decimals, by roundings or the tolerance."""
    if words(one) != words(two):
        return False
    pairs = zip(DECIMAL.findall(one), DECIMAL.findall(two), strict=True)
    return all(about_the_same(first, second, tolerance) for first, second in pairs)


def words(text: str) -> list[str]:
    """What stands between the decimal numbers; columns may move when a number gets longer."""
    return DECIMAL.sub(" # ", text).split()


def about_the_same(first: str, second: str, tolerance: float = 0.0) -> bool:
    """Compare two decimal numbers as printed."""
    a, b = (float(number.replace("−", "-")) for number in (first, second))
    if 0 < abs(a) < ROUNDING_ERROR and 0 < abs(b) < ROUNDING_ERROR:
        return 0.1 <= abs(a / b) <= 10
    mantissa, _, exponent = first.partition("e")
    places = len(mantissa.partition(".")[2])
    last_place = 10.0 ** (int(exponent or 0) - places)
    return abs(a - b) <= max(1.01 * last_place, 1e-3 * abs(a), tolerance)


_sanitize = IPyNbCell.sanitize


def _sanitize_nearly(cell: IPyNbCell, text: Any) -> Any:
    text = _sanitize(cell, text)
    if not isinstance(text, str):
        return text
    text = Near(text)
    for tag in cell.cell.metadata.get("tags", ()):
        if tag.startswith(TOLERANCE):
            text.tolerance = float(tag.removeprefix(TOLERANCE))
    return text


IPyNbCell.sanitize = _sanitize_nearly
_setup = IPyNbFile.setup


def _setup_without_drawings(notebook: IPyNbFile) -> None:
    _setup(notebook)
    notebook.skip_compare = (*notebook.skip_compare, "image/svg+xml")  # as other pictures


IPyNbFile.setup = _setup_without_drawings


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a cell that takes more processor time than it may."""
    if not isinstance(item, IPyNbCell):
        return (yield)
    kernel = psutil.Process(item.parent.kernel.km.provisioner.pid)
    before = kernel.cpu_times()
    result = yield
    after = kernel.cpu_times()
    spent = after.user + after.system - before.user - before.system
    if spent > SLACK * CELL_SECONDS:
        raise NbCellError(
            item.cell_num,
            f"{spent:.0f} s of processor time, over {SLACK} times the {CELL_SECONDS} s of a cell",
            item.cell.source,
        )
    return result
