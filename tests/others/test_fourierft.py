"""FourierFT against the inverse transform written out as a sum of waves."""

import math

import pytest
import torch
from tiny import perturb, tiny

import pftlab as pft
from pftlab.core import planted, trainable_state
from pftlab.experiments.sizes import blank
from pftlab.others.fourierft import Spectrum


@pytest.mark.parametrize(("d_in", "d_out"), [(6, 4), (3, 7)])
def test_the_update_is_a_sum_of_waves(d_in: int, d_out: int) -> None:
    delta = Spectrum(d_in, d_out, 5, 3.0, seed=777)
    flat = torch.randperm(d_in * d_out, generator=torch.Generator().manual_seed(777))[:5]
    expected = torch.zeros(d_out, d_in)
    for p in range(d_out):
        for q in range(d_in):
            for c, place in zip(delta.c, flat.tolist(), strict=True):
                j, k = place // d_in, place % d_in
                wave = math.cos(2 * math.pi * (p * j / d_out + q * k / d_in))
                expected[p, q] += 3.0 * c.item() * wave / (d_in * d_out)
    assert torch.allclose(delta.change(), expected, atol=1e-6)
    x, h = torch.randn(2, d_in), torch.randn(2, d_out)
    assert torch.allclose(delta(x, h), h + x @ expected.T, atol=1e-6)


def test_the_places_are_drawn_and_not_stored() -> None:
    model = pft.FourierFT(frequencies=20).attach(tiny("bert"))
    deltas = [d for *_, d in planted(model) if isinstance(d, Spectrum)]
    assert all(torch.equal(d.places, deltas[0].places) for d in deltas)
    assert {name.split(".")[-1] for name in trainable_state(model) if ".pft_" in name} == {"c"}
    other = pft.FourierFT(frequencies=20, seed=1).attach(tiny("bert"))
    assert not torch.equal(next(planted(other))[3].places, deltas[0].places)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "size", "count"),
    [
        (pft.FourierFT(), "roberta-base", 24_000),
        (pft.FourierFT(), "roberta-large", 48_000),
        (pft.FourierFT(), "gpt2-medium", 48_000),
        (pft.FourierFT(), "gpt2-large", 72_000),
        (pft.FourierFT(), "llama-7b", 64_000),
        (pft.FourierFT(frequencies=2000), "llama-13b", 160_000),
    ],
)
def test_counts_of_the_paper(method: pft.FourierFT, size: str, count: int) -> None:
    assert pft.count(method.attach(blank(size))).trainable == count


def test_more_frequencies_than_there_are() -> None:
    with pytest.raises(pft.BadValue, match=r"1024 frequencies, so 1025"):
        pft.FourierFT(frequencies=1025).attach(tiny("bert"))
    with pytest.raises(pft.BadValue, match="at least 1"):
        pft.FourierFT(frequencies=0)


def test_merges_into_a_conv1d() -> None:
    model = pft.FourierFT(frequencies=20, at=("ffn.down",)).attach(tiny("gpt2"))
    perturb(model)
    change = next(planted(model))[3].change()  # type: ignore[operator]
    before = tiny("gpt2").transformer.h[0].mlp.c_proj.weight
    after = pft.merge(model).transformer.h[0].mlp.c_proj.weight
    assert torch.allclose(after, before + change.T, atol=1e-6)
