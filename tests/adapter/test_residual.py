"""Residual adapters: Lin et al. for transformers; Rebuffi et al.'s two forms on a small CNN."""

import torch
from oracle import delta_at, states
from tiny import batch, perturb, tiny
from torch import nn

import pftlab as pft


def test_one_adapter_with_a_new_norm_behind_each_block() -> None:
    model, block = tiny("gpt2"), "transformer.h.0"
    h = states(model, batch("gpt2"), block)[block][1]
    pft.ResidualAdapter(bottleneck=4, layers=(0,)).attach(model)
    perturb(model)
    a = delta_at(model, block)
    mean, variance = h.mean(-1, keepdim=True), h.var(-1, unbiased=False, keepdim=True)
    normed = (h - mean) / (variance + 1e-5).sqrt() * a.norm.weight + a.norm.bias
    expected = h + torch.relu(normed @ a.down.weight.T + a.down.bias) @ a.up.weight.T + a.up.bias
    after = states(model, batch("gpt2"), "transformer.h.1.ln_1")["transformer.h.1.ln_1"][0]
    assert torch.allclose(after, expected, atol=1e-6)


def test_count_of_the_paper() -> None:
    from pftlab.experiments.sizes import blank

    model = pft.ResidualAdapter(bottleneck=100).attach(blank("gpt2"))
    # 12 (2 d m + m + d, and a layer norm of 2 d)
    assert pft.count(model).trainable == 12 * (2 * 768 * 100 + 100 + 768 + 2 * 768)


class Conv(nn.Module):
    """A frozen 3 × 3 convolution with Rebuffi's adapter: y + α(BN y) in series, y + α(x) beside."""

    def __init__(self, channels: int, series: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False).requires_grad_(False)
        self.adapter = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels) if series else nn.Identity()
        self.series = series
        nn.init.zeros_(self.adapter.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y + self.adapter(self.norm(y) if self.series else x)


def test_rebuffis_forms_start_at_the_base_and_the_parallel_one_merges() -> None:
    x = torch.randn(2, 6, 5, 5)
    for series in (True, False):
        layer = Conv(6, series)
        assert torch.equal(layer(x), layer.conv(x))
        trained = sum(p.numel() for p in layer.parameters() if p.requires_grad)
        assert trained == 6 * 6 + (2 * 6 if series else 0)  # C² + 2C, C²
    nn.init.normal_(layer.adapter.weight)
    merged = layer.conv.weight.clone()
    merged[:, :, 1, 1] += layer.adapter.weight[:, :, 0, 0]  # a 1 × 1 kernel in the middle
    expected = nn.functional.conv2d(x, merged, padding=1)
    assert torch.allclose(layer(x), expected, atol=1e-5)
