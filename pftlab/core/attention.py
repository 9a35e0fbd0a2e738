"""Extra keys and values in front of the ones that an attention module computed.

transformers lets a model choose its attention function by name. Ours, "pftlab", asks the deltas
planted at `attention.keys_values` what to put in front of keys and values, and then calls PyTorch's
scaled dot-product attention. The extra entries never enter the cache, the mask or the positions
that the model sees, so that generation, padding and gradient checkpointing stay as they were.

Two functions are registered under the name. The mask function must never skip the mask: without
one, PyTorch's causal shortcut lines up queries and keys at the top left corner, and a query would
see its prefix and too few tokens.
"""

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .delta import PREFIX, Delta, Tap, first_input
from .errors import Refused
from .sites import Site

NAME = "pftlab"


class KeysValues(Delta):
    """Rewrites keys and values of one attention module, and its output.

    forward: keys, values (B, heads, T, d) → keys, values (B, heads, n + T, d)

    Attributes:
        reads_input: whether it wants to know what the attention module reads: see `read`.
    """

    reads_input: ClassVar[bool] = False

    def read(self) -> Tensor:
        """What the attention module reads in this pass, (B, T, d_model); once for each pass."""
        assert self.tapped is not None, "set reads_input"
        return getattr(*self.tapped).take()

    def forward(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return keys, values

    def finish(self, query: Tensor, output: Tensor, scaling: float | None) -> Tensor:
        """Rewrite the attention's output.

        query (B, query heads, T, d), output (B, T, query heads, d) → output; `scaling` is the
        factor of the scores, None for 1/√d.
        """
        return output


def hook(site: Site, name: str, delta: Delta) -> list[Any]:
    """Let the model of `site` call our attention function; return the handles of its hooks."""
    listen(site.model)
    if not (isinstance(delta, KeysValues) and delta.reads_input):
        return []
    delta.tapped = (site.host, f"{name}_tap")
    site.host.add_module(f"{name}_tap", Tap())
    return [site.host.register_forward_pre_hook(partial(_remember, name), with_kwargs=True)]


def _remember(name: str, host: nn.Module, args: tuple, kwargs: dict) -> None:
    if getattr(host, name).active:
        getattr(host, f"{name}_tap").x = first_input(args, kwargs)


def listen(model: nn.Module) -> None:
    """Let `model` call our attention function.

    Raises:
        Refused: the architecture computes its attention without asking transformers.
    """
    model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        raise Refused(
            f"A {type(model).__name__} does not use the attention interface of transformers, "
            "so that keys and values cannot be added. Use another method or model."
        )


def _mask(*args: Any, **kwargs: Any) -> Tensor:
    kwargs["allow_is_causal_skip"] = kwargs["allow_is_bidirectional_skip"] = False
    mask = sdpa_mask(*args, **kwargs)
    assert mask is not None, "a mask that may not be skipped was skipped"
    return mask


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    length = key.shape[2]
    deltas = [
        delta
        for name, delta in module.named_children()
        if isinstance(delta, KeysValues) and name.startswith(PREFIX) and delta.active
    ]
    for delta in deltas:
        new_key, new_value = delta(key, value)
        key, value = new_key.to(key.dtype), new_value.to(value.dtype)
    if (added := key.shape[2] - length) > 0:
        if mask is not None:
            mask = pad(mask, (added, 0), value=True if mask.dtype == torch.bool else 0.0)
        if kwargs.get("position_bias") is not None:  # T5: no bias towards the added entries
            kwargs["position_bias"] = pad(kwargs["position_bias"], (added, 0))
    kwargs["is_causal"] = False  # the mask says it all
    output, weights = sdpa_attention_forward(module, query, key, value, mask, **kwargs)
    for delta in deltas:
        output = delta.finish(query, output, kwargs.get("scaling")).to(output.dtype)
    return output, weights


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
