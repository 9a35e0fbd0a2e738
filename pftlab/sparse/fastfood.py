"""The Fastfood transform: multiply by a random matrix that is never formed.

Le, Sarlós and Smola (2013), https://arxiv.org/abs/1408.3060, Eq. 3
"""

from functools import cache

import torch
from torch import Tensor, nn


class Fastfood(nn.Module):
    """θ (d,) → P θ (size,), P = H G Π H B / scale: O(size) memory, O(size log size) time.

    B holds random signs, Π is a permutation, G is Gaussian, H is the Walsh-Hadamard matrix of the
    next power of two L. The scale √(L ΣG² · size / L) makes the columns of P about unit length.
    All of it comes from the seed and stays out of checkpoints. On the device "meta", where a model
    is but counted, nothing is drawn.
    """

    signs: Tensor
    order: Tensor
    gauss: Tensor

    def __init__(self, size: int, seed: int, device: torch.device | None = None):
        super().__init__()
        self.size, self.scale = size, 1.0
        self.length = 1 << max(size - 1, 0).bit_length()
        if device is not None and device.type == "meta":
            gauss = signs = torch.empty(self.length, device=device)
            order = torch.empty(self.length, device=device)
        else:
            generator = torch.Generator().manual_seed(seed)
            gauss = torch.randn(self.length, generator=generator)
            signs = torch.randint(0, 2, (self.length,), generator=generator) * 2.0 - 1
            order = torch.randperm(self.length, generator=generator)
            self.scale = float((gauss.square().sum() * size).sqrt())
        self.register_buffer("gauss", gauss, persistent=False)
        self.register_buffer("signs", signs, persistent=False)
        self.register_buffer("order", order.to(torch.int32), persistent=False)

    def forward(self, theta: Tensor) -> Tensor:
        # A tensor smaller than θ reads its first entries.
        d = min(len(theta), self.length)
        padded = torch.cat([theta[:d], theta.new_zeros(self.length - d)])
        mixed = hadamard(self.signs * padded)[self.order]
        return hadamard(self.gauss * mixed)[: self.size] / self.scale


def hadamard(x: Tensor) -> Tensor:
    """H x without forming H: x (L,), L a power of two; H has entries ±1.

    H is a Kronecker product, so that x, as an array of several axes, is multiplied along each by a
    small dense H: a few passes over the memory instead of log₂ L.
    """
    length, done = len(x), 1
    while done < length:
        factor = min(64, length // done)
        dense = _small(factor, x.dtype, x.device)
        x = x.view(-1, factor, done)
        x = x.squeeze(-1) @ dense if done == 1 else dense @ x
        done *= factor
    return x.reshape(length)


@cache
def _small(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    dense = torch.ones(1, 1, dtype=dtype, device=device)
    while len(dense) < size:
        dense = torch.cat([torch.cat([dense, dense], 1), torch.cat([dense, -dense], 1)])
    return dense
