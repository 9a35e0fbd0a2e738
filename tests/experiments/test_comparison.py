"""Differences that hold seeds and texts, and lines that can be trusted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import grid as made_up_grid

import pftlab as pft
from pftlab.experiments import Result
from pftlab.experiments.comparison import (
    Paired,
    over_seeds,
    rank_correlations,
    student,
    surviving,
)
from pftlab.experiments.origin import VERSIONS
from pftlab.experiments.outcomes import outcomes, pack, score_of_counts, unpack
from pftlab.experiments.provenance import check
from pftlab.experiments.results import append
from pftlab.experiments.summary import interval
from pftlab.tasks.metrics import METRICS

LINE: Result = made_up_grid(1)[0]


def runs(method: str, right: Any) -> list[Result]:
    """Runs from (seeds, texts) of right answers."""
    return [
        replace(LINE, key=f"{method}{seed}", method=method, seed=seed, protocol=1,
                test={"accuracy": float(row.mean())}, texts=pack(["right"], row[:, None]),
                task=LINE.task | {"metric": "accuracy"})
        for seed, row in enumerate(np.asarray(right, dtype=float))
    ]  # fmt: skip


def drawn(rng: Any, skill: float, hard: Any, seeds: int = 5) -> Any:
    """Right answers: texts are hard for all methods alike, and a seed is lucky or not."""
    luck = rng.normal(0, 0.15, (seeds, 1))
    return hard + skill + luck + rng.normal(0, 0.6, (seeds, len(hard))) > 0


def test_intervals_cover_the_truth_where_no_method_is_better() -> None:
    rng = np.random.default_rng(0)
    told = []
    for trial in range(60):
        hard = rng.normal(0.5, 1, 120)
        table = {name: runs(name, drawn(rng, 0.0, hard)) for name in ("full", *"abcde")}
        judged = Paired(table, seed=trial).against("full")
        told.append(any(d.verdict != "cannot tell" for d in judged))
        for d in judged:
            assert (d.low <= 0 <= d.high) == (d.verdict == "cannot tell")
    assert sum(told) <= 6  # of 60 families of comparisons, 5 % are 3


def test_a_real_difference_is_found_and_has_its_direction() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(0.5, 1, 500)
    table = {"full": runs("full", drawn(rng, 0.0, hard)), "a": runs("a", drawn(rng, 1.0, hard)),
             "b": runs("b", drawn(rng, -1.0, hard))}  # fmt: skip
    better, worse = Paired(table).against("full")
    assert (better.verdict, worse.verdict) == ("better", "worse")
    assert better.value == pytest.approx(
        np.mean([a.score - b.score for a, b in zip(table["a"], table["full"], strict=True)])
    )
    assert surviving({"x": table, "y": table}, table) == [("a", "b"), ("a", "full"), ("full", "b")]
    other = {"full": table["full"], "a": table["b"], "b": table["a"]}
    assert surviving({"x": table, "y": other}, table) == []
    ((_, (same, n)),) = rank_correlations({"x": table, "y": table}).items()
    ((_, (turned, _)),) = rank_correlations({"x": table, "y": other}).items()
    assert (same, turned, n) == (1.0, -1.0, 3)


def test_both_seeds_and_texts_widen_an_interval() -> None:
    rng = np.random.default_rng(2)
    few, many = rng.random((5, 40)) < 0.8, rng.random((5, 4000)) < 0.8
    base = {40: rng.random((5, 40)) < 0.8, 4000: rng.random((5, 4000)) < 0.8}
    widths = {}
    for n, right in ((40, few), (4000, many)):
        (d,) = Paired({"full": runs("full", base[n]), "a": runs("a", right)}).against("full")
        widths[n] = d.high - d.low
    assert widths[40] > 3 * widths[4000]
    alike = np.tile(rng.random(200) < 0.8, (5, 1))  # no seed differs: the texts alone remain
    other = np.tile(rng.random(200) < 0.8, (5, 1))
    (d,) = Paired({"full": runs("full", alike), "a": runs("a", other)}).against("full")
    assert d.high - d.low > 0.1


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews", "token_accuracy", "span_f1"])
def test_counts_give_the_score_of_the_task(metric: str) -> None:
    rng = np.random.default_rng(3)
    task = pft.load_task(
        "tagging" if metric in ("token_accuracy", "span_f1") else "reviews", size="tiny"
    )
    object.__setattr__(task, "metrics", {metric: METRICS[metric]})
    if task.kind == "tagging":
        pairs = [tuple(rng.integers(0, len(task.labels), (2, 6)).tolist()) for _ in range(30)]
    else:
        pairs = [tuple(rng.integers(0, 2, 2).tolist()) for _ in range(50)]
    counts = unpack(outcomes(task, pairs))
    expected = task.score([p for p, _ in pairs], [r for _, r in pairs])[metric]
    assert score_of_counts(metric, counts.sum(0), len(pairs)) == pytest.approx(expected)
    with pytest.raises(pft.BadValue, match="damaged"):
        unpack(outcomes(task, pairs) | {"data": "AAAA"})


def whole(**change: Any) -> list[Result]:
    """A row with its search, as it should be."""
    origin: dict[str, Any] = dict(
        protocol=1,
        command="pftlab …",
        commit="abc",
        date="2026",
        device="cpu",
        versions=dict.fromkeys((*VERSIONS, "python"), "1"),
        lr_from="search",
    )
    metric = LINE.task["metric"]
    found = {"rates": [1e-3, 3e-3, 1e-2], "scores": [0.5, 0.7, 0.6], "inside": True}
    lines = [
        replace(LINE, key=f"s{rate}{seed}", training=LINE.training | {"lr": rate}, seed=seed,
                validation={metric: score}, test={}, **origin)
        for rate, score in zip(found["rates"], found["scores"], strict=True) for seed in (1000, 1001)
    ]  # fmt: skip
    lines += [
        replace(LINE, key=f"f{seed}", training=LINE.training | {"lr": 3e-3}, seed=seed,
                search=found, **origin)
        for seed in range(2)
    ]  # fmt: skip
    return [*lines[:-1], replace(lines[-1], **change)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "f0"}, "twice"),
        ({"commit": ""}, "no commit"),
        ({"commit": "abc+"}, "changed since"),
        ({"command": ""}, "no command"),
        ({"versions": {}}, "no version of torch"),
        ({"seed": 1000}, "a seed of the search is counted"),
        ({"training": LINE.training | {"lr": 1e-2}}, "several rates"),
        ({"task": LINE.task | {"fingerprint": "other"}}, "2 versions of its data"),
    ],
)
def test_what_is_wrong_with_a_line_is_found(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    for name, lines in (("good", whole()), ("bad", whole(**change))):
        for line in lines:
            append(tmp_path / f"{name}.jsonl", line)
    good = check(tmp_path / "good.jsonl")
    assert (good.faults, good.marked, good.runs, good.old) == ([], [], 8, 0)
    assert any(message in fault for fault in check(tmp_path / "bad.jsonl").faults)


def test_a_rate_that_is_not_the_best_of_its_search_is_found(tmp_path: Path) -> None:
    lines = whole()
    metric = LINE.task["metric"]
    for line in lines:
        better = not line.test and line.training["lr"] == 1e-2
        append(tmp_path / "r.jsonl", replace(line, validation={metric: 0.9}) if better else line)
    faults = check(tmp_path / "r.jsonl").faults
    assert any("not the best" in f for f in faults) and any("ended before" in f for f in faults)


def test_the_lines_of_the_book_can_be_trusted() -> None:
    found = check()
    assert found.faults == [] and found.runs > 700


def test_over_seeds_alone_is_students_interval_at_the_level_of_holm() -> None:
    def scored(method: str, *scores: float) -> list[Result]:
        return [replace(LINE, method=method, seed=seed, test={"accuracy": score})
                for seed, score in enumerate(scores)]  # fmt: skip

    runs = {"lora": scored("lora", 0.80, 0.82, 0.84), "ia3": scored("ia3", 0.75, 0.78, 0.79),
            "full": scored("full", 0.81, 0.80, 0.86)}  # fmt: skip
    found = {d.method: d for d in over_seeds(runs, "lora")}
    ia3, apart = found["ia3"], [-0.05, -0.04, -0.05]
    first_of_two = student().isf(0.05 / 2 / 2, 2) / student().isf(0.05 / 2, 2)
    assert (ia3.high - ia3.low) / 2 == pytest.approx(interval(apart) * first_of_two, rel=1e-3)
    assert (ia3.verdict, ia3.seeds) == ("worse", 3) and ia3.high < 0
    assert found["full"].verdict == "cannot tell" and found["full"].low < 0 < found["full"].high
    with pytest.raises(pft.BadValue, match="1 seeds in common"):
        over_seeds({"lora": runs["lora"], "ia3": runs["ia3"][:1]}, "lora")
