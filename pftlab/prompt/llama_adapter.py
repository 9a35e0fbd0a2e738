"""LLaMA-Adapter: Efficient Fine-tuning of Language Models with Zero-init Attention.

Zhang, Han, Liu, Gao, Zhou, Hu, Yan, Lu, Li and Qiao (2023), https://arxiv.org/abs/2303.16199
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ..core import Delta, KeysValues, Method, Refused, Site
from ..core.limits import Whole, one_of
from ..core.ports.attention import scores
from ..core.sites import sites
from ..facts import FACTS


class ZeroInitAttention(KeysValues):
    """softmax(q Kᵀ) V + tanh(g) softmax(q K_Pᵀ) V_P: a prompt behind a gate (Eq. 5 to 8).

    K_P and V_P are the layer's own frozen projections of the prompt P, without rotary positions.
    The gate is 0 at first, one number for each head: training starts at the base. PEFT has one
    number for all heads, without tanh.
    Where the layer normalises its keys, K_P is normalised too.
    P (n, d_model), g (query heads,) or (1,)
    """

    def __init__(self, site: Site, length: int, gate: str, own: dict[str, Site]):
        super().__init__()
        config: Any = site.config
        self.P = nn.Parameter(torch.randn(length, config.hidden_size))
        self.gate = nn.Parameter(torch.zeros(site.query_heads if gate == "tanh" else 1))
        self.kind = gate
        self.key_value_heads = site.key_value_heads
        # "key", "value", "key_norm" → where this part of the layer is in its attention module
        self.parts = {
            part: (each.path.removeprefix(f"{site.path}."), each.slice)
            for part, each in own.items()
        }

    def finish(
        self, query: Tensor, output: Tensor, scaling: float | None, softcap: float | None
    ) -> Tensor:
        keys, values = self._projected("key"), self._projected("value")
        repeat = query.shape[1] // self.key_value_heads  # grouped queries share keys
        keys, values = (self._by_head(t).repeat_interleave(repeat, 0) for t in (keys, values))
        weights = torch.softmax(scores(query.to(keys.dtype), keys, scaling, softcap), dim=-1)
        prompted = (weights @ values).transpose(1, 2)  # (B, T, heads, d)
        gate = torch.tanh(self.gate) if self.kind == "tanh" else self.gate
        return output + gate[:, None] * prompted

    def _projected(self, part: str) -> Tensor:
        """The prompt's keys or values, (n, key-value heads · width)."""
        path, ours = self.parts[part]
        host = self.host.get_submodule(path)
        weight, bias = ours.weight(host).to(self.P.dtype), ours.bias(host)
        found = nn.functional.linear(self.P, weight, None if bias is None else bias.to(weight))
        if f"{part}_norm" not in self.parts:
            return found
        norm: Any = self.host.get_submodule(self.parts[f"{part}_norm"][0])
        # of each head, or of all at once
        normed = norm.forward(found.unflatten(-1, (-1, len(norm.weight))))
        return normed.flatten(-2).to(found.dtype)

    def _by_head(self, projected: Tensor) -> Tensor:
        """(n, key-value heads · width) → (key-value heads, n, width)."""
        return projected.unflatten(-1, (self.key_value_heads, -1)).transpose(0, 1)


@dataclass(frozen=True)
class LLaMAAdapter(Method):
    """A prompt for the upper layers, let in by gates that start closed.

    Args:
        length: n, the number of prompt vectors of each layer (paper: 10).
        gate: "tanh": of one number for each head, as in the authors' code; "plain": one number for
            each layer, as in Hugging Face PEFT.
        layers: numbers of the layers that get a prompt; None: all. The paper takes the upper 30 of
            32.
        at: self-attention.
    """

    facts = FACTS["llama_adapter"]

    length: Whole = 10
    gate: Annotated[str, one_of("tanh", "plain")] = "tanh"
    layers: tuple[int, ...] | None = None
    at: tuple[str, ...] = ("attention.keys_values",)

    def delta(self, site: Site) -> Delta:
        return ZeroInitAttention(site, self.length, self.gate, own_projections(site))


def own_projections(site: Site) -> dict[str, Site]:
    """Where the parts of an attention are: "key", "value" and perhaps "key_norm" → site.

    Raises:
        Refused: it has no such parts, or they are quantised.
    """
    kind = site.name.rpartition(".")[0]
    mine = {
        each.name.removeprefix(f"{kind}."): each
        for each in sites(site.model)
        if each.name in (f"{kind}.key", f"{kind}.value", f"{kind}.key_norm")
        and each.path.startswith(f"{site.path}.")
    }
    if not {"key", "value"} <= mine.keys():
        raise Refused(
            f"{site.name!r} at {site.path} has no key and value projection of its own, and "
            "the prompt needs both. Choose attention.keys_values."
        )
    for part in ("key", "value"):
        mine[part].weight  # noqa: B018  # refused at once where it is quantised
    return mine
