"""The runs of the chapter on where an adapter belongs."""

import json

import pytest
import torch

import pftlab as pft
from pftlab.core import Method
from pftlab.experiments import places

IDS = torch.arange(100, 112).view(2, 6)
PLACES = places.places(8)


@pytest.mark.parametrize("name", PLACES)
def test_every_place_has_one_network_that_starts_at_the_base(name: str) -> None:
    base = pft.load_base("tiny-encoder").eval()
    with torch.no_grad():
        before = base(input_ids=IDS).logits
        model = PLACES[name].attach(base)
        assert torch.equal(model(input_ids=IDS).logits, before)
    assert pft.count(model).trainable == 4 * (2 * 128 * 8 + 8 + 128)


def test_the_last_two_places_of_a_pre_norm_decoder_are_one() -> None:
    model = pft.load_base("tiny-decoder")
    last, other = ([site.path for site in PLACES[name].sites(model)] for name in list(PLACES)[3:])
    assert last == other and len(last) == 4


def _trains(method: Method) -> int:
    return pft.count(method.attach(pft.load_base("tiny-encoder"))).trainable


def test_published_adapters_are_about_equal() -> None:
    counts = [_trains(method) for method in places.as_published(8).values()]
    assert counts[2] == counts[0] - 4, "a norm of its own for one number less in the middle"
    assert max(counts) < 1.06 * min(counts)


def test_the_stored_places_share_rates_and_seeds() -> None:
    stored = json.loads(places.STORED_PLACES.read_text(encoding="utf-8"))

    def found(section: str, base: str) -> set[tuple[str, float, int]]:
        return {(r["method"], r["lr"], r["seed"]) for r in stored[section] if r["base"] == base}

    for base, setting in places.SETTINGS.items():
        runs = [(lr, seed) for lr in setting.rates for seed in setting.seeds]
        some = list(PLACES)[: setting.places]
        assert found("places", base) == {(name, *run) for name in some for run in runs}
    first, setting = next(iter(places.SETTINGS.items()))
    runs = [(lr, seed) for lr in setting.rates for seed in setting.seeds]
    published = {(name, *run) for name in places.as_published(8) for run in runs}
    assert found("published", first) == published
