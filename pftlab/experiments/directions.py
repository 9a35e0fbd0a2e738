"""How many directions does a task need? Random subspaces of growing dimension, over paired seeds.

    python -m pftlab.experiments.directions        in some ten minutes of one core

trains the direct and the structure-aware intrinsic dimension with d numbers on the task `reviews`,
and next to them the head alone and all weights, and writes into book/results/directions.json. A
seed is one head, one order of the texts and one random subspace of each dimension. The rate is
searched for each method and dimension, in half-decades until the best lies inside, with a seed of
its own on the validation split; the test split is scored once, at the chosen rate. What the page
reads first comes first, so that a file that was stopped has whole cells of the plan.
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
from .protocol import further_rates, search_of
from .record import Record
from .results import STORED

COMMAND = "python -m pftlab.experiments.directions"
STORED_DIRECTIONS = STORED / "directions.json"
BASE, TASK = "tiny-encoder", "reviews"
SEARCH_SEED = 1000
SEEDS = (0, 1, 2, 3, 4)
LOOKED_AT = 250  # validation texts, by which a rate is chosen
TESTED = 400  # test texts
TRAINING: dict[str, Any] = {
    "steps": 48, "batch_size": 16, "max_length": 32, "evaluate_every": 48,
}  # fmt: skip

#: name, dimension (0: the head alone; None: all weights), the rates with which the search begins
PLAN: tuple[tuple[str, int | None, tuple[float, ...]], ...] = (
    ("full", None, (3e-4, 1e-3, 3e-3)),
    ("probe", 0, (1e-2, 3e-2, 1e-1)),
    ("DID", 100, (1e-2, 3e-2, 1e-1)),
    ("DID", 1000, (3e-3, 1e-2, 3e-2)),
    ("SAID", 1000, (1e-2, 3e-2, 1e-1)),
    ("SAID", 100, (1e-2, 3e-2, 1e-1)),
    ("DID", 10, (3e-2, 1e-1, 3e-1)),
    ("DID", 10000, (1e-3, 3e-3, 1e-2)),
    ("SAID", 10000, (3e-3, 1e-2, 3e-2)),
)

whole = cache(partial(load_task, TASK))


def method_of(name: str, dimension: int | None, seed: int) -> Method:
    """What a cell of the plan trains; the random subspace is the seed's."""
    if dimension is None:
        return FullFineTuning()
    if dimension == 0:
        return LinearProbe()
    kind = {"DID": IntrinsicDID, "SAID": IntrinsicSAID}[name]
    return kind(dimension=dimension, seed=1000 * seed)  # each tensor takes the next seed


def task_of(looked_at: int) -> Task:
    """The texts that all runs share."""
    return whole().subset(looked_at, split="validation").subset(TESTED, split="test")


def searched(name: str, dimension: int | None, seed: int, lr: float) -> dict[str, Any]:
    """What a rate is worth on the validation split."""
    done = fine_tune(
        BASE, method_of(name, dimension, seed), task_of(LOOKED_AT), seed=seed, lr=lr,
        test=False, progress=False, **TRAINING,
    )  # fmt: skip
    best = done.run.best
    return {"validation": best["accuracy"], "loss": round(best["validation_loss"], 4)}


def trained(name: str, dimension: int | None, seed: int, lr: float) -> dict[str, Any]:
    """What a run came to on the test split."""
    task = task_of(20)  # nothing is chosen by these 20
    done = fine_tune(
        BASE, method_of(name, dimension, seed), task, seed=seed, lr=lr, progress=False, **TRAINING
    )
    return {"test": done.test["accuracy"]}


def main() -> None:
    """Search, then train; what is done so far is in the file after every run."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_DIRECTIONS, help="(%(default)s)")
    settings = {
        "base": BASE,
        "task": {"name": TASK, "fingerprint": whole().fingerprint},
        "training": TRAINING,
        "texts": {"validation": LOOKED_AT, "test": TESTED},
    }
    record = Record(parser.parse_args().out, COMMAND, settings)

    def look(name: str, dimension: int | None, lr: float) -> tuple[float, float]:
        asked: dict[str, Any] = {
            "name": name, "dimension": dimension, "seed": SEARCH_SEED, "lr": lr,
        }  # fmt: skip
        row = record.row("searches", asked, lambda: searched(**asked))
        return row["validation"], -row["loss"]

    for name, dimension, window in tqdm(PLAN):
        tried: dict[float, tuple[float, float]] = {}
        while rates := further_rates(window, tried):
            tried |= {lr: look(name, dimension, lr) for lr in rates}
        for seed in SEEDS:
            best = search_of(tried).best
            asked: dict[str, Any] = {
                "name": name, "dimension": dimension, "seed": seed, "lr": best,
            }  # fmt: skip
            record.row("runs", asked, partial(trained, **asked))


if __name__ == "__main__":
    main()
