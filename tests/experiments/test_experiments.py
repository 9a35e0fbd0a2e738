"""Grids, result lines, summaries: nothing is done twice, nothing is lost."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tiny import save_tiny_base

import pftlab as pft
from pftlab.experiments import Grid, Result, load_results, summarise
from pftlab.experiments.results import append
from pftlab.experiments.summary import interval

RESULT = Result(
    key="k0",
    method="lora",
    hyperparameters={"rank": 2},
    base={"name": "b", "sha256": None},
    task={"name": "t", "metric": "accuracy", "train": 4},
    training={"lr": 0.1},
    seed=0,
    validation={"accuracy": 0.5},
    test={"accuracy": 0.5},
    parameters={"trainable": 10, "head": 2, "total": 100},
    seconds=1.0,
    examples_per_second=1.0,
    peak_memory_bytes=1,
    device="d",
)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: Any) -> Grid:
    return Grid(
        base=save_tiny_base(tmp_path_factory.mktemp("base")),
        task="reviews",
        size="tiny",
        limit=16,
        methods=(pft.LinearProbe(), pft.LoRA(rank=2)),
        seeds=(0, 1),
        steps=2,
        batch_size=4,
        max_length=40,
        command="pftlab compare …",
    )


def test_a_grid_runs_once_and_goes_on_after_a_stop(
    grid: Grid, tmp_path: Path, monkeypatch: Any
) -> None:
    out, real, done = tmp_path / "r.jsonl", Grid.one, []

    def stopping(self: Grid, *job: Any) -> Result:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job)
        return real(self, *job)

    monkeypatch.setattr(Grid, "one", stopping)
    with pytest.raises(KeyboardInterrupt):
        grid.run(out, progress=False)
    assert len(load_results(out)) == 2
    monkeypatch.setattr(Grid, "one", lambda self, *job: done.append(job) or real(self, *job))
    results = grid.run(out, progress=False)
    assert len(done) == 4
    assert [r.key for r in load_results(out)] == [r.key for r in results]
    assert len({r.key for r in results}) == 4
    monkeypatch.setattr(Grid, "one", None)  # a third run does nothing
    assert [r.key for r in grid.run(out, progress=False)] == [r.key for r in results]
    with out.open("a") as file:
        file.write('{"key": "torn')  # a line that a kill left behind
    with pytest.warns(UserWarning, match="unfinished"):
        assert len(load_results(out)) == 4


def test_a_line_says_all_that_decides_and_where_it_came_from(grid: Grid, tmp_path: Path) -> None:
    result = grid.one(1, 0, 1e-3)
    append(tmp_path / "r.jsonl", result)
    data = json.loads((tmp_path / "r.jsonl").read_text())
    assert data["hyperparameters"]["rank"] == 2
    assert data["training"]["steps"] == 2
    assert data["task"]["train"] == 16
    assert len(data["task"]["fingerprint"]) == 64
    assert (data["parameters"]["trainable"], data["parameters"]["head"]) == (512, 66)
    assert set(data["versions"]) >= {"python", "torch", "transformers"}
    assert data["device"] and data["date"].startswith("20") and data["command"]
    assert load_results(tmp_path / "r.jsonl", method="lora", task="reviews", seed=0)
    assert not load_results(tmp_path, seed=7)


def test_the_key_changes_with_what_decides(grid: Grid) -> None:
    task = grid.load_task()
    keys = {
        grid.key(0, 0, 1e-3, task),
        grid.key(1, 0, 1e-3, task),
        grid.key(0, 1, 1e-3, task),
        grid.key(0, 0, 2e-3, task),
        replace(grid, steps=3).key(0, 0, 1e-3, task),
        replace(grid, limit=8).key(0, 0, 1e-3, replace(grid, limit=8).load_task()),
    }
    assert len(keys) == 6
    assert replace(grid, command="other").key(0, 0, 1e-3, task) == grid.key(0, 0, 1e-3, task)


def test_the_search_takes_the_best_rate_by_validation(grid: Grid, monkeypatch: Any) -> None:
    class Fake:
        def __init__(self, lr: float):
            self.metrics = {"accuracy": -abs(math.log(lr / 3e-3))}

    monkeypatch.setattr(Grid, "_train", lambda self, m, seed, lr, task: (None, Fake(lr)))
    assert replace(grid, search=True)._rate(1, grid.load_task()) == pytest.approx(3e-3)


def test_mean_and_interval_over_seeds() -> None:
    # t(0.975, 2) = 4.303; the sample deviation of 1, 2, 3 is 1
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(4.303 / math.sqrt(3))
    assert interval([1.0]) is None
    runs = [
        replace(RESULT, key=f"k{i}", seed=i, test={"accuracy": s}) for i, s in enumerate((0.5, 0.7))
    ]
    (row,) = summarise([*runs, runs[0]])  # a line that is there twice counts once
    assert (row.seeds, row.mean, row.percent) == (2, pytest.approx(0.6), 10.0)
    assert len(summarise([runs[0], replace(runs[1], training={"lr": 0.2})])) == 2


def test_bad_results_and_places(tmp_path: Path) -> None:
    with pytest.raises(pft.Unavailable, match="no results"):
        load_results(tmp_path / "none.jsonl")
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(pft.BadValue, match=r"other.jsonl:1"):
        load_results(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(pft.Unavailable):
        append(tmp_path / "file" / "r.jsonl", RESULT)


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    append(file, RESULT)
    file.write_text(file.read_text() + '{"key": "tor')
    append(file, replace(RESULT, key="k1"))
    with pytest.warns(UserWarning, match=":2"):
        assert [r.key for r in load_results(file)] == ["k0", "k1"]
    assert asdict(load_results(file)[0]) == asdict(RESULT)


def test_figures_of_results() -> None:
    from pftlab.plots import finding, tradeoff

    names = ("linear_probe", "bitfit", "lora", "full")
    rows = summarise(
        replace(
            RESULT,
            key=f"{name}{seed}",
            method=name,
            hyperparameters={},
            seed=seed,
            test={"accuracy": 0.6 + 0.1 * i + 0.01 * seed},
            parameters={"trainable": 10**i if i else 0, "head": 2, "total": 1100},
        )
        for i, name in enumerate(names)
        for seed in (0, 1)
    )
    figure = tradeoff(rows)
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["Linear probe", "BitFit", "LoRA", "Full fine-tuning"]
    assert finding(rows) == (
        "Full fine-tuning is highest with 90.5 % accuracy, training 90.9 % of the parameters; "
        "BitFit reaches 70.5 % with 0.909 %."
    )
