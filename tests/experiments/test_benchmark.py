"""Costs side by side: what is measured, that failures are results, and that nothing is shared."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import pftlab as pft
from pftlab.cli import main
from pftlab.experiments import benchmark, results
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


def test_the_command_prints_costs_beside_the_books(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    def cost(method: str, whose: str, ratio: float) -> dict[str, Any]:
        made = benchmark.Cost("a model", method, whose, step_ms=2.0, to_floor=ratio)
        return asdict(made)

    def machine(name: str, ratio: float) -> dict[str, Any]:
        return {"device": name, "costs": [cost("floor", "", 1.0), cost("lora", "pftlab", ratio)]}

    asked = []

    def measured(shapes: list[str], methods: list[str], rounds: int, command: str) -> Any:
        asked.append((shapes, methods, rounds, command))
        return machine("this laptop", 1.25)

    monkeypatch.setenv("COLUMNS", "200")  # a narrow table breaks names
    monkeypatch.setattr(benchmark, "run", measured)
    monkeypatch.setattr(results, "load_side_by_side", lambda: [machine("a big GPU", 1.5)])
    words = ["bench", "--shapes", "bert-base", "--methods", "lora", "--rounds", "3"]
    assert main(words) == 0
    assert asked == [(["bert-base"], ["lora"], 3, "pftlab " + " ".join(words))]
    shown = capsys.readouterr().out
    assert "this laptop" in shown and "/ floor, a big GPU" in shown
    (row,) = [line for line in shown.splitlines() if line.startswith("lora")]
    assert "1.25" in row and "1.50" in row
    assert main(["bench", "--out", str(tmp_path / "mine.json"), "--json"]) == 0
    assert load_side_by_side(tmp_path / "mine.json")[0]["device"] == "this laptop"


def test_what_is_unknown_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(pft.UnknownName, match="shape"):
        run(["no-such-model"], ["lora"], 1, "")
    with pytest.raises(pft.UnknownName, match="method"):
        run(["bert-base"], ["no_such_method"], 1, "")


def test_the_books_costs_can_be_read() -> None:
    """Each with its device, versions, commit and command, and with the floor beside it."""
    for stored in load_side_by_side():
        assert stored["device"] and stored["versions"]["peft"] and stored["command"]
        assert len(stored["commit"]) == 12
        for cost in stored["costs"]:
            assert cost["method"] in pft.METHODS or cost["method"] in ("floor", "full")
