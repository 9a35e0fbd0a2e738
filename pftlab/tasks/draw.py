"""Random choices that are the same on every platform and in every version of Python."""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Draw:
    """A stream of random choices, named by its seeds.

    Python promises that `random.Random(n).random()` never changes, but not `choice`, `shuffle`
    and `sample`; so these are built here from `random()` alone.

    Args:
        seeds: any numbers and texts; equal seeds, equal stream.
    """

    def __init__(self, *seeds: int | str):
        name = "/".join(map(str, seeds))
        self._random = random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"))

    def below(self, n: int) -> int:
        """A whole number from 0 to n − 1."""
        return int(self._random.random() * n)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def choice(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """All items in random order (Fisher and Yates)."""
        result = list(items)
        for i in range(len(result) - 1, 0, -1):
            j = self.below(i + 1)
            result[i], result[j] = result[j], result[i]
        return result

    def sample(self, items: Sequence[Item], n: int) -> list[Item]:
        """`n` different items in random order."""
        return self.shuffled(items)[:n]
