"""The state of a run on disk: one safetensors file, replaced in one step, so never half a state.

Tensors: "model.<name>" as training left them, "best.<name>" of the best evaluation so far, and
"optimiser.<kind>.<name>" of AdamW, under the parameter's name in the model. The header holds the
`Run` as JSON. Random numbers need no state: each step begins its own. Nothing is ever unpickled.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..core.errors import BadCheckpoint, BadValue
from ..core.files import atomic_write
from ..core.method import load_trainable_state, trainable_state
from .run import Run

STATE = "training_state.safetensors"


@dataclass
class State:
    """What a saved run goes on from.

    Attributes:
        run: its record.
        model: name → tensor, as `trainable_state` gives them.
        best: the same, at the best evaluation; empty before the first.
        optimiser: "<kind>.<parameter's name>" → tensor.
    """

    run: Run
    model: dict[str, Tensor]
    best: dict[str, Tensor]
    optimiser: dict[str, Tensor]


def prepare_folder(folder: Path, keep_state: bool) -> None:
    """Remove what a run that was killed while writing left behind, and an unwanted state."""
    for file in folder.glob(f".{STATE}.*"):
        file.unlink(missing_ok=True)
    if not keep_state:
        (folder / STATE).unlink(missing_ok=True)


def save_state(
    folder: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    run: Run,
) -> None:
    """Write the state of a run into `folder`."""
    tensors = {f"model.{n}": t for n, t in trainable_state(model).items()}
    tensors |= {f"best.{n}": t for n, t in best.items()}
    for name, parameter in _named(model):
        for kind, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{kind}.{name}"] = value
    tensors = {n: t.detach().to("cpu", copy=True).contiguous() for n, t in tensors.items()}
    with atomic_write(folder / STATE) as path:
        save_file(tensors, path, metadata={"run": json.dumps(run.to_dict())})


def read_state(folder: Path, arguments: dict[str, Any]) -> State | None:
    """The state in `folder`, or None if nothing was saved there.

    Raises:
        BadCheckpoint: the file is damaged, or the run had other arguments.
    """
    if not (folder / STATE).is_file():
        return None
    try:
        with safe_open(folder / STATE, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            run = Run(**json.loads(file.metadata()["run"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(
            f"{STATE} in {str(folder)!r} cannot be read ({error}). Remove it, or give another "
            "folder, to begin anew."
        ) from error
    if different := _different(run.arguments, json.loads(json.dumps(arguments))):
        raise BadCheckpoint(
            f"{str(folder)!r} holds another run: {', '.join(different)}. Use the same arguments, "
            "another folder, or resume=False to begin anew."
        )
    run.interrupted = False
    return State(
        run, section(tensors, "model"), section(tensors, "best"), section(tensors, "optimiser")
    )


def restore_model(model: nn.Module, state: State) -> None:
    """Put the trained tensors of a saved state into `model`.

    Raises:
        BadCheckpoint: they are not those of this model.
    """
    try:
        load_trainable_state(model, state.model)
    except BadValue as error:
        raise BadCheckpoint(f"{STATE} was saved from another model. {error}") from error


def restore_optimiser(optimiser: torch.optim.Optimizer, model: nn.Module, state: State) -> None:
    """Put the moments of a saved state into `optimiser`, by the names of the parameters.

    Names, not places: a parameter that a method has retired since leaves no gap.
    """
    names = {id(p): name for name, p in _named(model)}
    moments: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.optimiser.items():
        kind, _, name = key.partition(".")
        moments.setdefault(name, {})[kind] = tensor
    trained = [names[id(p)] for group in optimiser.param_groups for p in group["params"]]
    optimiser.load_state_dict(
        {
            "state": {i: moments[name] for i, name in enumerate(trained) if name in moments},
            "param_groups": optimiser.state_dict()["param_groups"],
        }
    )


def _named(model: nn.Module) -> list[tuple[str, Tensor]]:
    """All that an optimiser may be given: GaLore's decay is a buffer."""
    return [*model.named_parameters(), *model.named_buffers()]


def section(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors whose names begin with "<name>.", without it."""
    return {k.removeprefix(f"{name}."): t for k, t in tensors.items() if k.startswith(f"{name}.")}


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
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else repr(value)
