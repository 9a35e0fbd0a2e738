"""The plan of the chapter on the intrinsic dimension."""

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
