"""One backbone and several tasks, each with its LoRA: what the ways of serving them take.

    python benchmarks/ways_to_serve.py
    python benchmarks/ways_to_serve.py --out book/results/serving.json

A batch of questions, spread evenly over the tasks, is answered in each way:

    merged    a merged model for each task, all in memory: a pass for each task
    swapped   one model: merge, a pass, unmerge, for each task
    apart     one model, the adapters beside it: `use` and a pass for each task
    mixed     one model, the adapters beside it: one pass for all, `rows`

The ways take turns, in another order in every round, so that what slows the machine down slows all
of them down. Before the clock runs, each way's outputs are compared with those of "apart". On a CPU
it is one thread's processor time, which does not see other programs; on a GPU the clock's.
"""

import argparse
import copy
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.clock import timed
from pftlab.experiments.record import Record

WAYS = ("merged", "swapped", "apart", "mixed")
WARM_UP = 1
CLOSE = 1e-4


def backbone(base: str, names: list[str], rank: int, device: str) -> Any:
    """The base with an adapter of random values for each name."""
    model: Any = pft.load_base(base).to(device).eval()
    for seed, name in enumerate(names):
        pft.LoRA(rank=rank).attach(model, name, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for *_, delta in planted(model, name):
            values = 0.02 * torch.randn(delta.B.shape, generator=generator)
            delta.B.data = values.to(delta.B)
    return model.eval()


def passes(model: Any, names: list[str], ids: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The ways by name, each from nothing to the logits (batch, tokens, words)."""
    owners = [names[row % len(names)] for row in range(len(ids))]
    own = {name: [row for row, n in enumerate(owners) if n == name] for name in set(owners)}
    plain = {}
    for name in own:
        pft.use(model, name)
        plain[name] = copy.deepcopy(model)
        for other in names:
            if other != name:
                pft.detach(plain[name], other)
        pft.merge(plain[name])

    @torch.no_grad()
    def task_by_task(of: Callable[[str, Tensor], Tensor]) -> Tensor:
        parts = {name: of(name, ids[rows]) for name, rows in own.items()}
        first = next(iter(parts.values()))
        out = first.new_empty(len(ids), *first.shape[1:])
        for name, rows in own.items():
            out[rows] = parts[name]
        return out

    def apart(name: str, mine: Tensor) -> Tensor:
        pft.use(model, name)
        return model(mine).logits

    def swapped(name: str, mine: Tensor) -> Tensor:
        pft.use(model, name)
        pft.merge(model, keep=True)
        logits = model(mine).logits
        pft.unmerge(model)
        return logits

    @torch.no_grad()
    def mixed() -> Tensor:
        with pft.rows(model, owners):
            return model(ids).logits

    return {
        "merged": lambda: task_by_task(lambda name, mine: plain[name](mine).logits),
        "swapped": lambda: task_by_task(swapped),
        "apart": lambda: task_by_task(apart),
        "mixed": mixed,
    }


def measured(given: argparse.Namespace, tasks: int, batch: int, device: str) -> list[dict]:
    """A row for each way."""
    names = [f"task_{i}" for i in range(tasks)]
    model = backbone(given.base, names, given.rank, device)
    generator = torch.Generator().manual_seed(0)
    words = model.config.vocab_size
    ids = torch.randint(words, (batch, given.length), generator=generator).to(device)
    ways = passes(model, names, ids)
    alone = ways["apart"]()
    for name, way in ways.items():
        far = float((way() - alone).abs().max() / alone.abs().max())
        if far > CLOSE:
            raise SystemExit(f"{name} computes something else: {far:.1e} away.")
    order = random.Random(0)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(WARM_UP + given.rounds):
        for way in order.sample(WAYS, len(WAYS)):
            milliseconds = timed(ways[way], device)
            if number >= WARM_UP:
                times[way].append(milliseconds)
    rows = []
    for way in WAYS:
        low, middle, high = statistics.quantiles(times[way], n=4)
        rows.append(
            {"way": way, "tasks": tasks, "batch": batch, "milliseconds": middle,
             "quartiles": [low, high]}
        )  # fmt: skip
    return rows


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="mini-decoder", help="(%(default)s)")
    parser.add_argument("--tasks", type=numbers, default=[1, 2, 4, 8, 16], help="how many")
    parser.add_argument("--batches", type=numbers, default=[1, 4, 16], help="questions together")
    parser.add_argument("--rank", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--length", type=int, default=16, help="in tokens (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="timed passes (%(default)s)")
    parser.add_argument("--out", type=Path, help="write JSON there")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    rows = []
    pairs = [(t, b) for b in given.batches for t in given.tasks if t <= b]
    for tasks, batch in tqdm(pairs, unit="case", file=sys.stderr):
        rows += measured(given, tasks, batch, device)
    for row in rows:
        low, high = row["quartiles"]
        print(
            f"batch {row['batch']:3}, {row['tasks']:2} tasks, {row['way']:8}"
            f"{row['milliseconds']:9.1f} ms ({low:.1f} to {high:.1f})"
        )
    if given.out:
        settings = {
            "base": given.base, "rank": given.rank, "length": given.length,
            "rounds": given.rounds, "seed": 0,
        }  # fmt: skip
        keys = ("way", "tasks", "batch")
        asked = [{key: row[key] for key in keys} for row in rows]
        Record(given.out, "python benchmarks/ways_to_serve.py", settings).rows(
            "rows", asked, lambda: rows
        )


if __name__ == "__main__":
    main()
