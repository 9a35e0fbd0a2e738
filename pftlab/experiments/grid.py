"""A grid of runs: every method with every seed, each run once, whatever happens in between."""

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..bases import load_base
from ..core.count import count
from ..core.errors import BadValue
from ..core.files import check_writable
from ..core.method import Method
from ..tasks import Task, load_task
from ..training import evaluate, train
from .results import Result, append, key_of, load_results

SEARCHED = (0.3, 1.0, 3.0)  # factors on a method's own learning rate that the search tries
VERSIONS = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


@dataclass(frozen=True)
class Grid:
    """Methods × seeds on one base and one task, under one protocol.

    Every method gets the same examples in the same order, the same number of steps and the same
    schedule. The learning rate is the method's own; with `search` it is the best of three factors
    on it, by the validation split, at the first seed. The test split is scored once for each run.

    Attributes:
        base: name for `load_base`.
        task: name for `load_task`.
        methods: the methods with their hyper-parameters.
        seeds: of head, order and dropout.
        steps, batch_size, max_length, precision: see `train`.
        size: preset of a bundled task.
        limit: train on a balanced subset of this many examples; None: on all.
        search: tune each method's learning rate.
        lr: one peak learning rate for all methods, in place of their own.
    """

    base: str
    task: str
    methods: tuple[Method, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 300
    batch_size: int = 16
    max_length: int = 128
    precision: str = "fp32"
    size: str = "default"
    limit: int | None = None
    search: bool = False
    lr: float | None = None
    command: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.methods or not self.seeds:
            raise BadValue("A grid needs at least one method and one seed.")

    def run(self, out: str | Path, *, workers: int = 1, progress: bool = True) -> list[Result]:
        """Do what is not yet done in `out`, append its lines, and return all of the grid's results.

        Args:
            out: a .jsonl file; made if need be.
            workers: processes; on one GPU several small runs share it well.
            progress: show a progress bar over the runs.

        Raises:
            Unavailable: `out` cannot be written, or base or task cannot be loaded.
        """
        out = Path(out)
        check_writable(out.parent)
        task = self.load_task()
        rates = {i: self._rate(i, task) for i in range(len(self.methods))}
        wanted = {
            self.key(i, seed, rates[i], task): (i, seed, rates[i])
            for seed in self.seeds
            for i in range(len(self.methods))
        }
        done = {r.key: r for r in (load_results(out) if out.exists() else [])}
        missing = [job for key, job in wanted.items() if key not in done]
        bar = tqdm(
            total=len(wanted),
            initial=len(wanted) - len(missing),
            desc=f"{self.task} on {self.base}",
            unit="run",
            disable=not progress,
            file=sys.stderr,
        )
        with bar:
            for result in self._results(missing, workers):
                append(out, result)
                done[result.key] = result
                bar.set_postfix_str(f"{result.method} {result.score:.3f}")
                bar.update()
        return [done[key] for key in wanted]

    def load_task(self) -> Task:
        """The task, cut down to `limit` training examples."""
        task = load_task(self.task, size=self.size)
        return task if self.limit is None else task.subset(self.limit, seed=0)

    def key(self, index: int, seed: int, lr: float, task: Task) -> str:
        """What identifies one run of this grid."""
        method = self.methods[index]
        return key_of(
            method.name, asdict(method), self.base, self.task, task.fingerprint,  # type: ignore[call-overload]
            self.protocol(lr), seed,
        )  # fmt: skip

    def protocol(self, lr: float) -> dict[str, Any]:
        """The training arguments that decide a result."""
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "max_length": self.max_length,
            "precision": self.precision,
            "lr": lr,
            "tuned": self.search,
        }

    def _rate(self, index: int, task: Task) -> float:
        method = self.methods[index]
        if self.lr is not None:
            return self.lr
        if not self.search:
            return method.learning_rate
        rates = [factor * method.learning_rate for factor in SEARCHED]
        scores = [
            self._train(method, self.seeds[0], lr, task)[1].metrics[task.metric] for lr in rates
        ]
        return rates[scores.index(max(scores))]

    def _results(self, jobs: Sequence[tuple[int, int, float]], workers: int) -> Iterator[Result]:
        if workers == 1:
            for job in jobs:
                yield self.one(*job)
            return
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(self.one, *job) for job in jobs]
            for future in as_completed(futures):
                yield future.result()

    def _train(self, method: Method, seed: int, lr: float, task: Task) -> tuple[Any, Any]:
        model = load_base(self.base, num_labels=task.num_labels, task=task.model_task, seed=seed)
        method.attach(model)
        run = train(
            model,
            task,
            steps=self.steps,
            batch_size=self.batch_size,
            max_length=self.max_length,
            precision=self.precision,
            lr=lr,
            seed=seed,
            evaluate_every=self.steps,
            progress=False,
        )
        return model, run

    def one(self, index: int, seed: int, lr: float) -> Result:
        """Do one run."""
        method, task = self.methods[index], self.load_task()
        model, run = self._train(method, seed, lr, task)
        if run.interrupted:
            raise KeyboardInterrupt
        test = evaluate(model, task, "test", max_length=self.max_length)
        info = getattr(model, "pftlab_base", None)
        return Result(
            key=self.key(index, seed, lr, task),
            method=method.name,
            hyperparameters=asdict(method),  # type: ignore[call-overload]
            base={"name": self.base, "sha256": info.sha256 if info else None},
            task={
                "name": self.task,
                "fingerprint": task.fingerprint,
                "metric": task.metric,
                **{name: len(rows) for name, rows in task.splits.items()},
            },
            training=self.protocol(lr),
            seed=seed,
            validation=run.metrics,
            test=test,
            parameters=asdict(count(model)),
            seconds=run.seconds,
            examples_per_second=run.examples_per_second,
            peak_memory_bytes=run.peak_memory_bytes,
            device=device_name(),
            versions={"python": platform.python_version(), **{v: version(v) for v in VERSIONS}},
            commit=commit(),
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=self.command,
        )


def device_name() -> str:
    """The GPU's name, or the processor's with the number of threads in use."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {torch.get_num_threads()} thread(s)"


def commit() -> str:
    """The commit of the source that runs, with "+" behind it if it was changed since."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", os.fspath(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "pftlab"], capture_output=True, text=True
        )
    except OSError:
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
