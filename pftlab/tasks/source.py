"""Where own data come from: a folder, a file, or a table in memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import BadValue
from .columns import Row
from .folder import SPLIT_NAMES, Found, read_folder, shown_name
from .formats import SUFFIXES, Names, class_names, read_file

#: What `load_task` takes beside a name: a path, or data in memory.
Source = Any


def find(source: Source) -> Found:
    """Read own data.

    Args:
        source: the path of a folder or of one file; a pandas DataFrame, a `datasets.Dataset` or a
            list of dicts, all of which are training data; or a mapping of names of splits to
            these, such as a `datasets.DatasetDict`.

    Raises:
        Unavailable: no training data, or they cannot be opened.
        BadValue: something else was given, or the data are corrupted.
    """
    if isinstance(source, str | Path):
        return _at(Path(source))
    if not isinstance(source, Mapping):
        rows, names = _rows(source)
        return Found("own data", "the data given", {"train": rows}, names)
    found = Found("own data", "the data given")
    ours = {theirs: split for split, names in SPLIT_NAMES.items() for theirs in names}
    for theirs, table in source.items():
        if theirs not in ours:
            continue
        if ours[theirs] in found.splits:
            raise BadValue(f"{theirs!r} is a second {ours[theirs]} split. Give one of each.")
        found.splits[ours[theirs]], names = _rows(table)
        found.names |= names
    if "train" not in found.splits:
        raise BadValue(
            f"The data given have the splits {', '.join(map(str, source)) or 'none'}. Name the "
            "training data train."
        )
    others = [str(theirs) for theirs in source if theirs not in ours]
    if others:
        found.notes = (f"Splits left out: {', '.join(others)}.",)
    return found


def _at(path: Path) -> Found:
    if path.is_dir():
        return read_folder(path)
    if not path.name.endswith(SUFFIXES):
        raise BadValue(
            f"{str(path)!r} is no kind of file that is read: {', '.join(SUFFIXES)}. Save the data "
            "as one of these, or read them yourself and give a DataFrame or a list of dicts."
        )
    rows, names = read_file(path)
    return Found(shown_name(path).split(".")[0], repr(str(path)), {"train": rows}, names)


def _rows(table: Any) -> tuple[list[Row], Names]:
    """The rows of a table in memory, and the names of classes that it knows."""
    import datasets
    import pandas

    names: Names = {}
    if isinstance(table, datasets.Dataset):
        rows, names = table.to_list(), class_names(table.features)
    elif isinstance(table, pandas.DataFrame):
        if not table.columns.is_unique:
            raise BadValue("Two columns of the DataFrame share a name. Rename one of them.")
        rows = table.to_dict("records")
    elif isinstance(table, Sequence) and all(isinstance(row, Mapping) for row in table):
        rows = [dict(row) for row in table]
    else:
        raise BadValue(
            f"A {type(table).__name__} is no data that can be read. Give a path, a pandas "
            "DataFrame, a datasets.Dataset (of a stream, Dataset.from_list(list(stream))), a list "
            "of dicts, or a dict of these by split."
        )
    if not rows:
        raise BadValue("The data given are empty. Give at least one row.")
    return rows, names
