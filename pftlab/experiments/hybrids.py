"""Is the sum more than its parts? Hybrids with one part taken away at a time.

    python -m pftlab.experiments.hybrids

trains each of `VARIANTS` on the task `reviews`, and writes into book/results/hybrids.json: UniPELT
and the MAM adapter whole and without each of their parts, UniPELT without its gates, and one
adapter alone that has as many parameters as the hybrid. The rate is searched for each, in
half-decades until the best lies inside, with two seeds of their own on the validation split; the
test split is scored once, at the chosen rate, with seeds that are the same for all. With few texts,
which the seed draws, some of them are trained again at that rate.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..adapter.parallel import ParallelAdapter
from ..adapter.pfeiffer import Pfeiffer
from ..bases import load_tokenizer
from ..core import Delta, Method, Mixture, Site, planted
from ..finetune.full import FullFineTuning
from ..low_rank.lora import LowRank
from ..others.mam import MAMAdapter
from ..others.unipelt import Gate, Gated, GatedPrefix, UniPELT
from ..tasks import Task, load_task
from ..training import evaluate, fine_tune, fine_tune_many
from .record import Record, Row
from .results import STORED
from .search import best_rate
from .texts import few_texts

COMMAND = "python -m pftlab.experiments.hybrids"
STORED_HYBRIDS = STORED / "hybrids.json"
BASE, TASK = "tiny-encoder", "reviews"
MANY, FEW = 1000, 100  # training texts
SEARCH_SEEDS, SEEDS = (1000, 1001), (0, 1, 2, 3, 4, 5)
LOOKED_AT = 250  # validation texts, by which a rate is chosen
TESTED = 300  # test texts
TRAINING: dict[str, Any] = {"steps": 50, "batch_size": 16, "max_length": 32, "evaluate_every": 50}
SMALL: dict[str, Any] = {"length": 10, "hidden": 64, "bottleneck": 16}


@dataclass(frozen=True)
class Ungated(UniPELT):
    """UniPELT's pieces, each let in whole."""

    facts = UniPELT.facts

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        return Mixture.plan(self, model)


#: name → the method that is trained
VARIANTS: dict[str, Method] = {
    "UniPELT": UniPELT(**SMALL),
    "UniPELT without adapter": UniPELT(pieces=("prefix", "lora"), **SMALL),
    "UniPELT without prefix": UniPELT(pieces=("adapter", "lora"), **SMALL),
    "UniPELT without LoRA": UniPELT(pieces=("adapter", "prefix"), **SMALL),
    "UniPELT without gates": Ungated(**SMALL),
    "one adapter, UniPELT's count": Pfeiffer(bottleneck=108),
    "MAM": MAMAdapter(**SMALL),
    "MAM without prefix": MAMAdapter(at=("ffn",), **SMALL),
    "MAM without adapter": MAMAdapter(at=("attention.keys_values",), **SMALL),
    "one adapter, MAM's count": ParallelAdapter(bottleneck=90),
    "all weights": FullFineTuning(),
}
#: those that are trained with few texts as well
WITH_FEW = (*list(VARIANTS)[:5], "all weights")
#: the rates with which a search begins
WINDOWS = dict.fromkeys(VARIANTS, (3e-3, 1e-2, 3e-2)) | {
    "one adapter, UniPELT's count": (1e-3, 3e-3, 1e-2),
    "MAM": (1e-3, 3e-3, 1e-2),
    "MAM without prefix": (1e-3, 3e-3, 1e-2),
    "one adapter, MAM's count": (3e-4, 1e-3, 3e-3),
    "all weights": (3e-4, 1e-3, 3e-3),
}

#: what may be closed → the gates that belong to it; LoRA has one for each of its two matrices
PIECES = {"adapter": ("adapter",), "prefix": ("prefix",), "LoRA": ("query", "value")}


def gated(model: nn.Module) -> dict[str, list[Gate]]:
    """The gates of a model with UniPELT: where they stand → from the first layer up."""
    found: dict[str, list[Gate]] = {}
    for path, *_, delta in planted(model):
        if not isinstance(delta, (Gated, GatedPrefix)):
            continue
        place = "prefix" if isinstance(delta, GatedPrefix) else "adapter"
        if isinstance(delta.inner, LowRank):
            place = path.rsplit(".", 1)[-1]
        found.setdefault(place, []).append(delta.gate)
    return found


@contextmanager
def closed(model: nn.Module, piece: str) -> Iterator[None]:
    """Inside, all gates of a piece are 0."""
    shut = [gate for place in PIECES[piece] for gate in gated(model)[place]]
    handles = [gate.register_forward_hook(lambda *call: 0 * call[-1]) for gate in shut]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gate_values(model: PreTrainedModel, task: Task) -> dict[str, list[float]]:
    """What the gates of each place are, on average over the test texts, layer by layer."""
    seen: dict[Gate, list[Tensor]] = {gate: [] for row in gated(model).values() for gate in row}
    handles = [
        gate.register_forward_hook(lambda gate, _, out: seen[gate].append(out.detach().flatten()))
        for gate in seen
    ]
    try:
        _accuracy(model, task)
    finally:
        for handle in handles:
            handle.remove()
    return {
        place: [round(torch.cat(seen[gate]).mean().item(), 4) for gate in row]
        for place, row in gated(model).items()
    }


def searched(name: str, lr: float) -> list[Row]:
    """What a rate is worth on the validation split, by each seed of the search."""
    task = few_texts(TASK, {"validation": LOOKED_AT})
    runs = [(seed, lr) for seed in SEARCH_SEEDS]
    done = fine_tune_many(BASE, VARIANTS[name], task, runs, test=False, progress=False, **TRAINING)
    bests = [each.run.best for each in done]
    return [{"validation": b["accuracy"], "loss": round(b["validation_loss"], 4)} for b in bests]


def trained(name: str, texts: int, lr: float) -> list[Row]:
    """What each seed came to; it draws head, method, order and, of few, the texts."""
    task = few_texts(TASK, {"validation": 20, "test": TESTED})  # nothing is chosen by these 20
    if texts == MANY:
        runs = [(seed, lr) for seed in SEEDS]
        done = fine_tune_many(BASE, VARIANTS[name], task, runs, progress=False, **TRAINING)
    else:
        done = [
            fine_tune(BASE, VARIANTS[name], task.subset(texts, seed), seed=seed, lr=lr,
                      progress=False, **TRAINING)
            for seed in SEEDS
        ]  # fmt: skip
    rows = []
    for each in done:
        row: Row = {"test": round(each.test["accuracy"], 5)}
        if name == "UniPELT":
            row["gates"] = gate_values(each.model, task)
            row["closed"] = {}
            for piece in PIECES:
                with closed(each.model, piece):
                    row["closed"][piece] = round(_accuracy(each.model, task), 5)
        rows.append(row)
    return rows


def _accuracy(model: PreTrainedModel, task: Task) -> float:
    options = {"tokenizer": load_tokenizer(model), "max_length": TRAINING["max_length"]}
    return evaluate(model, task, "test", **options)["accuracy"]


def main() -> None:
    """Run what is not in the file yet; it is written after every pass."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_HYBRIDS, help="(%(default)s)")
    settings = {
        "base": BASE,
        "task": {"name": TASK, "fingerprint": load_task(TASK).fingerprint},
        "training": TRAINING,
        "texts": {"validation": LOOKED_AT, "test": TESTED},
    }
    record = Record(parser.parse_args().out, COMMAND, settings)

    def worth(name: str, lr: float) -> tuple[float, float]:
        asked = [{"variant": name, "seed": seed, "lr": lr} for seed in SEARCH_SEEDS]
        rows = record.rows("searches", asked, partial(searched, name, lr))
        return fmean(row["validation"] for row in rows), -fmean(row["loss"] for row in rows)

    for name in tqdm(VARIANTS):
        best = best_rate(WINDOWS[name], partial(worth, name))
        for texts in (MANY, FEW) if name in WITH_FEW else (MANY,):
            asked = [{"variant": name, "train": texts, "seed": s, "lr": best} for s in SEEDS]
            record.rows("runs", asked, partial(trained, name, texts, best))


if __name__ == "__main__":
    main()
