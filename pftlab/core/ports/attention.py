"""Keys and values: a delta rewrites those that an attention module computed.

    K, V  ←  delta(x, K, V)

transformers lets a model choose its attention function by name. Ours, "pftlab", asks the deltas
planted at `attention.keys_values` what to put in the place of keys and values, and then calls
PyTorch's scaled dot-product attention. What they add stands in front, and never enters the cache,
the mask or the positions that the model sees, so that generation, padding and gradient
checkpointing stay as they were.

Two functions are registered under the name. The mask function must never skip the mask: without
one, PyTorch's causal shortcut lines up queries and keys at the top left corner, and a query would
see its prefix and too few tokens.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, pad
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils import output_capturing

from ..delta import PREFIX, Delta, acts, delta_in
from ..errors import Refused
from ..grouped import Part
from ..handover import Handover
from ..places import Port, Site, config_of
from .module import first_input

NAME = "pftlab"


class RewritesKeysValues(Protocol):
    """The call of a delta of this port."""

    def __call__(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, T, d_model), keys and values (B, heads, T, d) → both (B, heads, n + T, d)."""


class KeysValues(Delta):
    """Rewrites keys and values of one attention module, and its output.

    forward: x (B, T, d_model), which the module reads; keys, values (B, heads, T, d) → keys, values
    (B, heads, n + T, d)
    """

    ports: ClassVar[tuple[Port, ...]] = (Port.KEYS_VALUES,)

    def __init__(self) -> None:
        super().__init__()
        self.reading = Handover()  # x, from the module's call to its attention function

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return keys, values

    def finish(
        self, query: Tensor, output: Tensor, scaling: float | None, softcap: float | None
    ) -> Tensor:
        """Rewrite the attention's output.

        query (B, query heads, T, d), output (B, T, query heads, d) → output; `scaling` and
        `softcap` are those of the layer's own `scores`.
        """
        return output


def plant(site: Site, name: str, delta: Delta) -> Iterator[RemovableHandle]:
    """Let the model of `site` call our attention function, and watch that it does."""
    listen(site.model)
    yield site.host.register_forward_pre_hook(partial(_note, name), with_kwargs=True)
    yield site.host.register_forward_hook(partial(_check, name))


def listen(model: nn.Module) -> None:
    """Let `model` call our attention function.

    Raises:
        Refused: the architecture computes its attention without asking transformers.
    """
    if config_of(model)._attn_implementation != NAME:
        model.set_attn_implementation(NAME)  # type: ignore[operator]
    if config_of(model)._attn_implementation != NAME:
        raise Refused(
            f"A {type(model).__name__} does not use the attention interface of transformers, "
            "so that keys and values cannot be added. Use another method or model."
        )


def _note(name: str, host: nn.Module, args: tuple, kwargs: dict) -> None:
    delta = delta_in(host, name)
    assert isinstance(delta, KeysValues)
    delta.reading.leave(first_input(args, kwargs) if acts(delta) else None)


def _check(name: str, host: nn.Module, args: tuple, output: Any) -> None:
    """Raise Refused if the attention was computed without our function."""
    delta = delta_in(host, name)
    assert isinstance(delta, KeysValues)
    if delta.reading.take() is not None:
        now = getattr(getattr(host, "config", None), "_attn_implementation", None)
        raise Refused(
            f"{delta.method_name!r} acts through the attention implementation {NAME!r}, and this "
            f"pass ran with {now!r}. Call model.set_attn_implementation({NAME!r}), which can give "
            "attention weights too, or detach the method."
        )


def _mask(*args: Any, **kwargs: Any) -> Tensor:
    kwargs["allow_is_causal_skip"] = kwargs["allow_is_bidirectional_skip"] = False
    mask = sdpa_mask(*args, **kwargs)
    assert mask is not None, "a mask that may not be skipped was skipped"
    return mask


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """Attention with what the deltas of `module` make of keys and values.

    Returns:
        The output (B, T, query heads, d) and, where they are asked for, the weights (B, query
        heads, T, n + T): those of the n added entries come first.
    """
    length = key.shape[2]
    deltas = [
        (name, delta)
        for name, delta in module.named_children()
        if isinstance(delta, KeysValues) and name.startswith(PREFIX) and acts(delta)
    ]
    finish: list[Callable[[Tensor], Tensor]] = []
    for name, delta in deltas:
        x, rows = delta.reading.take(), delta.passes.look()
        part: Part | None = None
        if rows is not None and (part := rows.part(delta, name, key)) is None:
            continue
        key, value, mask = _with_added(delta, part, x, key, value, mask)
        how = kwargs.get("scaling"), kwargs.get("softcap")
        finish.append(partial(_finished, delta, part, query, *how))
    if (added := key.shape[2] - length) > 0 and kwargs.get("position_bias") is not None:
        # T5: no bias towards the added entries
        kwargs["position_bias"] = pad(kwargs["position_bias"], (added, 0))
    # PyTorch's function neither keeps its weights nor caps its scores
    by_steps = _weights_wanted() or kwargs.get("softcap") is not None
    attend = _with_weights if by_steps else sdpa_attention_forward
    output, weights = attend(module, query, key, value, mask, **kwargs)
    for finished in finish:
        output = finished(output)
    return output, weights


def _with_added(
    delta: KeysValues,
    part: Part | None,
    x: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values and mask with what a delta, or its group, puts in front of them.

    Rows that are not the group's get entries that they do not see.
    """
    rewrite: RewritesKeysValues = delta
    length = key.shape[2]
    if part is None:
        new_key, new_value = rewrite(x, key, value)
    else:
        new_key, new_value = part.compute(nn.Module.__call__, x, key, value)
    added = new_key.shape[2] - length
    members = None if part is None else part.members(key)
    if part is not None:
        key, value = (pad(t, (0, 0, added, 0)) for t in (key, value))
        new_key, new_value = part.put(key, new_key.to(key)), part.put(value, new_value.to(value))
    new_key, new_value = new_key.to(key.dtype), new_value.to(value.dtype)
    if added == 0:
        return new_key, new_value, mask
    if members is not None and mask is None:
        mask = torch.ones(len(key), 1, 1, length, dtype=torch.bool, device=key.device)
    if mask is not None:
        is_bool = mask.dtype == torch.bool
        mask = pad(mask, (added, 0), value=True if is_bool else 0.0)
        if members is not None:
            in_front = torch.arange(mask.shape[-1], device=mask.device) < added
            hidden = in_front & ~members[:, :, None, None]
            least = torch.finfo(mask.dtype).min if not is_bool else False
            mask = mask.masked_fill(hidden, least)
    return new_key, new_value, mask


def _finished(
    delta: KeysValues,
    part: Part | None,
    query: Tensor,
    scaling: float | None,
    softcap: float | None,
    output: Tensor,
) -> Tensor:
    """The attention's output, as a delta or its group leaves it."""
    if part is None:
        return delta.finish(query, output, scaling, softcap).to(output.dtype)

    def call(delta: KeysValues, query: Tensor, output: Tensor) -> Tensor:
        return delta.finish(query, output, scaling, softcap)

    return part.put(output, part.compute(call, query, output).to(output.dtype))


def _weights_wanted() -> bool:
    """Whether the model that is running collects attention weights (`output_attentions`)."""
    if torch.compiler.is_compiling():  # transformers collects nothing then
        return False
    collected = output_capturing._active_collector.get()
    return bool(collected) and any("attentions" in key for key in collected)


def _with_weights(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """The same attention, step by step."""
    groups = query.shape[1] // key.shape[1]  # grouped queries share keys
    key, value = (t.repeat_interleave(groups, 1) for t in (key, value))
    found = scores(query, key, scaling, softcap)
    if position_bias is not None:
        found = found + position_bias
    if mask is not None:
        least = torch.finfo(found.dtype).min
        found = found.masked_fill(~mask, least) if mask.dtype == torch.bool else found + mask
    weights = torch.softmax(found, dim=-1, dtype=torch.float32).to(query.dtype)
    kept = dropout(weights, kwargs.get("dropout", 0.0), module.training)
    return (kept @ value).transpose(1, 2), weights


def scores(query: Tensor, key: Tensor, scaling: float | None, softcap: float | None) -> Tensor:
    """How well each query fits each key, before any mask.

    query (..., T, d), key (..., n, d) → (..., T, n); `scaling` is their factor, None for 1/√d, and
    with a `softcap` c they stay between -c and c: c tanh(s / c) (Gemma 2).
    """
    found = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    return found if softcap is None else softcap * torch.tanh(found / softcap)


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
