"""A grid of runs: every method with every seed, each run once, whatever happens in between."""

import datetime
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from itertools import cycle
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from tqdm.auto import tqdm

from ..bases import load_base
from ..bases.find import plain
from ..core.attachment import detach
from ..core.count import count
from ..core.errors import BadValue, Unavailable
from ..core.files import check_writable
from ..core.method import Method
from ..scores import score_of
from ..tasks import Task, load_task
from ..training import fine_tune
from ..training.step import changes_steps
from .memory import training_memory
from .results import Result, append, key_of, load_results

SEARCHED = (0.3, 1.0, 3.0)  # factors on a method's own learning rate that the search tries
VERSIONS = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


@dataclass(frozen=True)
class Job:
    """One run of a grid.

    Attributes:
        method: with its hyper-parameters.
        seed: of head, new parameters, order and dropout.
        lr: peak learning rate.
        lr_from: how it was found; see `Result`.
        search: part of the search for a learning rate: validation only, no look at the test split.
    """

    method: Method
    seed: int
    lr: float
    lr_from: str = "default"
    search: bool = False

    def __str__(self) -> str:
        return f"{self.method.name}, " + (
            f"lr {self.lr:.0e}" if self.search else f"seed {self.seed}"
        )


@dataclass(frozen=True)
class Grid:
    """Methods × seeds on one base and one task, under one protocol.

    Every method gets the same examples in the same order, the same number of steps and the same
    schedule, and is scored as its last step left it. The learning rate is the method's own; with
    `search` it is the best of some factors on it, by the score on the validation split (by the
    loss there where scores are equal), at the first seed.
    The test split is scored once for each run, and never in a search.

    Attributes:
        base: for `load_base`: a name, a hub id or a folder.
        task: name for `load_task`.
        methods: the methods with their hyper-parameters.
        seeds: of head, new parameters, order and dropout.
        steps: see `train`, as the next three.
        batch_size: examples in a step.
        max_length: in tokens.
        precision: "fp32" or "bf16".
        size: preset of a bundled task.
        limit: train on a balanced subset of this many examples; None: on all.
        search: tune each method's learning rate.
        factors: on a method's own learning rate, which the search tries.
        pretrained: False: the same architecture from random weights, the control of every claim
            about pretraining.
        lr: one peak learning rate for all methods, in place of their own.
        capture: record steps on the GPU where the method allows it; see `train`. Not part of what
            identifies a run, as the device is none: both change rounding and what dropout draws.
        command: how the grid was called; written into the results.

    Raises:
        BadValue: no methods, no seeds or no factors, or both a learning rate and a search.
        Unavailable: steps are to be recorded, and there is no GPU.
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
    factors: tuple[float, ...] = SEARCHED
    pretrained: bool = True
    lr: float | None = None
    capture: bool = field(default=False, compare=False)
    command: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", plain(self.base))
        if not self.methods or not self.seeds:
            raise BadValue("A grid needs at least one method and one seed. Name them.")
        if self.search and self.lr is not None:
            raise BadValue(
                f"lr={self.lr:g} was given together with a search for learning rates. "
                "Choose one of the two."
            )
        if self.capture and not torch.cuda.is_available():
            raise Unavailable(
                "capture=True records steps on a GPU, and there is none. Leave it out."
            )
        if not self.factors or min(self.factors) <= 0:
            raise BadValue(f"factors={self.factors}: a search tries at least one, above zero.")

    def run(self, out: str | Path, *, workers: int = 1, progress: bool = True) -> list[Result]:
        """Do what is not yet done in `out`, append its lines, and return all of the grid's results.

        Args:
            out: a .jsonl file; made if need be.
            workers: processes, dealt out to the GPUs that are visible; several small runs share
                one well. Where they do, the measured times are those of a shared device.
            progress: show a progress bar over the runs.

        Raises:
            BadValue, UnknownName, Refused: a method does not fit the base; said before any run.
            Unavailable: `out` cannot be written, base or task cannot be loaded, or a worker died.
        """
        out = Path(out)
        if workers < 1:
            raise BadValue(f"workers={workers}: at least one process must do the work.")
        if out.is_dir():
            raise Unavailable(f"{str(out)!r} is a folder. Give the name of a .jsonl file.")
        check_writable(out.parent)
        task = self.load_task()
        sha256 = self._try_methods(task)
        done: dict[str, Result] = {}
        if out.exists():
            done = {r.key: r for s in (True, False) for r in load_results(out, searches=s)}
        sharing = -(-workers // max(1, len(visible_gpus())))
        origin = {"commit": commit(), "sharing": sharing}

        def finish(jobs: Sequence[Job]) -> list[Result]:
            keys = [self.key(job, sha256, task.fingerprint) for job in jobs]
            missing = [job for key, job in zip(keys, jobs, strict=True) if key not in done]
            bar.update(len(jobs) - len(missing))
            for result in self._results(missing, workers, origin, bar):
                append(out, result)
                done[result.key] = result
                bar.update()
            return [done[key] for key in keys]

        searched = self._searches()
        total = len(searched) + len(self.methods) * len(self.seeds)
        with tqdm(total=total, desc=f"{self.task} on {self.base}", unit="run",
                  disable=not progress, file=sys.stderr) as bar:  # fmt: skip
            found = finish(searched)
            return finish(self._finals(found, task.metric))

    def load_task(self) -> Task:
        """The task, cut down to `limit` training examples."""
        return _load_task(self.task, self.size, self.limit, os.environ.get("PFTLAB_DATA"))

    def key(self, job: Job, sha256: str | None, fingerprint: str) -> str:
        """What identifies one run: all that decides its result, and nothing else.

        How a learning rate was found does not belong to it, and neither does the device: equal
        runs on two devices differ by rounding and by what dropout draws.
        """
        return key_of(
            job.method.name, _settings(job.method), self.base_name, sha256, self.task, fingerprint,
            self.protocol(job.lr), job.seed, "search" if job.search else "final",
        )  # fmt: skip

    @property
    def base_name(self) -> str:
        """The base as the results name it."""
        return self.base if self.pretrained else f"{self.base} (random weights)"

    def protocol(self, lr: float) -> dict[str, Any]:
        """The training arguments that decide a result."""
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "max_length": self.max_length,
            "precision": self.precision,
            "lr": lr,
        }

    def one(self, job: Job, commit: str = "", sharing: int = 1) -> Result:
        """Do one run.

        Args:
            job: which.
            commit: of the source, for the record.
            sharing: how many runs share the device, for the record.

        Raises:
            KeyboardInterrupt: it was stopped before its last step.
        """
        task = self.load_task()
        done = fine_tune(
            self.base,
            job.method,
            task,
            seed=job.seed,
            pretrained=self.pretrained,
            test=not job.search,
            forgetting=not job.search,
            steps=self.steps,
            batch_size=self.batch_size,
            max_length=self.max_length,
            precision=self.precision,
            capture=self.captures(job.method),
            lr=job.lr,
            evaluate_every=self.steps,
            progress=False,
        )
        model: Any = done.model
        run = done.run
        if run.interrupted:
            raise KeyboardInterrupt
        base = model.pftlab_base
        return Result(
            key=self.key(job, base.sha256, task.fingerprint),
            method=job.method.name,
            hyperparameters=_settings(job.method),
            base={"name": self.base_name, "sha256": base.sha256, "origin": base.origin},
            task={
                "name": self.task,
                "fingerprint": task.fingerprint,
                "metric": task.metric,
                **{name: len(rows) for name, rows in task.splits.items()},
            },
            training=self.protocol(job.lr),
            seed=job.seed,
            validation=run.metrics,
            test=done.test,
            parameters=asdict(count(model)),
            seconds=run.seconds,
            examples_per_second=run.examples_per_second,
            peak_memory_bytes=run.peak_memory_bytes,
            device=device_name()
            + (f", {sharing} runs at a time" if sharing > 1 else "")
            + (", captured" if self.captures(job.method) else ""),
            memory=training_memory(
                model, task, batch_size=self.batch_size, max_length=self.max_length
            ),
            forgetting=asdict(done.forgetting) if done.forgetting else {},
            lr_from=job.lr_from,
            versions={"python": platform.python_version(), **{v: version(v) for v in VERSIONS}},
            commit=commit,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=self.command,
        )

    def captures(self, method: Method) -> bool:
        """Whether the steps of a method are recorded."""
        return self.capture and not changes_steps(type(method))

    def _try_methods(self, task: Task) -> str | None:
        """Attach every method once, so that one that cannot be is known before hours of work.

        Returns:
            The sha256 of the base's weights; None: they are random.
        """
        model: Any = load_base(self.base, num_labels=task.num_labels, task=task.model_task)
        for method in self.methods:
            method.attach(model)
            detach(model)
        return model.pftlab_base.sha256 if self.pretrained else None

    def _searches(self) -> list[Job]:
        if not self.search:
            return []
        return [
            Job(method, self.seeds[0], factor * method.learning_rate, "search", search=True)
            for method in self.methods
            for factor in self.factors
        ]

    def _finals(self, found: Sequence[Result], metric: str) -> list[Job]:
        """Every method with every seed, seed by seed, at the rates that were found."""
        jobs = []
        for i, method in enumerate(self.methods):
            lr, lr_from = method.learning_rate, "default"
            if self.lr is not None:
                lr, lr_from = self.lr, "given"
            if self.search:
                tried = found[i * len(self.factors) : (i + 1) * len(self.factors)]
                # few texts make equal scores; the loss tells more
                order = {name: score_of(name).worth for name in (metric, "validation_loss")}
                best = max(
                    tried, key=lambda r: [worth(r.validation[n]) for n, worth in order.items()]
                )
                lr, lr_from = best.training["lr"], "search"
            jobs.append(Job(method, self.seeds[0], lr, lr_from))
        return [replace(job, seed=seed) for seed in self.seeds for job in jobs]

    def _results(
        self, jobs: Sequence[Job], workers: int, origin: dict[str, Any], bar: Any
    ) -> Iterator[Result]:
        """Do the jobs; yield each result as soon as it is there."""
        if workers == 1 or len(jobs) < 2:
            for job in jobs:
                bar.set_postfix_str(str(job))
                yield self.one(job, **origin)
            return
        workers = min(workers, len(jobs))
        others = set(active_children())
        context = get_context("spawn")
        gpus: Any = context.SimpleQueue()  # one for each worker, in turn
        for _, gpu in zip(range(workers), cycle(visible_gpus() or [""]), strict=False):
            gpus.put(gpu)
        threads = max(1, (os.cpu_count() or 1) // workers)
        pool = ProcessPoolExecutor(workers, context, _prepare_worker, (threads, gpus))
        try:
            futures = [pool.submit(self.one, job, **origin) for job in jobs]
            for future in as_completed(futures):
                yield future.result()
            pool.shutdown()
        except BrokenProcessPool as error:
            raise Unavailable(
                "A worker process ended without a result; perhaps memory ran out. What was "
                f"finished is kept: go on with fewer than {workers} workers."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(active_children()) - others:
                child.terminate()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
    return gpus[: torch.cuda.device_count()]


def _prepare_worker(threads: int, gpus: Any) -> None:
    """Share the processor and the GPUs, leave Ctrl-C to the parent, and do not outlive it.

    The GPU is chosen before CUDA begins in this process, which then sees no other.
    """
    if gpu := gpus.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    torch.set_num_threads(threads)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


@lru_cache(maxsize=2)
def _load_task(name: str, size: str, limit: int | None, data: str | None) -> Task:
    """One task for all runs of a process; `data` is where real tasks are looked for."""
    task = load_task(name, size=size)
    return task if limit is None else task.subset(limit, seed=0)


def _settings(method: Method) -> dict[str, Any]:
    return asdict(method)  # type: ignore[call-overload]


def device_name() -> str:
    """The GPU's name, or the processor's with the number of threads in use."""
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
    """The commit of the source as it is now, with "+" behind it if it was changed since.

    The environment variable PFTLAB_COMMIT says it for a copy of the source without its history.
    """
    if told := os.environ.get("PFTLAB_COMMIT"):
        return told
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
