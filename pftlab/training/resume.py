"""The state of a run on disk: one safetensors file, replaced in one step, so never half a state.

Tensors: "model.<name>" as training left them, "best.<name>" of the best evaluation so far, and
"optimiser.<number>.<name>" by the parameter's place in the optimiser. The header holds everything
else as JSON. Random numbers need no state: each step seeds its own.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..core.errors import BadCheckpoint
from ..core.files import atomic_write
from ..core.method import load_trainable_state, trainable_state
from .run import Run

STATE = "training_state.safetensors"


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
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{n}": t for n, t in state.items() if isinstance(t, Tensor)}
    tensors = {n: t.detach().to("cpu", copy=True).contiguous() for n, t in tensors.items()}
    with atomic_write(folder / STATE) as path:
        save_file(tensors, path, metadata={"run": json.dumps(run.to_dict())})


def read_state(folder: Path, arguments: dict[str, Any]) -> tuple[Run, dict[str, Tensor]] | None:
    """The run and the tensors in `folder`, or None if nothing was saved there.

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
    ours = json.loads(json.dumps(arguments))
    if different := sorted(
        k for k in ours.keys() | run.arguments.keys() if ours.get(k) != run.arguments.get(k)
    ):
        name = different[0]
        raise BadCheckpoint(
            f"{str(folder)!r} holds a run with {name}={run.arguments.get(name)!r}, and this one "
            f"has {name}={ours.get(name)!r}. Use the same arguments, another folder, or "
            "resume=False to begin anew."
        )
    return run, tensors


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors whose names begin with "<name>.", without it."""
    return {k.removeprefix(f"{name}."): t for k, t in tensors.items() if k.startswith(f"{name}.")}


def restore_model(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put the trained tensors of a saved state into `model`."""
    load_trainable_state(model, part(tensors, "model"))


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put the moments of a saved state into `optimiser`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in part(tensors, "optimiser").items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict(
        {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
    )
