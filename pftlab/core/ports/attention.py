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

from collections.abc import Iterator
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

from ..delta import PREFIX, Delta, delta_in
from ..errors import Refused
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

    def finish(self, query: Tensor, output: Tensor, scaling: float | None) -> Tensor:
        """Rewrite the attention's output.

        query (B, query heads, T, d), output (B, T, query heads, d) → output; `scaling` is the
        factor of the scores, None for 1/√d.
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
    model.set_attn_implementation(NAME)  # type: ignore[operator]
    if config_of(model)._attn_implementation != NAME:
        raise Refused(
            f"A {type(model).__name__} does not use the attention interface of transformers, "
            "so that keys and values cannot be added. Use another method or model."
        )


def _note(name: str, host: nn.Module, args: tuple, kwargs: dict) -> None:
    delta = delta_in(host, name)
    assert isinstance(delta, KeysValues)
    delta.reading.leave(first_input(args, kwargs) if delta.active else None)


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
        delta
        for name, delta in module.named_children()
        if isinstance(delta, KeysValues) and name.startswith(PREFIX) and delta.active
    ]
    for delta in deltas:
        rewrite: RewritesKeysValues = delta
        new_key, new_value = rewrite(delta.reading.take(), key, value)
        key, value = new_key.to(key.dtype), new_value.to(value.dtype)
    if (added := key.shape[2] - length) > 0:
        if mask is not None:
            mask = pad(mask, (added, 0), value=True if mask.dtype == torch.bool else 0.0)
        if kwargs.get("position_bias") is not None:  # T5: no bias towards the added entries
            kwargs["position_bias"] = pad(kwargs["position_bias"], (added, 0))
    attend = _with_weights if _weights_wanted() else sdpa_attention_forward
    output, weights = attend(module, query, key, value, mask, **kwargs)
    for delta in deltas:
        output = delta.finish(query, output, kwargs.get("scaling")).to(output.dtype)
    return output, weights


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
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """The same attention, step by step: PyTorch's function keeps its weights to itself."""
    groups = query.shape[1] // key.shape[1]  # grouped queries share keys
    key, value = (t.repeat_interleave(groups, 1) for t in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if position_bias is not None:
        scores = scores + position_bias
    if mask is not None:
        least = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(~mask, least) if mask.dtype == torch.bool else scores + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    kept = dropout(weights, kwargs.get("dropout", 0.0), module.training)
    return (kept @ value).transpose(1, 2), weights


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
