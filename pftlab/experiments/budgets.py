"""Where AdaLoRA leaves its rank, over seeds and tasks, and what the choice is worth.

    python -m pftlab.experiments.budgets --out FILE        in some minutes

Two ways to choose the triplets that stay, all else alike: by the importance of the paper, and at
random.
"""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..bases import load_base
from ..core import Method, planted
from ..low_rank.adalora import AdaLoRA, SVDUpdate
from ..tasks import Task
from ..training import fine_tune
from .record import Record
from .results import STORED
from .texts import few_texts

COMMAND = "python -m pftlab.experiments.budgets"
STORED_BUDGETS = STORED / "budgets.json"
BASE, TASKS = "tiny-encoder", ("reviews", "tagging")
SIX = ("attention.query", "attention.key", "attention.value", "attention.output", "ffn.up",
       "ffn.down")  # fmt: skip
RANK, START = 4, 12
SEEDS = (0, 1, 2, 3, 4)
TRAINING: dict[str, Any] = {
    "lr": 1e-2, "steps": 60, "batch_size": 16, "max_length": 32, "evaluate_every": 60,
}  # fmt: skip
TEXTS = {"validation": 20, "test": 300}
WAYS = ("importance", "random")


@dataclass(frozen=True)
class ChosenBy(AdaLoRA):
    """AdaLoRA whose triplets are chosen in the way that is named.

    Args:
        way: one of `WAYS`.
        draw: seed of the random order in which triplets go, the same at every pruning.
    """

    facts = AdaLoRA.facts

    way: str = "importance"
    draw: int = 0

    def allocate(self, deltas: list[SVDUpdate], budget: int, forever: bool) -> None:
        if self.way == "importance":
            return super().allocate(deltas, budget, forever)
        count = len(deltas) * self.start_rank
        scores = torch.rand(count, generator=torch.Generator().manual_seed(self.draw))
        chosen = torch.zeros(count, dtype=torch.bool)
        chosen[scores.topk(budget).indices] = True
        for delta, part in zip(deltas, chosen.split(self.start_rank), strict=True):
            delta.keep(part.clone(), forever)
        return None


def ranks_of(model: Any) -> list[int]:
    """The rank of each matrix that is left, in the order of `places_of`."""
    deltas = (delta for *_, delta in planted(model) if isinstance(delta, SVDUpdate))
    kept = [delta.kept for delta in deltas if delta.kept is not None]
    return [int(each.sum()) for each in kept]


def places_of(model: Any, method: Method) -> list[list[Any]]:
    """Layer and site of each matrix that the method adapts."""
    layers = {(site.path, site.name): site.layer for site in method.sites(model)}
    return [
        [layers[path, delta.site_name], delta.site_name] for path, _, _, delta in planted(model)
    ]


def _tasks() -> dict[str, Task]:
    return {name: few_texts(name, TEXTS) for name in TASKS}


def _method(way: str, seed: int) -> ChosenBy:
    return ChosenBy(
        rank=RANK, start_rank=START, interval=3, final=0.3, at=SIX, way=way, draw=seed
    )  # fmt: skip


def trained(task: Task, way: str, seed: int) -> dict[str, Any]:
    """What one run came to: its test score, and the rank that each matrix is left."""
    done = fine_tune(BASE, _method(way, seed), task, seed=seed, progress=False, **TRAINING)
    return {"score": done.test[task.metric], "ranks": ranks_of(done.model)}


def main() -> None:
    """Train what is not in the file yet."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_BUDGETS, help="(%(default)s)")
    tasks, method = _tasks(), _method("importance", 0)
    settings = {
        "base": BASE,
        "tasks": {
            name: {"fingerprint": task.fingerprint, "metric": task.metric}
            for name, task in tasks.items()
        },
        "texts": TEXTS,
        "rank": RANK,
        "start_rank": START,
        "training": TRAINING,
        "places": places_of(method.attach(load_base(BASE)), method),
    }
    record = Record(parser.parse_args().out, COMMAND, settings)
    runs = [(task, seed, way) for task in tasks for seed in SEEDS for way in WAYS]
    for name, seed, way in tqdm(runs):
        asked = {"task": name, "way": way, "seed": seed}
        record.row("rows", asked, partial(trained, tasks[name], way, seed))


if __name__ == "__main__":
    main()
