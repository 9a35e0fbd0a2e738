"""The loop of pretraining: several models side by side, on the same batches."""

import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..core.errors import BadCheckpoint
from ..core.interrupt import stop_on_interrupt
from ..training.optimiser import Optimiser, check_state, schedule
from ..training.resume import names_of
from ..training.run import Run
from ..training.state import RunFolder, damaged
from .held_out import HeldOut, precision
from .objectives import Objective
from .students import Student

WARM_UP = 1000  # steps
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.05  # of matrices
CLIP = 1.0
LOG_EVERY = 100  # steps
SLOW = 10  # steps at first, in which parts are compiled: they tell nothing of the speed


def pretrain(
    students: Mapping[str, Student],
    rates: dict[str, float],
    objective: Objective,
    held_out: HeldOut | None,
    out: Path,
    *,
    steps: int,
    minutes: float | None = None,
    warm_up: int = WARM_UP,
    seed: int = 0,
    evaluate_every: int = 2000,
    evaluate_at: Collection[int] = (),
    progress: bool = True,
) -> Iterator[Run]:
    """Train all students on the same batches; yield the record of the run after each checkpoint.

    Ctrl-C ends after the step at hand, with a checkpoint; the same call goes on from there.

    Args:
        students: name → model with its loss.
        rates: name → peak learning rate.
        objective: where batches come from.
        held_out: what to measure on; None for nothing.
        out: folder of the run's state. A state that is there is gone on from.
        steps: in all, earlier runs counted in; at most that many if `minutes` is given.
        minutes: end after that long; the learning rate then falls by the clock.
        warm_up: steps in which the learning rate rises.
        seed: of batches and masks.
        evaluate_every: steps between two measurements, each with a checkpoint.
        evaluate_at: steps after which there is one more.
        progress: whether to show a progress bar.

    Raises:
        BadCheckpoint: the folder holds another run, or a damaged state.
        Refused: another run is using the folder.
    """
    together = nn.ModuleDict(dict(students))
    optimiser = Optimiser(_groups(students, rates), betas=BETAS)
    generator = torch.Generator(objective.device)
    recent: dict[str, list[Tensor]] = {}
    with RunFolder(out) as place, stop_on_interrupt() as interrupted:
        run = _resume(place, together, optimiser, steps)
        started = time.perf_counter() - run.seconds
        bar = tqdm(range(run.steps + 1, steps + 1), initial=run.steps, total=steps,
                   disable=not progress)  # fmt: skip
        for step in bar:
            run.seconds = time.perf_counter() - started
            total = _planned(step, steps, run.seconds, minutes)
            optimiser.set_rate(schedule(step, total, warm_up / total))
            batch = objective.batch(step - 1, generator.manual_seed(seed * 1_000_003 + step - 1))
            for name, student in students.items():
                with precision(objective.device):
                    losses = student(batch)
                losses["loss"].backward()
                nn.utils.clip_grad_norm_(student.parameters(), CLIP)
                for kind, value in losses.items():
                    recent.setdefault(f"{name}/{kind}", []).append(value.detach())
            optimiser.step()
            run.steps = step

            stops = step == total or interrupted.is_set()
            saves = step % evaluate_every == 0 or step in evaluate_at or stops
            if saves or step % LOG_EVERY == 0:
                entry = {key: torch.stack(values).mean().item() for key, values in recent.items()}
                recent.clear()
                bar.set_postfix({k: f"{v:.3f}" for k, v in entry.items() if k.endswith("/loss")})
                if saves and held_out is not None:
                    entry |= _measured(held_out, students)
                entry = {"step": step, **entry, "seconds": run.seconds}
                run.history.append({key: round(value, 5) for key, value in entry.items()})
            if saves:
                moments = optimiser.state(names_of(together))
                place.write(
                    run.to_dict(),
                    {"model": dict(together.named_parameters()), "optimiser": moments},
                )
                yield run
            if stops:
                return


def _groups(students: Mapping[str, Student], rates: dict[str, float]) -> list[dict[str, Any]]:
    """Matrices decay; biases and norms do not."""
    groups = []
    for name, student in students.items():
        matrices = [p for p in student.parameters() if p.ndim > 1]
        others = [p for p in student.parameters() if p.ndim <= 1]
        groups.append({"params": matrices, "lr": rates[name], "weight_decay": WEIGHT_DECAY})
        groups.append({"params": others, "lr": rates[name], "weight_decay": 0.0})
    return groups


def _planned(step: int, steps: int, seconds: float, minutes: float | None) -> int:
    """Steps of the whole run: as given, or as many as the clock allows at the speed so far."""
    if minutes is None or step <= SLOW:
        return steps
    share = seconds / (60 * minutes)  # of the time, spent on the steps before this one
    return min(steps, max(step, round((step - 1) / share)))


def _measured(held_out: HeldOut, students: Mapping[str, Student]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, student in students.items():
        with torch.compiler.set_stance("force_eager"):  # shapes of its own
            found |= {f"{name}/held_out/{k}": v for k, v in held_out.measure(student).items()}
    return found


def _resume(place: RunFolder, together: nn.ModuleDict, optimiser: Optimiser, steps: int) -> Run:
    """Go on from the last checkpoint, if there is one."""
    names = list(together)
    found = place.read()
    if found is None:
        return Run({"students": names})
    record, sections = found
    try:
        run = Run.from_dict(record)
    except ValueError as error:
        raise damaged(place.path, error) from error
    theirs = run.arguments.get("students")
    if theirs != names or run.steps > steps:
        theirs = ", ".join(theirs) if isinstance(theirs, list) else "no students"
        raise BadCheckpoint(
            f"{str(place.path)!r} holds {theirs} at step {run.steps}, and this run is of "
            f"{', '.join(names)} to step {steps}. Give another --out folder."
        )
    parameters, model = dict(together.named_parameters()), sections.get("model", {})
    if {n: p.shape for n, p in parameters.items()} != {n: t.shape for n, t in model.items()}:
        raise damaged(place.path, "its models are of other sizes")
    moments = sections.get("optimiser", {})
    check_state(moments, parameters)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(model[name])
    optimiser.load(moments, names_of(together))
    return run
