"""Stored files of small experiments: written run by run, gone on with, and of one source each."""

import json
from pathlib import Path
from typing import Any

import pytest

import pftlab as pft
from pftlab.experiments import STORED, record
from pftlab.experiments.record import Record

SETTINGS = {"base": "tiny-encoder", "rates": (1e-3, 1e-2)}
# what `Record` writes, of all files that the book reads
WRITTEN = (
    "adapter_widths",
    "answering",
    "biases_crossing",
    "budgets",
    "directions",
    "directions_tagging",
    "dropping",
    "edits",
    "few_shots",
    "forgetting",
    "hybrid_rates",
    "hybrids",
    "lora_ranks",
    "places",
    "prefix_tables",
    "probing",
    "prompt_ablations",
    "serving",
    "unfreezing",
)


def rows(path: Path, seeds: Any, done: list[int]) -> list[dict[str, Any]]:
    def compute(seed: int) -> dict[str, Any]:
        if seed == 9:
            raise KeyboardInterrupt
        done.append(seed)
        return {"score": seed / 10}

    file = Record(path, "python x.py", SETTINGS)
    return [file.row("runs", {"seed": seed}, lambda seed=seed: compute(seed)) for seed in seeds]


def test_an_interrupted_call_goes_on_from_its_rows(tmp_path: Path) -> None:
    path, done = tmp_path / "r.json", []
    with pytest.raises(KeyboardInterrupt):
        rows(path, (0, 1, 9), done)
    found = rows(path, (0, 1, 2), done)
    assert done == [0, 1, 2]
    assert found == [{"seed": seed, "score": seed / 10} for seed in range(3)]
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["runs"] == found and stored["rates"] == [1e-3, 1e-2]
    assert {"command", "commit", "date", "device", "versions"} <= stored.keys()


def test_runs_of_one_pass_are_computed_together_and_once(tmp_path: Path) -> None:
    file, calls = Record(tmp_path / "r.json", "python x.py", SETTINGS), []
    asked = [{"seed": 0}, {"seed": 1}]
    for _ in range(2):
        made = file.rows("runs", asked, lambda: calls.append(1) or [{"score": 1}, {"score": 2}])
        assert [row["score"] for row in made] == [1, 2]
    assert len(calls) == 1 and len(file.data["runs"]) == 2


def test_two_experiments_do_not_become_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.json"
    rows(path, (0,), [])
    with pytest.raises(pft.Refused, match="another base. Give another file"):
        Record(path, "python x.py", SETTINGS | {"base": "mini-encoder"})
    monkeypatch.setattr(record, "commit", lambda: "0123456789ab")
    with pytest.raises(pft.Refused, match="another commit"):
        Record(path, "python x.py", SETTINGS)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(pft.PftError):
        Record(path, "python x.py", SETTINGS)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_book_says_where_its_runs_came_from(name: str) -> None:
    stored = json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))
    for key in ("command", "commit", "date", "device", "versions"):
        assert stored[key], key
    assert not stored["commit"].endswith("+"), "made by a source that was changed since its commit"
