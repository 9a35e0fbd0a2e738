"""The errors that PFT Lab raises on purpose.

Every message says what was given, what is allowed, and what to do. The command line prints it
on one line and exits with code 2; anything else that escapes is a bug and keeps its traceback.
"""

import difflib
import re
from collections.abc import Iterable


class PftError(Exception):
    """Base class: `except pftlab.PftError` catches every error below.

    A message quotes what was given, which can be a name of a million letters in a damaged file:
    long words and long messages are cut in the middle.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


def shortened(message: str, most: int = 2400) -> str:
    """`message` with words of at most 300 letters, and of at most about `most` letters itself."""
    message = re.sub(r"\S{301,}", lambda word: f"{word[0][:150]}…{word[0][-100:]}", message)
    if len(message) <= most:
        return message
    return f"{message[: most * 3 // 4]} … {message[-most // 4 :]}"


class UnknownName(PftError, ValueError):
    """A name that is in no table: of a method, a site, a base model, a task.

    Args:
        kind: what the name should name, such as "method".
        given: the name as the caller wrote it.
        allowed: the names that exist.
        advice: what to do about it, a sentence; without one, the nearest name is suggested.
    """

    def __init__(self, kind: str, given: object, allowed: Iterable[str], advice: str = ""):
        self.kind, self.given, self.allowed = kind, given, tuple(allowed)
        nearest = difflib.get_close_matches(str(given)[:100], self.allowed, n=1)
        if nearest and not advice:
            advice = f"Did you mean {nearest[0]!r}?"
        listing = ", ".join(self.allowed) or "none"
        self.message = f"There is no {kind} {given!r}. Known: {listing}. {advice}".rstrip()
        self.message = shortened(self.message)
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple:
        return _restore_unknown_name, (self.kind, self.given, self.allowed, self.message)


def _restore_unknown_name(kind: str, given: object, allowed: tuple, message: str) -> UnknownName:
    error = UnknownName(kind, given, allowed)
    error.message = message
    return error


class BadValue(PftError, ValueError):
    """A value that cannot be: a rank of 0, an empty data set, a label out of range."""


class Refused(PftError, RuntimeError):
    """An operation that this model or method does not allow, with the reason."""


class BadCheckpoint(PftError, ValueError):
    """A file that is truncated, unsafe to open, or belongs to another model."""


class Unavailable(PftError, OSError):
    """Something outside the program is missing: a file, a network, the right to write."""
