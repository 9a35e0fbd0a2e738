"""Where AdaLoRA leaves its rank, over seeds and tasks, and what the choice is worth.

    python -m pftlab.experiments.budgets           makes the stored file anew, in ten minutes

Three ways to choose the triplets that stay, all else alike: by the importance of the paper, by the
size of the singular value, and at random. Beside them LoRA, whose rank is the same everywhere.
"""

import datetime
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..bases import load_base
from ..core import Method, planted
from ..core.files import atomic_write
from ..low_rank.adalora import AdaLoRA, SVDUpdate
from ..low_rank.lora import LoRA
from ..tasks import Task, load_task
from ..training import fine_tune
from .origin import commit, device_name, versions
from .results import STORED

COMMAND = "python -m pftlab.experiments.budgets"
STORED_BUDGETS = STORED / "budgets.json"
BASE, TASKS = "tiny-encoder", ("reviews", "tagging")
SIX = ("attention.query", "attention.key", "attention.value", "attention.output", "ffn.up",
       "ffn.down")  # fmt: skip
RANK, START = 4, 12
SEEDS, SEARCHED = (0, 1, 2, 3, 4), 100
RATES = (3e-3, 1e-2, 3e-2)
TRAINING: dict[str, Any] = {"steps": 100, "batch_size": 16, "max_length": 32, "evaluate_every": 100}
TEXTS = {"validation": 200, "test": 500}
WAYS = ("importance", "size", "random")


@dataclass(frozen=True)
class ChosenBy(AdaLoRA):
    """AdaLoRA whose triplets are chosen in the way that is named.

    Args:
        way: one of `WAYS`.
        draw: seed of the random order, in which triplets go.
    """

    facts = AdaLoRA.facts

    way: str = "importance"
    draw: int = 0

    def allocate(self, deltas: list[SVDUpdate], budget: int, forever: bool) -> None:
        if self.way == "importance":
            return super().allocate(deltas, budget, forever)
        count = len(deltas) * self.start_rank
        if self.way == "random":  # the same order at every pruning
            scores = torch.rand(count, generator=torch.Generator().manual_seed(self.draw))
        else:
            scores = torch.cat([delta.Lambda.detach().abs() for delta in deltas])
        chosen = torch.zeros(count, dtype=torch.bool)
        chosen[scores.topk(budget).indices] = True
        for delta, part in zip(deltas, chosen.split(self.start_rank), strict=True):
            delta.keep(part.clone(), forever)
        return None


def ranks_of(model: Any) -> list[int]:
    """The rank of each matrix that is left, in the order of `places_of`."""
    kept = [delta.kept for *_, delta in planted(model) if isinstance(delta, SVDUpdate)]
    assert all(isinstance(each, Tensor) for each in kept), "pruning is over"
    return [int(each.sum()) for each in kept]


def places_of(model: Any, method: Method) -> list[list[Any]]:
    """Layer and site of each matrix that the method adapts."""
    layers = {(site.path, site.name): site.layer for site in method.sites(model)}
    return [
        [layers[path, delta.site_name], delta.site_name] for path, _, _, delta in planted(model)
    ]


def _tasks() -> dict[str, Task]:
    found = {}
    for name in TASKS:
        task = load_task(name)
        for split, count in TEXTS.items():
            task = task.subset(count, split=split)
        found[name] = task
    return found


def _method(way: str, seed: int) -> Method:
    if way == "LoRA":
        return LoRA(rank=RANK, at=SIX)
    return ChosenBy(
        rank=RANK, start_rank=START, interval=4, final=0.3, at=SIX, way=way, draw=seed
    )  # fmt: skip


def measured() -> dict[str, Any]:
    """The rates that a search over `RATES` took, the places of the matrices, and a row a run.

    The search has a seed of its own and sees the validation split alone; the three ways share the
    rate that it found for AdaLoRA as it is.
    """
    tasks = _tasks()
    rates: dict[str, dict[str, float]] = {}
    search, rows = [], []
    for name, task in tasks.items():
        rates[name] = {}
        for way in ("importance", "LoRA"):
            seen = {}
            for lr in RATES:
                done = fine_tune(
                    BASE, _method(way, SEARCHED), task, seed=SEARCHED, lr=lr, test=False,
                    progress=False, **TRAINING,
                )  # fmt: skip
                seen[lr] = done.run.metrics[task.metric]
                search.append({"task": name, "way": way, "lr": lr, "validation": seen[lr]})
            rates[name][way] = max(RATES, key=lambda lr: seen[lr])
        for seed in SEEDS:
            for way in (*WAYS, "LoRA"):
                lr = rates[name]["LoRA" if way == "LoRA" else "importance"]
                done = fine_tune(
                    BASE, _method(way, seed), task, seed=seed, lr=lr, progress=False, **TRAINING
                )
                row = {"task": name, "way": way, "seed": seed, "score": done.test[task.metric]}
                rows.append(row if way == "LoRA" else row | {"ranks": ranks_of(done.model)})
    method = _method("importance", 0)
    places = places_of(method.attach(load_base(BASE)), method)
    return {"rates": rates, "search": search, "places": places, "rows": rows}


def main(arguments: list[str]) -> None:
    """Make the stored file anew, or another file that is named."""
    path = Path(arguments[0]) if arguments else STORED_BUDGETS
    record = {
        "base": BASE,
        "tasks": {
            name: {"fingerprint": task.fingerprint, "metric": task.metric}
            for name, task in _tasks().items()
        },
        "texts": TEXTS,
        "rank": RANK,
        "start_rank": START,
        "training": TRAINING,
        **measured(),
        "device": device_name(),
        "versions": versions(),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": COMMAND,
    }
    with atomic_write(path) as temporary:
        Path(temporary).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
