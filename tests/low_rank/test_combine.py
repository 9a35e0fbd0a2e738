"""Several LoRA adapters made into one: exact with the sum of the ranks, else the nearest."""

import pytest
import torch
from tiny import perturb, tiny

import pftlab as pft
from pftlab import combine
from pftlab.testing import batch, logits
from pftlab.testing.checks import close, snapshot

WEIGHTS = {"a": 0.7, "b": -0.4}
INPUTS = batch("gpt2")


def several() -> torch.nn.Module:
    model = pft.LoRA(rank=2).attach(tiny("gpt2"), "a", seed=1)
    pft.RsLoRA(rank=3).attach(model, "b", seed=2)
    perturb(model)
    return model


def test_the_sum_of_the_ranks_is_exact() -> None:
    model = several()
    before = pft.in_use(model)
    assert combine(model, WEIGHTS, "both") == 0
    assert pft.in_use(model) == before and pft.attached(model)["both"].rank == 5
    expected = logits(pft.use(model, WEIGHTS), INPUTS)
    assert close(logits(pft.use(model, "both"), INPUTS), expected)


def test_fewer_ranks_are_the_nearest_and_say_what_they_lose() -> None:
    model = several()
    lost = combine(model, WEIGHTS, "both", rank=2)
    off, whole = 0.0, 0.0
    for layer in model.transformer.h:
        for which in ("query", "value"):
            a, b, new = (getattr(layer.attn.c_attn, f"pft_{n}_{which}") for n in ("a", "b", "both"))
            dense = sum(w * d.scale * d.B @ d.A for w, d in ((0.7, a), (-0.4, b))).detach()
            found = new.scale * new.B @ new.A
            U, S, Vt = torch.linalg.svd(dense)
            assert torch.allclose(found, U[:, :2] * S[:2] @ Vt[:2], atol=1e-6)
            off, whole = off + (dense - found).square().sum(), whole + dense.square().sum()
    assert lost == pytest.approx((off / whole).sqrt().item(), rel=1e-4) and 0 < lost < 1


def test_other_kinds_are_refused() -> None:
    model = several()
    pft.DoRA(rank=2).attach(model, "dora")
    pft.LoRA(rank=2, at=("ffn.up",)).attach(model, "elsewhere")
    before = snapshot(model)
    for weights, error, words in (
        ({"a": 1, "dora": 1}, pft.Refused, r"DoRA \('dora'\) is no sum of B A"),
        ({"a": 1, "elsewhere": 1}, pft.Refused, "'elsewhere' is not at the sites"),
        ({"c": 1}, pft.UnknownName, "adapter 'c'"),
        ({}, pft.BadValue, "no weights"),
    ):
        with pytest.raises(error, match=words):
            combine(model, weights, "new")
    with pytest.raises(pft.BadValue, match="attached already"):
        combine(model, WEIGHTS, "a")
    assert snapshot(model) == before
