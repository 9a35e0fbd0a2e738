"""A classification that is answered in words, by the language model itself and not by a head.

A verbaliser gives each class a word, and a pattern says where in the text the word belongs:

    A fine film. It was {answer}.      great, or terrible

An encoder with a masked head fills in the mask there; a decoder reads what stands in front and
goes on (Schick and Schütze, 2021, Section 3; Brown et al., 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import Formatter
from typing import TYPE_CHECKING

from ..core.errors import BadValue, Refused

if TYPE_CHECKING:
    from .task import Task

ANSWER = "answer"
PATTERNS = {"classification": "{text} {answer}", "pairs": "{text_a} {text_b} {answer}"}


def in_words(
    task: "Task", words: Mapping[str, str] | Sequence[str] | None = None, pattern: str | None = None
) -> "Task":
    """The same task, answered in words; see `Task.in_words`."""
    if task.kind not in PATTERNS:
        raise Refused(
            f"{task.name!r} is a task of the kind {task.kind!r}; only classes can be answered in "
            f"words. Tasks of the kinds {' and '.join(PATTERNS)} have them."
        )
    chosen = _words(task, words)
    pattern = PATTERNS[task.kind] if pattern is None else pattern
    texts = [name for name in ("text", "text_a", "text_b") if f"{{{name}}}" in PATTERNS[task.kind]]
    front, behind = _halves(pattern, texts)
    splits = {}
    for name, rows in task.splits.items():
        columns = {text: rows[text][:] for text in texts}
        every = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        labels = rows["label"][:]
        splits[name] = type(rows).from_dict(
            {
                "front": [front.format(**row).rstrip() for row in every],
                "behind": [behind.format(**row) for row in every],
                "target": [chosen[label] for label in labels],
                "label": labels,
            }
        )
    told = f"Answer with one of these: {', '.join(chosen)}."
    return replace(
        task,
        kind="verbalised",
        labels=(),
        words=chosen,
        splits=splits,
        instruction=f"{task.instruction} {told}".strip(),
        notes=(*task.notes, f"Answered in words: {', '.join(chosen)}; in the pattern {pattern!r}."),
    )


def _words(task: "Task", given: Mapping[str, str] | Sequence[str] | None) -> tuple[str, ...]:
    """A word for each class, in the order of the classes."""
    if given is None:
        words = tuple(label.replace("_", " ") for label in task.labels)
    elif isinstance(given, Mapping):
        words = tuple(given.get(label, "") for label in task.labels)
    else:
        words = tuple(given)
    if len(words) != len(task.labels) or not all(words) or len(set(words)) < len(words):
        raise BadValue(
            f"The words {', '.join(words)} were given for the classes {', '.join(task.labels)} of "
            f"{task.name!r}. Give each class a word of its own."
        )
    return words


def _halves(pattern: str, texts: Sequence[str]) -> tuple[str, str]:
    """What a pattern has in front of the answer, and what behind it."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(pattern) if field is not None]
    except ValueError:
        fields = []
    if fields.count(ANSWER) != 1 or not set(texts) <= set(fields) <= {*texts, ANSWER}:
        needed = " and ".join(f"{{{text}}}" for text in (*texts, ANSWER))
        raise BadValue(
            f"The pattern {pattern!r} must say where the texts and the answer stand: write "
            f"{needed}, the answer once, and no other braces."
        )
    front, _, behind = pattern.partition(f"{{{ANSWER}}}")
    return front, behind
