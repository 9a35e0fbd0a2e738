"""The Fastfood transform: multiply by a random matrix that is never formed.

Le, Sarlós and Smola (2013), https://arxiv.org/abs/1408.3060, Eq. 3
"""

import torch
from torch import Tensor, nn


class Fastfood(nn.Module):
    """θ (d,) → P θ (size,), P = H G Π H B / scale: O(size) memory, O(size log size) time.

    B holds random signs, Π is a permutation, G is Gaussian, H is the Walsh-Hadamard matrix of the
    next power of two L. The scale √(L ΣG² · size / L) makes the columns of P about unit length.
    All of it comes from the seed and stays out of checkpoints.
    """

    signs: Tensor
    order: Tensor
    gauss: Tensor

    def __init__(self, size: int, seed: int):
        super().__init__()
        self.size = size
        self.length = 1 << max(size - 1, 0).bit_length()
        generator = torch.Generator().manual_seed(seed)
        gauss = torch.randn(self.length, generator=generator)
        signs = torch.randint(0, 2, (self.length,), generator=generator) * 2.0 - 1
        order = torch.randperm(self.length, generator=generator)
        self.scale = float((gauss.square().sum() * size).sqrt())
        self.register_buffer("gauss", gauss, persistent=False)
        self.register_buffer("signs", signs, persistent=False)
        self.register_buffer("order", order.to(torch.int32), persistent=False)

    def forward(self, theta: Tensor) -> Tensor:
        d = min(len(theta), self.length)  # a tensor smaller than θ reads its first entries
        padded = torch.cat([theta[:d], theta.new_zeros(self.length - d)])
        mixed = hadamard(self.signs * padded)[self.order]
        return hadamard(self.gauss * mixed)[: self.size] / self.scale


def hadamard(x: Tensor) -> Tensor:
    """H x without forming H: x (L,), L a power of two; H has entries ±1."""
    length = half = len(x)
    while half > 1:
        half //= 2
        a, b = x.view(-1, 2, half).unbind(1)
        x = torch.stack([a + b, a - b], dim=1).view(length)
    return x
