"""Rows of a data set: checked, completed to three splits, made into a `Dataset`.

A row is a dict. Its labels may be numbers or names when it comes in; they are numbers afterwards.
"""

import hashlib
import math
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from ..core.errors import BadValue
from .columns import COLUMNS, Row

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "validation", "test")
HELD_OUT = 2_000  # rows at most, where a split must be taken from the training data
WHOLE = re.compile(r"[+-]?\d{1,18}")

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80
shown = _short.repr  # a value in an error, however long it is


def check(
    rows: Sequence[Mapping[str, Any]], kind: str, labels: Sequence[str], where: str
) -> list[Row]:
    """Keep the columns of a kind of task, and make sure that they hold what they should.

    Args:
        rows: as read. A label may be a number or one of `labels`.
        kind: of the task.
        labels: the names of classes or tags.
        where: what to call the rows in an error, such as a file name.

    Raises:
        BadValue: no rows, a missing column, a label out of range, and so on.
    """
    if not rows:
        raise BadValue(f"{where} is empty. Give at least one row.")
    numbers = {name: number for number, name in enumerate(labels)}
    checked = []
    for i, row in enumerate(rows, start=1):
        here = f"Row {i} of {where}"
        try:
            checked.append(_check_row(row, kind, numbers, here))
        except KeyError as missing:
            raise BadValue(
                f"{here} has no column {missing}; it has {_cut(', '.join(map(str, row)))}. "
                f"A task of the kind {kind!r} needs {_list_columns(kind)}."
            ) from None
    return checked


def _list_columns(kind: str) -> str:
    alternative = " (or text and label)" if kind == "regression" else ""
    return " and ".join(COLUMNS[kind]) + alternative


def _check_row(row: Mapping[str, Any], kind: str, numbers: dict[str, int], here: str) -> Row:
    if kind == "tagging":
        tokens, tags = as_list(row["tokens"], here), as_list(row["tags"], here)
        if not tokens or len(tokens) != len(tags):
            raise BadValue(
                f"{here} has {len(tokens)} tokens and {len(tags)} tags. Give every token one tag."
            )
        return {
            "tokens": [_token(token, here) for token in tokens],
            "tags": [_number(tag, numbers, here) for tag in tags],
        }
    if kind == "generation":
        several = row.get("references")
        several = [several] if isinstance(several, str) else as_list(several or (), here)
        target = row.get("target") if several else row["target"]
        references = several or [target]
        result: Row = {
            "source": encodable(row["source"], here),
            "target": encodable(target or references[0], here),
            "references": [encodable(reference, here) for reference in references],
        }
        if not result["target"].strip():
            raise BadValue(f"{here} has an empty target. Give every row a text to learn.")
        return result
    single = kind == "classification" or (kind == "regression" and "text" in row)
    columns = ("text",) if single else ("text_a", "text_b")
    result = {column: encodable(row[column], here) for column in columns}
    label = row["label"]
    result["label"] = _real(label, here) if kind == "regression" else _number(label, numbers, here)
    return result


def as_list(value: Any, here: str) -> list[Any]:
    """A list as it is; one text, as a CSV file has it, cut at spaces."""
    if isinstance(value, str):
        return value.split()
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise BadValue(f"{here} holds {shown(value)} where a list should be. Give one.")
    return list(value)


def encodable(value: Any, here: str) -> str:
    """A text that a tokenizer can take.

    Raises:
        BadValue: it is no text, or holds half a character (a lone surrogate, as JSON writes an
            emoji that was cut in two), which has no place in UTF-8.
    """
    if not isinstance(value, str):
        raise BadValue(f"{here} holds {shown(value)} where a text should be. Write it as a string.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = value[error.start]
        raise BadValue(
            f"{here} holds half a character, {half!r}, at place {error.start + 1} of a text: an "
            "emoji was cut in two. Remove it, or write the text again from its source."
        ) from error
    return value


def _token(value: Any, here: str) -> str:
    """A text of which something can be seen."""
    token = encodable(value, here)
    if all(unicodedata.category(letter)[0] in "ZC" for letter in token):
        raise BadValue(
            f"{here} has the token {shown(token)}, of which nothing can be seen. Remove it and its "
            "tag."
        )
    return token


def number_of(label: Any) -> int | float | None:
    """The number that a label is, or that it says in digits; None if it is none."""
    number = whole(label)
    if number is not None or isinstance(label, bool):
        return number
    if not isinstance(label, str | Real) or (isinstance(label, str) and "_" in label):
        return None  # Python alone takes 1_000 for a number
    try:
        return float(label)
    except (ValueError, OverflowError):
        return None


def whole(label: Any) -> int | None:
    """The whole number that a label is, or that it says in digits; None if it is none."""
    if isinstance(label, Integral) and not isinstance(label, bool):
        return int(label)
    return int(label) if isinstance(label, str) and WHOLE.fullmatch(label.strip()) else None


def _real(label: Any, here: str) -> float:
    number = number_of(label)
    try:
        finite = number is not None and math.isfinite(number)
    except OverflowError:  # a whole number that no float can hold
        finite = False
    if number is None or not finite:
        raise BadValue(
            f"{here} has the label {shown(label)}, which is no number. Give a finite number."
        )
    return float(number)


def _number(label: Any, numbers: dict[str, int], here: str) -> int:
    if isinstance(label, str) and label.strip() in numbers:
        return numbers[label.strip()]
    number = whole(label)
    if number is not None and 0 <= number < len(numbers):
        return number
    names = list(numbers)
    listing = ", ".join(map(_cut, names[:8])) + (", …" if len(names) > 8 else "")
    raise BadValue(
        f"{here} has the label {shown(label)}, which is out of range. Allowed are 0 to "
        f"{len(names) - 1} or the names {listing}."
    )


def _cut(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:199]}…"


def complete(splits: Mapping[str, list[Row]]) -> tuple[dict[str, list[Row]], tuple[str, ...]]:
    """Make train, validation and test of what there is, and say what was done.

    Where there is no test split, the validation split takes its place and a new validation split
    is taken from the training data: so tuning never touches what is reported. What is taken is a
    tenth, 2,000 rows at most, chosen by the sha256 of the text. So the choice depends on nothing
    but the data, and equal inputs stay on one side.
    """
    train = splits["train"]
    validation, test = splits.get("validation"), splits.get("test")
    notes = []
    if test is None and validation is not None:
        test, validation = validation, None
        notes.append("There is no labelled test split: test is the published validation split.")
    if test is None:
        train, test = _take(train)
        notes.append(f"test: {len(test)} rows taken from the training data, by hash.")
    if validation is None:
        train, validation = _take(train)
        notes.append(f"validation: {len(validation)} rows taken from the training data, by hash.")
    parts = {"train": train, "validation": validation, "test": test}
    if "references" in train[0]:
        parts = {**parts, "validation": _group(validation), "test": _group(test)}
    return parts, tuple(notes)


def _take(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Split rows into those that stay and the held-out tenth."""
    groups: dict[str, int] = {}
    digests = [_digest(row) for row in rows]
    for digest in digests:
        groups[digest] = groups.get(digest, 0) + 1
    wanted = min(max(len(rows) // 10, 1), HELD_OUT)
    taken, total = set(), 0
    for digest in sorted(groups):
        if total >= wanted:
            break
        taken.add(digest)
        total += groups[digest]
    kept = [row for row, digest in zip(rows, digests, strict=True) if digest not in taken]
    if not kept:
        raise BadValue(
            f"{len(rows)} training rows with {len(groups)} different inputs are too few to take a "
            "held-out split from. Give a validation and a test file, or more data."
        )
    return kept, [row for row, digest in zip(rows, digests, strict=True) if digest in taken]


def _digest(row: Row) -> str:
    inputs = [row[name] for name in ("text", "text_a", "text_b", "source") if name in row]
    text = "\n".join(inputs or row["tokens"])
    return hashlib.sha256(text.encode()).hexdigest()


def _group(rows: Iterable[Row]) -> list[Row]:
    """One row for each source, with all its references."""
    groups: dict[str, Row] = {}
    for row in rows:
        if row["source"] in groups:
            groups[row["source"]]["references"].extend(row["references"])
        else:
            groups[row["source"]] = {**row, "references": list(row["references"])}
    return list(groups.values())


def as_datasets(splits: Mapping[str, list[Row]]) -> dict[str, "Dataset"]:
    """Make a `datasets.Dataset` of every split."""
    from datasets import Dataset

    return {
        name: Dataset.from_dict({column: [row[column] for row in rows] for column in rows[0]})
        for name, rows in splits.items()
    }
