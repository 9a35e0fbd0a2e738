"""A grid on a Ray cluster of two workers: the same lines, also when one of them dies."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from own_task import save_own_task
from tiny import save_tiny_base

import pftlab as pft
from pftlab.experiments import Grid, Protocol, load_results, run
from pftlab.experiments.cluster import Cluster
from pftlab.experiments.workers import Ended

PROTOCOL = Protocol(
    steps=2, batch_size=4, max_length=40, evaluations=1, search=False, seeds=range(6)
)


def workers_of_ray(at_work: str = "") -> list[psutil.Process]:
    """Their processes; Ray writes what they do into their names."""
    below = psutil.Process().children(recursive=True)
    return [p for p in below if f"ray::Worker{at_work}" in " ".join(p.cmdline())]


@pytest.mark.full  # Ray takes its time to begin
def test_a_cluster_writes_the_lines_of_one_machine_and_outlives_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    place: dict[str, Any] = {
        "bases": save_tiny_base(tmp_path / "base"),
        "tasks": save_own_task(tmp_path / "task"),
        "limit": 8,
    }
    grid = Grid.of(methods=(pft.LinearProbe(),), protocol=PROTOCOL, **place)
    ended, killed = Cluster.ended, []

    def kill_one(self: Cluster, timeout: float) -> list[Ended]:
        while not killed:
            if busy := workers_of_ray(".do"):
                busy[0].kill()
                killed.append(busy[0].pid)
        return ended(self, timeout)

    monkeypatch.setattr(Cluster, "ended", kill_one)
    report = run(grid, tmp_path / "ray.jsonl", workers=2, cluster="local", progress=False)
    assert killed and (report.done, report.failed, report.left) == (6, 0, 0)
    assert not workers_of_ray()
    run(grid, tmp_path / "here.jsonl", progress=False)
    there, here = (
        {r.key: replace(r, date="", device="", seconds=0, examples_per_second=0,
                        peak_memory_bytes=0, commit="", versions={}) for r in load_results(tmp_path / name)}
        for name in ("ray.jsonl", "here.jsonl")
    )  # fmt: skip
    assert there == here and len(here) == 6


def test_without_ray_or_a_cluster_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid.of("tiny-encoder", "reviews", (pft.LinearProbe(),), PROTOCOL, limit=8)
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(pft.Unavailable, match="no Ray cluster at 'auto'.*ray start --head"):
        run(grid, tmp_path / "r.jsonl", cluster="auto", progress=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(pft.Unavailable, match=r"pftlab\[cluster\]"):
        run(grid, tmp_path / "r.jsonl", cluster="local", progress=False)
    assert not (tmp_path / "r.jsonl").exists()
