"""The plan of the chapter on the intrinsic dimension."""

import json
from itertools import pairwise

import pytest

import pftlab as pft
from pftlab.experiments import directions


def test_a_cell_is_the_head_all_weights_or_a_subspace_of_its_own_seed() -> None:
    assert isinstance(directions.method_of("full", None, 3), pft.FullFineTuning)
    assert isinstance(directions.method_of("probe", 0, 3), pft.LinearProbe)
    one, other = (directions.method_of("SAID", 100, seed) for seed in (0, 1))
    assert isinstance(one, pft.IntrinsicSAID) and one.dimension == 100
    assert one.seed != other.seed
    with pytest.raises(KeyError):
        directions.method_of("random mask", 100, 0)


def test_the_subspaces_of_two_seeds_share_no_tensors_seed() -> None:
    tensors = len(list(pft.load_base(directions.BASE, num_labels=2).base_model.parameters()))
    seeds = [directions.method_of("DID", 10, seed).seed for seed in directions.SEEDS]
    assert all(b - a > tensors for a, b in pairwise(seeds))


@pytest.mark.parametrize("task", directions.PLANS)
def test_every_stored_cell_has_its_seeds_at_a_rate_inside_its_search(task: str) -> None:
    stored = json.loads(directions.STORED_DIRECTIONS[task].read_text("utf-8"))
    planned = {(name, d) for name, d, _ in directions.PLANS[task]}
    cells = {(run["name"], run["dimension"]) for run in stored["runs"]}
    assert cells <= planned and {("full", None), ("probe", 0)} <= cells
    for cell in cells:
        runs = [r for r in stored["runs"] if (r["name"], r["dimension"]) == cell]
        tried = [s for s in stored["searches"] if (s["name"], s["dimension"]) == cell]
        assert [run["seed"] for run in runs] == list(directions.SEEDS)
        best = max(tried, key=lambda s: (s["validation"], -s["loss"]))["lr"]
        assert {run["lr"] for run in runs} == {best}
        assert min(s["lr"] for s in tried) < best < max(s["lr"] for s in tried)
