"""Residual adapters: Lin et al. for transformers; Rebuffi et al.'s two forms on a small CNN."""

import pytest
import torch
from oracle import delta_at, states
from tiny import batch, perturb, tiny
from torch import Tensor, nn

import pftlab as pft
from pftlab.core import Delta


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


class Series(Delta):
    """y + α * BN(y): Rebuffi et al. (2017), Eq. 1, behind a convolution; α is 1 × 1."""

    def __init__(self, channels: int, planes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(planes)
        self.alpha = nn.Conv2d(planes, planes, 1, bias=False)
        nn.init.zeros_(self.alpha.weight)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.alpha(self.norm(h))


class Parallel(Delta):
    """y + α * x: Rebuffi et al. (2018), beside the convolution; α is 1 × 1."""

    def __init__(self, channels: int, planes: int):
        super().__init__()
        self.alpha = nn.Conv2d(channels, planes, 1, bias=False)
        nn.init.zeros_(self.alpha.weight)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.alpha(x)


def small_cnn() -> nn.Sequential:
    """Two 3 × 3 convolutions on images of 5 × 5 with 6 channels, and a score."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(6, 6, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    ).requires_grad_(False)


def with_adapters(kind: type[Delta]) -> nn.Sequential:
    """The frozen network with an adapter at each convolution, called by a hook as ours are."""
    model = small_cnn()
    for place in (0, 2):
        model[place].adapter = kind(6, 6)
        model[place].register_forward_hook(lambda m, given, y: m.adapter(given[0], y))
    return model


@pytest.mark.parametrize(("kind", "count"), [(Series, 6 * 6 + 2 * 6), (Parallel, 6 * 6)])
def test_rebuffis_forms_on_a_small_cnn(kind: type[Delta], count: int) -> None:
    """They start at the base, cost C² + 2C or C² of 9 C², and learn another domain."""
    images, model = torch.randn(32, 6, 5, 5), with_adapters(kind)
    assert torch.equal(model(images), small_cnn()(images))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == 2 * count

    labels = (images[:, 0, ::2].mean((1, 2)) > 0).long()
    optimiser = torch.optim.Adam(trained, lr=0.05)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    for place in (0, 2, 6):  # the base has not moved
        assert torch.equal(model[place].weight, small_cnn()[place].weight)


def test_rebuffis_parallel_form_merges() -> None:
    """A 1 × 1 kernel is the middle of a 3 × 3 one."""
    images, model, plain = torch.randn(2, 6, 5, 5), with_adapters(Parallel), small_cnn()
    for place in (0, 2):
        nn.init.normal_(model[place].adapter.alpha.weight)
        plain[place].weight[:, :, 1, 1] += model[place].adapter.alpha.weight.detach()[:, :, 0, 0]
    assert torch.allclose(model(images), plain(images), atol=1e-4)
    assert not torch.allclose(model(images), small_cnn()(images), atol=1e-2)
