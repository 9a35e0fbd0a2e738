"""How many directions does a task need? Random subspaces of growing dimension, over paired seeds.

    python -m pftlab.experiments.directions                  on `reviews`
    python -m pftlab.experiments.directions --task tagging   each in some seven minutes of one core

trains the direct and the structure-aware intrinsic dimension with d numbers, and next to them the
head alone and all weights, and writes into book/results/directions.json, or for tagging into
book/results/directions_tagging.json. A seed is one head, one order of the texts and one random
subspace of each dimension. The rate is searched for each method and dimension, in half-decades
until the best lies inside, with a seed of its own on the validation split; the test split is scored
once, at the chosen rate. What the page reads first comes first, so that a file that was stopped has
whole cells of the plan.
"""

import argparse
from functools import cache, partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..core import Method
from ..finetune.full import FullFineTuning
from ..finetune.linear_probe import LinearProbe
from ..sparse.said import IntrinsicDID, IntrinsicSAID
from ..tasks import Task, load_task
from ..training import fine_tune
from .record import Record
from .results import STORED
from .search import best_rate

COMMAND = "python -m pftlab.experiments.directions"
STORED_DIRECTIONS = {
    "reviews": STORED / "directions.json",
    "tagging": STORED / "directions_tagging.json",
}
BASE = "tiny-encoder"
SEARCH_SEED = 1000
SEEDS = (0, 1, 2, 3, 4)
LOOKED_AT = 250  # validation texts, by which a rate is chosen
TESTED = 400  # test texts
TRAINING: dict[str, Any] = {
    "steps": 48, "batch_size": 16, "max_length": 32, "evaluate_every": 48,
}  # fmt: skip

Plan = tuple[tuple[str, int | None, tuple[float, ...]], ...]
#: task → name, dimension (0: the head alone; None: all weights), the first rates of a search
PLANS: dict[str, Plan] = {
    "reviews": (
        ("full", None, (3e-4, 1e-3, 3e-3)),
        ("probe", 0, (1e-2, 3e-2, 1e-1)),
        ("DID", 100, (1e-2, 3e-2, 1e-1)),
        ("DID", 1000, (3e-3, 1e-2, 3e-2)),
        ("SAID", 1000, (1e-2, 3e-2, 1e-1)),
        ("SAID", 100, (1e-2, 3e-2, 1e-1)),
        ("DID", 10, (3e-2, 1e-1, 3e-1)),
    ),
    "tagging": (
        ("full", None, (3e-4, 1e-3, 3e-3)),
        ("probe", 0, (1e-2, 3e-2, 1e-1)),
        ("DID", 1000, (3e-3, 1e-2, 3e-2)),
        ("DID", 10000, (1e-3, 3e-3, 1e-2)),
        ("DID", 100000, (3e-4, 1e-3, 3e-3)),
        ("SAID", 10000, (1e-3, 3e-3, 1e-2)),
        ("DID", 100, (3e-3, 1e-2, 3e-2)),
    ),
}

whole = cache(load_task)


def method_of(name: str, dimension: int | None, seed: int) -> Method:
    """What a cell of the plan trains; the random subspace is the seed's."""
    if dimension is None:
        return FullFineTuning()
    if dimension == 0:
        return LinearProbe()
    kind = {"DID": IntrinsicDID, "SAID": IntrinsicSAID}[name]
    return kind(dimension=dimension, seed=1000 * seed)  # each tensor takes the next seed


def task_of(task: str, looked_at: int) -> Task:
    """The texts that all runs of a task share."""
    return whole(task).subset(looked_at, split="validation").subset(TESTED, split="test")


def searched(task: str, name: str, dimension: int | None, seed: int, lr: float) -> dict[str, Any]:
    """What a rate is worth on the validation split."""
    texts = task_of(task, LOOKED_AT)
    done = fine_tune(
        BASE, method_of(name, dimension, seed), texts, seed=seed, lr=lr,
        test=False, progress=False, **TRAINING,
    )  # fmt: skip
    best = done.run.best
    return {"validation": best[texts.metric], "loss": round(best["validation_loss"], 4)}


def trained(task: str, name: str, dimension: int | None, seed: int, lr: float) -> dict[str, Any]:
    """What a run came to on the test split."""
    texts = task_of(task, 20)  # nothing is chosen by these 20
    done = fine_tune(
        BASE, method_of(name, dimension, seed), texts, seed=seed, lr=lr, progress=False, **TRAINING
    )
    return {"test": done.test[texts.metric]}


def main() -> None:
    """Search, then train; what is done so far is in the file after every run."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--task", choices=tuple(PLANS), default="reviews", help="(%(default)s)")
    parser.add_argument("--out", type=Path, help="another file than that of the book")
    options = parser.parse_args()
    task: str = options.task
    settings = {
        "base": BASE,
        "task": {"name": task, "fingerprint": whole(task).fingerprint},
        "training": TRAINING,
        "texts": {"validation": LOOKED_AT, "test": TESTED},
    }
    command = COMMAND if task == "reviews" else f"{COMMAND} --task {task}"
    record = Record(options.out or STORED_DIRECTIONS[task], command, settings)

    def worth(name: str, dimension: int | None, lr: float) -> tuple[float, float]:
        asked: dict[str, Any] = {
            "name": name, "dimension": dimension, "seed": SEARCH_SEED, "lr": lr,
        }  # fmt: skip
        row = record.row("searches", asked, lambda: searched(task, **asked))
        return row["validation"], -row["loss"]

    for name, dimension, window in tqdm(PLANS[task]):
        best = best_rate(window, partial(worth, name, dimension))
        for seed in SEEDS:
            asked: dict[str, Any] = {
                "name": name, "dimension": dimension, "seed": seed, "lr": best,
            }  # fmt: skip
            record.row("runs", asked, partial(trained, task, **asked))


if __name__ == "__main__":
    main()
