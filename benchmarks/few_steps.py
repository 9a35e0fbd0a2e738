"""A few steps of LoRA on a base with real weights, on a CPU: time and memory of the process.

    python benchmarks/few_steps.py
    python benchmarks/few_steps.py --base smollm2 --steps 20 --batch-size 4 --length 32 --dtype bf16

It is what a live cell of a page costs: load the base, attach, train with `pft.train` on short texts
of the bundled reviews. Processor time does not see other programs; the clock does.
"""

import argparse
import json
import resource
import sys
import time
from typing import Any

import torch

import pftlab as pft


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="smollm2", help="a name, hub id or folder (%(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="(%(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, help="texts (%(default)s)")
    parser.add_argument("--length", type=int, default=32, help="at most, in tokens (%(default)s)")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="of the base")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()

    torch.set_num_threads(given.threads)
    found: dict[str, Any] = {"base": given.base, "dtype": given.dtype, "threads": given.threads}

    def measured(name: str, clock: float, processor: float) -> None:
        found[f"{name}_seconds"] = round(time.perf_counter() - clock, 1)
        found[f"{name}_processor_seconds"] = round(time.process_time() - processor, 1)

    now = time.perf_counter(), time.process_time()
    dtype = torch.bfloat16 if given.dtype == "bf16" else torch.float32
    model = pft.load_base(given.base, num_labels=2, dtype=dtype)
    pft.LoRA(rank=8).attach(model)
    task = pft.load_task("reviews").subset(given.steps * given.batch_size)
    task = task.subset(2, split="validation")
    measured("load", *now)
    now = time.perf_counter(), time.process_time()
    run = pft.train(
        model, task, steps=given.steps, batch_size=given.batch_size, max_length=given.length,
        evaluate_every=given.steps, progress=False,
    )  # fmt: skip
    measured("train", *now)
    unit = 1 if sys.platform == "darwin" else 1024
    found |= {
        "steps": run.steps,
        "processor_seconds_a_step": round(found["train_processor_seconds"] / run.steps, 2),
        "peak_process_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "trainable": pft.count(model).trainable,
    }
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{given.base} in {given.dtype}, {given.threads} thread: load and attach "
        f"{found['load_seconds']} s ({found['load_processor_seconds']} s of processor), "
        f"{run.steps} steps of {given.batch_size} texts of at most {given.length} tokens "
        f"{found['train_seconds']} s ({found['train_processor_seconds']} s of processor), peak of "
        f"the process {found['peak_process_bytes'] / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    main()
