"""Whether a base is the one that an adapter was trained on, in whatever precision it is loaded.

A base is loaded in 32 bits here and in 16 bits there; QLoRA trains on one of 4 bits, and its
adapter is then used on the very base that was rounded. So a checkpoint keeps two things. A digest
of many exact values, to be told from every other base of the same precision. And a few rounded
values of each parameter, to be compared across precisions: they may differ by what rounding to 16
bits can do. Of parameters that are rounded to 8 or 4 bits, the values of all together must point
the same way; that tells another base, not one that differs by less than such rounding does.
"""

import base64
import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .delta import is_planted
from .heads import head_parameters

EXACT, ROWS, FEW = 64, 64, 4  # values of each parameter
ROUNDING = 2.0**-7  # of a number to bfloat16, twice, relative
SMALLEST = 2.0**-23  # what float16 may lose of a number near 0
QUANTISED = ("Params4bit", "Int8Params")  # the parameters of bitsandbytes
LEAST_COSINE = 0.9  # between values and the same in 4 bits it is 0.99


def fingerprint(model: nn.Module, head: Collection[str] | None = None) -> str:
    """A hash of the base's weights, head apart; what is attached does not change it.

    Args:
        model: with or without something attached.
        head: names of the parameters to leave out; None: the model's own head.
    """
    return describe_base(model, head)["digest"]


@torch.no_grad()
def describe_base(model: nn.Module, head: Collection[str] | None = None) -> dict[str, str]:
    """What `difference` needs to know of a base, as text; the arguments are those of `fingerprint`.

    Returns:
        "digest": of the exact values; "shapes": a hash of names and shapes; "types": of the
        parameters; "values": four of each parameter, in the order of their names; "rounded": one
        bit for each parameter, the lowest for the first: whether it is in 8 bits or fewer.
    """
    digest, shapes = hashlib.sha256(), hashlib.sha256()
    types, few, rounded = set(), [], 0
    for number, (name, value, kind, is_rounded) in enumerate(_parameters(model, head)):
        flat = value.flatten()
        places = torch.linspace(0, flat.numel() - 1, EXACT, dtype=torch.float64).round().long()
        ends = value.reshape(len(value) if value.dim() else 1, -1)[-ROWS:, -1]  # new rows are last
        exact = torch.cat([flat[places.to(flat.device)], ends]).to("cpu", torch.float32)
        digest.update(exact.numpy().tobytes())
        shapes.update(f"{name}{tuple(value.shape)}".encode())
        few.append(exact[[0, EXACT // 3, 2 * EXACT // 3, EXACT - 1]].to(torch.bfloat16))
        types.add(kind)
        rounded |= is_rounded << number
    raw = torch.cat(few).view(torch.int16).numpy().tobytes()
    return {
        "digest": digest.hexdigest(),
        "shapes": shapes.hexdigest()[:16],
        "types": " ".join(sorted(types)),
        "values": base64.b64encode(raw).decode(),
        "rounded": f"{rounded:x}",
    }


def difference(base: Any, model: nn.Module, head: Collection[str]) -> str:
    """Why the base described by `base` is another than that of `model`; "": it is the same.

    Args:
        base: what `describe_base` made of the base, or the hash that the first format kept.
        model: with or without something attached.
        head: names of the parameters to leave out.
    """
    if isinstance(base, str):
        return "" if base == _first_format(model, head) else "its weights differ"
    here = describe_base(model, head)
    if base["shapes"] != here["shapes"]:
        return "its parameters have other names or shapes"
    if base["digest"] == here["digest"]:
        return ""
    rounded = int(base["rounded"], 16) | int(here["rounded"], 16)
    if base["types"] == here["types"] and not rounded:
        return _first_difference(base, here, model, head, 0) or (
            "its weights differ in some places, in rows of new tokens perhaps"
        )
    return _first_difference(base, here, model, head, rounded)


def _first_difference(
    base: Mapping[str, str],
    here: Mapping[str, str],
    model: nn.Module,
    head: Collection[str],
    rounded: int,
) -> str:
    names = [name for name, *_ in _parameters(model, head)]
    a, b = _values(base["values"]), _values(here["values"])
    if a.shape != b.shape:
        return "it has another number of parameters"
    allowed = ROUNDING * torch.maximum(a.abs(), b.abs()) + SMALLEST
    same = ((a - b).abs() <= allowed).all(1)
    coarse = torch.tensor([bool(rounded >> number & 1) for number in range(len(names))])
    for name, ok in zip(names, (same | coarse).tolist(), strict=True):
        if not ok:
            return f"{name} has other values"
    cosine = torch.cosine_similarity(a[coarse].flatten(), b[coarse].flatten(), dim=0)
    if coarse.any() and not cosine >= LEAST_COSINE:
        return "its rounded weights are not those of this base"
    return ""


def _values(text: str) -> Tensor:
    raw = bytearray(base64.b64decode(text))
    return torch.frombuffer(raw, dtype=torch.bfloat16).float().view(-1, FEW)


def _parameters(
    model: nn.Module, head: Collection[str] | None
) -> Iterator[tuple[str, Tensor, str, bool]]:
    """(name, value before training, type, whether in 8 bits or fewer) of the base's parameters."""
    record = getattr(model, "pftlab", None)
    if head is None:
        head = record.head if record else head_parameters(model)
    originals = record.originals if record else {}
    for name, parameter in sorted(model.named_parameters(), key=lambda pair: pair[0]):
        if name in head or is_planted(name):
            continue
        value = originals.get(name, parameter).detach()
        kind = type(parameter).__name__
        if kind not in QUANTISED and parameter.dtype.itemsize > 1:
            yield name, value, str(parameter.dtype).removeprefix("torch."), False
        else:
            host = model.get_submodule(name.rpartition(".")[0])
            yield name, _unrounded(parameter, host), kind, True


def _unrounded(parameter: Any, host: Any) -> Tensor:
    """The values of a parameter in 8 bits or fewer, in the base's own shape."""
    if type(parameter).__name__ not in QUANTISED:
        return parameter.detach()
    state = getattr(parameter, "quant_state", None)
    if getattr(state, "packing_format_for_cpu", False):
        value = _reordered(parameter.detach(), state)
    else:
        from transformers.integrations.bitsandbytes import dequantize_bnb_weight

        value = dequantize_bnb_weight(parameter, getattr(host, "state", None))
    source = getattr(host, "source_cls", None)  # GPT-2's is transposed before it is rounded
    return value.T if source is not None and source.__name__ == "Conv1D" else value


def _reordered(packed: Tensor, state: Any) -> Tensor:
    """The values (N, K) of a 4-bit weight that bitsandbytes has reordered for the processor.

    It does so in the first pass on processors that compute with bfloat16, and cannot give the
    values of such a weight. Two columns of 32 rows share 32 bytes: those of rows 0 to 15 are the
    low halves, those of rows 16 to 31 the high halves. A row's scales have become a column.
    """
    n, k = state.shape
    pairs = packed.view(n // 32, k // 2, 16, 2)
    numbers = torch.stack([pairs & 15, pairs >> 4], 2).view(n // 32, k // 2, 32, 2)
    numbers = numbers.transpose(1, 2).reshape(n, k // state.blocksize, state.blocksize)
    value: Tensor = state.code[numbers.int()] * state.absmax.T[..., None]
    return value.view(n, k)


@torch.no_grad()
def _first_format(model: nn.Module, head: Collection[str]) -> str:
    """The hash in checkpoints of format 1: of 64 values of each parameter in bfloat16."""
    digest = hashlib.sha256()
    for name, value, _, _ in _parameters(model, head):
        flat = value.flatten()
        sample = flat[:: max(1, flat.numel() // 64)][:64].to("cpu", torch.bfloat16)
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(sample.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()
