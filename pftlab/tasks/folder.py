"""Reading a data set from a folder: one file a split, JSON Lines or CSV, and what is known of it.

    NAME/train.jsonl.gz  NAME/validation.jsonl.gz  NAME/test.jsonl.gz  NAME/dataset_info.json

Files may also end in .jsonl or .csv, and only the training file must be there. The information
file is optional; of it, "label_names" name the labels, "licence" and "citation" are passed on, and
a "sha256" under "splits" is verified.
"""

import csv
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from pftlab.core.errors import BadValue, Unavailable

from .rows import SPLITS, Row

SUFFIXES = (".jsonl.gz", ".jsonl", ".csv")


def read_folder(folder: Path) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    """Read all splits and the information file.

    Raises:
        Unavailable: no training file.
        BadValue: a file that is corrupted, empty, or not text.
    """
    info_file = folder / "dataset_info.json"
    info: dict[str, Any] = {}
    if info_file.is_file():
        try:
            info = json.loads(_decode(info_file.read_bytes(), info_file))
        except ValueError as error:
            raise BadValue(f"{str(info_file)!r} is not JSON ({error}). Repair or remove it.") from (
                error
            )
    splits = {}
    for split in SPLITS:
        file = find_split(folder, split)
        if file is not None:
            expected = info.get("splits", {}).get(split, {}).get("sha256")
            splits[split] = _read_file(file, expected)
    if "train" not in splits:
        raise Unavailable(
            f"The folder {str(folder)!r} holds no training data. Put a file train.jsonl, "
            "train.jsonl.gz or train.csv there, and the same for validation and test."
        )
    return splits, info


def find_split(folder: Path, split: str) -> Path | None:
    """The file of a split, if there is one."""
    files = (folder / (split + suffix) for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _read_file(file: Path, expected: str | None) -> list[Row]:
    raw = file.read_bytes()
    if expected is not None and hashlib.sha256(raw).hexdigest() != expected:
        raise BadValue(
            f"{str(file)!r} is corrupted: its sha256 is not the one in dataset_info.json. "
            "Copy the file again, or remove the sha256 if you changed the data on purpose."
        )
    if file.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as error:
            raise BadValue(
                f"{str(file)!r} is corrupted: gzip cannot open it ({error}). Copy it again."
            ) from error
    text = _decode(raw, file)
    rows = _parse_csv(text) if file.suffix == ".csv" else _parse_lines(text, file)
    if not rows:
        raise BadValue(f"{str(file)!r} is empty. Give at least one row, or remove the file.")
    return rows


def _decode(raw: bytes, file: Path) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadValue(
            f"{str(file)!r} is not UTF-8 text (line {line}). Save it with the encoding UTF-8."
        ) from error


def _parse_csv(text: str) -> list[Row]:
    return [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]


def _parse_lines(text: str, file: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise BadValue(
                f"Line {number} of {str(file)!r} is not a JSON object. Write one row a line, such "
                'as {"text": "...", "label": 0}.'
            )
        rows.append(row)
    return rows
