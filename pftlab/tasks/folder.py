"""Reading a data set from a folder: one file a split, and what is known of it.

    NAME/train.jsonl.gz  NAME/validation.jsonl.gz  NAME/test.jsonl.gz  NAME/dataset_info.json

Files may end in any of `SUFFIXES`, and only the training file must be there. The information file
is optional; of it, "label_names" name the labels by number, "licence" and "citation" are passed
on, and a "sha256" under "splits" is verified.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BadValue, Unavailable
from .columns import Row
from .formats import SUFFIXES, Names, decode, parse_json, read_bytes, read_file

#: Our name of a split → what else it is called.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
INFORMATION = "dataset_info.json"


@dataclass
class Found:
    """Data as they were found, before anything is made of them.

    Attributes:
        name: what the task is to be called.
        where: what to call the data in an error.
        splits: rows by our names of the splits.
        names: column → names of its classes, where the data say so.
        info: what the information file says.
        notes: what was left out.
    """

    name: str
    where: str
    splits: dict[str, list[Row]] = field(default_factory=dict)
    names: Names = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_folder(folder: Path) -> Found:
    """Read all splits and the information file.

    Raises:
        Unavailable: no training file, or one that cannot be opened.
        BadValue: a file that is corrupted, empty, or not text; or two files of one split.
    """
    found = Found(shown_name(folder), repr(str(folder)), info=_information(folder))
    for split in SPLIT_NAMES:
        file = find_split(folder, split)
        if file is not None:
            expected = found.info.get("splits", {}).get(split, {}).get("sha256")
            found.splits[split], names = read_file(file, expected)
            found.names |= names
    if "train" not in found.splits:
        raise Unavailable(
            f"The folder {str(folder)!r} holds no training data. Put a file train.jsonl, "
            "train.csv or train.parquet there, and the same for validation and test; or give "
            "load_task what datasets.load_dataset or load_from_disk returns for this folder."
        )
    return found


def find_split(folder: Path, split: str) -> Path | None:
    """The file of a split, if there is one.

    Raises:
        BadValue: there are several, so it cannot be known which is meant.
    """
    candidates = (folder / (name + suffix) for name in SPLIT_NAMES[split] for suffix in SUFFIXES)
    files = [file for file in candidates if file.is_file()]
    if len(files) > 1:
        raise BadValue(
            f"The folder {str(folder)!r} has {files[0].name} and {files[1].name}, and both are "
            f"{split} data. Keep one of them there."
        )
    return files[0] if files else None


def shown_name(path: Path) -> str:
    """The name of a file or folder, without what no text file could hold."""
    return path.resolve().name.encode("utf-8", "replace").decode()


def _information(folder: Path) -> dict[str, Any]:
    """What the information file says, checked as far as it is used."""
    file = folder / INFORMATION
    if not file.is_file():
        return {}
    try:
        info = parse_json(decode(read_bytes(file), file))
    except ValueError as error:
        if isinstance(error, BadValue):
            raise
        raise BadValue(f"{str(file)!r} is not JSON ({error}). Repair or remove it.") from error
    if not isinstance(info, dict):
        raise BadValue(
            f'{str(file)!r} holds no JSON object, such as {{"label_names": ["no", "yes"]}}. '
            "Repair or remove it."
        )
    names = info.get("label_names") or []
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    stripped = [name.strip() for name in names] if texts else []
    if not texts or not all(stripped) or len(set(stripped)) < len(names) or _half("".join(names)):
        raise BadValue(
            f'{str(file)!r} has "label_names" that are no list of different names. Write them by '
            'number, such as ["no", "yes"].'
        )
    info["label_names"] = stripped
    for number, name in enumerate(stripped):
        if name.isdecimal() and name != str(number):
            raise BadValue(
                f"{str(file)!r} calls the label {number} by another number, so it cannot be known "
                "which one a row means. Name the labels in words, or in the order 0, 1, 2, …"
            )
    if any(type(info.get(key, "")) is not str for key in ("licence", "citation")):
        raise BadValue(f'{str(file)!r}: "licence" and "citation" must be texts. Mend them.')
    splits = info.get("splits", {})
    if not isinstance(splits, dict) or not all(isinstance(s, dict) for s in splits.values()):
        raise BadValue(
            f'{str(file)!r} has "splits" that are no objects, such as '
            '{"train": {"sha256": "…"}}. Mend or remove them.'
        )
    return info


def _half(text: str) -> bool:
    """Whether a text holds half a character, which no file can hold."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)
