"""Does the order in which layers are opened matter? Five ways to train the same weights.

    python -m pftlab.experiments.unfreezing

trains each of `ORDERS` on the task `reviews`, and writes into book/results/unfreezing.json. All
have the same steps, texts and seeds. The rate is searched for each, in half-decades until the best
lies inside, with a seed of its own on the validation split; the test split is scored once, at the
chosen rate. A seed is run in all orders before the next one begins: what is in the file are pairs.

The runs that are stored are still those of before: three rates, and five seeds.
"""

import argparse
from functools import cache, partial
from pathlib import Path
from typing import Any

from torch import nn
from tqdm.auto import tqdm

from ..core import Method
from ..finetune.discriminative import DiscriminativeLearningRates
from ..finetune.full import FullFineTuning
from ..finetune.gradual_unfreezing import GradualUnfreezing, ask, open_groups
from ..finetune.layers import from_the_top
from ..tasks import Task, load_task
from ..training import fine_tune
from .record import Record
from .results import UNFREEZING
from .search import best_rate

BASE, TASK = "tiny-encoder", "reviews"
RATES = (3e-4, 1e-3, 3e-3)  # with which each search begins
SEARCH_SEED = 1000
SEEDS = tuple(range(10))
LOOKED_AT = 250  # validation texts, by which a rate and the best state of a run are chosen
TESTED = 500  # test texts
TRAINING: dict[str, Any] = {
    "steps": 120, "batch_size": 16, "max_length": 32, "evaluate_every": 60,
}  # fmt: skip


class FromTheBottom(GradualUnfreezing):
    """Gradual unfreezing in the other direction: the embeddings first, the top layer last.

    The head starts at random, so it is open from the first step, as it is from the top.
    """

    facts = GradualUnfreezing.facts

    def before_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        top, *rest = from_the_top(model)
        base: Any = model.base_model
        inside = {id(p) for p in base.parameters()}  # all but the head
        top = [name for name in top if id(model.get_parameter(name)) in inside]
        groups = [*reversed(rest), top]
        ask(model, groups[open_groups(self, len(groups), step, total_steps) :], False)


#: name → the methods that are attached, one beside the other
ORDERS: dict[str, tuple[Method, ...]] = {
    "all at once": (FullFineTuning(),),
    "from the top": (GradualUnfreezing(),),
    "from the bottom": (FromTheBottom(),),
    "rates by layer": (DiscriminativeLearningRates(),),
    "top and rates": (GradualUnfreezing(), DiscriminativeLearningRates()),
}


@cache
def _task() -> Task:
    return load_task(TASK).subset(LOOKED_AT, split="validation").subset(TESTED, split="test")


def trained(order: str, seed: int, lr: float, *, test: bool) -> dict[str, Any]:
    """What one run came to."""

    def begin(model: nn.Module) -> None:
        for further in ORDERS[order][1:]:
            further.attach(model)

    done = fine_tune(
        BASE, ORDERS[order][0], _task(),
        seed=seed, begin=begin, test=test, lr=lr, progress=False, **TRAINING,
    )  # fmt: skip
    best = done.run.best
    loss = round(best["validation_loss"], 4)
    return {"validation": best["accuracy"], "loss": loss, "test": done.test.get("accuracy")}


def main() -> None:
    """Search, then train; what is done so far is in the file after every run."""
    parser = argparse.ArgumentParser(prog="python -m pftlab.experiments.unfreezing")
    parser.add_argument("--out", type=Path, default=UNFREEZING, help="(%(default)s)")
    settings = {
        "base": BASE,
        "task": TASK,
        "fingerprint": _task().fingerprint,
        "training": TRAINING,
        "texts": {"validation": LOOKED_AT, "test": TESTED},
    }
    record = Record(parser.parse_args().out, "python -m pftlab.experiments.unfreezing", settings)

    def run(section: str, order: str, seed: int, lr: float) -> dict[str, Any]:
        asked: dict[str, Any] = {"order": order, "seed": seed, "lr": lr}
        return record.row(section, asked, lambda: trained(**asked, test=section == "runs"))

    def worth(order: str, lr: float) -> tuple[float, float]:
        row = run("searches", order, SEARCH_SEED, lr)
        return row["validation"], -row["loss"]

    best = {order: best_rate(RATES, partial(worth, order)) for order in tqdm(ORDERS)}
    for seed in tqdm(SEEDS):
        for order, lr in best.items():
            run("runs", order, seed, lr)


if __name__ == "__main__":
    main()
