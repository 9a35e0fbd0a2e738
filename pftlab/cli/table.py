"""Tables of text."""

import os
import sys
from collections.abc import Sequence
from typing import Any


def print_table(
    header: list[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()
) -> None:
    """Print rows under a header, as wide as the terminal; whole lines into a file or a pipe.

    Args:
        header: of the columns.
        rows: cells of any type.
        right: numbers of the columns that are aligned to the right.
    """
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table

    # A line of ASCII under the header and none elsewhere: every code page has these signs.
    lines = Box("    \n    \n -- \n" + 5 * "    \n", ascii=True)
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if known else 100_000, markup=False, emoji=False)
    cells = [[str(cell) for cell in row] for row in rows]
    # The widest columns are wrapped first; but a name stays whole where there is room for it.
    whole = max(len(row[0]) for row in [header, *cells]) <= console.width // 3
    table = Table(box=lines, show_edge=False, pad_edge=False)
    for i, title in enumerate(header):
        table.add_column(
            title, justify="right" if i in right else "left", no_wrap=whole and i == 0,
            overflow="fold",
        )  # fmt: skip
    for row in cells:
        table.add_row(*row)
    with console.capture() as text:
        console.print(table)
    for line in text.get().splitlines():
        print(line.rstrip())
