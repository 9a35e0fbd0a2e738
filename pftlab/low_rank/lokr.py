"""LoKr: an update that is the Kronecker product of two small matrices.

Yeh, Hsieh, Gao, Yang, Oh and Gong (2024), Navigating Text-To-Image Customization: From LyCORIS
Fine-Tuning to Model Evaluation, https://arxiv.org/abs/2309.14859
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..core import BadValue, Delta, Method, Site
from ..core.limits import Positive, Whole
from ..facts import FACTS


class Kronecker(Delta):
    """h + (alpha / r) (C ⊗ D) x with D, and C if asked to, a product of rank r where that is less.

    C is zero at first: the base. C ⊗ D1 D0 = (C ⊗ D1)(I ⊗ D0), two products of width a r in the
    place of one of width a b. On a GPU that is faster than taking x for a matrix X, C X Dᵀ, whose
    many small products need fewer operations and write more.

    C (l, a), or C1 (l, r) and C0 (r, a); D (k, b), or D1 (k, r) and D0 (r, b); d_in = a b and
    d_out = l k; x (..., d_in), h (..., d_out)
    """

    def __init__(
        self, d_in: int, d_out: int, rank: int, alpha: float, factor: int, decompose_both: bool
    ):
        super().__init__()
        (a, b), (l, k) = factors(d_in, factor), factors(d_out, factor)
        self.pieces = a
        if decompose_both and rank < max(l, a) / 2:
            self.C1, self.C0 = _uniform(l, rank), _uniform(rank, a)
            nn.init.zeros_(self.C1)
        else:
            self.C = nn.Parameter(torch.zeros(l, a))
        if rank < max(k, b) / 2:
            self.D1, self.D0 = _uniform(k, rank), _uniform(rank, b)
        else:
            self.D = _uniform(k, b)
        self.scale = alpha / rank

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        C = self.C if hasattr(self, "C") else self.C1 @ self.C0
        if hasattr(self, "D"):
            return h + self.scale * linear(x, torch.kron(C, self.D))
        identity = torch.eye(self.pieces, dtype=x.dtype, device=x.device)
        inner = linear(x, torch.kron(identity, self.D0))  # (..., a r)
        return h + self.scale * linear(inner, torch.kron(C, self.D1))


def factors(width: int, factor: int) -> tuple[int, int]:
    """(m, n) with m n = width: m is `factor` if that divides, else its largest divisor below.

    With -1, or with a factor that does not divide, m is at most √width.
    """
    if factor > 0 and width % factor == 0:
        return factor, width // factor
    limit = math.isqrt(width) if factor < 0 else min(math.isqrt(width), factor)
    m = max(d for d in range(1, limit + 1) if width % d == 0)
    return m, width // m


def _uniform(*shape: int) -> nn.Parameter:
    parameter = nn.Parameter(torch.empty(*shape))
    nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
    return parameter


@dataclass(frozen=True)
class LoKr(Method):
    """Update each projection by a Kronecker product, which can have full rank.

    Args:
        rank: r, of the second factor and, with `decompose_both`, of the first; a factor that has
            fewer than 2 r rows and columns is kept whole.
        alpha: the update is scaled by alpha / rank.
        factor: height and width of the first factor; -1: the divisor next to the square root of
            the projection's.
        decompose_both: make the first factor a product of rank r as well.
        at: the sites; query and value by default.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["lokr"]

    rank: Whole = 8
    alpha: Positive = 8.0
    factor: int = -1
    decompose_both: bool = False
    at: tuple[str, ...] = ("attention.query", "attention.value")
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor < 1 and self.factor != -1:
            raise BadValue(
                f"LoKr(factor={self.factor!r}): give a whole number of at least 1, or -1 for the "
                "divisor next to the square root."
            )

    def delta(self, site: Site) -> Delta:
        return Kronecker(
            site.d_in, site.d_out, self.rank, self.alpha, self.factor, self.decompose_both
        )
