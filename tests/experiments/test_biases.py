"""The grid of the chapter on BitFit."""

import json
from typing import Any

from pftlab.experiments import STORED, biases

STORED_CROSSING: dict[str, Any] = json.loads((STORED / "biases_crossing.json").read_text("utf-8"))


def test_the_stored_file_has_every_run_at_its_own_searched_rate() -> None:
    rows, searches = STORED_CROSSING["runs"], STORED_CROSSING["searches"]
    assert {(r["name"], r["texts"], r["seed"]) for r in rows} == {
        (name, texts, seed) for name, texts in biases.PLANS["crossing"] for seed in biases.SEEDS
    }
    assert len(rows) == len(biases.PLANS["crossing"]) * len(biases.SEEDS)
    for name, texts in biases.PLANS["crossing"]:
        tried = [s for s in searches if (s["name"], s["texts"]) == (name, texts)]
        best = max(tried, key=lambda s: (s["validation"], -s["loss"]))["lr"]
        assert {r["lr"] for r in rows if (r["name"], r["texts"]) == (name, texts)} == {best}
        assert min(s["lr"] for s in tried) < best < max(s["lr"] for s in tried), "not inside"


def test_a_seed_draws_its_texts_once_and_the_fewer_are_among_the_more() -> None:
    few, some = (biases.task_of(n, 3, 20).rows("train")["text"][:] for n in (16, 128))
    assert len(set(few)) == 16 and set(few) <= set(some)
    assert set(few) != set(biases.task_of(16, 4, 20).rows("train")["text"][:])
