"""What one hook leaves for another within one forward pass."""

import threading
from typing import Any

import torch


class Handover:
    """Holds one thing for each thread: what a hook left there and another has not taken yet.

    A server answers in several threads at once, and DataParallel runs each replica of a network in
    a thread of its own, so that nothing that belongs to one pass may lie in a module, where all of
    them would find it. Copies start empty.
    """

    def __init__(self) -> None:
        self._left: dict[int, Any] = {}

    def leave(self, what: Any) -> None:
        """Leave `what` in the place of what this thread left before."""
        self._left[_thread()] = what

    def look(self) -> Any:
        """What this thread has left, which stays; None: nothing."""
        return self._left.get(_thread())

    def take(self) -> Any:
        """What this thread has left, which is then gone; None: nothing."""
        return self._left.pop(_thread(), None)

    def __reduce__(self) -> tuple:
        return Handover, ()


def _thread() -> int:
    # a graph that is being compiled is one pass, and cannot ask in which thread it will run
    return 0 if torch.compiler.is_compiling() else threading.get_ident()
