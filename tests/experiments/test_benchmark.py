"""Costs side by side: what is measured, that failures are results, and that nothing is shared."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pftlab.experiments import benchmark
from pftlab.experiments.benchmark import Bench, Shape, run, write
from pftlab.experiments.results import load_side_by_side

SMALL = Shape("bert-base", 1, 1, 8, 2)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(SMALL, rounds=2)


def test_ours_and_theirs_are_measured_beside_the_floor(bench: Bench) -> None:
    before = {name: p.clone() for name, p in bench.base.named_parameters()}
    floor, ours, theirs = bench.costs("lora")
    assert [c.method for c in (floor, ours, theirs)] == ["floor", "lora", "lora"]
    assert [c.whose for c in (floor, ours, theirs)] == ["", "pftlab", "peft"]
    assert not any(c.note for c in (floor, ours, theirs))
    for cost in (ours, theirs):
        assert cost.activations == ours.activations and cost.to_floor > 0
        for measured in (cost.step_ms, cost.attach_ms, cost.save_ms, cost.load_ms, cost.merge_ms):
            assert measured > 0
        assert 90_000 < cost.file < 120_000
    assert ours.to_peft > 0 and theirs.to_peft is None
    # training, loading and merging have left the base as it was
    assert all(torch.equal(p, before[name]) for name, p in bench.base.named_parameters())


def test_what_fails_is_noted_and_the_others_go_on(bench: Bench, monkeypatch: Any) -> None:
    def broken(*_: Any) -> None:
        raise torch.OutOfMemoryError("long words")

    monkeypatch.setattr(benchmark.Theirs, "attach", broken)
    floor, ours, theirs = bench.costs("ia3")
    assert theirs.note == "OutOfMemoryError: out of memory" and theirs.step_ms is None
    assert not floor.note and ours.step_ms > 0 and ours.to_peft is None


def test_a_run_says_where_it_comes_from_and_is_read_again(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(benchmark, "ON_CPU", {"bert-base": SMALL})
    done = run(["bert-base"], ["full"], 1, "a command")
    assert done["command"] == "a command" and done["device"] and done["versions"]["peft"]
    assert [c["method"] for c in done["costs"]] == ["floor", "full"]
    write([done, done], tmp_path / "costs.json")
    assert load_side_by_side(tmp_path / "costs.json") == [done, done]
