"""Grids: read from files, done once, gone on with wherever they were stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from own_task import save_own_task
from tiny import save_tiny_base

import pftlab as pft
from pftlab.experiments import (
    Grid,
    InContext,
    Protocol,
    Result,
    load_failures,
    load_results,
    read_grid,
    run,
    running,
    workers,
)
from pftlab.experiments.grid import APART, Cell, Job, job_of, results_place
from pftlab.experiments.origin import visible_gpus
from pftlab.experiments.progress import Done, Row
from pftlab.experiments.results import append
from pftlab.experiments.runner import Queue
from pftlab.experiments.workers import prepare_worker
from pftlab.tasks import TASKS
from pftlab.training import fine_tuning

SHORT = Protocol(
    steps=2, batch_size=4, max_length=40, evaluations=2, seeds=(0, 1), search_seeds=(7, 8)
)
PLAIN = replace(SHORT, search=False)
Fake = Callable[..., list[Job]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: Any) -> dict[str, Any]:
    return {
        "bases": save_tiny_base(tmp_path_factory.mktemp("base")),
        "tasks": save_own_task(tmp_path_factory.mktemp("task")),
        "limit": 8,
    }


def cell_of(place: dict[str, Any], method: Any, protocol: Protocol = PLAIN, **more: Any) -> Cell:
    return Grid.of(methods=(method,), protocol=protocol, **place, **more).cells[0]


@pytest.fixture(scope="module")
def real(place: dict[str, Any]) -> Result:
    """One run of LoRA, as it is."""
    cell = cell_of(place, pft.LoRA(rank=2))
    return running.run_job(Job(cell, 0, 1e-3, "given"), commit="abc", command="pftlab …")


@pytest.fixture
def fake(monkeypatch: Any, real: Result) -> Fake:
    """Runs that cost nothing: the score depends on the job alone."""

    def begin(best: float = 1e-3, wrong: Callable[[Job], bool] = lambda job: False) -> list[Job]:
        done: list[Job] = []

        def one(job: Job, **origin: Any) -> Result:
            done.append(job)
            if wrong(job):
                raise RuntimeError("out of memory")
            distance = abs(torch.log(torch.tensor(job.lr / best)).item())
            score = {"accuracy": 1 / (1 + distance), "validation_loss": distance}
            return replace(
                real, key=job.key, method=job.cell.method.name, seed=job.seed,
                training=job.cell.training(job.lr), validation=score,
                test={} if job.search else score, lr_from=job.lr_from, search=job.found,
            )  # fmt: skip

        monkeypatch.setattr(running, "run_job", one)
        return done

    return begin


def test_a_line_says_all_that_decides_and_where_it_came_from(real: Result, tmp_path: Path) -> None:
    append(tmp_path / "r.jsonl", real)
    header, line = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert not header["shared"].keys() & line.keys()
    data = header["shared"] | line
    assert data["hyperparameters"]["rank"] == 2
    assert data["training"] == {
        "steps": 2, "batch_size": 4, "max_length": 40, "precision": "fp32", "evaluations": 2,
        "lr": 1e-3,
    }  # fmt: skip
    assert (data["lr_from"], data["commit"], data["protocol"]) == ("given", "abc", 1)
    assert data["base"]["origin"] == "folder"
    assert data["forgetting"].keys() == {"metric", "before", "after"}
    assert data["forgetting"]["metric"] == "drift" and data["forgetting"]["after"] > 0
    assert [data["task"][split] for split in ("train", "validation", "test")] == [8, 8, 12]
    assert data["task"]["limit"] == 8
    assert len(data["task"]["fingerprint"]) == len(data["base"]["sha256"]) == 64
    assert (data["parameters"]["trainable"], data["parameters"]["head"]) == (512, 66)
    assert set(data["versions"]) >= {"python", "torch", "transformers"}
    assert data["device"] and data["date"].startswith("20") and data["command"]
    assert {"accuracy", "loss"} <= data["test"].keys() and "accuracy" in data["validation"]
    assert [step for step, _ in data["curve"]] == [1, 2]
    assert load_results(tmp_path / "r.jsonl", method="lora", seed=0)
    assert not load_results(tmp_path, seed=7)
    with pytest.raises(pft.BadValue, match="sed"):
        load_results(tmp_path, sed=0)


def test_a_line_can_be_run_again_and_comes_out_the_same(real: Result) -> None:
    job = job_of(real)
    assert job.key == real.key
    again = running.run_job(job)
    assert (again.test, again.texts, again.curve) == (real.test, real.texts, real.curve)
    with pytest.raises(pft.BadValue, match="cannot be run again"):
        job_of(replace(real, hyperparameters={"rang": 2}))


def test_the_key_changes_with_what_decides_and_with_nothing_else(place: dict[str, Any]) -> None:
    cell = cell_of(place, pft.LoRA(rank=2))
    job = Job(cell, seed=0, lr=1e-3)
    others = [
        replace(job, seed=1), replace(job, lr=2e-3), replace(job, search=True),
        *(replace(job, cell=replace(cell, **change)) for change in (
            {"method": pft.LoRA(rank=4)}, {"limit": 4}, {"pretrained": False},
            {"protocol": replace(PLAIN, steps=3)}, {"protocol": replace(PLAIN, evaluations=1)},
        )),
    ]  # fmt: skip
    assert len({job.key, *(other.key for other in others)}) == 9
    for same in ({"table": 3}, {"capture": True}, {"protocol": replace(PLAIN, seeds=(5,))}):
        assert replace(job, cell=replace(cell, **same)).key == job.key
    assert replace(job, lr_from="search").key == job.key


def test_the_search_is_by_validation_and_goes_on_to_the_best(
    place: dict[str, Any], tmp_path: Path, fake: Fake
) -> None:
    grid = Grid.of(methods=(pft.LinearProbe(), pft.LoRA(rank=2)), protocol=SHORT, **place)
    done, out = fake(best=3e-2), tmp_path / "r.jsonl"
    run(grid, out, progress=False)
    # 1e-4 … 1e-2, then 3e-2 and 1e-1, by two seeds; two others count
    assert len(done) == len(set(done)) == 2 * (7 * 2 + 2)
    assert {job.seed for job in done if job.search} == {7, 8}
    for result in load_results(out):
        assert result.training["lr"] == 3e-2 and result.lr_from == "search"
        assert result.search["inside"] and len(result.search["rates"]) == 7
        assert result.seed in (0, 1)
    assert all(not r.test for r in load_results(out, searches=True))
    run(grid, out, progress=False)
    assert len(done) == 32  # nothing is repeated


def test_a_best_rate_at_the_end_of_all_rates_is_marked(
    place: dict[str, Any], tmp_path: Path, fake: Fake
) -> None:
    fake(best=1e-9)
    out = tmp_path / "r.jsonl"
    run(Grid.of(methods=(pft.LoRA(rank=2),), protocol=SHORT, **place), out, progress=False)
    assert [(r.training["lr"], r.search["inside"]) for r in load_results(out)] == [
        (1e-6, False)
    ] * 2


def test_a_failed_run_is_a_result_and_is_tried_again_on_demand_alone(
    place: dict[str, Any], tmp_path: Path, fake: Fake
) -> None:
    grid, out = Grid.of(methods=(pft.LoRA(rank=2),), protocol=SHORT, **place), tmp_path / "r.jsonl"
    fake(wrong=lambda job: job.lr == 1e-2 or (not job.search and job.seed == 1))
    report = run(grid, out, progress=False)
    assert (report.failed, report.left) == (3, 0)
    assert [r.seed for r in load_results(out)] == [0]
    assert {f.error for f in load_failures(out)} == {"RuntimeError: out of memory"}
    assert run(grid, out, progress=False).done == 0
    fake()
    assert run(grid, out, retry=True, progress=False).done == 3
    row = Row(grid.cells[0], Done.read(grid, out))
    assert [r.seed for r in row.results] == [0, 1]


def test_what_cannot_be_is_refused_once_and_stops_nothing_else(
    place: dict[str, Any], tmp_path: Path
) -> None:
    methods = (pft.LoRA(rank=500), pft.LinearProbe())
    grid, out = Grid.of(methods=methods, protocol=PLAIN, **place), tmp_path / "r.jsonl"
    report = run(grid, out, progress=False)
    assert (report.done, report.failed) == (3, 1)
    (failure,) = load_failures(out)
    assert failure.refused and "rank" in failure.error and failure.method == "lora"
    with pytest.raises(pft.BadValue, match="rank"):
        grid.try_methods()


def test_what_completes_a_row_comes_first_and_then_what_is_long(place: dict[str, Any]) -> None:
    fast, slow = cell_of(place, pft.LinearProbe(), SHORT), cell_of(place, pft.LoRA(), SHORT)
    queue = Queue(Grid((fast, slow)), Done())
    queue.heap.clear()
    queue.took(Job(fast, 0, 1e-3, search=True), 1.0)
    queue.took(Job(slow, 0, 1e-3, search=True), 9.0)
    for job in (Job(fast, 7, 1e-3, search=True), Job(slow, 7, 1e-3, search=True), Job(fast, 0, 1e-3),
                Job(replace(slow, table=1), 0, 1e-3)):  # fmt: skip
        queue.push(job)
    taken = [queue.pop() for _ in range(4)]
    assert [(j.cell.table, j.search, j.cell.method.name) for j in taken if j] == [
        (0, False, "linear_probe"), (0, True, "lora"), (0, True, "linear_probe"), (1, False, "lora"),
    ]  # fmt: skip
    queue.push(Job(slow, 8, 1e-3, search=True))
    assert queue.pop(seconds=8.0) is None and len(queue) == 1  # it would not be done by then


def test_runs_of_a_method_share_a_pass_and_come_out_the_same(
    place: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    protocol = replace(SHORT, rates=(1e-3,))
    grid = Grid.of(
        methods=(pft.LoRA(rank=2), pft.AdapterDrop(bottleneck=4)), protocol=protocol, **place
    )
    shared: list[int] = []
    real = running.run_together

    def counted(jobs: Any, **origin: Any) -> Any:
        shared.append(len(jobs))
        return real(jobs, **origin)

    monkeypatch.setattr(running, "run_together", counted)
    lines = {}
    for together in (1, 4):
        out = tmp_path / f"{together}.jsonl"
        run(grid, out, together=together, progress=False)
        lines[together] = {r.key: r for s in (True, False) for r in load_results(out, searches=s)}
        if together == 1:
            assert not shared
    assert set(shared) >= {2} and max(shared) <= 4
    assert lines[1].keys() & lines[4].keys()
    for key in lines[1].keys() & lines[4].keys():
        one, four = lines[1][key], lines[4][key]
        assert one.validation["validation_loss"] == pytest.approx(
            four.validation["validation_loss"], abs=1e-2
        )
        assert (one.test == {}) == (four.test == {}) and one.texts.keys() == four.texts.keys()
    assert any(", 2 in one pass" in r.device for r in lines[4].values() if r.method == "lora")
    assert not any(
        "in one pass" in r.device for r in lines[4].values() if r.method == "adapter_drop"
    )


def test_the_clock_ends_a_call(place: dict[str, Any], tmp_path: Path, fake: Fake) -> None:
    done = fake()
    grid = Grid.of(methods=(pft.LoRA(rank=2),), protocol=SHORT, **place)
    report = run(grid, tmp_path / "r.jsonl", until=1e-9, progress=False)
    assert report.left and len(done) == report.done <= 1
    for wrong in ({"until": 0.0}, {"workers": 0}):
        with pytest.raises(pft.BadValue):
            run(grid, tmp_path / "r.jsonl", **wrong)
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(pft.Unavailable, match="is a folder"):
        run(grid, tmp_path / "x.jsonl")


def test_the_control_starts_from_random_weights(place: dict[str, Any]) -> None:
    cell = cell_of(place, pft.LinearProbe(), pretrained=False)
    result = running.run_job(Job(cell, 0, 1e-3))
    name = f"{cell.base} (random weights)"
    assert result.base == {"name": name, "sha256": None, "origin": ""}
    assert result.forgetting == {} and job_of(result).cell == replace(
        cell, protocol=job_of(result).cell.protocol
    )


def test_a_run_of_a_search_has_no_test_score(place: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(fine_tuning, "Evaluator", None)
    result = running.run_job(Job(cell_of(place, pft.LinearProbe()), 0, 1e-3, search=True))
    assert result.test == result.forgetting == result.texts == {}
    assert "accuracy" in result.validation


def test_the_base_in_context_is_a_baseline() -> None:
    cell = Cell("tiny-decoder", "reviews", InContext(1), PLAIN, size="tiny", words=True)
    result = running.run_job(Job(cell, 3, 0.0))
    assert result.test["accuracy"] >= 0 and result.parameters["trainable"] == 0
    assert result.task["name"] == "reviews (in words)" and result.texts["columns"] == ["right"]
    assert job_of(result).cell.method == InContext(1)


def test_a_recording_that_breaks_off_costs_its_process_and_no_run(
    place: dict[str, Any], tmp_path: Path, monkeypatch: Any, real: Result
) -> None:
    """The GPU then refuses all that the process asks; a list of each process stands for that."""
    spoilt: list[Job] = []

    def one(job: Job, **origin: Any) -> Result:
        if job.cell.capture:
            spoilt.append(job)
        if spoilt:
            raise RuntimeError("Offset increment outside graph capture")
        return replace(real, key=job.key, seed=job.seed, method=job.cell.method.name)

    fork: Any = get_context("fork")  # where what is replaced here is replaced as well
    monkeypatch.setattr(fork, "set_forkserver_preload", lambda names: None, raising=False)
    monkeypatch.setattr(workers, "get_context", lambda kind: fork)
    monkeypatch.setattr(workers, "gpu_is_spoilt", lambda: bool(spoilt))
    monkeypatch.setattr(running, "run_job", one)
    monkeypatch.setattr(running, "run_together", lambda jobs, **o: [one(j) for j in jobs])
    recorded = replace(cell_of(place, pft.LoRA(rank=2)), capture=True)
    with monkeypatch.context() as a_gpu:
        a_gpu.setattr(torch.cuda, "is_available", lambda: True)
        grid = Grid((recorded, cell_of(place, pft.BitFit())))
    report = run(grid, tmp_path, workers=2, together=2, progress=False)
    assert (report.done, report.failed, report.left) == (4, 0, 0)
    assert {r.method for r in load_results(tmp_path)} == {"lora", "bitfit"}


def test_workers_are_dealt_out_to_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-8932f937")
    assert visible_gpus() == ["5", "GPU-8932f937"]
    with ProcessPoolExecutor(1, get_context("spawn"), prepare_worker, (1, "7")) as pool:
        assert pool.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result() == "7"


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.full)])
def test_killed_again_and_again_a_grid_loses_nothing_and_does_nothing_twice(
    place: dict[str, Any], tmp_path: Path, kills: int
) -> None:
    """Real kills, of the whole and of a worker: lines stay, and workers end with their parent."""
    out, script = tmp_path / "out", tmp_path / "run.py"
    script.write_text(
        "import pftlab as pft\n"
        "from pftlab.experiments import Grid, Protocol, run\n"
        "if __name__ == '__main__':\n"
        "    protocol = Protocol(steps=2, batch_size=4, max_length=40, evaluations=1,\n"
        "                        search=False, seeds=range(60))\n"
        f"    grid = Grid.of({place['bases']!r}, {place['tasks']!r}, (pft.LinearProbe(),),\n"
        "                   protocol, limit=8)\n"
        f"    run(grid, {str(out)!r}, workers=2, progress=False)\n"
    )
    seen: dict[str, dict[str, Any]] = {}
    every = 50 // kills
    for wanted in range(every, 51, every):
        process = subprocess.Popen([sys.executable, str(script)])
        deadline = time.monotonic() + 1000
        while len(lines := lines_of(out)) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        below = psutil.Process(process.pid).children(recursive=True)
        if wanted == every:  # a worker dies: its run is done by another
            workers = [p for p in below if p.ppid() != process.pid]
            workers[0].kill()
            while len(lines_of(out)) < wanted + 2 and time.monotonic() < deadline:
                time.sleep(0.02)
            below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not psutil.wait_procs(below, timeout=300)[1]
        lines = lines_of(out)
        assert seen.items() <= lines.items()
        seen = lines
    assert every * kills <= len(seen) < 60
    subprocess.run([sys.executable, str(script)], check=True)
    (file,) = out.glob("*.jsonl")
    results = load_results(file)
    assert sorted(r.seed for r in results) == list(range(60)) and not load_failures(file)
    assert seen.items() <= lines_of(out).items()


def lines_of(out: Path) -> dict[str, dict[str, Any]]:
    """The whole lines, by their keys; each is there once."""
    found: dict[str, dict[str, Any]] = {}
    for file in out.glob("*.jsonl"):
        for line in file.read_text().splitlines()[1:]:
            try:
                data = json.loads(line)
            except ValueError:
                continue
            assert data["key"] not in found
            found[data["key"]] = data
    return found


def test_two_calls_do_not_run_into_one_place(
    place: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    grid, out = Grid.of(methods=(pft.LinearProbe(),), protocol=PLAIN, **place), tmp_path / "out"

    def one(job: Job, **origin: Any) -> Result:
        with pytest.raises(pft.Refused, match="Another call"):
            run(grid, out, progress=False)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_job", one)
    with pytest.raises(KeyboardInterrupt):
        run(grid, out, progress=False)
    assert not any(out.iterdir())


GRID = """
about = "An example."
[protocol]
steps = 10
[[table]]
bases = ["tiny-encoder"]
tasks = ["reviews"]
methods = ["lora", {name = "lora", rank = 2, at = ["ffn.up"]}, "family:others"]
but = ["oft"]
baselines = ["random weights"]
limits = [16, 64]
[[table]]
bases = ["tiny-decoder"]
tasks = ["reviews"]
methods = ["lora"]
sizes = "all"
shots = [0, 4]
steps = 20
"""


def test_a_grid_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(GRID)
    grid = read_grid(tmp_path / "g.toml", "pftlab …")
    assert (grid.name, grid.about, grid.command) == ("g", "An example.", "pftlab …")
    first = [cell for cell in grid.cells if cell.table == 0 and cell.limit == 16]
    others = [n for n, m in pft.METHODS.items() if m.family == "others" and n != "oft"]
    assert [cell.method.name for cell in first] == ["full", "lora", "lora", *others]
    assert [cell.pretrained for cell in first[:2]] == [False, True]
    assert first[2].method == pft.LoRA(rank=2, at=("ffn.up",))
    second = [cell for cell in grid.cells if cell.table == 1]
    assert [getattr(c.method, "rank", None) for c in second] == [1, 8, 32, None, None]
    assert [c.words for c in second] == [False] * 3 + [True] * 2
    assert {c.protocol.steps for c in second} == {20}
    assert results_place(tmp_path, second[-1]).name == "tiny-decoder-reviews-words.jsonl"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 10", "stesp = 10", "steps"),
        ('"lora", {', '"lroa", {', "lora"),
        ("rank = 2", "rang = 2", "rank"),
        ("random weights", "radnom weights", "random weights"),
        ('sizes = "all"', 'sizes = "some"', "all"),
        ('bases = ["tiny-decoder"]', "", "names no bases"),
        ("[[table]]", "[[table]", "no TOML"),
        ("steps = 20", 'steps = 20\nseeds = ["a"]\nsearch = 3\nlr = 1e-3', "one of the two"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "g.toml").write_text(GRID.replace(old, new))
    with pytest.raises(pft.PftError, match=message):
        read_grid(tmp_path / "g.toml")
    with pytest.raises(pft.UnknownName, match="families"):
        read_grid("famlies")


def test_every_grid_of_the_book_can_be_read_and_the_families_have_every_method() -> None:
    from pftlab.experiments.grid import GRIDS

    for file in GRIDS.glob("*.toml"):
        grid = read_grid(file.stem)
        assert grid.about and {cell.task for cell in grid.cells} <= {*TASKS}, file
    families = read_grid("families")
    one = [c for c in families.cells if c.table == 0 and c.base == "tiny-encoder" and c.pretrained]
    assert {c.method.name for c in one} | {*APART} == {*pft.METHODS}
    assert {c.base for c in families.cells} == {"tiny-encoder", "mini-encoder"}
