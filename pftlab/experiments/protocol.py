"""The one protocol under which methods are compared: rates, sizes, seeds, and what follows when.

1. Every method is tried at the same learning rates: half-decades, 1e-5, 3e-5, 1e-4, …, of which a
   search begins with five and goes on until the best lies between two others. What counts is the
   score on the validation split, which is carved from the training data, in the mean over two
   seeds.
2. At the rate found, the method is trained with five new seeds, the same for every method, so that
   runs of two methods are pairs: one head, one order of the examples.
3. Each of these runs is scored on the test split, once, and what it answered to each text is kept.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..core.errors import BadValue
from ..core.method import Method
from ..facts import FACTS
from ..registry import METHODS

#: The number of this protocol in a result; 0: the lines of before, whose rates were multiples of
#: each method's own.
NUMBER = 1
LOWEST, HIGHEST = -12, 0  # half-decades from 1: rates of 1e-6 … 1


def half_decade(step: int) -> float:
    """The rate that lies `step` half-decades from 1, such as 3e-3 for -5."""
    return float(f"{(1, 3)[step % 2]}e{step // 2}")


#: Where a search begins, for methods that move the base's own weights all together, and for the
#: others. It goes on from there in the same way, so this saves runs and decides nothing.
WEIGHTS = tuple(map(half_decade, range(-10, -5)))  # 1e-5 … 1e-3
ADDED = tuple(map(half_decade, range(-8, -3)))  # 1e-4 … 1e-2


@dataclass(frozen=True)
class Protocol:
    """How every method of a table is trained.

    Attributes:
        steps: see `train`, as the next three.
        batch_size: examples in a step.
        max_length: in tokens.
        precision: "fp32" or "bf16".
        evaluations: on the validation split, evenly over the steps. They show whether the steps
            were enough; the model is kept as the best of them left it.
        seeds: of the runs that count: of head, new parameters, order and dropout.
        search: look for each method's learning rate.
        search_seeds: of the search, none of them in `seeds`.
        rates: where the search begins; (): with `WEIGHTS` or `ADDED`.
        lr: without a search, one peak rate for all; None: each method's own.

    Raises:
        BadValue: no seeds, seeds that are searched and counted, rates that are no half-decades, or
            a rate together with a search.
    """

    steps: int = 300
    batch_size: int = 16
    max_length: int = 128
    precision: str = "fp32"
    evaluations: int = 4
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    search: bool = True
    search_seeds: tuple[int, ...] = (1000, 1001)
    rates: tuple[float, ...] = ()
    lr: float | None = None

    def __post_init__(self) -> None:
        for name in ("seeds", "search_seeds", "rates"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.seeds or (self.search and not self.search_seeds):
            raise BadValue("A grid needs at least one seed. Name them.")
        if self.search and set(self.seeds) & set(self.search_seeds):
            raise BadValue(
                f"search_seeds={self.search_seeds} are among seeds={self.seeds}: what is chosen "
                "with a seed cannot be judged by it. Take others."
            )
        if self.search and self.lr is not None:
            raise BadValue(
                f"lr={self.lr:g} was given together with a search for learning rates. "
                "Choose one of the two."
            )
        known = [half_decade(step) for step in range(LOWEST, HIGHEST + 1)]
        if wrong := [rate for rate in self.rates if rate not in known]:
            raise BadValue(
                f"rates={wrong}: all methods are tried at the same rates, half-decades from "
                f"{known[0]:g} to {known[-1]:g}, such as 1e-4, 3e-4, 1e-3."
            )
        if not 1 <= self.evaluations <= self.steps:
            raise BadValue(
                f"evaluations={self.evaluations} in {self.steps} steps: give at least 1, and no "
                "more than there are steps."
            )

    def training(self, lr: float) -> dict[str, Any]:
        """The training arguments that decide a result."""
        several = {"evaluations": self.evaluations} if self.evaluations > 1 else {}
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "max_length": self.max_length,
            "precision": self.precision,
            **several,
            "lr": lr,
        }

    def window(self, method: Method) -> tuple[float, ...]:
        """The rates with which the search for a method begins."""
        return self.rates or (WEIGHTS if moves_weights(method) else ADDED)


def moves_weights(method: Method) -> bool:
    """Whether a method moves the base's own weights, all or most of them, together."""
    return method.family == "finetune" and not method.needs_head


@dataclass(frozen=True)
class Search:
    """What a search has found so far.

    Attributes:
        rates: that were tried, from low to high.
        worths: of each, higher is better: the mean over the seeds of the score on the validation
            split, and after it minus the loss there, for equal scores. Minus infinity where a run
            failed.
    """

    rates: tuple[float, ...]
    worths: tuple[tuple[float, float], ...]

    @property
    def best(self) -> float | None:
        """The rate; None if all have failed."""
        place = max(range(len(self.rates)), key=self.worths.__getitem__)
        return None if self.worths[place][0] == -math.inf else self.rates[place]

    @property
    def inside(self) -> bool:
        """Whether the best rate lies between two others that were tried."""
        return self.best is not None and self.rates[0] < self.best < self.rates[-1]


def further_rates(
    window: Sequence[float], tried: Mapping[float, tuple[float, float]]
) -> list[float]:
    """The rates that are still to be tried: the window, then one beyond the edge that is best.

    Args:
        window: with which the search begins.
        tried: rate → worth, as in `Search`.

    Returns:
        Nothing when the best lies inside, all have failed, or there is no rate beyond.
    """
    if missing := [rate for rate in window if rate not in tried]:
        return missing
    search = search_of(tried)
    if search.best is None or search.inside:
        return []
    steps = {half_decade(step): step for step in range(LOWEST, HIGHEST + 1)}
    step = steps[search.best] + (1 if search.best == search.rates[-1] else -1)
    if len(search.rates) == 1:  # neither neighbour is known
        return [half_decade(s) for s in (step - 2, step) if LOWEST <= s <= HIGHEST]
    return [half_decade(step)] if LOWEST <= step <= HIGHEST else []


def search_of(tried: Mapping[float, tuple[float, float]]) -> Search:
    """What was tried, from the lowest rate to the highest."""
    rates = tuple(sorted(tried))
    return Search(rates, tuple(tried[rate] for rate in rates))


#: Hyper-parameter → the sizes at which a method is compared; of those that a method has, the first
#: counts. Its value for small models (`Facts.small`) is always among them.
KNOBS: dict[str, tuple[Any, ...]] = {
    "bottleneck": (4, 16, 64),
    "length": (2, 10, 50),
    "rank": (1, 8, 32),
    "density": (0.0005, 0.005, 0.05),
    "dimension": (100, 1000, 10000),
    "frequencies": (50, 500, 5000),
    "block": (8, 32, 128),
    "count": (1, 2, 4),
}
#: Where a knob of the same name turns another range: random matrices of which only vectors are
#: trained; blocks of a Kronecker product, which divide their width.
OWN_KNOBS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "vera": ("rank", (16, 256, 1024)),
    "randlora": ("rank", (4, 16, 64)),
    "compacter": ("bottleneck", (8, 24, 96)),
    "compacter_plus_plus": ("bottleneck", (8, 24, 96)),
    "mam": ("bottleneck", (4, 16, 64)),
}

#: Whose alpha is not divided by the rank.
UNDIVIDED = ("galore",)


def small(name: str) -> Method:
    """The method `name` as small models and short runs suit it.

    Where a default is meant for models that are many times wider, or for longer training, its row
    of facts says what fits small ones.
    """
    return METHODS[name](**(FACTS[name].small if name in FACTS else {}))


def knob(method: Method) -> str | None:
    """The hyper-parameter that decides how much a method trains; None if it has none."""
    if method.name in OWN_KNOBS:
        return OWN_KNOBS[method.name][0]
    have = {field.name for field in fields(method)}  # type: ignore[arg-type]
    return next((name for name in KNOBS if name in have), None)


def sizes(name: str) -> list[Method]:
    """The method at each of its sizes, from small to large; alone as `small` where it has none."""
    own, turned = small(name), knob(small(name))
    if turned is None:
        return [own]
    values = OWN_KNOBS[name][1] if name in OWN_KNOBS else KNOBS[turned]
    every = sorted({*values, getattr(own, turned)})
    return [own if getattr(own, turned) == value else _sized(own, turned, value) for value in every]


def _sized(method: Method, turned: str, value: Any) -> Any:
    """The method with another value of its knob, and with what must move along with it."""
    changed: dict[str, Any] = {turned: value}
    own: Any = method
    if hasattr(method, "start_rank"):  # pruned down to the rank, from half as much again
        changed["start_rank"] = value + max(1, value // 2)
    if turned == "rank" and hasattr(method, "alpha") and method.name not in UNDIVIDED:
        changed["alpha"] = own.alpha / own.rank * value  # so that alpha / rank stays
    return replace(own, **changed)
