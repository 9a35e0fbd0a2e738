"""Hybrids without a part, at the rate of the whole.

    python -m pftlab.experiments.hybrid_rates

The runs of `hybrids` train everything at the rate that its own search chose. Where a hybrid and
what lacks a part have different ones, a difference between the two is one of part and rate at once.
These runs train each such part-less hybrid at the rate of the whole, with the same seeds, and write
book/results/hybrid_rates.json. Nothing is chosen by them.
"""

import argparse
import json
from functools import partial
from pathlib import Path

from tqdm.auto import tqdm

from . import hybrids
from .record import Record
from .results import STORED

COMMAND = "python -m pftlab.experiments.hybrid_rates"
STORED_RATES = STORED / "hybrid_rates.json"


def at_the_rate_of_the_whole() -> dict[str, float]:
    """What lacks a part and was trained at another rate than the whole → the whole's rate."""
    stored = json.loads(hybrids.STORED_HYBRIDS.read_text(encoding="utf-8"))
    rates = {run["variant"]: run["lr"] for run in stored["runs"]}
    wholes = {name: rates[name.split(" without ")[0]] for name in rates if " without " in name}
    return {name: lr for name, lr in wholes.items() if lr != rates[name]}


def main() -> None:
    """Run what is not in the file yet; it is written after every pass."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_RATES, help="(%(default)s)")
    settings = {
        "base": hybrids.BASE,
        "task": hybrids.TASK,
        "training": hybrids.TRAINING,
        "texts": {"train": hybrids.MANY, "test": hybrids.TESTED},
    }
    record = Record(parser.parse_args().out, COMMAND, settings)
    for name, lr in tqdm(at_the_rate_of_the_whole().items()):
        asked = [{"variant": name, "seed": seed, "lr": lr} for seed in hybrids.SEEDS]
        record.rows("runs", asked, partial(hybrids.trained, name, hybrids.MANY, lr))


if __name__ == "__main__":
    main()
