"""The search for a rate in small experiments."""

import math

import pytest

import pftlab as pft
from pftlab.experiments.search import best_rate


@pytest.mark.parametrize("best", [3e-4, 3e-3, 1e-1])
def test_a_search_goes_on_until_the_best_lies_inside_and_tries_no_rate_twice(best: float) -> None:
    asked: list[float] = []

    def worth(rate: float) -> tuple[float, float]:
        asked.append(rate)
        return -abs(math.log(rate / best)), 0.0

    assert best_rate((1e-3, 3e-3, 1e-2), worth) == best
    assert len(set(asked)) == len(asked) and min(asked) < best < max(asked)


def test_equal_scores_are_decided_by_the_loss() -> None:
    assert best_rate((1e-3, 3e-3, 1e-2), lambda rate: (0.5, -abs(rate - 3e-3))) == 3e-3


def test_a_search_without_a_rate_that_trains_says_so() -> None:
    with pytest.raises(pft.Refused, match="Training failed"):
        best_rate((1e-3,), lambda _: (-math.inf, -math.inf))
