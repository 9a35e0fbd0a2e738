"""The runs of the chapter on hybrids."""

import pytest
import torch
from torch import nn

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.hybrids import PIECES, VARIANTS, closed, gate_values, gated
from pftlab.others.unipelt import Gated, GatedPrefix

IDS = torch.arange(100, 112).view(2, 6)


def attached(name: str) -> nn.Module:
    return VARIANTS[name].attach(pft.load_base("tiny-encoder", num_labels=2, seed=0), seed=0).eval()


def count(name: str) -> int:
    return pft.count(attached(name)).trainable


def test_without_a_part_is_the_whole_without_its_parameters() -> None:
    gates, width, layers = 4, 128, 4
    without_gates = count("UniPELT") - layers * gates * (width + 1)
    assert count("UniPELT without gates") == without_gates
    assert count("MAM") == count("MAM without prefix") + count("MAM without adapter")
    for hybrid in ("UniPELT", "MAM"):
        one = count(f"one adapter, {hybrid}'s count")
        assert abs(one / count(hybrid) - 1) < 0.001


def test_without_gates_there_are_none() -> None:
    kinds = {type(delta) for *_, delta in planted(attached("UniPELT without gates"))}
    assert kinds and not kinds & {Gated, GatedPrefix}


def test_gates_are_found_by_place_and_layer() -> None:
    model = attached("UniPELT")
    found = gated(model)
    assert {place: len(row) for place, row in found.items()} == dict.fromkeys(
        ("adapter", "prefix", "query", "value"), 4
    )
    for place, row in found.items():
        for layer, gate in enumerate(row):
            with torch.no_grad():
                gate.score.weight.zero_()
                gate.score.bias.fill_(layer - 1.5 if place == "query" else 0.0)
    values = gate_values(model, pft.load_task("reviews").subset(4, split="test"))
    assert values["value"] == [0.5] * 4
    assert values["query"] == [0.1824, 0.3775, 0.6225, 0.8176]


@pytest.mark.parametrize("piece", PIECES)
def test_closed_gates_are_zero_inside_alone(piece: str) -> None:
    model = attached("UniPELT")
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p += 0.1 * torch.randn_like(p)
        before = model(input_ids=IDS).logits
        with closed(model, piece):
            inside = model(input_ids=IDS).logits
        for place in PIECES[piece]:
            for gate in gated(model)[place]:
                gate.score.bias.fill_(-1e4)
        assert torch.allclose(model(input_ids=IDS).logits, inside, atol=1e-6)
    assert not torch.allclose(before, inside, atol=1e-4)
