"""The data that figures fetch by name instead of carrying it: see `InteractiveFigure`.

    costs-<model>     what every method costs on it: method → rows, see `pftlab.experiments.costs`
    recording         a training, see `TrainingScrubber`
    tradeoff          which comparisons there are, and what is known of their methods
    tradeoff-<n>      the points of one comparison, and what their runs share

The site writes a file for each; nothing here needs torch.
"""

import json
import math
import re
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import BadValue, Unavailable
from ...experiments.results import STORED, Result, load_costs, load_results
from ...experiments.summary import Summary, interval, summarise
from ...facts import FAMILIES
from ...registry import facts_of
from ...scores import score_of
from ..plots import label, varied

RECORDING = STORED / "recording.json"
RUN = ("seed", "test", "seconds", "commit", "date", "device", "command")
REFERENCES = ("full", "lora")  # methods that others are compared with, seed by seed
RANDOM = " (random weights)"  # behind a base's name: the control without its pretraining
CUT = re.compile(r"--(?:limit-train|size)[= ]\S+")  # what makes another task of a task


def stored_data() -> dict[str, Any]:
    """All of the book's own data, by name."""
    costs = {f"costs-{model}": rows for model, rows in load_costs()["costs"].items()}
    return costs | {"recording": load_recording()} | tradeoff_data(load_results())


def load_recording(path: Path = RECORDING) -> dict[str, Any]:
    """The stored recording; see `pftlab.book.widgets.recording`, which makes it.

    Raises:
        Unavailable: there is no such file.
    """
    if not path.is_file():
        raise Unavailable(
            f"There is no {str(path)!r}. `python -m pftlab.book.widgets.recording` makes it."
        )
    return json.loads(path.read_text(encoding="utf-8"))


def tradeoff_data(results: Iterable[Result]) -> dict[str, Any]:
    """Points of cost and score, one piece for each comparison, that with most methods first.

    A comparison is what ran on one base and one task under one protocol. Of rows that differ in
    their learning rate alone, the one with the best score in validation counts, and one whose rate
    was given by hand only where no other is.

    Raises:
        BadValue: there are no test scores among the results.
    """
    runs = [run for run in results if run.test]
    found, by_key = comparisons(runs), {run.key: run for run in runs}
    if not found:
        raise BadValue(
            "There are no test scores among these results. Give finished runs, as "
            "`pftlab compare` writes them; the runs of a search have none."
        )
    every = [row for _, rows, _ in found for row in rows]
    data: dict[str, Any] = {
        "tradeoff": {
            "comparisons": [place for place, _, _ in found],
            "families": families(every),
            "scores": scores(name for run in by_key.values() for name in run.test),
            "methods": {name: known(name) for name in sorted({row.method for row in every})},
        }
    }
    for number, (_, rows, control) in enumerate(found):
        data[f"tradeoff-{number}"] = _piece(rows, control, by_key)
    return data


def comparisons(
    results: Iterable[Result],
) -> list[tuple[dict[str, Any], list[Summary], Summary | None]]:
    """(where and how, rows, the control without pretraining) of each comparison."""
    by_key = {run.key: run for run in results}
    groups: dict[tuple, list[Summary]] = {}
    for row in summarise(by_key.values()):
        if not row.training["steps"]:
            continue  # a model that was asked as it is: no method, and nothing that was trained
        task = by_key[row.keys[0]].task
        protocol = {name: value for name, value in row.training.items() if name != "lr"}
        settings = json.dumps(protocol, sort_keys=True)
        place = (row.base, row.task, task["fingerprint"], task.get("train"), settings)
        groups.setdefault(place, []).append(row)
    groups = {place: _one_rate_each(rows) for place, rows in groups.items()}
    controls = {
        (place[0].removesuffix(RANDOM), *place[1:]): rows[0]
        for place, rows in groups.items()
        if place[0].endswith(RANDOM) and len(rows) == 1
    }
    taken = {place for place in controls if place in groups}
    found: list[tuple[dict[str, Any], str, list[Summary], Summary | None]] = []
    for place, rows in groups.items():
        base, name, fingerprint, examples, settings = place
        if base.endswith(RANDOM) and (base.removesuffix(RANDOM), *place[1:]) in taken:
            continue  # it is drawn with what it controls
        where: dict[str, Any] = {
            "base": base,
            "task": name,
            "protocol": in_words(json.loads(settings), examples),
            "metric": rows[0].metric,
            "methods": len({row.method for row in rows}),
        }
        found.append((where, fingerprint, rows, controls.get(place) if place in taken else None))
    written = [tuple(where[name] for name in ("base", "task", "protocol")) for where, *_ in found]
    for (where, fingerprint, _, _), words in zip(found, written, strict=True):
        if written.count(words) > 1:  # the same name and numbers, other texts
            where["protocol"] += f", texts {fingerprint[:6]}"
    found.sort(key=lambda each: each[0]["methods"], reverse=True)  # and as they were otherwise
    return [(where, rows, control) for where, _, rows, control in found]


def _one_rate_each(rows: Iterable[Summary]) -> list[Summary]:
    best: dict[str, Summary] = {}
    for row in rows:
        worth = score_of(row.metric).worth
        name = json.dumps([row.method, row.hyperparameters], sort_keys=True)
        before = best.setdefault(name, row)
        order = [(each.lr_from != "given", worth(each.validation)) for each in (before, row)]
        best[name] = row if order[1] > order[0] else before
    return list(best.values())


def in_words(training: Mapping[str, Any], examples: int | None) -> str:
    """A protocol as a reader chooses it: "200 steps of 16, 1,000 examples"."""
    text = f"{training['steps']} steps of {training['batch_size']}"
    if examples is not None:
        text += f", {examples:,} examples"
    if training.get("precision", "fp32") != "fp32":
        text += f", {training['precision']}"
    return text


def _piece(
    rows: Sequence[Summary], control: Summary | None, by_key: Mapping[str, Result]
) -> dict[str, Any]:
    runs = [by_key[key] for row in rows for key in row.keys]
    commands = sorted({run.command for run in runs})
    devices = sorted({run.device for run in runs})
    namesakes: dict[str, list[Summary]] = {}
    for row in rows:
        namesakes.setdefault(row.method, []).append(row)
    references = {
        name: max(namesakes[name], key=lambda row: score_of(row.metric).worth(row.validation))
        for name in REFERENCES
        if name in namesakes
    }
    keys = _keys(rows, namesakes)
    points = [
        {
            "key": key,
            "name": label(row, namesakes[row.method]),
            "differences": {
                name: _differences(row, other, by_key)
                for name, other in references.items()
                if other is not row
            },
            **_point(row, by_key, commands, devices),
        }
        for key, row in zip(keys, rows, strict=True)
    ]
    return {
        "points": points,
        "commands": commands,
        "devices": devices,
        "references": {
            name: [keys[rows.index(row)], label(row, namesakes[name])]
            for name, row in references.items()
        },
        "control": None
        if control is None
        else {"name": f"{facts_of(control.method).title} from random weights",
              "metric": control.metric, "mean": control.mean},
    }  # fmt: skip


def _keys(rows: Sequence[Summary], namesakes: Mapping[str, Sequence[Summary]]) -> list[str]:
    """A name for each point that an address can hold, and that lasts: "lora", "lora:rank=8"."""
    keys: list[str] = []
    for row in rows:
        differs = varied(row, namesakes[row.method]).items()
        settings = ",".join(f"{name}={value}" for name, value in differs)
        key = row.method + (f":{settings}" if settings else "").replace(" ", "")
        while key in keys:
            key += "+"
        keys.append(key)
    return keys


def families(rows: Iterable[Summary]) -> list[list[Any]]:
    """The families of these rows, in their order: [name, {"name": in words, "marker": …}]."""
    there = {facts_of(row.method).family for row in rows}
    return [
        [name, {"name": family.title, "marker": family.marker}]
        for name, family in FAMILIES.items()
        if name in there
    ]


def known(method: str) -> dict[str, Any]:
    """What is told of a method wherever it stands; the file is that of its code."""
    facts = facts_of(method)
    return {
        "title": facts.title,
        "family": facts.family,
        "paper": facts.paper,
        "url": facts.url,
        "file": f"pftlab/{facts.place.partition(':')[0].replace('.', '/')}.py",
    }


def scores(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What figures must know of these scores: see `pftlab.scores.Score`; no end is None."""
    told = {name: score_of(name) for name in sorted(set(names))}
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
        for name, score in told.items()
    }


def _runs(row: Summary, by_key: Mapping[str, Result]) -> list[Result]:
    return sorted((by_key[key] for key in row.keys), key=lambda run: run.seed)


def _differences(
    row: Summary, other: Summary, by_key: Mapping[str, Result]
) -> dict[str, list[float | int | None]]:
    """Score → (mean, half of the 95 % interval, seeds) of the differences from `other`.

    The runs of one seed are a pair: they have the same head, and the same order of examples.
    """
    theirs = {run.seed: run for run in _runs(other, by_key)}
    found: dict[str, list[float | int | None]] = {}
    for metric in sorted(by_key[row.keys[0]].test):
        apart = [
            run.test[metric] - theirs[run.seed].test[metric]
            for run in _runs(row, by_key)
            if run.seed in theirs and metric in run.test and metric in theirs[run.seed].test
        ]
        if apart:
            found[metric] = [statistics.fmean(apart), interval(apart), len(apart)]
    return found


def _point(
    row: Summary, by_key: Mapping[str, Result], commands: list[str], devices: list[str]
) -> dict[str, Any]:
    """One point, as JSON can hold it; scores: metric → (mean, half of the 95 % interval).

    A run is one line of text, of what `RUN` names: its scores in the order of the metrics, and
    where its command and its device are in the lists that all points share.
    """
    runs = _runs(row, by_key)
    scores = {}
    for metric in sorted(runs[0].test):
        values = [run.test[metric] for run in runs if metric in run.test]
        scores[metric] = [statistics.fmean(values), interval(values)]
    forgotten = [
        run.forgetting["after"] - run.forgetting["before"] for run in runs if run.forgetting
    ]
    lines = [
        [
            run.seed, [run.test.get(metric) for metric in scores], round(run.seconds, 2),
            run.commit, run.date, devices.index(run.device), commands.index(run.command),
        ]
        for run in runs
    ]  # fmt: skip
    return {
        "method": row.method,
        "family": facts_of(row.method).family,
        "scores": scores,
        "trainable": row.trainable,
        "share": row.trainable / row.total,
        "memory": row.memory_bytes,
        "forgotten": statistics.fmean(forgotten) if len(forgotten) == len(runs) else None,
        "seconds": row.seconds,
        "hyperparameters": row.hyperparameters,
        "training": row.training,
        "repeat": repeat(row, runs),
        "runs": [json.dumps(line, separators=(",", ":")) for line in lines],
    }


def repeat(row: Summary, runs: Sequence[Result]) -> str:
    """The command that makes the runs of this row again, and no others."""
    settings = [
        f"{name}={_written(value)}"
        for name, value in row.hyperparameters.items()
        if value != []  # as it is by default, and not to be written
    ]
    words = ["pftlab", "compare", "--base", row.base.removesuffix(RANDOM), "--task", row.task]
    words += ["--methods", row.method + (":" + ",".join(settings) if settings else "")]
    for option in ("steps", "batch_size", "max_length", "precision", "evaluations", "lr"):
        if option in row.training:
            words += [f"--{option.replace('_', '-')}", str(row.training[option])]
    words += ["--seeds", str(runs[-1].seed + 1)]
    words += ["--random-weights"] if row.base.endswith(RANDOM) else []
    return " ".join([shlex.join(words), *CUT.findall(runs[0].command)])


def _written(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
