"""Folding deltas into the base's weights, without a line of code in any method.

A delta can be folded in if and only if its host, delta included, is an affine map
f(x) = W x + b. Then b = f(0), and row i of Wᵀ is f(eᵢ) − b. So we probe: zero and the identity
matrix go through the host in float64, and a few random inputs tell whether it really is affine.
"""

import copy

import torch
from torch import Tensor, nn

from .attachment import release
from .delta import Delta, planted
from .errors import Refused
from .record import record_of
from .sites import is_conv1d, widths
from .weights import WeightDelta, rewrite


@torch.no_grad()
def merge(model: nn.Module) -> nn.Module:
    """Fold everything attached into the base's own weights; return the plain model.

    The weights are computed in float64 and rounded once to the base's type. The head and other
    trained base parameters stay as trained. All or nothing: when one delta cannot be merged, the
    model stays as it was.

    Raises:
        Refused: nothing is attached, or a delta cannot be merged; the reason is given.
    """
    record_of(model)
    hosts: dict[str, nn.Module] = {}
    for path, host, _, delta in planted(model):
        if not isinstance(delta, WeightDelta):
            _check_host(path, host, delta)
            hosts[path] = host
    changed = _changed_weights(model)
    folded = [(host, *_affine(path, host)) for path, host in hosts.items()]
    release(model)
    for parameter, value in changed:
        parameter.copy_(value)
    for host, weight, bias in folded:
        host.weight.copy_(weight if is_conv1d(host) else weight.T)
        if host.bias is not None:
            host.bias.copy_(bias)
    return model


def _changed_weights(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """What the weight deltas make of their parameters, each delta once, in order of planting."""
    values: dict[int, tuple[nn.Parameter, Tensor]] = {}
    seen: set[int] = set()
    for _, host, _, delta in planted(model):
        if isinstance(delta, WeightDelta) and id(delta) not in seen:
            seen.add(id(delta))
            parameter = host.get_parameter(delta.leaf)
            value = values.get(id(parameter), (parameter, parameter.detach()))[1]
            values[id(parameter)] = (parameter, rewrite(delta, value))
    return list(values.values())


def _check_host(path: str, host: nn.Module, delta: Delta) -> None:
    reason = ""
    if widths(host) is None or isinstance(host, nn.Embedding):
        reason = f"it acts on a {type(host).__name__}, which has no weight matrix to take it up"
    elif getattr(delta, "tapped", None):
        reason = "it reads its input at another place than it writes"
    elif not host.weight.is_floating_point():  # type: ignore[union-attr]
        reason = "its host is quantised; load the base in 16 bits to merge"
    if reason:
        raise Refused(f"{delta.method_name!r} at {path} cannot be merged: {reason}.")


def _affine(path: str, host: nn.Module) -> tuple[Tensor, Tensor]:
    """(W, b) with f(x) = x W + b in float64, W (d_in, d_out)."""
    f = copy.deepcopy(host).double().eval()
    d_in = widths(host)[0]  # type: ignore[index]
    device = next(host.parameters()).device
    identity = torch.eye(d_in, dtype=torch.float64, device=device)
    bias = f(torch.zeros_like(identity[:1]))[0]
    weight = f(identity) - bias
    generator = torch.Generator().manual_seed(0)  # the caller's random numbers stay untouched
    x = torch.randn(8, d_in, dtype=torch.float64, generator=generator).to(identity.device)
    if not torch.allclose(f(x), x @ weight + bias, rtol=1e-7, atol=1e-9):
        names = {c.method_name for c in host.children() if isinstance(c, Delta)}
        raise Refused(
            f"{', '.join(sorted(names))} at {path} cannot be merged: with it, the "
            f"{type(host).__name__} is no affine map. Keep it attached."
        )
    if host.bias is None and bias.abs().max() > 0:  # type: ignore[union-attr]
        raise Refused(f"The delta at {path} adds a bias, and its {type(host).__name__} has none.")
    return weight, bias
