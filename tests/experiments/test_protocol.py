"""The protocol: one grid of rates for all, the search goes on until the best lies inside."""

import math
from typing import Any

import numpy as np
import pytest

import pftlab as pft
from pftlab.experiments import Protocol
from pftlab.experiments.grid import APART
from pftlab.experiments.protocol import (
    ADDED,
    HIGHEST,
    LOWEST,
    WEIGHTS,
    further_rates,
    half_decade,
    knob,
    search_of,
    sizes,
    small,
)


def test_rates_are_half_decades() -> None:
    assert (half_decade(-5), half_decade(-4), half_decade(0)) == (3e-3, 1e-2, 1.0)
    assert WEIGHTS == (1e-5, 3e-5, 1e-4, 3e-4, 1e-3) and ADDED == (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


@pytest.mark.parametrize("best", [1e-6, 3e-6, 3e-4, 1e-2, 1e-1, 0.3, 1.0])
@pytest.mark.parametrize("window", [WEIGHTS, ADDED, (1e-3,)])
def test_a_search_ends_with_the_best_inside_wherever_it_lies(best: float, window: Any) -> None:
    tried: dict[float, tuple[float, float]] = {}
    while rates := further_rates(window, tried):
        assert not set(rates) & tried.keys()
        tried |= {rate: (-abs(math.log(rate / best)), 0.0) for rate in rates}
    found = search_of(tried)
    assert found.best == best
    assert found.inside == (half_decade(LOWEST) < best < half_decade(HIGHEST))
    assert set(window) <= tried.keys()
    beyond = sum(rate > best for rate in tried if rate > max(window))
    assert beyond <= 1  # and no further than that


def test_equal_scores_are_decided_by_the_loss_and_failures_are_worst() -> None:
    worst = (-math.inf, -math.inf)
    found = search_of({1e-3: (0.5, -2.0), 3e-3: (0.5, -1.0), 1e-2: worst})
    assert found.best == 3e-3 and found.inside
    assert search_of({1e-3: worst}).best is None
    assert further_rates((1e-3,), {1e-3: worst}) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ()}, "one seed"),
        ({"search_seeds": (1,)}, "Take others"),
        ({"lr": 1e-3}, "one of the two"),
        ({"rates": (2e-3,)}, "half-decades"),
        ({"evaluations": 7, "steps": 3}, "no more than there are steps"),
    ],
)
def test_impossible_protocols(change: dict[str, Any], message: str) -> None:
    with pytest.raises(pft.BadValue, match=message):
        Protocol(**change)


def test_each_method_has_three_sizes_or_more_from_small_to_large() -> None:
    model = pft.load_base("tiny-encoder", num_labels=2)
    without = set()
    for name in pft.METHODS:
        if name in APART:
            continue
        every = sizes(name)
        assert small(name) in every
        if len(every) == 1:
            without.add(name)
            continue
        turned: Any = knob(every[0])
        assert len(every) in (3, 4)
        assert list(np.argsort([getattr(m, turned) for m in every])) == list(range(len(every)))
    assert without == {
        "full", "linear_probe", "gradual_unfreezing", "discriminative", "bitfit", "layer_norm",
        "ia3",
    }  # fmt: skip
    counts = []
    for method in sizes("adalora"):
        method.attach(model)
        counts.append(pft.count(model).trainable)
        pft.detach(model)
    assert counts == sorted(set(counts))
