"""What adapters of the lower layers are worth, and what leaving them out saves.

    python -m pftlab.experiments.dropping

trains adapters on the task `reviews`: in all layers; in all layers, with those of the first n
dropped at random; in the layers from n up; and, as controls, in the lowest layers and in none. It
tests each with the adapters of the first n layers left out. Before that it times steps of training
and passes for several tasks. All comes into book/results/dropping.json.
"""

import argparse
import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import BertConfig, BertForSequenceClassification

from ..adapter.adapter_drop import AdapterDrop, DroppableBottleneck, drop
from ..adapter.houlsby import Houlsby
from ..adapter.shared_trunk import SharedTrunk
from ..core import Delta, Method, Site
from ..finetune.full import FullFineTuning
from ..finetune.linear_probe import LinearProbe
from ..training import FineTuned, Lifecycle, evaluate, fine_tune, fine_tune_many
from ..training.optimiser import Optimiser
from .clock import timed
from .record import Record, Row
from .results import STORED
from .texts import few_texts

COMMAND = "python -m pftlab.experiments.dropping"
STORED_DROPPING = STORED / "dropping.json"
BASE, LAYERS = "mini-encoder", 6
RATE, HEAD_RATE = 3e-3, 5e-3  # what the searches of the stored runs chose on this base
SEEDS = (0, 1, 2, 3, 4)
BOTTLENECK = 16
TEXTS = {"train": 800, "validation": 20, "test": 200}
_task = partial(few_texts, "reviews", TEXTS)
TRAINING: dict[str, Any] = {"steps": 50, "batch_size": 16, "max_length": 32}
TESTED = (0, 2, 4)  # numbers of layers whose adapters are left out
# What is timed: an encoder with the layers of BERT-base at half the width. Its weights are random.
TIMED: dict[str, Any] = {"layers": 12, "width": 384, "texts": 4, "tokens": 64, "rounds": 5}
WARM_UP = 2
DROPPED = (1, 5)
TASKS = (2, 8)


@dataclass(frozen=True)
class Droppable(Houlsby):
    """Houlsby's adapters without layer norms, trained without drops, that `drop` can leave out."""

    facts = Houlsby.facts

    layer_norm: bool = False

    def delta(self, site: Site) -> Delta:
        return DroppableBottleneck(site, self.bottleneck, self.activation, self.std)


def ways() -> dict[str, tuple[Method, tuple[int, ...]]]:
    """Name → (what is trained in one pass, how many layers are dropped in its tests)."""

    def only(kept: Iterable[int]) -> Method:
        return Droppable(BOTTLENECK, layers=tuple(kept))

    found: dict[str, tuple[Method, tuple[int, ...]]] = {"standard": (Droppable(BOTTLENECK), TESTED)}
    for n in TESTED[1:]:
        found[f"specialised {n}"] = only(range(n, LAYERS)), (n,)
    found["lowest 2"] = only(range(2)), (0,)
    found["head alone"] = LinearProbe(), (LAYERS,)
    return found


def robust() -> Iterator[Row]:
    """Each seed draws for itself, so these runs are trained one by one."""
    for seed in SEEDS:
        method = AdapterDrop(BOTTLENECK, seed=seed)
        done = fine_tune(
            BASE, method, _task(), seed=seed, lr=RATE, test=False, progress=False,
            evaluate_every=TRAINING["steps"], **TRAINING,
        )  # fmt: skip
        yield _row(done, TESTED)


def together(method: Method, tested: tuple[int, ...]) -> Iterator[Row]:
    """The runs of a way without random drops, in one pass."""
    rate = HEAD_RATE if isinstance(method, LinearProbe) else RATE
    done = fine_tune_many(
        BASE, method, _task(), [(seed, rate) for seed in SEEDS], test=False, progress=False,
        evaluate_every=TRAINING["steps"], **TRAINING,
    )  # fmt: skip
    return (_row(each, tested) for each in done)


def _row(done: FineTuned, tested: tuple[int, ...]) -> Row:
    scores = []
    for n in tested:
        if len(tested) > 1:
            drop(done.model, n)
        found = evaluate(done.model, _task(), "test", max_length=TRAINING["max_length"])
        scores.append({"accuracy": found["accuracy"], "loss": round(found["loss"], 4)})
    return {"dropped": list(tested), "test": scores}


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
        "base": BASE, "task": {"name": "reviews", "fingerprint": _task().fingerprint, **TEXTS},
        "training": TRAINING, "rate": RATE, "head_rate": HEAD_RATE, "bottleneck": BOTTLENECK,
        "timed": TIMED,
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
    passes_of_training: dict[str, Callable[[], Iterable[Row]]] = {"robust": robust}
    passes_of_training |= {name: partial(together, *way) for name, way in ways().items()}
    for name, compute in tqdm(passes_of_training.items()):
        record.rows("runs", [{"way": name, "seed": seed} for seed in SEEDS], compute)


if __name__ == "__main__":
    main()
