"""OFT: Orthogonal Fine-Tuning.

Qiu, Liu, Feng, Xue, Feng, Liu, Zhang, Weller and Schölkopf (2023), Controlling Text-to-Image
Diffusion by Orthogonal Finetuning, https://arxiv.org/abs/2306.07280. Hugging Face PEFT replaces the
Cayley transform by five terms of a series unless it is told not to: the result is orthogonal only
near the start, and turns the other way. `neumann=True` computes that, for reading such files.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Method, Port, Site
from ..facts import FACTS


class Rotation(Delta):
    """R x in the place of x, which a projection reads, so that it computes W R x + b.

    R = (I + Q)(I − Q)⁻¹ with Q = −Qᵀ is orthogonal (Cayley), in blocks on the diagonal.
    Q = 0 at first: the base. Q is stored as its upper triangles, (blocks, b (b − 1) / 2).
    x and h are the same (..., d_in)
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, d_in: int, block: int, neumann: bool):
        super().__init__()
        if d_in % block:
            raise BadValue(
                f"{d_in} inputs do not divide into blocks of {block}. Choose a divisor of {d_in}."
            )
        self.block, self.neumann = block, neumann
        self.Q = nn.Parameter(torch.zeros(d_in // block, block * (block - 1) // 2))
        rows, columns = torch.triu_indices(block, block, 1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def turn(self) -> Tensor:
        """R − I, (blocks, b, b); exactly 0 where Q is."""
        upper = self.Q.new_zeros(len(self.Q), self.block, self.block)
        upper[:, self.rows, self.columns] = self.Q
        q = upper - upper.mT
        if self.neumann:  # of −Q: the series in PEFT turns against its exact transform
            square = q @ q
            return -2 * q + 2 * square - 2 * square @ q + square @ square
        identity = torch.eye(self.block, dtype=q.dtype, device=q.device)
        # (I + Q)(I − Q)⁻¹ − I = 2 Q (I − Q)⁻¹, and the two factors commute
        return torch.linalg.solve(identity - q, 2 * q)

    def change(self, x: Tensor) -> Tensor:
        """R x − x, (..., d_in)."""
        blocks = x.unflatten(-1, (-1, self.block))
        return torch.einsum("...nj,nij->...ni", blocks, self.turn()).flatten(-2)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.change(x)


class SliceRotation(Rotation):
    """h + W (R x − x), for one slice of a fused projection: the others read x as it is.

    It costs one more product with W. x (..., d_in), h (..., d_out)
    """

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        changed = self.change(x)
        return h + nn.functional.linear(changed, self.base_weight.to(changed.dtype))


@dataclass(frozen=True)
class OFT(Method):
    """Turn what each projection reads: the angles between its neurons stay what pretraining made.

    Args:
        block: b, the width of the blocks on the diagonal of the rotation; a divisor of the
            projection's inputs. Larger blocks can turn further and train more parameters.
        neumann: approximate the Cayley transform as Hugging Face PEFT does by default.
        at: the sites.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["oft"]

    block: int = 32
    neumann: bool = False
    at: tuple[str, ...] = ("attention.query", "attention.value")
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block < 2:
            raise BadValue(f"OFT(block={self.block}): nothing turns in less than 2 dimensions.")

    def sites(self, model: nn.Module) -> list[Site]:
        return [_read_by(site) for site in super().sites(model)]

    def delta(self, site: Site) -> Delta:
        if site.place.port is Port.INPUT:
            return Rotation(site.d_in, self.block, self.neumann)
        d_in = site.weight.shape[1]  # refused at once where there is no weight to turn
        return SliceRotation(d_in, self.block, self.neumann)


def _read_by(projection: Site) -> Site:
    """What the projection reads; the projection itself if it shares that with other slices."""
    if not (projection.is_projection and projection.slice.is_whole):
        return projection
    place = projection.place._replace(port=Port.INPUT)
    return replace(projection, place=place, d_out=projection.d_in)
