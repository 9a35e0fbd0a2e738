"""How much rank does LoRA need in a short training? Three ranks, each at a rate of its own.

    python -m pftlab.experiments.lora_ranks

trains LoRA of each of `RANKS` on the task `reviews`, and writes into book/results/lora_ranks.json.
All begin with the same rates, searched with a seed of its own on the validation split until the
best lies inside, and have the same steps, texts and seeds; the test split is scored once, at the
chosen rate.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..low_rank.lora import LoRA
from ..tasks import Task, load_task
from ..training import fine_tune
from .record import Record
from .results import STORED
from .search import best_rate

RANKS_OF_LORA = STORED / "lora_ranks.json"
BASE, TASK = "mini-encoder", "reviews"
RANKS = (1, 8, 64)
RATES = (2e-3, 6e-3, 2e-2)
SEARCH_SEED = 1000
SEEDS = (0, 1, 2, 3, 4)
LOOKED_AT = 250  # validation texts, by which a rate is chosen
TESTED = 500  # test texts
TRAINING: dict[str, Any] = {"steps": 60, "batch_size": 16, "evaluate_every": 60}


def _task() -> Task:
    return load_task(TASK).subset(LOOKED_AT, split="validation").subset(TESTED, split="test")


def trained(rank: int, seed: int, lr: float, *, test: bool) -> dict[str, Any]:
    """What one run came to."""
    done = fine_tune(
        BASE, LoRA(rank=rank), _task(), seed=seed, test=test, lr=lr, progress=False, **TRAINING
    )
    return {"validation": done.run.best["accuracy"], "test": done.test.get("accuracy")}


def main() -> None:
    """Search, then train; what is done so far is in the file after every run."""
    parser = argparse.ArgumentParser(prog="python -m pftlab.experiments.lora_ranks")
    parser.add_argument("--out", type=Path, default=RANKS_OF_LORA, help="(%(default)s)")
    settings = {
        "base": BASE,
        "task": TASK,
        "fingerprint": _task().fingerprint,
        "alpha": LoRA().alpha,
        "training": TRAINING,
        "texts": {"validation": LOOKED_AT, "test": TESTED},
    }
    record = Record(parser.parse_args().out, "python -m pftlab.experiments.lora_ranks", settings)

    def run(section: str, rank: int, seed: int, lr: float) -> dict[str, Any]:
        asked: dict[str, Any] = {"rank": rank, "seed": seed, "lr": lr}
        return record.row(section, asked, lambda: trained(**asked, test=section == "runs"))

    def worth(rank: int, lr: float) -> tuple[float, float]:
        return run("searches", rank, SEARCH_SEED, lr)["validation"], 0.0  # losses were not kept

    for rank in tqdm(RANKS):
        best = best_rate(RATES, partial(worth, rank))
        for seed in SEEDS:
            run("runs", rank, seed, best)


if __name__ == "__main__":
    main()
