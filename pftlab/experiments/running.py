"""One run of a grid: from a job to its line."""

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from ..bases import load_base, load_tokenizer
from ..core.count import Count, count
from ..core.errors import PftError, Refused
from ..core.method import Method
from ..tasks import Task
from ..training import FineTuned, fine_tune, fine_tune_many
from ..training.evaluation import Evaluator
from ..training.step import changes_steps
from .grid import Cell, InContext, Job, settings
from .memory import training_memory
from .origin import device_name, versions
from .outcomes import outcomes
from .protocol import NUMBER
from .results import Failure, Result

_MEMORY: dict[Cell, dict[str, int]] = {}  # of a step, which no seed changes


def run_job(job: Job, commit: str = "", sharing: int = 1, command: str = "") -> Result:
    """Do one run.

    Args:
        job: which.
        commit: of the source, for the record.
        sharing: how many runs share the device, for the record.
        command: how the grid was called, for the record.

    Raises:
        KeyboardInterrupt: it was stopped before its last step.
    """
    cell, task = job.cell, job.cell.load_task()
    if isinstance(cell.method, InContext):
        made = _in_context(job, cell.method, task)
    else:
        done = fine_tune(cell.base, cell.method, task, seed=job.seed, lr=job.lr, **_arguments(job))
        made = _trained(job, task, done)
    return _result(job, task, made, commit, sharing, command)


def run_together(
    jobs: Sequence[Job], commit: str = "", sharing: int = 1, command: str = ""
) -> list[Result]:
    """Do runs of one cell that differ in seed and rate alone, in one pass; see `fine_tune_many`.

    Args:
        jobs: which.
        commit: see `run_job`.
        sharing: likewise.
        command: likewise.

    Raises:
        Refused: they cannot share a pass.
        KeyboardInterrupt: they were stopped before their last step.
    """
    cell, task = jobs[0].cell, jobs[0].cell.load_task()
    if isinstance(cell.method, InContext):
        raise Refused("Nothing is trained in context: there is no pass to share.")
    runs = [(job.seed, job.lr) for job in jobs]
    done = fine_tune_many(cell.base, cell.method, task, runs, **_arguments(jobs[0]))
    return [
        _result(job, task, _trained(job, task, each), commit, sharing, command, len(jobs))
        for job, each in zip(jobs, done, strict=True)
    ]


def _result(
    job: Job, task: Task, made: dict[str, Any], commit: str, sharing: int, command: str,
    together: int = 1,
) -> Result:  # fmt: skip
    cell = job.cell
    return Result(
        key=job.key,
        method=cell.method.name,
        hyperparameters=settings(cell.method),
        task=described(cell, task),
        training=cell.training(job.lr),
        seed=job.seed,
        device=device_name()
        + (f", {sharing} runs at a time" if sharing > 1 else "")
        + (f", {together} in one pass" if together > 1 else "")
        + (", captured" if captures(cell) else ""),
        lr_from=job.lr_from,
        search=job.found,
        versions=versions(),
        commit=commit,
        date=now(),
        command=command,
        protocol=NUMBER,
        **made,
    )


def _arguments(job: Job) -> dict[str, Any]:
    """Of `fine_tune`: what runs of a cell and a stage have in common."""
    cell, protocol = job.cell, job.cell.protocol
    return {
        "pretrained": cell.pretrained,
        "test": not job.search,
        "forgetting": not job.search,
        "steps": protocol.steps,
        "batch_size": protocol.batch_size,
        "max_length": protocol.max_length,
        "precision": protocol.precision,
        "capture": captures(cell),
        "evaluate_every": -(-protocol.steps // protocol.evaluations),
        "progress": False,
    }


def _trained(job: Job, task: Task, done: FineTuned) -> dict[str, Any]:
    """What a line holds of a training."""
    cell, protocol = job.cell, job.cell.protocol
    model: Any = done.model
    run = done.run
    if run.interrupted:
        raise KeyboardInterrupt
    memory: dict[str, int] = {}
    if not job.search:
        if cell not in _MEMORY:
            _MEMORY[cell] = training_memory(
                model, task, batch_size=protocol.batch_size, max_length=protocol.max_length
            )
        memory = _MEMORY[cell]
    return {
        "base": _origin(cell, model),
        "validation": run.metrics,
        "test": done.test,
        "curve": [[e["step"], e[task.metric]] for e in run.history if task.metric in e],
        "texts": outcomes(task, done.pairs) if done.pairs else {},
        "parameters": asdict(count(model)),
        "seconds": run.seconds,
        "examples_per_second": run.examples_per_second,
        "peak_memory_bytes": run.peak_memory_bytes,
        "memory": memory,
        "forgetting": asdict(done.forgetting) if done.forgetting else {},
    }


def _in_context(job: Job, method: InContext, task: Task) -> dict[str, Any]:
    """The base as it is, with solved examples that the seed chooses."""
    cell = job.cell
    model: Any = load_base(cell.base, task=task.model_task)
    if torch.cuda.is_available():
        model.to("cuda")
    score = Evaluator(
        model, task, "test", tokenizer=load_tokenizer(model), shots=method.shots, seed=job.seed,
        max_length=cell.protocol.max_length,
    )  # fmt: skip
    total = sum(parameter.numel() for parameter in model.parameters())
    return {
        "base": _origin(cell, model),
        "validation": {},
        "test": score(),
        "texts": outcomes(task, score.pairs),
        "parameters": asdict(Count(trainable=0, head=0, total=total)),
        "seconds": 0.0,
        "examples_per_second": 0.0,
        "peak_memory_bytes": 0,
    }


def _origin(cell: Cell, model: Any) -> dict[str, Any]:
    base = model.pftlab_base
    return {"name": cell.base_name, "sha256": base.sha256, "origin": base.origin}


def described(cell: Cell, task: Task) -> dict[str, Any]:
    """A task as a line holds it."""
    chosen: dict[str, Any] = {} if cell.size == "default" else {"size": cell.size}
    chosen |= {} if cell.limit is None else {"limit": cell.limit}
    return {
        "name": cell.task_name,
        "fingerprint": task.fingerprint,
        "metric": task.metric,
        **{name: len(rows) for name, rows in task.splits.items()},
        **chosen,
    }


def captures(cell: Cell) -> bool:
    """Whether the steps of a cell are recorded."""
    return cell.capture and isinstance(cell.method, Method) and not changes_steps(type(cell.method))


def failed(job: Job, error: BaseException, commit: str = "", command: str = "") -> Failure:
    """The line of a run that raised `error`.

    A cell that cannot be loaded or attached is refused by a `PftError`; anything else may be the
    machine's fault.
    """
    cell = job.cell
    return Failure(
        key=job.key,
        method=cell.method.name,
        hyperparameters=settings(cell.method),
        base={"name": cell.base_name},
        task={"name": cell.task_name, "fingerprint": cell.load_task().fingerprint},
        training=cell.training(job.lr),
        seed=job.seed,
        stage=job.stage,
        error=f"{type(error).__name__}: {error}"[:500],
        refused=isinstance(error, PftError),
        device=device_name(),
        versions=versions(),
        commit=commit,
        date=now(),
        command=command,
    )


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
