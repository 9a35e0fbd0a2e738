"""The runs of the chapter on AdaLoRA."""

import json

import pytest
import torch

from pftlab.experiments import budgets
from pftlab.low_rank.adalora import SVDUpdate


def test_the_stored_runs_spent_the_budget() -> None:
    stored = json.loads(budgets.STORED_BUDGETS.read_text(encoding="utf-8"))
    runs = {(row["task"], row["way"], row["seed"]) for row in stored["rows"]}
    assert runs == {(t, w, s) for t in budgets.TASKS for w in budgets.WAYS for s in budgets.SEEDS}
    for row in stored["rows"]:
        assert len(row["ranks"]) == len(stored["places"]) == 24
        assert sum(row["ranks"]) == 24 * budgets.RANK
        assert max(row["ranks"]) <= budgets.START


@pytest.mark.parametrize("way", budgets.WAYS)
def test_triplets_go_in_the_order_that_is_named(way: str) -> None:
    deltas = [SVDUpdate(5, 4, 3, 1.0, 0.0) for _ in range(2)]
    for k, delta in enumerate(deltas):
        delta.Lambda.data.fill_(1.0)
        delta.importance = torch.full((2, 3, 10), float(1 + k))  # the second matters more
    method = budgets.ChosenBy(rank=1, start_rank=3, way=way, draw=3)
    method.allocate(deltas, 4, forever=False)
    first = torch.cat([delta.Lambda.detach() for delta in deltas])
    method.allocate(deltas, 2, forever=True)
    second = torch.cat([delta.Lambda.detach() for delta in deltas])
    assert (first.sum(), second.sum()) == (4, 2)
    assert bool((second <= first).all()), "what is gone does not come back"
    if way == "importance":
        assert second[3:].sum() == 2
    else:
        again = budgets.ChosenBy(rank=1, start_rank=3, way=way, draw=3)
        others = [SVDUpdate(5, 4, 3, 1.0, 0.0) for _ in range(2)]
        for other in others:
            other.Lambda.data.fill_(1.0)
        again.allocate(others, 2, forever=False)
        assert torch.equal(torch.cat([o.Lambda.detach() for o in others]), second)
