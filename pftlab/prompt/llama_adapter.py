"""LLaMA-Adapter: Efficient Fine-tuning of Language Models with Zero-init Attention.

Zhang, Han, Liu, Gao, Zhou, Hu, Yan, Lu, Li and Qiao (2023), https://arxiv.org/abs/2303.16199
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, KeysValues, Method, Refused, Site, Slice
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
        # where the frozen projections of keys and values are in the attention module
        self.projections = tuple(
            (each.path.removeprefix(f"{site.path}."), each.slice) for each in (key, value)
        )

    def finish(self, query: Tensor, output: Tensor, scaling: float | None) -> Tensor:
        keys, values = (self._project(path, ours) for path, ours in self.projections)
        repeat = query.shape[1] // self.key_value_heads  # grouped queries share keys
        keys, values = (t.repeat_interleave(repeat, 0) for t in (keys, values))
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        scores = torch.softmax(scale * query.to(keys.dtype) @ keys.mT, dim=-1)
        prompted = (scores @ values).transpose(1, 2)  # (B, T, heads, d)
        gate = torch.tanh(self.gate) if self.kind == "tanh" else self.gate
        return output + gate[:, None] * prompted

    def _project(self, path: str, ours: Slice) -> Tensor:
        """The prompt's keys or values, (key-value heads, n, width)."""
        host = self.host.get_submodule(path)
        weight, bias = ours.weight(host).to(self.P.dtype), ours.bias(host)
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
        mine = [
            each
            for each in sites(site.model)
            if each.name in (f"{kind}.key", f"{kind}.value")
            and each.path.startswith(f"{site.path}.")
        ]
        if len(mine) != 2:
            raise Refused(
                f"{site.name!r} at {site.path} has no key and value projection of its own, and "
                "the prompt needs both. Choose attention.keys_values."
            )
        for each in mine:
            each.weight  # noqa: B018  # refused at once where it is quantised
        return ZeroInitAttention(site, self.length, self.gate, mine[0], mine[1])
