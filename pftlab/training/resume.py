"""Going on with a run that was saved: the sections "model", "best" and "optimiser" of its state.

"model" has the trained tensors as the last step left them, "best" those of the best evaluation so
far, "optimiser" the moments of AdamW, all by their names in the model; the record is the `Run`.
"""

import json
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..core.errors import BadCheckpoint, BadValue, PftError
from ..core.trained import load_trainable_state, trainable_state
from .optimiser import Optimiser, check_state
from .run import Run
from .state import STATE, RunFolder, damaged

Tensors = dict[str, Tensor]


@dataclass
class Saved:
    """A run to go on with, or a new one.

    Attributes:
        run: its record.
        best: the trained tensors at its best evaluation; empty before the first.
        optimiser: as `Optimiser.state` gave it.
    """

    run: Run
    best: Tensors
    optimiser: Tensors

    @property
    def begun(self) -> bool:
        """Whether steps have been done."""
        return self.run.steps > 0


def resume_run(folder: RunFolder, model: nn.Module, arguments: dict[str, Any]) -> Saved:
    """Read the run in `folder`, and put what it has trained into `model`; without one, a new run.

    Raises:
        BadCheckpoint: the state is damaged, or holds another run; the model is as it was.
    """
    found = folder.read()
    if found is None:
        return Saved(Run(arguments), {}, {})
    record, sections = found
    try:
        run = Run.from_dict(record)
    except ValueError as error:
        raise damaged(folder.path, error) from error
    if different := _different(run.arguments, json.loads(json.dumps(arguments))):
        raise BadCheckpoint(
            f"{str(folder.path)!r} holds another run: {', '.join(different)[:2000]}. Use the same "
            "arguments, another folder, or resume=False to begin anew."
        )
    if not 0 < run.steps <= arguments["steps"]:
        raise damaged(folder.path, f"{run.steps} of {arguments['steps']} steps are done")
    if odd := [n for named in sections.values() for n, t in named.items() if t.is_complex()]:
        raise damaged(folder.path, f"{odd[0]} holds complex numbers")
    run.interrupted = False
    best, optimiser = sections.get("best", {}), sections.get("optimiser", {})
    before = {n: t.clone() for n, t in trainable_state(model).items()}
    try:
        if best:  # now, and not after the last step, it is found out whether it fits
            load_trainable_state(model, best)
        load_trainable_state(model, sections.get("model", {}))
        check_state(optimiser, {name: tensor for tensor, name in names_of(model).items()})
    except Exception as error:  # a delta takes on shapes from the file, and may fail in any way
        load_trainable_state(model, before)
        if not isinstance(error, PftError | LookupError | TypeError | ValueError | RuntimeError):
            raise
        whose = "another model" if isinstance(error, BadValue) else "this model, and is damaged"
        raise BadCheckpoint(f"{STATE} was saved from {whose}. {str(error)[:1000]}") from error
    return Saved(run, best, optimiser)


def save_run(
    folder: RunFolder, model: nn.Module, optimiser: Optimiser, best: Tensors, run: Run
) -> None:
    """Write the state of a run."""
    moments = optimiser.state(names_of(model))
    sections = {"model": trainable_state(model), "best": best, "optimiser": moments}
    folder.write(run.to_dict(), sections)


def names_of(model: nn.Module) -> dict[Tensor, str]:
    """Tensor → its name in the model, of all that an optimiser may move: parameters and buffers."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {tensor: name for name, tensor in named}


def _different(theirs: dict[str, Any], ours: dict[str, Any], prefix: str = "") -> list[str]:
    """Where two runs' arguments differ, each as one phrase."""
    phrases = []
    for name in {**theirs, **ours}:
        a, b = theirs.get(name), ours.get(name)
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            phrases += _different(a, b, f"{prefix}{name}.")
        elif a != b:
            phrases.append(f"{prefix}{name}={_short(a)} (here {_short(b)})")
    return phrases


def _short(value: Any) -> str:
    """An argument as it can be shown: methods by their names, hashes to compare by eye."""
    if isinstance(value, dict):
        return "+".join(value)
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:12]}…"
    return repr(value)[:200]
