"""The runs of the chapter on hybrids."""

import json
from statistics import fmean

import pytest
import torch
from torch import nn

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments import hybrid_rates, hybrids
from pftlab.experiments.hybrids import PIECES, VARIANTS, closed, gate_values, gated
from pftlab.experiments.protocol import search_of
from pftlab.others.unipelt import Gated, GatedPrefix

STORED = json.loads(hybrids.STORED_HYBRIDS.read_text(encoding="utf-8"))
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


def test_what_is_stored_was_made_with_the_settings_of_the_module() -> None:
    assert STORED["training"] == hybrids.TRAINING
    assert STORED["texts"] == {"validation": hybrids.LOOKED_AT, "test": hybrids.TESTED}
    assert STORED["task"]["fingerprint"] == pft.load_task(hybrids.TASK).fingerprint
    assert {run["variant"] for run in STORED["runs"]} == set(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_stored_seed_ran_at_the_best_rate_which_lies_inside_the_tried_ones(name: str) -> None:
    tries: dict[float, list[tuple[float, float]]] = {}
    for row in STORED["searches"]:
        if row["variant"] == name:
            tries.setdefault(row["lr"], []).append((row["validation"], -row["loss"]))
    assert {len(worths) for worths in tries.values()} == {len(hybrids.SEARCH_SEEDS)}
    search = search_of({
        lr: (fmean(score for score, _ in worths), fmean(loss for _, loss in worths))
        for lr, worths in tries.items()
    })  # fmt: skip
    assert set(hybrids.WINDOWS[name]) <= set(search.rates)
    assert search.inside, f"{search.best} is the best, at an edge of {search.rates}"
    done = [(r["train"], r["seed"], r["lr"]) for r in STORED["runs"] if r["variant"] == name]
    texts = (hybrids.MANY, hybrids.FEW) if name in hybrids.WITH_FEW else (hybrids.MANY,)
    assert done == [(n, seed, search.best) for n in texts for seed in hybrids.SEEDS]


def test_what_lacks_a_part_ran_at_the_rate_of_the_whole_as_well() -> None:
    at = hybrid_rates.at_the_rate_of_the_whole()
    own = {run["variant"]: run["lr"] for run in STORED["runs"]}
    assert all(lr == own[name.split(" without ")[0]] != own[name] for name, lr in at.items())
    stored = json.loads(hybrid_rates.STORED_RATES.read_text(encoding="utf-8"))
    assert stored["training"] == hybrids.TRAINING
    done = [(run["variant"], run["seed"], run["lr"]) for run in stored["runs"]]
    assert done == [(name, seed, lr) for name, lr in at.items() for seed in hybrids.SEEDS]
