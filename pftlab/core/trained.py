"""What training changes, as names and tensors: for files, for copies, to go on with."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from .delta import Delta, planted
from .errors import BadValue
from .record import Record, attached, enabled_record


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Exactly what training changes: the deltas' tensors and the trained base parameters.

    Returns:
        Name in the model → tensor (detached, not copied). The head is among them.

    Raises:
        Refused: nothing is attached, or it is disabled.
    """
    record = enabled_record(model, "Reading what is trained")
    return planted_state(model) | {
        n: model.get_parameter(n).detach() for n in _trained_names(record)
    }


def planted_state(model: nn.Module, method_name: str | None = None) -> dict[str, Tensor]:
    """Name in the model → tensor of the deltas, of one attachment or of all."""
    state: dict[str, Tensor] = {}
    shared: set[int] = set()
    for prefix, delta in _prefixed(model, method_name):
        own = delta.state_dict(keep_vars=True)
        for name, tensor in delta.pack().items():
            source = id(own.get(name, tensor))
            if source not in shared:  # what deltas share is stored under its first name
                state[prefix + name] = tensor
            shared.add(source)
    return state


def load_trainable_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy `state`, as `trainable_state` gave it, into `model`.

    Raises:
        Refused: nothing is attached, or it is disabled.
        BadValue: names or shapes differ; no value has been copied then.
    """
    record = enabled_record(model, "Loading")
    fill_state(model, state, attached(model), _trained_names(record))


def fill_state(
    model: nn.Module,
    state: dict[str, Tensor],
    method_names: Collection[str],
    trained: Collection[str],
) -> None:
    """Copy `state` into the deltas of some attachments and into some base parameters.

    Raises:
        BadValue: names or shapes differ; no value has been copied then.
    """
    deltas = [(p, d) for p, d in _prefixed(model) if d.method_name in method_names]
    packed = {
        prefix: {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        for prefix, _ in deltas
    }
    for prefix, delta in deltas:
        delta.fit(packed[prefix])
    own = {n: model.get_parameter(n).detach() for n in trained}
    for name in method_names:
        own |= planted_state(model, name)
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        raise BadValue(
            f"These tensors do not belong to what is attached ({', '.join(method_names)}): "
            f"missing {missing[:3] or 'none'}, unknown {unknown[:3] or 'none'}. "
            "Attach the same methods with the same hyper-parameters first."
        )
    for n, tensor in own.items():
        if tensor.shape != state[n].shape:
            raise BadValue(
                f"{n} has shape {tuple(state[n].shape)} in the file and {tuple(tensor.shape)} "
                "in the model. Use the base and the hyper-parameters that it was trained with."
            )
    for prefix, delta in deltas:
        delta.unpack(packed[prefix])
    with torch.no_grad():
        for n in trained:
            model.get_parameter(n).copy_(state[n])


def _trained_names(record: Record) -> list[str]:
    """Names of the base's own parameters that are trained: the methods' and the head's."""
    return [n for n in record.originals if n in record.trained_now or n in record.head]


def _prefixed(model: nn.Module, method_name: str | None = None) -> list[tuple[str, Delta]]:
    """Every planted delta once, with what stands before its tensors' names in the model."""
    found: dict[int, tuple[str, Delta]] = {}
    for path, _, child, delta in planted(model, method_name):
        found.setdefault(id(delta), (f"{path}.{child}.".lstrip("."), delta))
    return list(found.values())
