"""What can biases do, and when do they stop? BitFit, LoRA and all weights, with few texts and many.

    python -m pftlab.experiments.biases

trains the three methods on 16, 128 and 1,024 texts of the task `reviews`, and writes into
book/results/biases_crossing.json. All have the same steps, seeds and texts: a seed draws its texts
once for all methods, the fewer among the more. The rate is searched for each method and number of
texts, in half-decades until the best lies inside, with a seed of its own on the validation split;
the test split is scored once, at the chosen rate.
"""

import argparse
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..core import Method
from ..finetune.full import FullFineTuning
from ..low_rank.lora import LoRA
from ..sparse.bitfit import BitFit
from ..tasks import Task, load_task
from ..training import fine_tune
from .record import Record
from .results import STORED
from .search import best_rate

COMMAND = "python -m pftlab.experiments.biases"
STORED_CROSSING = STORED / "biases_crossing.json"
BASE, TASK, SIZE = "tiny-encoder", "reviews", "large"
SEARCH_SEED = 1000
SEEDS = (0, 1, 2, 3, 4)
LOOKED_AT = 250  # validation texts, by which a rate is chosen
TESTED = 400  # test texts
TRAINING: dict[str, Any] = {
    "steps": 64, "batch_size": 16, "max_length": 32, "evaluate_every": 64,
}  # fmt: skip
COUNTS = (16, 128, 1024)  # texts, each of which is seen 64 times, 8 times, once

#: name → the method, and the rates with which its search begins
METHODS: dict[str, tuple[Method, tuple[float, ...]]] = {
    "BitFit": (BitFit(), (3e-3, 1e-2, 3e-2)),
    "LoRA": (LoRA(rank=8), (1e-3, 3e-3, 1e-2)),
    "full": (FullFineTuning(), (3e-4, 1e-3, 3e-3)),
}


whole = cache(partial(load_task, TASK, size=SIZE))


def task_of(texts: int, seed: int, looked_at: int) -> Task:
    """The task with the texts of a seed."""
    task = whole().subset(texts, seed)
    return task.subset(looked_at, split="validation").subset(TESTED, split="test")


def searched(name: str, texts: int, seed: int, lr: float) -> dict[str, Any]:
    """What a rate is worth on the validation split."""
    task = task_of(texts, seed, LOOKED_AT)
    done = fine_tune(
        BASE, METHODS[name][0], task, seed=seed, lr=lr, test=False, progress=False, **TRAINING
    )
    best = done.run.best
    return {"validation": best["accuracy"], "loss": round(best["validation_loss"], 4)}


def trained(name: str, texts: int, seed: int, lr: float) -> dict[str, Any]:
    """What a run came to on the test split."""
    task = task_of(texts, seed, 20)  # nothing is chosen by these 20
    done = fine_tune(BASE, METHODS[name][0], task, seed=seed, lr=lr, progress=False, **TRAINING)
    return {"test": done.test["accuracy"]}


def main() -> None:
    """Search, then train; what is done so far is in the file after every run."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_CROSSING, help="(%(default)s)")
    settings = {
        "base": BASE,
        "task": {"name": TASK, "size": SIZE, "fingerprint": whole().fingerprint},
        "training": TRAINING,
        "texts": {"validation": LOOKED_AT, "test": TESTED},
    }
    record = Record(parser.parse_args().out, COMMAND, settings)

    def worth(name: str, texts: int, lr: float) -> tuple[float, float]:
        asked: dict[str, Any] = {"name": name, "texts": texts, "seed": SEARCH_SEED, "lr": lr}
        row = record.row("searches", asked, lambda: searched(**asked))
        return row["validation"], -row["loss"]

    for name, texts in tqdm(list(product(METHODS, COUNTS))):
        best = best_rate(METHODS[name][1], partial(worth, name, texts))
        for seed in SEEDS:
            asked: dict[str, Any] = {"name": name, "texts": texts, "seed": seed, "lr": best}
            record.row("runs", asked, partial(trained, **asked))


if __name__ == "__main__":
    main()
