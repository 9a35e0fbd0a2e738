"""Folding deltas into the base's weights, without a line of code in any method.

A delta can be folded in if and only if its host, delta included, is an affine map
f(x) = W x + b. Then b = f(0), and row i of Wᵀ is f(eᵢ) − b. So we probe: zero and the identity
matrix go through the host in float64, and a few random inputs tell whether it really is affine.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .attachment import release
from .delta import Delta, planted
from .errors import Refused
from .places import is_conv1d, is_linear, widths
from .ports.parameters import put, taken
from .ports.weight import WeightDelta, rewrite
from .record import Record, check_whole, enabled_record, record_of


@torch.no_grad()
def merge(model: nn.Module, keep: bool = False) -> nn.Module:
    """Fold everything that is in use into the base's own weights; return the plain model.

    The weights are computed in float64 and rounded once to the base's type. The head and other
    trained base parameters stay as trained. All or nothing: when one delta cannot be merged, the
    model stays as it was.

    Args:
        model: changed in place and returned.
        keep: so that `unmerge` brings everything back, bit for bit. Until then the deltas stay in
            the model and do nothing, and each changed weight is held a second time, in host memory:
            as many bytes as the weights that carry deltas.

    Raises:
        Refused: nothing is attached or in use, the model is sharded, a delta cannot be merged, what
            is set aside would be lost, or what a delta makes of the base holds NaN or infinite
            numbers; the reason is given.
    """
    record = enabled_record(model, "Merging")
    check_whole(model, "Merging")
    idle = [name for name in record.methods if name not in record.in_use]
    if idle and not keep:
        raise Refused(
            f"{', '.join(map(repr, idle))} would be lost: attached, and not in use. Detach what is "
            "not wanted, or merge(model, keep=True)."
        )
    if not record.in_use:
        raise Refused("Nothing is in use that could be merged. Choose by pftlab.use.")
    hosts: dict[str, nn.Module] = {}
    for path, host, _, delta in planted(model):
        if delta.weight and not isinstance(delta, WeightDelta):
            _check_host(path, host, delta)
            hosts[path] = host
    _check_trained(model, record)
    changed = _changed_weights(model)
    for path, host in hosts.items():
        changed += _folded(host, *_affine(path, host))
    if not keep:
        release(model)
        _write(changed)
        return model
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with record.passes.alone():
        record.merged = taken(model, [names[id(parameter)] for parameter, _ in changed])
        for *_, delta in planted(model):
            delta.weight = 0.0
        _write(changed)
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Take out what `merge(model, keep=True)` has folded in: the model as it was, bit for bit.

    Raises:
        Refused: nothing is attached, or nothing is merged that was kept.
    """
    record = record_of(model)
    if record.merged is None:
        raise Refused("Nothing is merged. To take it out again, merge(model, keep=True).")
    with record.passes.alone():
        put(model, record.merged)
        record.merged = None
        for *_, delta in planted(model):
            delta.weight = record.in_use.get(delta.method_name, 0.0)
    return model


def _folded(host: Any, weight: Tensor, bias: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
    """The parameters of a linear map, each with its new value."""
    new = [(host.weight, weight if is_conv1d(host) else weight.T)]
    return new if host.bias is None else [*new, (host.bias, bias)]


def _write(changed: list[tuple[nn.Parameter, Tensor]]) -> None:
    for parameter, value in changed:
        parameter.copy_(value)


def _changed_weights(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """What the weight deltas make of their parameters, each delta once, in order of planting."""
    values: dict[int, tuple[nn.Parameter, Tensor]] = {}
    seen: set[int] = set()
    for path, host, _, delta in planted(model):
        if delta.weight and isinstance(delta, WeightDelta) and id(delta) not in seen:
            seen.add(id(delta))
            parameter = host.get_parameter(delta.leaf)
            value = values.get(id(parameter), (parameter, parameter.detach()))[1]
            changed = rewrite(delta, value)
            _check_finite(changed, f"{delta.method_name!r} at {path}.{delta.leaf}")
            values[id(parameter)] = (parameter, changed)
    return list(values.values())


def _check_host(path: str, host: Any, delta: Delta) -> None:
    reason = ""
    if not is_linear(host):
        reason = f"it acts on a {type(host).__name__}, which has no weight matrix to take it up"
    elif delta.reads_elsewhere:
        reason = "it reads its input at another place than it writes"
    elif not host.weight.is_floating_point():
        reason = "its host is quantised; load the base in 16 bits to merge"
    elif host.weight.is_meta:
        reason = "its host has no values (device 'meta'); load the base to merge"
    if reason:
        raise Refused(f"{delta.method_name!r} at {path} cannot be merged: {reason}.")
    for name, tensor in delta.state_dict().items():
        _check_finite(tensor, f"{delta.method_name!r} at {path} ({name})")


def _check_trained(model: nn.Module, record: Record) -> None:
    for name in record.originals:
        who = ", ".join(map(repr, record.trained_by.get(name, ["the head"])))
        _check_finite(model.get_parameter(name), f"{who} at {name}")


def _check_finite(tensor: Tensor, what: str) -> None:
    if tensor.is_meta or not tensor.is_floating_point() or bool(tensor.isfinite().all()):
        return
    raise Refused(
        f"{what} cannot be merged: it holds NaN or infinite numbers. Go back to a checkpoint from "
        "before the training diverged, or train again at a lower learning rate."
    )


def _affine(path: str, host: nn.Module) -> tuple[Tensor, Tensor]:
    """(W, b) with f(x) = x W + b in float64, W (d_in, d_out)."""
    f = copy.deepcopy(host).double().eval()
    d_in, _ = widths(host)  # type: ignore[misc]
    assert d_in is not None, "the host is a linear map"
    device = next(host.parameters()).device
    identity = torch.eye(d_in, dtype=torch.float64, device=device)
    bias = f(torch.zeros_like(identity[:1]))[0]
    weight = f(identity) - bias
    names = ", ".join(sorted({c.method_name for c in host.children() if isinstance(c, Delta)}))
    for tensor in (weight, bias):
        _check_finite(tensor, f"{names} at {path}")
    generator = torch.Generator().manual_seed(0)  # the caller's random numbers stay untouched
    x = torch.randn(8, d_in, dtype=torch.float64, generator=generator).to(identity.device)
    if not torch.allclose(f(x), x @ weight + bias, rtol=1e-7, atol=1e-9):
        raise Refused(
            f"{names} at {path} cannot be merged: with it, the {type(host).__name__} is no affine "
            "map. Keep it attached."
        )
    if host.bias is None and bias.abs().max() > 0:
        raise Refused(f"The delta at {path} adds a bias, and its {type(host).__name__} has none.")
    return weight, bias
