"""Does it matter where an adapter stands? The same network at five places, all else equal.

    python -m pftlab.experiments.places

trains each of `places` on the task `reviews`, on an encoder with the layer norm behind the
residual sum and on a decoder with the norm before each sub-layer, at every rate of the grid and
with the same seeds, and writes into book/results/places.json. Then come, on the first base, the
adapters as their papers have them, at about equal counts.
"""

import argparse
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from tqdm.auto import tqdm

from ..adapter.adapter_plus import AdapterPlus
from ..adapter.bottleneck import Bottleneck
from ..adapter.houlsby import Houlsby
from ..adapter.parallel import ParallelAdapter
from ..adapter.pfeiffer import Pfeiffer
from ..adapter.residual import ResidualAdapter
from ..core import Delta, Method, Site
from ..tasks import load_task
from ..training.many import fine_tune_many
from .record import Record, Row
from .results import STORED

COMMAND = "python -m pftlab.experiments.places"
STORED_PLACES = STORED / "places.json"
TESTED = 300  # test texts
LOOKED_AT = 100  # validation texts


class Setting(NamedTuple):
    """What the runs on one base share."""

    bottleneck: int
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    places: int  # how many of `places`, from the first


SETTINGS = {
    "tiny-encoder": Setting(8, (3e-3, 1e-2), (0, 1, 2, 3, 4), 5),
    # no norm follows its residual sum: there the last two places are one
    "tiny-decoder": Setting(8, (3e-3, 1e-2), (0, 1, 2, 3, 4), 4),
}
TRAINING: dict[str, Any] = {"steps": 60, "batch_size": 16, "max_length": 32}


def start_alike(delta: Delta) -> Delta:
    """Give a bottleneck the initialisation of the parallel adapter: D as in LoRA, and U = 0."""
    if isinstance(delta, Bottleneck):
        nn.init.kaiming_uniform_(delta.down.weight, a=math.sqrt(5))
        nn.init.zeros_(delta.up.weight)
    return delta


@dataclass(frozen=True)
class Behind(Houlsby):
    """Houlsby's adapter at one place, that starts as all in this comparison do."""

    facts = Houlsby.facts

    activation: str = "relu"
    layer_norm: bool = False

    def delta(self, site: Site) -> Delta:
        return start_alike(super().delta(site))


@dataclass(frozen=True)
class BeforeNorm(Pfeiffer):
    """Pfeiffer's adapter, that starts as all in this comparison do."""

    facts = Pfeiffer.facts

    def delta(self, site: Site) -> Delta:
        return start_alike(super().delta(site))


def places(bottleneck: int) -> dict[str, Method]:
    """Name of a place → the same network there: ReLU, biases, U = 0 at first, scale 1."""
    return {
        "behind attention": Behind(bottleneck, at=("attention",)),
        "behind feed-forward": Behind(bottleneck, at=("ffn",)),
        "beside feed-forward": ParallelAdapter(bottleneck, scale=1.0),
        "behind the block": Behind(bottleneck, at=("block",)),
        "before the norm": BeforeNorm(bottleneck),
    }


def as_published(bottleneck: int) -> dict[str, Method]:
    """The adapters with their papers' starts, scales and norms, at counts as equal as can be.

    A layer norm of its own costs 2 d numbers, and one number less in the middle saves 2 d + 1.
    """
    return {
        "Pfeiffer": Pfeiffer(bottleneck),
        "parallel": ParallelAdapter(bottleneck, scale=4.0),
        "residual": ResidualAdapter(bottleneck - 1),
        "Adapter+": AdapterPlus(bottleneck),
    }


def trained(base: str, method: Method, runs: list[tuple[int, float]]) -> list[Row]:
    """Validation and test accuracy of each run, in percent, and what it trained."""
    task = load_task("reviews").subset(LOOKED_AT, split="validation")
    done = fine_tune_many(
        base, method, task.subset(TESTED, split="test"), runs,
        evaluate_every=TRAINING["steps"], progress=False, **TRAINING,
    )  # fmt: skip
    return [
        {"validation": each.run.best["accuracy"], "test": each.test["accuracy"]} for each in done
    ]


def main() -> None:
    """Train what is missing in the file; a method's runs on a base are one pass."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_PLACES, help="(%(default)s)")
    task = load_task("reviews")
    settings = {
        "task": {"name": task.name, "fingerprint": task.fingerprint},
        "texts": {"validation": LOOKED_AT, "test": TESTED},
        "training": TRAINING,
        "bases": {base: setting._asdict() for base, setting in SETTINGS.items()},
    }
    record = Record(parser.parse_args().out, COMMAND, settings)
    plan: list[tuple[str, str, str, Method]] = []
    for base, setting in SETTINGS.items():
        found = list(places(setting.bottleneck).items())[: setting.places]
        plan += [(base, "places", name, method) for name, method in found]
    first = next(iter(SETTINGS))
    for name, method in as_published(SETTINGS[first].bottleneck).items():
        plan.append((first, "published", name, method))
    for base, section, name, method in tqdm(plan):
        asked: list[Row] = [
            {"base": base, "method": name, "lr": lr, "seed": seed}
            for lr in SETTINGS[base].rates
            for seed in SETTINGS[base].seeds
        ]
        runs = [(row["seed"], row["lr"]) for row in asked]
        record.rows(section, asked, partial(trained, base, method, runs))


if __name__ == "__main__":
    main()
