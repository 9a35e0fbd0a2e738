"""Rows of a data set: checked, completed to three splits, made into a `Dataset`.

A row is a dict. Its labels may be numbers or names when it comes in; they are numbers afterwards.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pftlab.core.errors import BadValue

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, Any]

COLUMNS = {
    "classification": ("text", "label"),
    "pairs": ("text_a", "text_b", "label"),
    "regression": ("text_a", "text_b", "label"),
    "tagging": ("tokens", "tags"),
    "generation": ("source", "target"),
}
SPLITS = ("train", "validation", "test")
HELD_OUT = 2_000  # rows at most, where a split must be taken from the training data


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
                f"{here} has no column {missing}; it has {', '.join(map(str, row)) or 'none'}. "
                f"A task of the kind {kind!r} needs {_list_columns(kind)}."
            ) from None
    return checked


def _list_columns(kind: str) -> str:
    alternative = " (or text and label)" if kind == "regression" else ""
    return " and ".join(COLUMNS[kind]) + alternative


def _check_row(row: Mapping[str, Any], kind: str, numbers: dict[str, int], here: str) -> Row:
    if kind == "tagging":
        tokens, tags = as_list(row["tokens"]), as_list(row["tags"])
        if not tokens or len(tokens) != len(tags):
            raise BadValue(
                f"{here} has {len(tokens)} tokens and {len(tags)} tags. Give every token one tag."
            )
        return {
            "tokens": [_text(token, here) for token in tokens],
            "tags": [_number(tag, numbers, here) for tag in tags],
        }
    if kind == "generation":
        several = row.get("references")
        references = list(several) if several else [row["target"]]
        return {
            "source": _text(row["source"], here),
            "target": _text(row.get("target") or references[0], here),
            "references": [_text(reference, here) for reference in references],
        }
    single = kind == "classification" or (kind == "regression" and "text" in row)
    columns = ("text",) if single else ("text_a", "text_b")
    result: Row = {column: _text(row[column], here) for column in columns}
    label = row["label"]
    result["label"] = _real(label, here) if kind == "regression" else _number(label, numbers, here)
    return result


def as_list(value: Any) -> list[Any]:
    """A list as it is; one text, as a CSV file has it, cut at spaces."""
    return value.split() if isinstance(value, str) else list(value)


def _text(value: Any, here: str) -> str:
    if not isinstance(value, str):
        raise BadValue(f"{here} holds {value!r} where a text should be. Write it as a string.")
    return value


def _real(value: Any, here: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadValue(f"{here} has the label {value!r}, which is no number. Give a finite number.")
    return number


def _number(label: Any, numbers: dict[str, int], here: str) -> int:
    if isinstance(label, str) and label in numbers:
        return numbers[label]
    if isinstance(label, str) and label.isdecimal():  # as a CSV file has it
        label = int(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(numbers):
        return label
    names = list(numbers)
    listing = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    raise BadValue(
        f"{here} has the label {label!r}, which is out of range. Allowed are 0 to "
        f"{len(names) - 1} or the names {listing}."
    )


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
