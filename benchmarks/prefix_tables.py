"""Prefix tuning that writes from tables: network against direct over ten paired seeds, and length.

    python benchmarks/prefix_tables.py --out FILE

Records of three slots and one sentence for each, so that every error can be read. The rates come
from a search with a seed of its own, the same number of rates for both. The file is written when a
variant is done, and an interrupted call goes on from there.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from datasets import Dataset
from tqdm import tqdm

import pftlab as pft
from pftlab.experiments.record import Record
from pftlab.tasks import Task
from pftlab.tasks.bundled.data_to_text import VALUES
from pftlab.tasks.bundled.english import a, sentence
from pftlab.training.many import fine_tune_many

COMMAND = "python benchmarks/prefix_tables.py"
BASE, STEPS, BATCH, TEXTS = "tiny-decoder", 60, 8, 32
SEEDS, SEARCH_SEED = range(10), 100
RATES = {"direct": (0.1, 0.3, 1.0), "network": (0.003, 0.01, 0.03)}
HIDDEN = {"direct": None, "network": 64}
LENGTHS = (1,)
SCORES = ("bleu", "slot_error_rate", "missing", "wrong", "invented")


def records(test: bool) -> list[dict[str, Any]]:
    """Every record of item, colour and place, with its sentence; the test has words of its own."""
    values = [VALUES[name][test].split() for name in ("item", "colour", "place")]
    rows = []
    for item, colour, place in product(*values):
        text = sentence(f"{a(f'{colour} {item}')} was found at the {place}")
        source = f"item: {item} | colour: {colour} | place: {place}"
        rows.append({"source": source, "target": text, "references": [text]})
    random.Random(0).shuffle(rows)
    return rows


def tables() -> Task:
    """The task: known words in training and validation, new words in the test."""
    known, new = records(False), records(True)
    splits = {"train": known[TEXTS:], "validation": known[:TEXTS], "test": new[:TEXTS]}
    return replace(
        pft.load_task("data_to_text"),
        name="short_tables",
        splits={name: Dataset.from_list(rows) for name, rows in splits.items()},
    )


def trained(
    kind: str, length: int, runs: Sequence[tuple[int, float]], task: Task
) -> Iterator[dict[str, Any]]:
    """For each seed and rate: loss and scores on known words, and scores on new ones."""
    method = pft.PrefixTuning(length=length, hidden=HIDDEN[kind])
    done = fine_tune_many(
        BASE, method, task, runs, steps=STEPS, batch_size=BATCH, max_length=48,
        evaluate_every=STEPS, progress=False,
    )  # fmt: skip
    for each in done:
        known = each.run.metrics
        yield {
            "loss": round(known["validation_loss"], 4),
            "known": {name: round(known[name], 4) for name in SCORES},
            "new": {name: round(each.test[name], 4) for name in SCORES},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    task = tables()
    settings = {
        "base": BASE,
        "task": {"name": task.name, "fingerprint": task.fingerprint, "texts": TEXTS},
        "training": {"steps": STEPS, "batch_size": BATCH, "max_length": 48, "length": 10},
        "hidden": HIDDEN,
        "rates": RATES,
    }
    record = Record(parser.parse_args().out, COMMAND, settings)
    plan = [(kind, 10) for kind in RATES] + [("direct", length) for length in LENGTHS]
    for kind, length in tqdm(plan):
        tried = [(SEARCH_SEED, lr) for lr in RATES[kind]]
        asked = [{"kind": kind, "lr": lr, "seed": seed} for seed, lr in tried]
        found = record.rows("search", asked, partial(trained, kind, 10, tried, task))
        best = min(found, key=lambda row: row["loss"])["lr"]
        runs = [(seed, best) for seed in SEEDS]
        asked = [{"kind": kind, "length": length, "lr": best, "seed": s} for s in SEEDS]
        record.rows("runs", asked, partial(trained, kind, length, runs, task))


if __name__ == "__main__":
    main()
