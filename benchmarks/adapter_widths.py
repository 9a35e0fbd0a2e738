"""Houlsby's adapters on a small encoder: four widths, and layer norms alone, over paired seeds.

    python benchmarks/adapter_widths.py

writes book/results/adapter_widths.json, which the chapter on these adapters reads.

Every variant has the same grid of rates, searched with a seed of its own on the validation split;
the test split is scored at the chosen rate. The file is written when a part of a variant is done,
and an interrupted call goes on from there.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

import pftlab as pft
from pftlab.core import Method
from pftlab.experiments.record import Record
from pftlab.experiments.results import STORED
from pftlab.training.many import fine_tune_many

COMMAND = "python benchmarks/adapter_widths.py"
BASE, TASK = "tiny-encoder", "reviews"
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
SEARCH_SEED, SEEDS = 1000, range(5)
LOOKED_AT, TESTED = 250, 500  # validation texts that choose a rate, and test texts
WIDTHS = (1, 4, 16, 64)
TRAINING: dict[str, Any] = {
    "steps": 80, "batch_size": 16, "max_length": 32, "evaluate_every": 80,
}  # fmt: skip

#: name of the variant → method
VARIANTS: dict[str, Method] = {
    "frozen": pft.LinearProbe(),
    "norms": pft.LayerNormTuning(),
    **{f"width {m}, norms": pft.Houlsby(bottleneck=m) for m in WIDTHS},
}


def trained(method: Method, runs: list[tuple[int, float]], test: bool) -> list[dict[str, Any]]:
    """What each run came to, by seed and rate."""
    task = pft.load_task(TASK).subset(LOOKED_AT, split="validation").subset(TESTED, split="test")
    done = fine_tune_many(BASE, method, task, runs, test=test, progress=False, **TRAINING)
    return [
        {"validation": each.run.best["accuracy"], "test": each.test.get("accuracy")}
        for each in done
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=STORED / "adapter_widths.json")
    settings = {
        "base": BASE,
        "task": {"name": TASK, "fingerprint": pft.load_task(TASK).fingerprint},
        "texts": {"validation": LOOKED_AT, "test": TESTED},
        "training": TRAINING,
    }
    record = Record(parser.parse_args().out, COMMAND, settings)
    for name, method in tqdm(VARIANTS.items()):
        tries = [{"variant": name, "seed": SEARCH_SEED, "lr": lr} for lr in RATES]
        seen = record.rows(
            "searches", tries, partial(trained, method, [(SEARCH_SEED, lr) for lr in RATES], False)
        )
        best = max(seen, key=lambda row: row["validation"])["lr"]
        asked = [{"variant": name, "seed": seed, "lr": best} for seed in SEEDS]
        record.rows("runs", asked, partial(trained, method, [(s, best) for s in SEEDS], True))


if __name__ == "__main__":
    main()
