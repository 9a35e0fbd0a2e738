"""Which chapters have exercises, and where."""

from importlib import import_module

from ..core.errors import UnknownName
from .model import Exercise

CHAPTERS = ("low_rank.lora",)


def chapters() -> tuple[str, ...]:
    """The chapters with exercises, as "family.chapter"."""
    return CHAPTERS


def exercises_of(chapter: str) -> tuple[Exercise, ...]:
    """The exercises of a chapter, in order.

    Raises:
        UnknownName: the chapter has no exercises.
    """
    if chapter not in CHAPTERS:
        raise UnknownName("chapter", chapter, CHAPTERS)
    return import_module(f"pftlab.exercises.{chapter}").EXERCISES


def exercise(name: str) -> Exercise:
    """The exercise of this name, such as "low_rank.lora.3".

    Raises:
        UnknownName: there is none.
    """
    known = {e.name: e for chapter in CHAPTERS for e in exercises_of(chapter)}
    if name not in known:
        raise UnknownName("exercise", name, known)
    return known[name]
