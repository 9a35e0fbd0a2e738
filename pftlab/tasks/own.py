"""A task from the reader's own data: the columns say what kind of task it is."""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..core.errors import BadValue
from .columns import Columns, Row, choose, rename
from .metrics import METRICS
from .rows import as_datasets, as_list, check, complete, encodable, number_of, shown, whole
from .source import Source, find
from .task import Task

MAIN_METRIC = {
    "classification": "accuracy",
    "pairs": "accuracy",
    "regression": "pearson",
    "tagging": "token_accuracy",
    "generation": "bleu",
}
HIGHEST = 1_000  # label, where there are fewer rows than that
HIDDEN = -1  # the label of test rows whose true label is kept secret


def load_own(source: Source, columns: Columns | None = None) -> Task:
    """Load the task in a folder, a file or a table; see `source.find` and `folder.py`.

    Columns text and label make a classification, text_a, text_b and label a classification of
    pairs, tokens and tags a tagging task, source and target a generation task; usual other names
    of them are known (`columns.KINDS`). Other columns are left out.

    The classes are those that the data name: an information file, or a column of classes of
    `datasets`, in the order given there. Without one they are the labels that occur: names in
    alphabetical order (by code point; blanks around them do not count), or the numbers from 0 to
    the highest; with negative numbers among them, those that occur, in order. Numbers some of
    which have a fraction (0.5, 3.0) make a regression.

    Args:
        source: a path, or data in memory.
        columns: our name → theirs, where they are not found by themselves; several of theirs are
            joined.

    Raises:
        UnknownName: no such folder or file, or no such column.
        Unavailable: no training file in the folder, or one that cannot be opened.
        BadValue: the data are empty, lack columns, or have labels out of range.
    """
    found = find(source)
    present = list(dict.fromkeys(name for row in found.splits["train"][:1] for name in row))
    kind, made = choose(present, columns or {}, found.where)
    splits = {name: rename(rows, made) for name, rows in found.splits.items()}
    notes = list(found.notes)
    labels: tuple[str, ...] = ()
    if kind != "generation":
        column = "tags" if kind == "tagging" else "label"
        splits, hidden = _without_hidden(splits)
        notes += hidden
        named = found.names.get(made[column][0])
        if named:
            labels = tuple(named)
            splits = {n: [_named(row, column, named) for row in rows] for n, rows in splits.items()}
        elif found.info.get("label_names"):
            labels = tuple(found.info["label_names"])
        else:
            classes = _classes(splits, column, found.where)
            if classes is None and kind == "tagging":
                raise BadValue(
                    f"The tags in {found.where} are numbers with fractions. Use names, or 0, 1, 2."
                )
            kind = "regression" if classes is None else kind
            labels = classes or ()
            if labels and labels[0].startswith("-"):  # a number that is not its own place
                splits = {n: [_spelt(row, column) for row in rows] for n, rows in splits.items()}
    checked = {
        name: check(rows, kind, labels, f"{name!r} in {found.where}")
        for name, rows in splits.items()
    }
    complete_splits, made_of = complete(checked)
    metric = MAIN_METRIC[kind]
    if kind == "tagging" and any(label.startswith("B-") for label in labels):
        metric = "span_f1"
    return Task(
        name=found.name,
        kind=kind,
        labels=labels,
        metrics={metric: METRICS[metric]},
        splits=as_datasets(complete_splits),
        source="own data",
        licence=found.info.get("licence", ""),
        citation=found.info.get("citation", ""),
        notes=(*notes, *made_of),
    )


def _without_hidden(
    splits: Mapping[str, Sequence[Row]],
) -> tuple[dict[str, Sequence[Row]], list[str]]:
    """Leave out a split of which all labels are −1, as published test splits often have them."""

    def are(rows: Sequence[Row], some: Callable[[Iterable[bool]], bool]) -> bool:
        return some(whole(row.get("label")) == HIDDEN for row in rows)

    hidden = [name for name, rows in splits.items() if are(rows, all)]
    if not hidden or are(splits["train"], any):  # −1 is a class of these data
        return dict(splits), []
    notes = [f"{name}: left out, for its labels are hidden (all −1)." for name in hidden]
    return {name: rows for name, rows in splits.items() if name not in hidden}, notes


def _named(row: Row, column: str, names: Sequence[str]) -> Row:
    """A row whose numbers are written as the names that the data give them."""

    def name(label: Any) -> Any:
        number = whole(label)
        return names[number] if number is not None and 0 <= number < len(names) else label

    value = row.get(column)
    if column == "tags":
        return (
            row if value is None else row | {column: [name(tag) for tag in as_list(value, column)]}
        )
    return row | {column: name(value)}


def _spelt(row: Row, column: str) -> Row:
    """A row whose numbers are written as texts, as the names of the classes are."""
    value = row[column]
    if column == "tags":
        return row | {column: [_digits(tag) for tag in as_list(value, column)]}
    return row | {column: _digits(value)}


def _digits(label: Any) -> Any:
    number = whole(label)
    return label if number is None else str(number)


def _classes(
    splits: Mapping[str, Sequence[Row]], column: str, where: str
) -> tuple[str, ...] | None:
    """Names for the labels that occur, in order; None where they make a regression.

    Raises:
        BadValue: labels are missing, mixed, all the same, or absurdly high.
    """
    names: set[str] = set()
    numbers: set[int] = set()
    fractions: set[Any] = set()
    for label, here in _different_labels(splits, column, where):
        number = number_of(label)
        if isinstance(label, str) and label.strip() and number is None:
            names.add(encodable(label, here).strip())
        elif isinstance(number, int):
            numbers.add(number)
        elif number is not None and (isinstance(label, str) or not math.isnan(number)):
            fractions.add(label)
        else:
            raise BadValue(
                f"{here} has no label that can be read: found {shown(label)}. Use the numbers "
                f"0, 1, 2, … or names, and leave none out.{_advice(label)}"
            )
    if names:  # "nan" and "inf" may be names among names
        names |= {label.strip() for label in fractions if _is_word(label)}
        fractions = {label for label in fractions if not _is_word(label)}
        if numbers or fractions:
            found = [*sorted(names)[:3], *sorted(numbers)[:3], *list(fractions)[:3]]
            raise BadValue(
                f"The labels in {where} are mixed: found {', '.join(map(shown, found))}. Use the "
                "numbers 0, 1, 2, … or names, not both."
            )
        ordered = sorted(names)
    elif fractions:
        return None
    else:
        rows = sum(map(len, splits.values()))
        if max(numbers) >= max(HIGHEST, rows):
            raise BadValue(
                f"The labels in {where} go up to {max(numbers)}, and there are {rows} rows. Number "
                "the classes 0, 1, 2, …, or name them."
            )
        full = numbers if min(numbers) < 0 else range(max(numbers) + 1)
        ordered = [str(number) for number in sorted(full)]
    if len(names or numbers) < 2:
        raise BadValue(
            f"All rows in {where} have the same label, {shown(ordered[-1])}, so there is nothing "
            "to learn. Give rows of at least two classes."
        )
    return tuple(ordered)


def _different_labels(
    splits: Mapping[str, Sequence[Row]], column: str, where: str
) -> Iterator[tuple[Any, str]]:
    """Every label once, and what to call its first row in an error."""
    seen = set()
    for split, rows in splits.items():
        for i, row in enumerate(rows, start=1):
            value = row.get(column)
            for label in [value] if column == "label" else as_list(value or (), f"Row {i}"):
                mark = (type(label), label if isinstance(label, Hashable) else None)
                if mark not in seen:  # 1, 1.0 and True are equal, and yet different labels
                    seen.add(mark)
                    yield label, f"Row {i} of {split!r} in {where}"


def _is_word(label: Any) -> bool:
    return isinstance(label, str) and label.strip().lstrip("+-").isalpha()


def _advice(label: Any) -> str:
    if isinstance(label, str | bool) or not hasattr(label, "__len__"):
        return ""
    return " Several labels a row (multi-label) are not supported: make a task of each label."
