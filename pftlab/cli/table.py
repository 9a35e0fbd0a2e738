"""Tables of text."""

import shutil
import textwrap
from collections.abc import Sequence
from typing import Any


def print_table(
    header: list[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()
) -> None:
    """Print rows under a header; the last column is wrapped to the width of the terminal.

    Args:
        header: of the columns.
        rows: cells of any type.
        right: numbers of the columns that are aligned to the right.
    """
    cells = [header, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    last = len(header) - 1
    room = shutil.get_terminal_size((120, 24)).columns - sum(widths[:-1]) - 2 * last
    if widths[last] > room >= 24:
        widths[last] = room
    for number, row in enumerate(cells):
        parts = textwrap.wrap(row[last], widths[last]) or [""]
        for line, part in enumerate(parts):
            shown = [*row[:last], part] if line == 0 else [*[""] * last, part]
            print(
                "  ".join(
                    cell.rjust(width) if i in right else cell.ljust(width)
                    for i, (cell, width) in enumerate(zip(shown, widths, strict=True))
                ).rstrip()
            )
        if number == 0:
            print("  ".join("-" * width for width in widths))
