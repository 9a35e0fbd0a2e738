"""How many short runs a GPU does in an hour: one by one, recorded, and several in one pass.

    python benchmarks/runs_an_hour.py --json runs.json
    python benchmarks/runs_an_hour.py --bases mini-encoder --together 4,8 --processes 8

A run is what a grid does: load the base, attach, train, score validation once and test once, and
measure what was forgotten. Each way is timed from its first load to its last score; importing and
reading the data come before. Runs in one pass have two seeds, as in a search for rates, so that two
of their bases are loaded. With `--processes`, so many processes do recorded runs at the same time,
each warmed up by one before the clock begins.
"""

import argparse
import json
import sys
import time
from multiprocessing import get_context
from typing import Any

import torch

import pftlab as pft
from pftlab.core.errors import PftError
from pftlab.experiments.origin import device_name
from pftlab.training import fine_tune, fine_tune_many


def arguments(given: argparse.Namespace, base: str, capture: bool) -> dict[str, Any]:
    """Of `fine_tune`."""
    return {
        "steps": given.steps,
        "batch_size": given.batch_size,
        "max_length": given.length,
        "precision": "bf16" if base == "smollm2" else "fp32",
        "capture": capture,
        "evaluate_every": given.steps,
        "forgetting": True,
        "progress": False,
    }


def one(given: argparse.Namespace, task: pft.Task, base: str, capture: bool) -> list[Any]:
    """A run by itself."""
    method = pft.METHODS[given.method]()
    return [fine_tune(base, method, task, seed=0, lr=1e-3, **arguments(given, base, capture))]


def together(
    given: argparse.Namespace, task: pft.Task, base: str, capture: bool, runs: int
) -> list[Any]:
    """Several in one pass."""
    method = pft.METHODS[given.method]()
    which = [(k % 2, 1e-3 / (1 + k // 2)) for k in range(runs)]
    return fine_tune_many(base, method, task, which, **arguments(given, base, capture))


def measured(work: Any, *given: Any) -> dict[str, Any]:
    """Seconds and bytes that some runs took, and what they scored."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    done = work(*given)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return {
        "runs": len(done),
        "seconds": seconds,
        "seconds_in_steps": sum(each.run.seconds for each in done),
        "runs_an_hour": 3600 * len(done) / seconds,
        "peak_memory_bytes": done[0].run.peak_memory_bytes,
        "reserved_bytes": torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0,
        "test": [each.test for each in done],
    }


def worker(given: argparse.Namespace, base: str, barrier: Any, times: Any) -> None:
    """Do recorded runs beside others; see `processes`."""
    task = pft.load_task(given.task)
    one(given, task, base, True)
    barrier.wait()
    began = time.time()
    for _ in range(2):
        one(given, task, base, True)
    times.put((began, time.time()))


def processes(given: argparse.Namespace, base: str) -> dict[str, Any]:
    """The same number of recorded runs in each of several processes."""
    context = get_context("spawn")
    barrier, times = context.Barrier(given.processes), context.SimpleQueue()
    workers = [
        context.Process(target=worker, args=(given, base, barrier, times))
        for _ in range(given.processes)
    ]
    for each in workers:
        each.start()
    spans = [times.get() for _ in workers]
    for each in workers:
        each.join()
    seconds = max(end for _, end in spans) - min(begin for begin, _ in spans)
    runs = 2 * given.processes
    return {"runs": runs, "seconds": seconds, "runs_an_hour": 3600 * runs / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bases", default="mini-encoder,minilm,smollm2", help="(%(default)s)")
    parser.add_argument("--task", default="reviews", help="(%(default)s)")
    parser.add_argument("--method", default="lora", help="(%(default)s)")
    parser.add_argument("--together", default="4,8,14", help="runs in a pass (%(default)s)")
    parser.add_argument("--processes", type=int, default=0, help="beside each other; 0: not tried")
    parser.add_argument("--steps", type=int, default=100, help="of a run (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="texts (%(default)s)")
    parser.add_argument("--length", type=int, default=64, help="at most, in tokens (%(default)s)")
    parser.add_argument("--json", help="file to write")
    given = parser.parse_args()
    capture = torch.cuda.is_available()
    if not capture:
        print("There is no GPU: nothing is recorded.", file=sys.stderr)
    task = pft.load_task(given.task)
    rows = []
    for base in given.bases.split(","):
        ways: dict[str, Any] = {"plain": (one, given, task, base, False)}
        if capture:
            ways["recorded"] = (one, given, task, base, True)
        for runs in map(int, filter(None, given.together.split(","))):
            ways[f"{runs} together"] = (together, given, task, base, capture, runs)
        try:
            short = argparse.Namespace(**{**vars(given), "steps": 2})
            one(short, task, base, capture)  # libraries start, texts are encoded
            found = {way: measured(*call) for way, call in ways.items()}
            if given.processes and capture:
                found[f"{given.processes} processes"] = processes(given, base)
        except PftError as error:
            print(f"{base}: {error}", file=sys.stderr)
            continue
        for way, row in found.items():
            rows.append({"base": base, "way": way, **row})
            gigabytes = row.get("peak_memory_bytes", 0) / 2**30
            print(
                f"{base:14} {way:14} {row['runs_an_hour']:9.0f} runs an hour "
                f"{row['seconds']:7.2f} s {gigabytes:6.2f} GiB",
                flush=True,
            )
        if given.json:
            settings = {n: v for n, v in vars(given).items() if n != "json"}
            with open(given.json, "w") as file:
                json.dump({"device": device_name(), **settings, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
