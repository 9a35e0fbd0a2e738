"""What `pftlab experiment` does."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

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
        cluster=given.cluster,
        together=given.together,
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

    grid = read_grid(given.file, shlex.join(["pftlab", "experiment", "run", given.file]))
    return grid, given.out or Path("runs") / grid.name


def named(cell: "Cell") -> str:
    """A cell's method as one would write it on the command line."""
    from ..experiments.grid import RANDOM, InContext

    if isinstance(cell.method, InContext):
        return f"{cell.method.name}:shots={cell.method.shots}"
    random = "" if cell.pretrained else f", {RANDOM}"
    return changed(type(cell.method), vars(cell.method)) + random


def show(given: argparse.Namespace) -> None:
    """Print the grid's tables: scores, and differences to full fine-tuning and to LoRA."""
    from ..core.errors import BadValue
    from ..experiments import summarise
    from ..experiments.comparison import Paired
    from ..experiments.progress import Done, Row
    from ..scores import score_of

    grid, out = _grid_of(given)
    done = Done.read(grid, out)
    tables: dict[tuple, dict[str, Row]] = {}
    for cell in grid.cells:
        row = Row(cell, done)
        if row.results:
            limit = "" if cell.limit is None else f", {cell.limit} examples"
            tables.setdefault((cell.base, cell.task_name, limit), {})[named(cell)] = row
    for (base, task, limit), rows in tables.items():
        runs = {name: row.results for name, row in rows.items()}
        score = score_of(next(iter(runs.values()))[0].task["metric"])
        verdicts: dict[str, dict[str, str]] = {}
        whole = {name: some for name, some in runs.items() if len(some) > 1}
        for other in ("full", "lora"):
            if other in whole and len(whole) > 1:
                try:
                    judged = Paired(whole).against(other)
                except BadValue as error:
                    print(error)
                    continue
                verdicts[other] = {
                    d.method: f"{score.number(d.value)} [{score.number(d.low)}, "
                    f"{score.number(d.high)}] {d.verdict}"
                    for d in judged
                }
        lines = []
        for name, some in runs.items():
            (line,) = summarise(some)
            spread = "" if line.interval is None else f" ± {score.number(line.interval)}"
            lines.append(
                [
                    name,
                    f"{line.trainable:,}",
                    f"{line.lr:g}{'' if line.inside is not False else ' edge'}",
                    f"{score.number(line.mean)}{spread}",
                    "" if line.forgets is None else f"{line.forgets:+.3f}",
                    *(verdicts[other].get(name, "") for other in verdicts),
                ]
            )
        print(f"\n{task} on {base}{limit}")
        print_table(
            ["method", "trained", "rate", score.axis, "forgets"]
            + [f"minus {other}" for other in verdicts],
            lines,
            right=(1, 2, 3, 4),
        )


def check(given: argparse.Namespace) -> None:
    """Say whether stored lines can be trusted; with an error where they cannot."""
    from ..core.errors import BadValue
    from ..experiments.provenance import check as check_lines

    found = check_lines(given.files or None)
    for row in found.marked:
        print(f"at the edge of all rates: {row}")
    print(f"{found.runs} lines, of which {found.old} are older than the protocol")
    if found.faults:
        raise BadValue(f"{len(found.faults)} faults: " + "; ".join(found.faults[:50]))


def again(given: argparse.Namespace) -> None:
    """Run stored lines again, drawn at random."""
    from ..core.errors import BadValue
    from ..experiments.provenance import again as run_again

    lines = run_again(given.files, given.draw, given.seed)
    print_table(
        ["run", "method", "stored", "again", "expected", "within"],
        [
            [
                a.stored.key,
                a.stored.method,
                f"{a.stored.score:.4f}",
                f"{a.score:.4f}",
                f"{a.low:.4f} … {a.high:.4f}",
                "yes" if a.within else "no",
            ]
            for a in lines
        ],
    )
    if not all(a.within for a in lines):
        raise BadValue("A run came out where it was not expected.")
