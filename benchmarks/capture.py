"""What recording the training step on the GPU saves.

    python benchmarks/capture.py
    python benchmarks/capture.py --base minilm --methods lora,prefix_tuning,full --precision bf16

Every method is trained twice on the task, plainly and captured, with the same seed; the columns
are the median time of a step, and the largest difference between the two curves of the loss:
rounding, and where the base has dropout also other random numbers, since batches are padded to
fewer lengths. `tests/training/test_capture.py` compares without dropout.
"""

import argparse
import json
import statistics
import sys
import time
from itertools import pairwise
from typing import Any

import torch

import pftlab as pft
from pftlab.training import loop
from pftlab.training.journal import Journal
from pftlab.training.step import changes_steps

METHODS = ",".join(name for name, method in pft.METHODS.items() if not changes_steps(method))


def trained(name: str, given: argparse.Namespace, capture: bool) -> tuple[list[float], float]:
    """(losses, median milliseconds of a step)."""
    times: list[float] = []

    class Timed(Journal):
        def saw(self, loss: torch.Tensor) -> None:
            super().saw(loss)
            torch.cuda.synchronize()
            times.append(time.perf_counter())

    plain, loop.Journal = loop.Journal, Timed  # type: ignore[misc]
    try:
        model: Any = pft.load_base(given.base, num_labels=2, seed=0)
        method = pft.METHODS[name]()
        method.attach(model, seed=0)
        run = pft.train(
            model, pft.load_task(given.task), steps=given.steps, batch_size=given.batch_size,
            max_length=given.length, precision=given.precision, capture=capture, progress=False,
            evaluate_every=given.steps,
        )  # fmt: skip
    finally:
        loop.Journal = plain  # type: ignore[misc]
    gaps = [1000 * (b - a) for a, b in pairwise(times)]
    return [loss for _, loss in run.losses], statistics.median(gaps)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="mini-encoder", help="(%(default)s)")
    parser.add_argument("--task", default="reviews", help="(%(default)s)")
    parser.add_argument("--methods", default=METHODS, help="with commas between (all that can)")
    parser.add_argument("--steps", type=int, default=50, help="of a run (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="texts (%(default)s)")
    parser.add_argument("--length", type=int, default=64, help="at most, in tokens (%(default)s)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("This needs a GPU.")
    for name in given.methods.split(","):
        try:
            losses, plain = trained(name, given, capture=False)
            same, captured = trained(name, given, capture=True)
        except pft.PftError as error:
            print(json.dumps({"method": name, "refused": str(error)}), flush=True)
            continue
        away = max(abs(a - b) for a, b in zip(losses, same, strict=True))
        row = {"method": name, "plain_ms": plain, "captured_ms": captured, "loss_away": away}
        print(
            json.dumps(row) if given.json
            else f"{name:24} {plain:7.2f} ms {captured:7.2f} ms {away:10.2e}",
            flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
