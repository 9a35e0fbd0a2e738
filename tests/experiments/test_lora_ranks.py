"""LoRA at three ranks: what is stored is the grid that the module names, at the rates it found."""

import json

import pytest

from pftlab.experiments import lora_ranks

STORED = json.loads(lora_ranks.RANKS_OF_LORA.read_text(encoding="utf-8"))


def test_every_rank_has_every_seed_once() -> None:
    done = [(run["rank"], run["seed"]) for run in STORED["runs"]]
    assert done == [(rank, seed) for rank in lora_ranks.RANKS for seed in lora_ranks.SEEDS]
    assert STORED["training"] == lora_ranks.TRAINING


@pytest.mark.parametrize("rank", lora_ranks.RANKS)
def test_the_rate_is_the_best_of_the_search_and_lies_inside_it(rank: int) -> None:
    tries = {row["lr"]: row["validation"] for row in STORED["searches"] if row["rank"] == rank}
    assert tuple(tries) == lora_ranks.RATES
    best = max(tries, key=lambda lr: tries[lr])
    assert min(tries) < best < max(tries)
    assert {run["lr"] for run in STORED["runs"] if run["rank"] == rank} == {best}


def test_the_search_sees_no_test_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_ranks, "BASE", "tiny-encoder")
    monkeypatch.setattr(lora_ranks, "TRAINING", {"steps": 1, "batch_size": 2, "evaluate_every": 1})
    monkeypatch.setattr(lora_ranks, "TESTED", 4)
    monkeypatch.setattr(lora_ranks, "LOOKED_AT", 4)
    found = [lora_ranks.trained(1, 0, 1e-3, test=test) for test in (False, True)]
    assert found[0]["test"] is None and 0 <= found[1]["test"] <= 1
    assert found[0]["validation"] == found[1]["validation"]
