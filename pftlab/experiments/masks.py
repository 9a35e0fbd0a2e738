"""Does the choice of weights matter? Masks of one size, chosen in six ways, over paired seeds.

    python -m pftlab.experiments.masks --out FILE        in half an hour or more of one core

A cell is a base, a share of its weights and a way to choose them. Its rate is searched with a seed
of its own on the validation split; then it is trained with every seed and tested once. A seed has
one head, one order of the texts and one mask of each way. Cells are written one after the other,
so a file that was stopped has whole cells of the plan, from its beginning.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..bases import load_tokenizer
from ..core import Delta
from ..sparse.fish_mask import fisher
from ..sparse.lt_sft import full_fine_tuning
from ..sparse.mask import RandomMask, entries, keep_highest
from ..tasks import Task
from ..training import fine_tune
from .outcomes import outcomes
from .record import Record, Row
from .results import STORED
from .texts import few_texts

COMMAND = "python -m pftlab.experiments.masks"
STORED_MASKS = STORED / "masks.json"
TASK = "reviews"
TEXTS = {"train": 640, "validation": 100, "test": 300}
TRAINING: dict[str, Any] = {"steps": 30, "batch_size": 16, "max_length": 32, "evaluate_every": 30}
RATES = (3e-3, 1e-2, 3e-2)
SEARCH_SEED = 1000
SEEDS = tuple(range(10))
SAMPLES = 64  # texts for the Fisher information
FULL_RATE = 1e-3  # of the full fine-tuning whose movements are looked at
WAYS = ("fish", "random", "fish by tensor", "movement", "largest", "smallest")
#: base, density, way
PLAN = [
    *(("tiny-encoder", 0.005, way) for way in WAYS),
    *(("tiny-encoder", d, way) for d in (0.0005, 0.05) for way in ("fish", "random")),
    *(("mini-encoder", 0.005, way) for way in ("fish", "random")),
    *(("tiny-encoder", d, way) for d in (0.002, 0.02) for way in ("fish", "random")),
]


@cache
def task() -> Task:
    """The texts that all runs share."""
    return few_texts(TASK, TEXTS)


def scores(model: nn.Module, way: str, seed: int) -> list[Tensor]:
    """A score for each weight of a model with a random mask attached; the highest are trained.

    Args:
        model: whose head is that of the seed.
        way: "fish", "movement", "largest", "smallest" or "random".
        seed: of the order of the texts, and of a random choice.
    """
    base = [parameter for parameter, _ in entries(model, RandomMask.facts.name)]
    if way == "largest":
        return [p.detach().abs() for p in base]
    if way == "smallest":
        return [-p.detach().abs() for p in base]
    if way == "random":
        return shuffled(base, seed)
    if way == "fish":
        return fisher(model, base, _batches(model, seed), SAMPLES)
    own = [delta for _, delta in entries(model, RandomMask.facts.name)]
    steps: int = TRAINING["steps"]
    return full_fine_tuning(model, list[Delta](own), base, partial(_batches, model, seed), steps,
                            FULL_RATE)  # fmt: skip


def shuffled(base: list[nn.Parameter], seed: int) -> list[Tensor]:
    """A random number for each weight."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.rand(p.shape, generator=draw) for p in base]


def as_many(masks: list[Tensor], seed: int) -> list[Tensor]:
    """Scores whose highest are as many in each tensor as a mask has there, at random places.

    Args:
        masks: of each tensor, boolean.
        seed: of the random choice.
    """
    draw, found = torch.Generator().manual_seed(seed), []
    for mask in masks:
        order = torch.randperm(mask.numel(), generator=draw)
        found.append(mask.flatten()[order].view_as(mask).float())
    return found


def _batches(model: Any, seed: int) -> Iterator[dict[str, Tensor]]:
    tokenizer = load_tokenizer(model)
    rows = task().encode(tokenizer, "train", max_length=TRAINING["max_length"])
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    collate, size = task().collate(tokenizer), TRAINING["batch_size"]
    for start in range(0, len(order), size):
        yield collate([rows[i] for i in order[start : start + size]])


def choose(model: nn.Module, way: str, seed: int) -> None:
    """Move the mask of a model to the places that a way chooses."""
    torch.manual_seed(seed)  # a full fine-tuning draws dropout
    pairs = entries(model, RandomMask.facts.name)
    count = sum(len(delta.values) for _, delta in pairs)
    keep_highest(pairs, scores(model, "fish" if way == "fish by tensor" else way, seed), count)
    if way == "fish by tensor":
        masks = [torch.zeros(p.numel(), dtype=torch.bool) for p, _ in pairs]
        for mask, (_, delta) in zip(masks, pairs, strict=True):
            mask[delta.places.long()] = True
        keep_highest(pairs, as_many(masks, seed), count)


def trained(
    base: str, density: float, way: str, seed: int, lr: float, training: dict[str, Any] = TRAINING
) -> dict[str, Any]:
    """What one run came to: its accuracy on both splits, and which test texts it got right."""
    begin: Callable[[Any], None] = partial(choose, way=way, seed=seed)
    done = fine_tune(base, RandomMask(density=density), task(), seed=seed, lr=lr, begin=begin,
                     progress=False, **training)  # fmt: skip
    return {
        "validation": done.run.best["accuracy"],
        "test": done.test["accuracy"],
        "texts": outcomes(task(), done.pairs),
    }


def all_of(rows: list[Row]) -> list[Row]:
    """What each run came to; a cell is written when all its seeds are done."""
    return [trained(**row) for row in rows]


def main() -> None:
    """Train what is not in the file yet."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_MASKS, help="(%(default)s)")
    settings = {
        "task": {"name": TASK, "fingerprint": task().fingerprint, **TEXTS},
        "training": TRAINING,
        "rates": RATES,
        "samples": SAMPLES,
        "full_rate": FULL_RATE,
    }
    record = Record(parser.parse_args().out, COMMAND, settings)
    for base, density, way in tqdm(PLAN):
        cell: dict[str, Any] = {"base": base, "density": density, "way": way}
        tries = []
        for lr in RATES:
            asked = {**cell, "seed": SEARCH_SEED, "lr": lr}
            tries.append(record.row("searches", asked, partial(trained, **asked)))
        best = max(tries, key=lambda each: each["validation"])["lr"]
        rows = [{**cell, "seed": seed, "lr": best} for seed in SEEDS]
        record.rows("runs", rows, partial(all_of, rows))


if __name__ == "__main__":
    main()
