"""What a few methods learn and forget at the same learning rates.

    python -m pftlab.experiments.forgetting        makes the stored file anew, in some minutes

Every method of the grid is trained at every rate with every seed, on a small task. A run has its
accuracy on the test split, and the held-out loss of the base's own head, before and after.
"""

import datetime
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core import Method
from ..core.files import atomic_write
from ..finetune.full import FullFineTuning
from ..low_rank.lora import LoRA
from ..sparse.bitfit import BitFit
from ..sparse.layer_norm import LayerNormTuning
from ..tasks import load_task
from ..training import FineTuned, fine_tune, fine_tune_many
from .origin import commit, device_name, versions
from .results import STORED

COMMAND = "python -m pftlab.experiments.forgetting"
STORED_FORGETTING = STORED / "forgetting.json"
BASE, TASK = "tiny-encoder", "reviews"
METHODS: tuple[Method, ...] = (FullFineTuning(), LoRA(rank=8), BitFit(), LayerNormTuning())
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
SEEDS = (0, 1, 2)
TRAINING: dict[str, Any] = {"steps": 40, "batch_size": 16, "max_length": 32, "evaluate_every": 40}
TEXTS = {"validation": 20, "test": 300}


def measured(
    methods: tuple[Method, ...] = METHODS,
    rates: tuple[float, ...] = RATES,
    seeds: tuple[int, ...] = SEEDS,
    training: dict[str, Any] = TRAINING,
) -> list[dict[str, Any]]:
    """A row a run: method, lr, seed, accuracy, before and after (nats a masked token), trainable.

    What is frozen is shared by the runs of a method, in one pass; full fine-tuning shares nothing.
    """
    task = load_task(TASK)
    for split, count in TEXTS.items():
        task = task.subset(count, split=split)
    options: dict[str, Any] = {"forgetting": True, "progress": False, **training}
    runs = [(seed, lr) for lr in rates for seed in seeds]
    rows = []
    for method in methods:
        done: Iterable[FineTuned]
        if isinstance(method, FullFineTuning):
            done = (fine_tune(BASE, method, task, seed=s, lr=lr, **options) for s, lr in runs)
        else:
            done = fine_tune_many(BASE, method, task, runs, **options)
        for (seed, lr), each in zip(runs, done, strict=True):
            lost = each.forgetting
            assert lost is not None, "the base is pretrained"
            rows.append(
                {"method": method.name, "lr": lr, "seed": seed,
                 "accuracy": each.test["accuracy"],
                 "before": round(lost.before, 5), "after": round(lost.after, 5)}
            )  # fmt: skip
    return rows


def main(arguments: list[str]) -> None:
    """Make the stored file anew, or another file that is named."""
    path = Path(arguments[0]) if arguments else STORED_FORGETTING
    task = load_task(TASK)
    record = {
        "base": BASE,
        "task": {"name": TASK, "fingerprint": task.fingerprint, **TEXTS},
        "training": TRAINING,
        "rows": measured(),
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
