"""The data that figures fetch by name instead of carrying it: see `InteractiveFigure`.

    costs-<model>     what every method costs on it: method → rows, see `pftlab.experiments.costs`
    tradeoff          which bases and tasks there are results of
    tradeoff-<pair>   the points of one base and task, and what their runs share

The site writes a file for each; nothing here needs torch.
"""

import json
import math
import statistics
from collections.abc import Iterable
from typing import Any

from ...core.errors import BadValue
from ...experiments.results import Result, load_costs, load_results
from ...experiments.summary import Summary, interval, summarise
from ...facts import FAMILIES
from ...registry import facts_of
from ...scores import score_of
from ..plots import label

RUN = ("seed", "test", "seconds", "commit", "date", "device", "command")


def stored_data() -> dict[str, Any]:
    """All of the book's own data, by name."""
    costs = {f"costs-{model}": rows for model, rows in load_costs()["costs"].items()}
    return costs | tradeoff_data(load_results())


def tradeoff_data(results: Iterable[Result]) -> dict[str, Any]:
    """Points of cost and score, one piece for each base and task.

    Raises:
        BadValue: there are no test scores among the results.
    """
    by_key = {run.key: run for run in results if run.test}
    pairs: dict[tuple[str, str], list[Summary]] = {}
    for row in summarise(by_key.values()):
        pairs.setdefault((row.base, row.task), []).append(row)
    if not pairs:
        raise BadValue(
            "There are no test scores among these results. Give finished runs, as "
            "`pftlab compare` writes them; the runs of a search have none."
        )
    data: dict[str, Any] = {
        "tradeoff": {
            "pairs": [[base, task, rows[0].metric] for (base, task), rows in pairs.items()],
            "families": families(row for rows in pairs.values() for row in rows),
            "scores": scores(name for run in by_key.values() for name in run.test),
        }
    }
    for number, rows in enumerate(pairs.values()):
        runs = [by_key[key] for row in rows for key in row.keys]
        commands = sorted({run.command for run in runs})
        devices = sorted({run.device for run in runs})
        namesakes: dict[str, list[Summary]] = {}
        for row in rows:
            namesakes.setdefault(row.method, []).append(row)
        points = [
            _point(f"{number}.{place}", row, label(row, namesakes[row.method]), by_key, commands,
                   devices)
            for place, row in enumerate(rows)
        ]  # fmt: skip
        data[f"tradeoff-{number}"] = {"points": points, "commands": commands, "devices": devices}
    return data


def families(rows: Iterable[Summary]) -> list[list[Any]]:
    """The families of these rows, in their order: [name, {"name": in words, "marker": …}]."""
    there = {facts_of(row.method).family for row in rows}
    return [
        [name, {"name": family.title, "marker": family.marker}]
        for name, family in FAMILIES.items()
        if name in there
    ]


def scores(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What figures must know of these scores: see `pftlab.scores.Score`; no end is None."""
    known = {name: score_of(name) for name in sorted(set(names))}
    return {
        name: {
            "axis": score.axis,
            "higher": score.higher_is_better,
            "low": score.low if math.isfinite(score.low) else None,
            "high": score.high if math.isfinite(score.high) else None,
            "times": score.times,
            "unit": score.unit,
            "decimals": score.decimals,
        }
        for name, score in known.items()
    }


def _point(
    key: str,
    row: Summary,
    name: str,
    by_key: dict[str, Result],
    commands: list[str],
    devices: list[str],
) -> dict[str, Any]:
    """One point, as JSON can hold it; scores: metric → (mean, half of the 95 % interval).

    A run is one line of text, of what `RUN` names: its scores in the order of the metrics, and
    where its command and its device are in the lists that all points share.
    """
    runs = sorted((by_key[key] for key in row.keys), key=lambda run: run.seed)
    scores = {}
    for metric in sorted(runs[0].test):
        values = [run.test[metric] for run in runs if metric in run.test]
        scores[metric] = [statistics.fmean(values), interval(values)]
    lines = [
        [
            run.seed, [run.test.get(metric) for metric in scores], round(run.seconds, 2),
            run.commit, run.date, devices.index(run.device), commands.index(run.command),
        ]
        for run in runs
    ]  # fmt: skip
    return {
        "key": key,
        "name": name,
        "family": facts_of(row.method).family,
        "base": row.base,
        "task": row.task,
        "metric": row.metric,
        "scores": scores,
        "trainable": row.trainable,
        "share": row.trainable / row.total,
        "seconds": row.seconds,
        "memory": row.memory_bytes,
        "hyperparameters": row.hyperparameters,
        "training": row.training,
        "runs": [json.dumps(line, separators=(",", ":")) for line in lines],
    }
