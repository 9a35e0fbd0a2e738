"""Every method on one small task under one protocol: the runs behind the families' pages.

The grid is `families`: 200 steps on the task `reviews`, with the book's smallest encoder and with a
larger one, so that methods can be compared over the size of the base. Beside the families run the
baselines: full fine-tuning, the linear probe, and full fine-tuning from random weights, which shows
what comes from the pretraining.

The runs that are stored are still those of before the protocol: a rate for each method among 0.3,
1, 3 and 10 times its own, by one seed, and three seeds that count. `older_runs` says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..bases import load_base
from ..core.method import Method
from ..facts import FACTS
from ..registry import METHODS
from ..scores import score_of
from .arithmetic import forward_flops, step_flops
from .grid import Cell, Job
from .protocol import Protocol, small
from .results import STORED, Result, load_results
from .running import run_job
from .summary import Summary, summarise

RESULTS = STORED / "families.jsonl"
#: The same methods under the same protocol on `mini-encoder`.
LARGER = STORED / "scale.jsonl"
BASELINES = ("linear_probe", "full")
PROTOCOL: dict[str, Any] = {
    "base": "tiny-encoder",
    "task": "reviews",
    "seeds": (0, 1, 2),
    "steps": 200,
    "batch_size": 16,
    "max_length": 64,
    "factors": (0.3, 1.0, 3.0, 10.0),  # on each method's own rate, that were tried
}
#: Since then a run draws what `attach` adds with its seed.
SEEDED = "2026-11-25T17:17"
#: Methods that have come nearer to their papers since the stored runs were made.
CHANGED = ("compacter", "compacter_plus_plus", "lt_sft", "unipelt")


def members(family: str) -> list[str]:
    """The names of the methods of `family`, in the order of the registry."""
    return [name for name, row in FACTS.items() if row.family == family]


def family_rows(family: str, path: str | Path = RESULTS) -> tuple[list[Summary], Summary]:
    """The family's methods and the baselines, fewest parameters first; and the control.

    Raises:
        Unavailable: there are no results at `path`.
    """
    names = {*members(family), *BASELINES}
    rows = [row for row in summarise(load_results(path)) if row.method in names]
    base = PROTOCOL["base"]
    (control,) = (row for row in rows if row.base != base)
    return [row for row in rows if row.base == base], control


@dataclass(frozen=True)
class Cost:
    """What a method costs on the base of these runs, in matrix products.

    Attributes:
        forward: of a forward pass, before merging, relative to the base's.
        step: of a training step, relative to full fine-tuning's.
    """

    forward: float
    step: float


def cost(method: Method, batch_size: int = 16, length: int = 32) -> Cost:
    """Count the arithmetic of `method` on texts of `length` tokens; counts, so always the same."""
    ours = _counted(method, batch_size, length)
    full = _of_full(batch_size, length)  # which computes what the base does
    return Cost(ours[0] / full[0], ours[1] / full[1])


def _counted(method: Method, batch_size: int, length: int) -> tuple[int, int]:
    ids = torch.arange(batch_size * length).view(batch_size, length) + 100
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.zeros(batch_size, dtype=torch.long),
    }
    model = method.attach(load_base(PROTOCOL["base"], num_labels=2))
    return forward_flops(model, batch), step_flops(model, batch)


@cache
def _of_full(batch_size: int, length: int) -> tuple[int, int]:
    return _counted(METHODS["full"](), batch_size, length)


def family_table(family: str) -> str:
    """What the registry knows of the family's methods, as a Markdown table."""
    lines = ["| method | acts at | merges | starts at the base |", "|---|---|---|---|"]
    for name in members(family):
        method = METHODS[name]
        lines.append(
            f"| {method.title} ({method.year}) | {method.where or ', '.join(method.at or ())} "
            f"| {_word(method.mergeable)} | {_word(method.identity_at_start)} |"
        )
    return "\n".join(lines)


def cost_table(family: str, path: str | Path = RESULTS) -> str:
    """What the family's methods and the baselines train, cost and reached, as a Markdown table.

    Accuracies are means over the seeds with half the 95 % confidence interval.
    """
    rows, _ = family_rows(family, path)
    lines = [
        "| method | trained | forward | step | memory | accuracy |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        spent = cost(small(row.method))
        lines.append(
            f"| {METHODS[row.method].title} | {row.trainable:,} | {spent.forward:.2f} "
            f"| {spent.step:.2f} | {row.memory_bytes / 2**20:.0f} MiB | {_scored(row)} |"
        )
    return "\n".join(lines)


def score_table(rows: Iterable[Summary], larger: str | Path = LARGER) -> str:
    """Rates as multiples of the method's own, and scores in per cent, as a Markdown table.

    Args:
        rows: of `family_rows`.
        larger: the same runs on a larger base, whose scores stand beside these.
    """
    there = {row.method: row for row in summarise(load_results(larger)) if "(" not in row.base}
    bases = f"test, {PROTOCOL['base']} | test, {next(iter(there.values())).base}"
    lines = [f"| method | rate | validation | {bases} |", "|---|---:|---:|---:|---:|"]
    for row in rows:
        method = METHODS[row.method]
        other = _scored(there[row.method]) if row.method in there else ""
        lines.append(
            f"| {method.title} | × {row.lr / method.learning_rate:.2g} "
            f"| {score_of(row.metric).number(row.validation)} | {_scored(row)} | {other} |"
        )
    return "\n".join(lines)


def older_runs(*paths: str | Path) -> str:
    """What a reader must know of stored runs that today's program would not make again.

    Args:
        paths: files of results; those of the families by default.

    Returns:
        A remark in Markdown; "" when all runs are newer than the changes.
    """
    runs = [run for path in paths or (RESULTS, LARGER) for run in load_results(path)]
    old = {run.method for run in runs if run.date < SEEDED}
    if not old:
        return ""
    changed = ", ".join(METHODS[name].title for name in CHANGED if name in old)
    remark = (
        "> **These runs are older than the seeding.** They drew the parameters that a method adds "
        "without the seed of the run. Run again, a method that draws any comes out near these "
        "numbers and not on them; one that draws none comes out the same."
    )
    if changed:
        remark += f" By now these train otherwise than they did here: {changed}."
    return remark


def once_more(method: Method, lr: float, **changed: Any) -> list[Result]:
    """Run `method` under the protocol, at one rate: what a page tries beside the stored runs.

    Args:
        method: with its hyper-parameters.
        lr: peak learning rate.
        **changed: other values of the protocol, such as `steps` or `seeds`.

    Returns:
        A result for each seed.
    """
    told = PROTOCOL | changed
    named = {name: told[name] for name in ("steps", "batch_size", "max_length", "seeds")}
    protocol = Protocol(**named, evaluations=1, search=False, lr=lr)
    cell = Cell(told["base"], told["task"], method, protocol)
    return [run_job(Job(cell, seed, lr, "given")) for seed in protocol.seeds]


def _scored(row: Summary) -> str:
    """Mean and half the confidence interval, as the score is written."""
    score = score_of(row.metric)
    return f"{score.number(row.mean)} ± {score.number(row.interval or 0)}"


def _word(truth: bool) -> str:
    return "yes" if truth else "no"
