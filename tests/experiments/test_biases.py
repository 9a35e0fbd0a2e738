"""The grid of the chapter on BitFit."""

import json
from itertools import product
from typing import Any

from pftlab.experiments import biases

CROSSING: dict[str, Any] = json.loads(biases.STORED_CROSSING.read_text("utf-8"))
CELLS = tuple(product(biases.METHODS, biases.COUNTS))


def test_the_stored_file_has_every_run_at_its_own_searched_rate() -> None:
    rows, searches = CROSSING["runs"], CROSSING["searches"]
    assert {(r["name"], r["texts"], r["seed"]) for r in rows} == {
        (name, texts, seed) for name, texts in CELLS for seed in biases.SEEDS
    }
    assert len(rows) == len(CELLS) * len(biases.SEEDS)
    for name, texts in CELLS:
        tried = [s for s in searches if (s["name"], s["texts"]) == (name, texts)]
        best = max(tried, key=lambda s: (s["validation"], -s["loss"]))["lr"]
        assert {r["lr"] for r in rows if (r["name"], r["texts"]) == (name, texts)} == {best}
        assert min(s["lr"] for s in tried) < best < max(s["lr"] for s in tried), "not inside"


def test_a_seed_draws_its_texts_once_and_the_fewer_are_among_the_more() -> None:
    few, some = (biases.task_of(n, 3, 20).rows("train")["text"][:] for n in (16, 128))
    assert len(set(few)) == 16 and set(few) <= set(some)
    assert set(few) != set(biases.task_of(16, 4, 20).rows("train")["text"][:])
