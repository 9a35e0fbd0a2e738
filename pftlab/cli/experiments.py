"""What `pftlab experiment` does."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ..registry import METHODS
from .hyperparameters import changed
from .table import print_table

if TYPE_CHECKING:
    from ..experiments import Failure, Grid
    from ..experiments.grid import Cell


def run(given: argparse.Namespace) -> None:
    """Do what is not yet done."""
    from ..experiments import run as run_grid

    grid, out = _grid_of(given)
    report = run_grid(
        grid,
        out,
        workers=given.workers,
        until=given.until,
        retry=given.retry,
        progress=not given.quiet,
    )
    print(f"{grid.name}: {report}\nResult lines: {out}")


def status(given: argparse.Namespace) -> None:
    """How far the grid is, table by table."""
    from ..experiments.grid import results_place
    from ..experiments.progress import Done, Row

    grid, out = _grid_of(given)
    done = Done.read(grid, out)
    tables: dict[tuple, list[Row]] = {}
    for cell in grid.cells:
        place = (cell.table + 1, cell.base, cell.task_name, cell.limit or "all")
        tables.setdefault(place, []).append(Row(cell, done))
    lines: list[list[str]] = []
    failures: dict[str, Failure] = {}
    for place, rows in tables.items():
        whole = sum(len(row.results) == len(row.cell.protocol.seeds) for row in rows)
        edge = sum(bool(r := row.results) and r[0].search.get("inside") is False for row in rows)
        failures |= {f.key: f for row in rows for f in row.failures}
        refused = sum(row.refusal is not None for row in rows)
        finished = sum(len(row.results) for row in rows)
        lines.append([*map(str, place), f"{whole}/{len(rows)}", str(finished), str(edge),
                      str(refused)])  # fmt: skip
    print_table(
        ["table", "base", "task", "examples", "rows complete", "runs", "rate at edge", "refused"],
        lines,
        right=(3, 4, 5, 6, 7),
    )
    for failure in failures.values():
        print(
            f"failed: {failure.method}, {failure.task['name']} on {failure.base['name']}, "
            f"{failure.stage}, lr {failure.training['lr']:g}, seed {failure.seed}: {failure.error}"
        )
    print(f"Result lines: {results_place(out, grid.cells[0]).parent}")


def _grid_of(given: argparse.Namespace) -> "tuple[Grid, Path]":
    from ..experiments import read_grid

    grid = read_grid(given.file, shlex.join(["pftlab", *given.words]))
    return grid, given.out or Path("runs") / grid.name


def named(cell: "Cell") -> str:
    """A cell's method as one would write it on the command line."""
    if cell.method.name not in METHODS:
        return f"{cell.method.name}:shots={cell.method.shots}"  # type: ignore[union-attr]
    random = "" if cell.pretrained else ", random weights"
    return changed(type(cell.method), vars(cell.method)) + random  # type: ignore[arg-type]
