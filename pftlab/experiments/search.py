"""The search for a learning rate in a small experiment, as the protocol does it."""

from collections.abc import Callable, Sequence

from ..core.errors import Refused
from .protocol import further_rates, search_of


def best_rate(window: Sequence[float], worth: Callable[[float], tuple[float, float]]) -> float:
    """The best rate, searched in half-decades until it lies between two others that were tried.

    Args:
        window: the rates with which the search begins.
        worth: what a rate is worth, higher is better: the score on the validation split, and after
            it minus the loss there, for equal scores.

    Returns:
        The rate, at an edge if there is none beyond.

    Raises:
        Refused: all have failed.
    """
    tried: dict[float, tuple[float, float]] = {}
    while rates := further_rates(window, tried):
        tried |= {rate: worth(rate) for rate in rates}
    best = search_of(tried).best
    if best is None:
        raise Refused(f"Training failed at each of the rates {sorted(tried)}. Try other ones.")
    return best
