"""What a few methods learn and forget at the same learning rates.

    python -m pftlab.experiments.forgetting --out FILE        in some minutes

Every method of the grid is trained at every rate with every seed, on a small task. A run has its
accuracy on the test split, and the held-out loss of the base's own head, before and after.
"""

import argparse
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..core import Method
from ..finetune.full import FullFineTuning
from ..low_rank.lora import LoRA
from ..sparse.bitfit import BitFit
from ..sparse.layer_norm import LayerNormTuning
from ..training import FineTuned, fine_tune, fine_tune_many
from .record import Record
from .results import STORED
from .texts import few_texts

COMMAND = "python -m pftlab.experiments.forgetting"
STORED_FORGETTING = STORED / "forgetting.json"
BASE, TASK = "tiny-encoder", "reviews"
METHODS: tuple[Method, ...] = (FullFineTuning(), LoRA(rank=8), BitFit(), LayerNormTuning())
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
SEEDS = (0, 1, 2)
TRAINING: dict[str, Any] = {"steps": 40, "batch_size": 16, "max_length": 32, "evaluate_every": 40}
TEXTS = {"validation": 20, "test": 300}


def trained(
    method: Method, runs: Sequence[tuple[int, float]], training: dict[str, Any] = TRAINING
) -> list[dict[str, Any]]:
    """For each seed and rate: accuracy, and the loss before and after (nats a masked token).

    What is frozen is shared by the runs of a method, in one pass; full fine-tuning shares nothing.
    """
    task, options = few_texts(TASK, TEXTS), {"forgetting": True, "progress": False, **training}
    done: Iterable[FineTuned]
    if isinstance(method, FullFineTuning):
        done = (fine_tune(BASE, method, task, seed=s, lr=lr, **options) for s, lr in runs)
    else:
        done = fine_tune_many(BASE, method, task, runs, **options)
    return [_row(each) for each in done]


def _row(done: FineTuned) -> dict[str, Any]:
    lost = done.forgetting
    assert lost is not None, "the base is pretrained"
    return {
        "accuracy": done.test["accuracy"],
        "before": round(lost.before, 5),
        "after": round(lost.after, 5),
    }


def main() -> None:
    """Train what is not in the file yet; it is written after every method."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_FORGETTING, help="(%(default)s)")
    settings = {
        "base": BASE,
        "task": {"name": TASK, "fingerprint": few_texts(TASK, TEXTS).fingerprint, **TEXTS},
        "training": TRAINING,
    }
    record = Record(parser.parse_args().out, COMMAND, settings)
    runs = [(seed, lr) for lr in RATES for seed in SEEDS]
    for method in tqdm(METHODS):
        asked = [{"method": method.name, "lr": lr, "seed": seed} for seed, lr in runs]
        record.rows("rows", asked, partial(trained, method, runs))


if __name__ == "__main__":
    main()
