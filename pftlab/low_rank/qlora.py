"""QLoRA: Efficient Finetuning of Quantized LLMs.

Dettmers, Pagnoni, Holtzman and Zettlemoyer (2023), https://arxiv.org/abs/2305.14314
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..core import Delta, Refused, Site, WeightDelta, is_conv1d, parameter_sites
from ..core.sites import sites
from ..facts import FACTS
from .lora import LoRA, LowRank
from .nf4 import FourBits, Product, dequantise, quantise


class FourBitWeight(WeightDelta):
    """Lets a linear map compute with W̃, its weight in four bits (Eq. 5), instead of W.

    forward: W, in the host's layout → W̃ in the same. Nothing is trained, and nothing stored in a
    checkpoint: the bytes follow from the base.
    """

    codes: Tensor
    scales: Tensor
    outer: Tensor
    offset: Tensor

    def __init__(self, weight: Tensor, transposed: bool):
        super().__init__()
        rows = weight.detach().T if transposed else weight.detach()
        self.transposed, self.shape = transposed, tuple(rows.shape)
        for name, tensor in quantise(rows)._asdict().items():
            self.register_buffer(name, tensor)

    @property
    def bits(self) -> FourBits:
        """W̃ as (d_out, d_in)."""
        return FourBits(self.codes, self.scales, self.outer, self.offset)

    @property
    def bits_per_parameter(self) -> float:
        """Memory of all four tensors, in bits for each entry of W."""
        return sum(8 * t.nbytes for t in self.bits) / torch.Size(self.shape).numel()

    def forward(self, weight: Tensor) -> Tensor:
        made = dequantise(self.bits, self.shape, weight.dtype)
        return made.T if self.transposed else made

    def shown(self, weight: Any) -> Any:
        return StandIn(self, weight.dtype)

    def pack(self) -> dict[str, Tensor]:
        return {}


class StandIn:
    """What a linear map finds in the place of its weight: its products are those with W̃.

    PyTorch asks an argument that has `__torch_function__` what to do, so that no copy of W̃ ever
    becomes a part of the graph that is kept for the backward pass.
    """

    def __init__(self, delta: FourBitWeight, dtype: torch.dtype):
        self.delta, self.dtype = delta, dtype

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any, kwargs: Any = None) -> Any:
        if function is linear:  # nn.Linear
            x, weight, bias = args
        elif function is torch.addmm:  # GPT-2's Conv1D
            bias, x, weight = args
        else:
            raise Refused(f"{function.__name__} cannot compute with a weight in four bits.")
        delta: FourBitWeight = weight.delta
        if torch.is_autocast_enabled(x.device.type):  # which does not see what replaces `function`
            x = x.to(torch.get_autocast_dtype(x.device.type))
            bias = None if bias is None else bias.to(x.dtype)
        product = Product.apply(x, *delta.bits, delta.shape)
        return product if bias is None else product + bias

    def to(self, dtype: torch.dtype) -> Tensor:
        """W̃ itself, for a change of weights that was attached later."""
        made = dequantise(self.delta.bits, self.delta.shape, dtype)
        return made.T if self.delta.transposed else made


@dataclass(frozen=True)
class QLoRA(LoRA):
    """LoRA on top of a base whose linear maps compute with weights of four bits.

    Each weight is stored as NF4 with double quantisation, in 4.127 bits, and is dequantised for
    each product, forward and backward; gradients flow through it into A and B. A checkpoint is
    one of LoRA. `merge` adds the update to the dequantised weights, which is what was trained.

    Here the base's own parameters stay in the model, since `disabled` and `detach` promise them
    back bit for bit; no computation reads them. So the arithmetic and the activations that are
    kept are QLoRA's, and the memory of the weights is not less but 4.127 bits more.

    Args:
        rank: r, the rank of the update.
        alpha: the update is scaled by alpha / rank.
        dropout: probability with which entries of x are dropped on their way to A.
        at: the sites to quantise and adapt; None: every linear map of the layers, which the
            paper found to be needed (Section 4). Of a fused projection the whole is quantised.
        layers: numbers of the layers to quantise and adapt; None: all.
    """

    facts = FACTS["qlora"]

    rank: int = 64
    alpha: float = 16.0
    at: tuple[str, ...] | None = None  # type: ignore[assignment]

    def sites(self, model: nn.Module) -> list[Site]:
        found = sites(model, self.at, self.layers)
        return (
            found
            if self.at
            else [site for site in found if site.is_projection and site.slice.is_whole]
        )

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        adapted = self.sites(model)
        hosts = {f"{site.path}.weight": site for site in adapted}
        for site in hosts.values():
            site.weight  # noqa: B018  # refuses what is no linear map
            if any(isinstance(child, WeightDelta) for child in site.host.children()):
                raise Refused(
                    f"The weight of {site.path} is changed already, and quantising it would undo "
                    "that. Attach QLoRA first; for a second update of the same base attach LoRA."
                )
        weights = parameter_sites(model, lambda name, _: name in hosts)
        planned: list[tuple[Site, Delta]] = [
            (site, FourBitWeight(site.host.get_parameter("weight"), is_conv1d(site.host)))
            for site in weights
        ]
        return planned + [(site, self.delta(site)) for site in adapted]

    def delta(self, site: Site) -> Delta:
        return LowRank(site.d_in, site.d_out, self.rank, self.alpha, self.dropout)
