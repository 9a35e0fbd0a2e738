"""A task from the reader's own folder: the columns say what kind of task it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pftlab.core.errors import BadValue

from .folder import read_folder
from .metrics import METRICS
from .rows import COLUMNS, Row, as_datasets, as_list, check, complete
from .task import Task

MAIN_METRIC = {
    "classification": "accuracy",
    "pairs": "accuracy",
    "regression": "pearson",
    "tagging": "token_accuracy",
    "generation": "bleu",
}


def load_own(folder: Path) -> Task:
    """Load the task in `folder`; see `folder.py` for its layout.

    Columns text and label make a classification, text_a, text_b and label a classification of
    pairs, tokens and tags a tagging task, source and target a generation task. Labels written as
    decimal fractions (0.5, 3.0) make a regression. Other columns are left out.

    Raises:
        Unavailable: no training file in the folder.
        BadValue: the data are empty, lack columns, or have labels out of range.
    """
    splits, info = read_folder(folder)
    kind = _kind(splits["train"], folder)
    labels = tuple(info.get("label_names") or _label_names(splits, kind))
    checked = {
        name: check(rows, kind, labels, f"{name!r} in {str(folder)!r}")
        for name, rows in splits.items()
    }
    complete_splits, notes = complete(checked)
    metric = MAIN_METRIC[kind]
    if kind == "tagging" and any(label.startswith("B-") for label in labels):
        metric = "span_f1"
    return Task(
        name=folder.resolve().name,
        kind=kind,
        labels=labels,
        metrics={metric: METRICS[metric]},
        splits=as_datasets(complete_splits),
        source="own data",
        licence=info.get("licence", ""),
        citation=info.get("citation", ""),
        notes=notes,
    )


def _kind(rows: Sequence[Row], folder: Path) -> str:
    present = set(rows[0])
    if "references" in present:
        present.add("target")
    for kind in ("tagging", "generation", "pairs", "classification"):
        if present >= set(COLUMNS[kind]):
            break
    else:
        options = "; ".join(" and ".join(names) for names in dict.fromkeys(COLUMNS.values()))
        raise BadValue(
            f"The rows in {str(folder)!r} have the columns {', '.join(rows[0]) or 'none'}. "
            f"Name them as one of these: {options}."
        )
    if kind in ("pairs", "classification") and any(_is_fraction(row.get("label")) for row in rows):
        return "regression"
    return kind


def _is_fraction(label: Any) -> bool:
    """Whether a label is a number but no class: 0.5 or "3.0", neither 1 nor "good"."""
    if isinstance(label, str) and not label.isdecimal():
        try:
            float(label)
        except ValueError:
            return False
        return True
    return isinstance(label, float)


def _label_names(splits: Mapping[str, Sequence[Row]], kind: str) -> list[str]:
    """Names for the labels: their texts in order, or their numbers up to the highest.

    Raises:
        BadValue: labels are missing, mixed, negative, or all the same.
    """
    if kind in ("regression", "generation"):
        return []
    column = "tags" if kind == "tagging" else "label"
    values: list[Any] = [row.get(column) for rows in splits.values() for row in rows]
    if kind == "tagging":
        values = [tag for tags in values for tag in as_list(tags or ())]
    values = [int(v) if isinstance(v, str) and v.isdecimal() else v for v in values]
    odd = [v for v in values if type(v) not in (str, int)]
    texts = {v for v in values if type(v) is str}
    whole = {v for v in values if type(v) is int}
    if odd or (texts and whole) or min(whole, default=0) < 0:
        shown = odd[:1] or [*sorted(texts)[:3], *sorted(whole)[:3]]
        raise BadValue(
            f"The labels cannot be read: found {', '.join(map(repr, shown))}. Use the numbers "
            "0, 1, 2, … or names, not both, and leave none out."
        )
    names = sorted(texts) if texts else [str(i) for i in range(max(whole) + 1)]
    if len(names) < 2:
        raise BadValue(
            f"All rows have the same label, {names[0]!r}, so there is nothing to learn. "
            "Give rows of at least two classes."
        )
    return names
