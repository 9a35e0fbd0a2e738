"""LLaMA-Adapter: Efficient Fine-tuning of Language Models with Zero-init Attention.

Zhang, Han, Liu, Gao, Zhou, Hu, Yan, Lu, Li and Qiao (2023), https://arxiv.org/abs/2303.16199
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Method, Refused, Site
from ..core.attention import KeysValues
from ..core.sites import sites
from ..facts import FACTS


class ZeroInitAttention(KeysValues):
    """softmax(q Kᵀ) V + tanh(g) softmax(q K_Pᵀ) V_P: a prompt behind a gate (Eq. 5 to 8).

    K_P and V_P are the layer's own frozen projections of the prompt P, without rotary positions.
    The gate is 0 at first, one number for each head: training starts at the base. PEFT has one
    number for all heads, without tanh.
    P (n, d_model), g (query heads,) or (1,)
    """

    def __init__(self, site: Site, length: int, gate: str, key: Site, value: Site):
        super().__init__()
        config: Any = site.config
        self.P = nn.Parameter(torch.randn(length, config.hidden_size))
        self.gate = nn.Parameter(torch.zeros(config.num_attention_heads if gate == "tanh" else 1))
        self.kind = gate
        self.key_value_heads = key.key_value_heads
        # Tuples hide the frozen projections from nn.Module, so that they stay the base's alone.
        self.projections: tuple[Any, Any] = (key, value)

    def finish(self, query: Tensor, output: Tensor, scaling: float | None) -> Tensor:
        keys, values = (self._project(site) for site in self.projections)
        repeat = query.shape[1] // self.key_value_heads  # grouped queries share keys
        keys, values = (t.repeat_interleave(repeat, 0) for t in (keys, values))
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        scores = torch.softmax(scale * query.to(keys.dtype) @ keys.mT, dim=-1)
        prompted = (scores @ values).transpose(1, 2)  # (B, T, heads, d)
        gate = torch.tanh(self.gate) if self.kind == "tanh" else self.gate
        return output + gate[:, None] * prompted

    def _project(self, site: Site) -> Tensor:
        """The prompt's keys or values, (key-value heads, n, width)."""
        bias = getattr(site.host, "bias", None)
        if bias is not None and site.place.parts > 1:
            bias = bias.unflatten(0, (site.groups, site.place.parts, -1))[
                :, site.place.part
            ].flatten()
        weight = site.weight.to(self.P.dtype)
        projected = nn.functional.linear(self.P, weight, None if bias is None else bias.to(weight))
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

    length: int = 10
    gate: str = "tanh"
    layers: tuple[int, ...] | None = None
    at: tuple[str, ...] = ("attention.keys_values",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gate not in ("tanh", "plain"):
            raise BadValue(f'gate={self.gate!r}: choose "tanh" or "plain".')

    def delta(self, site: Site) -> Delta:
        kind = site.name.rpartition(".")[0]
        both = sites(site.model, (f"{kind}.key", f"{kind}.value"))
        mine = [s for s in both if s.path.startswith(f"{site.path}.")]
        if len(mine) != 2:
            raise Refused(f"{site.path} has no key and value projection of its own.")
        return ZeroInitAttention(site, self.length, self.gate, mine[0], mine[1])
