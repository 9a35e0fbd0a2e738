"""What adapters of the lower layers are worth, and what leaving them out saves.

    python -m pftlab.experiments.dropping

trains adapters on the task `reviews` in each of three ways (in all layers; in all layers with those
of the first n dropped at random; in the layers from n up alone), and those of the lower half alone
as a control, and tests each with the adapters of the first n layers left out. Then it times steps
of training and passes for several tasks. All comes into book/results/dropping.json.
"""

import argparse
import random
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import BertConfig, BertForSequenceClassification

from ..adapter.adapter_drop import AdapterDrop, drop
from ..adapter.houlsby import Houlsby
from ..adapter.shared_trunk import SharedTrunk
from ..bases import load_base
from ..core import Method
from ..finetune.full import FullFineTuning
from ..tasks import Task, load_task
from ..training import Lifecycle, evaluate, fine_tune
from ..training.optimiser import Optimiser
from .clock import timed
from .record import Record, Row
from .results import STORED

COMMAND = "python -m pftlab.experiments.dropping"
STORED_DROPPING = STORED / "dropping.json"
RATES = {"mini-encoder": 3e-3, "tiny-encoder": 1e-2}  # what searches chose for both methods
SEEDS = (0, 1, 2, 3, 4)
BOTTLENECK = 16
TEXTS = {"validation": 100, "test": 300}
TRAINING: dict[str, Any] = {"steps": 50, "batch_size": 16, "max_length": 32}
# What is timed: an encoder with the layers of BERT-base at half the width. Its weights are random.
TIMED: dict[str, Any] = {"layers": 12, "width": 384, "texts": 4, "tokens": 64, "rounds": 7}
WARM_UP = 2
DROPPED = (1, 5)
TASKS = (2, 8)


def ways(layers: int) -> dict[str, tuple[Callable[[int], Method], tuple[int, ...]]]:
    """Name → (the method, given a seed; with how many layers dropped it is tested)."""

    def upper(kept: tuple[int, ...]) -> Callable[[int], Method]:
        return lambda seed: Houlsby(BOTTLENECK, layer_norm=False, layers=kept)

    every, half = tuple(range(layers + 1)), layers // 2
    found: dict[str, tuple[Callable[[int], Method], tuple[int, ...]]] = {
        # never drops, and is what `drop` can act on: Houlsby's adapters without layer norms
        "standard": (lambda seed: AdapterDrop(BOTTLENECK, highest=0), every),
        "robust": (lambda seed: AdapterDrop(BOTTLENECK, seed=seed), every),
    }
    for n in range(1, layers):
        found[f"specialised {n}"] = upper(tuple(range(n, layers))), (n,)
    found["lower half"] = upper(tuple(range(half))), (0,)
    return found


def trained(
    base: str, method: Callable[[int], Method], tested: Sequence[int], seed: int
) -> dict[str, Any]:
    """Accuracy on both splits, for each number of layers whose adapters are left out."""
    task = _task()
    done = fine_tune(
        base, method(seed), task, seed=seed, lr=RATES[base], test=False, progress=False,
        evaluate_every=TRAINING["steps"], **TRAINING,
    )  # fmt: skip
    row: dict[str, Any] = {"dropped": list(tested)}
    for split in TEXTS:
        row[split] = []
        for n in tested:
            if len(tested) > 1:
                drop(done.model, n)
            length = TRAINING["max_length"]
            scores = evaluate(done.model, task, split=split, max_length=length)
            row[split].append(scores["accuracy"])
    return row


def _task() -> Task:
    task = load_task("reviews")
    for split, count in TEXTS.items():
        task = task.subset(count, split=split)
    return task


def blank() -> Any:
    """The encoder whose steps are timed."""
    torch.manual_seed(0)
    width = TIMED["width"]
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=1000, hidden_size=width, num_hidden_layers=TIMED["layers"],
            num_attention_heads=width // 64, intermediate_size=4 * width,
        )
    )  # fmt: skip


def adapted(lowest: int) -> Any:
    """It, with adapters from one of its layers up."""
    kept = tuple(range(lowest, TIMED["layers"]))
    return Houlsby(bottleneck=48, layer_norm=False, layers=kept).attach(blank())


def steps(batch: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Name → one step of training."""

    def step(model: nn.Module, rate: float) -> Callable[[], None]:
        optimiser = Optimiser(Lifecycle(model.train(), 1).parameter_groups(rate))

        def once() -> None:
            model(**batch).loss.backward()
            optimiser.step()

        return once

    found: dict[str, Callable[[], object]] = {"full": step(FullFineTuning().attach(blank()), 1e-5)}
    for n in (0, *DROPPED):
        found[f"adapters from {n}"] = step(adapted(n), 1e-3)
    return found


def passes(batch: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Name → answers without gradients: of the base, of one task, and of several tasks."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    base, all_layers = blank().eval(), [adapted(0).eval() for _ in range(max(TASKS))]

    @torch.no_grad()
    def one_by_one(models: Sequence[nn.Module]) -> None:
        for model in models:
            model(**inputs)

    found: dict[str, Callable[[], object]] = {
        "base": partial(one_by_one, [base]),
        "1 task": partial(one_by_one, all_layers[:1]),
    }
    upper = {n: [adapted(n).eval() for _ in range(max(TASKS))] for n in DROPPED}
    for tasks in TASKS:
        found[f"{tasks} tasks, one by one"] = partial(one_by_one, all_layers[:tasks])
        for n, models in upper.items():
            trunk = SharedTrunk({str(i): models[i] for i in range(tasks)}, n)
            found[f"{tasks} tasks, {n} shared"] = partial(trunk, **inputs)
    return found


def rounds(made: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Milliseconds of each round; within a round all take turns, in another order every time."""
    took: dict[str, list[float]] = {name: [] for name in made}
    order = random.Random(0)
    for number in range(WARM_UP + TIMED["rounds"]):
        for name in order.sample(list(made), len(made)):
            milliseconds = timed(made[name], "cpu")
            if number >= WARM_UP:
                took[name].append(milliseconds)
    return took


def ratios(
    pairs: Sequence[tuple[str, str]],
    make: Callable[[dict[str, Any]], dict[str, Callable[[], object]]],
    batch: dict[str, Any],
) -> list[Row]:
    """Median and quartiles of what the first takes over what the second takes, round by round."""
    took, rows = rounds(make(batch)), []
    for one, other in pairs:
        found = [a / b for a, b in zip(took[one], took[other], strict=True)]
        low, middle, high = (round(q, 3) for q in statistics.quantiles(found, n=4))
        rows.append({"ratio": middle, "quartiles": [low, high]})
    return rows


def main() -> None:
    """Train and time what is missing in the file; it is written after every run."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_DROPPING, help="(%(default)s)")
    settings = {
        "task": {"name": "reviews", "fingerprint": _task().fingerprint, **TEXTS},
        "training": TRAINING, "rates": RATES, "bottleneck": BOTTLENECK, "timed": TIMED,
    }  # fmt: skip
    record = Record(parser.parse_args().out, COMMAND, settings)
    torch.set_num_threads(1)
    ids = torch.randint(1000, (TIMED["texts"], TIMED["tokens"]))
    batch = {"input_ids": ids, "labels": torch.arange(len(ids)) % 2}
    adapters = "adapters from 0"
    trained_less = [(f"adapters from {n}", adapters) for n in DROPPED]
    shared = [(f"{t} tasks, {n} shared", f"{t} tasks, one by one") for t in TASKS for n in DROPPED]
    for section, make, pairs in (
        ("steps", steps, [(adapters, "full"), *trained_less]),
        ("passes", passes, [("1 task", "base"), *shared]),
    ):
        asked: list[Row] = [{"of": one, "over": other} for one, other in pairs]
        record.rows(section, asked, partial(ratios, pairs, make, batch))
    for base in RATES:
        layers = load_base(base, num_labels=2).config.num_hidden_layers
        for name, (method, tested) in ways(layers).items():
            for seed in tqdm(SEEDS, desc=f"{base}, {name}"):
                asked_for = {"base": base, "way": name, "seed": seed}
                record.row("runs", asked_for, partial(trained, base, method, tested, seed))


if __name__ == "__main__":
    main()
