"""What one hook leaves for another within one forward pass."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
        return type(self), ()


class Passes(Handover):
    """What each thread has chosen for its own passes, and a gate between passes and changes.

    A thread that has chosen something is inside until it takes its choice back. Whoever changes
    what is attached goes in alone: it waits until the others are out, and lets nobody in meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self._gate = threading.Condition()
        self._changing: int | None = None  # the thread that is alone
        self._waiting = 0  # threads that want to be alone: they go first
        self.preparing = threading.Lock()  # of what passes need and one thread does for all

    def look(self) -> Any:
        """What this thread has chosen; None: nothing.

        A graph would have one choice for ever: where there are any, compiling leaves this out.
        """
        if torch.compiler.is_compiling():
            if not self._left:
                return None
            torch._dynamo.graph_break(msg="the rows of a batch have adapters of their own")
        return self._left.get(threading.get_ident())

    @contextmanager
    def inside(self, choice: Any) -> Iterator[None]:
        """Inside the block this thread has chosen `choice`, or nothing (None)."""
        me, before = threading.get_ident(), self.look()
        with self._gate:
            if before is None and choice is not None and self._changing != me:
                self._gate.wait_for(lambda: self._changing is None and not self._waiting)
            self._choose(me, choice)
        try:
            yield
        finally:
            with self._gate:
                self._choose(me, before)
                self._gate.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside the block no other thread has chosen anything, or can."""
        me = threading.get_ident()
        if self._changing == me:
            yield
            return
        with self._gate:
            self._waiting += 1
            try:
                self._gate.wait_for(lambda: self._changing is None and not self._left.keys() - {me})
                self._changing = me
            finally:
                self._waiting -= 1
        try:
            yield
        finally:
            with self._gate:
                self._changing = None
                self._gate.notify_all()

    def _choose(self, thread: int, choice: Any) -> None:
        if choice is None:
            self._left.pop(thread, None)
        else:
            self._left[thread] = choice


def _thread() -> int:
    # a graph that is being compiled is one pass, and cannot ask in which thread it will run
    return 0 if torch.compiler.is_compiling() else threading.get_ident()
