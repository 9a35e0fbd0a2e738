"""The runs of the chapter on masks."""

import pytest
import torch

import pftlab as pft
from pftlab.experiments import masks
from pftlab.sparse.mask import entries

DENSITY = 0.002


def chosen(way: str, seed: int = 0) -> list[set[int]]:
    """The places of each parameter that a way chooses."""
    model = pft.RandomMask(density=DENSITY).attach(pft.load_base("tiny-encoder", num_labels=2))
    masks.choose(model, way, seed)
    return [set(delta.places.tolist()) for _, delta in entries(model, "random_mask")]


@pytest.fixture(scope="module")
def base() -> list[torch.Tensor]:
    model = pft.RandomMask(density=DENSITY).attach(pft.load_base("tiny-encoder", num_labels=2))
    return [p.detach().flatten() for p, _ in entries(model, "random_mask")]


def count(places: list[set[int]]) -> int:
    return sum(map(len, places))


def test_size_chooses_by_size(base: list[torch.Tensor]) -> None:
    flat = torch.cat(base).abs()
    keep = count(chosen("random"))
    for way, edge in (("largest", flat.topk(keep).values[-1]),
                      ("smallest", -(-flat).topk(keep).values[-1])):  # fmt: skip
        places = chosen(way)
        assert count(places) == keep
        seen = torch.cat([p[sorted(s)] for p, s in zip(base, places, strict=True)]).abs()
        assert bool((seen >= edge).all() if way == "largest" else (seen <= edge).all())


def test_a_seed_draws_its_mask() -> None:
    first, again, other = chosen("random"), chosen("random"), chosen("random", 1)
    assert first == again != other


def test_the_control_has_as_many_in_each_tensor_and_other_places() -> None:
    fish, control = chosen("fish"), chosen("fish by tensor")
    assert [len(s) for s in fish] == [len(s) for s in control]
    shared = sum(len(a & b) for a, b in zip(fish, control, strict=True))
    assert shared < 0.3 * count(fish)
