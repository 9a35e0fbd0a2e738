"""FourierFT: Parameter-Efficient Fine-Tuning with Discrete Fourier Transform.

Gao, Wang, Chen, Liu, Wu, Chen and Li (2024), https://arxiv.org/abs/2405.03003
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Method, Site
from ..core.limits import Positive, Whole
from ..facts import FACTS


class Spectrum(Delta):
    """h + α Re(F⁻¹(E)) x, Eq. 2 to 4: the spectrum E of the update has n entries that are not 0.

    Their places are drawn once from the seed, the same in every layer, and never stored; their
    values c (n,) are normal at first, so that training starts near the base and not at it.
    x (..., d_in), h (..., d_out)
    """

    places: Tensor

    def __init__(self, d_in: int, d_out: int, frequencies: int, alpha: float, seed: int):
        super().__init__()
        if frequencies > d_in * d_out:
            raise BadValue(
                f"A {d_out} × {d_in} matrix has {d_in * d_out} frequencies, so {frequencies} of "
                "them are too many. Choose fewer."
            )
        self.c = nn.Parameter(torch.randn(frequencies))
        self.shape, self.alpha = (d_out, d_in), alpha
        # of shapes alone, as a model to count on has, nothing need be drawn
        device = "meta" if self.c.is_meta else "cpu"
        places = _draw(d_in * d_out, seed, device)[:frequencies]
        self.register_buffer("places", places, persistent=False)

    def change(self) -> Tensor:
        """α Re(F⁻¹(E)), the update of W, (d_out, d_in)."""
        spectrum = self.c.new_zeros(self.shape[0] * self.shape[1])
        spectrum = spectrum.index_put((self.places,), self.c).view(self.shape)
        return self.alpha * torch.fft.ifft2(spectrum).real

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + nn.functional.linear(x, self.change())


@lru_cache(maxsize=2)
def _draw(size: int, seed: int, device: str) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed), device=device)


@dataclass(frozen=True)
class FourierFT(Method):
    """Update each projection by a few waves: n numbers a matrix, whatever its size.

    Args:
        frequencies: n, the number of trained entries of the spectrum (paper: 1000 for RoBERTa).
        alpha: α, the scale of the update. The paper chooses it for each task, from 29 to 141 for
            RoBERTa-base and 300 elsewhere (Tables 9 to 12). F⁻¹ divides by d_in d_out, so that at
            the start an entry of the update has the deviation α √(n / 2) / (d_in d_out).
        seed: draws the places of the entries (the authors' and PEFT's: 777).
        at: the sites; query and value are the paper's choice.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["fourierft"]

    frequencies: Whole = 1000
    alpha: Positive = 150.0
    seed: int = 777
    at: tuple[str, ...] = ("attention.query", "attention.value")
    layers: tuple[int, ...] | None = None

    def delta(self, site: Site) -> Delta:
        return Spectrum(site.d_in, site.d_out, self.frequencies, self.alpha, self.seed)
