"""Reading the rows of one file: JSON Lines, JSON, CSV, TSV or Parquet; the first four also as .gz.

What a file holds is never trusted: whatever is wrong with it is a `BadValue` that names the file
and the line.
"""

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import BadValue, Unavailable
from .columns import Row

Names = dict[str, list[str]]  # column → the names of its classes, where the file gives them

#: What a packed file may unpack to: a hundred times its size, which text never reaches, or 64 MiB.
EXPANSION, SMALL = 100, 2**26
LONGEST_CELL = 2**31 - 1  # of a CSV file, in characters; the module `csv` by itself stops at 2**17


def read_file(file: Path, sha256: str | None = None) -> tuple[list[Row], Names]:
    """Read one file.

    Args:
        file: whose name ends in one of `SUFFIXES`.
        sha256: that the file must have.

    Raises:
        Unavailable: it cannot be opened.
        BadValue: it is corrupted, empty, or not what its name says.
    """
    raw = read_bytes(file)
    if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
        raise BadValue(
            f"{str(file)!r} is corrupted: its sha256 is not the one in dataset_info.json. "
            "Copy the file again, or remove the sha256 if you changed the data on purpose."
        )
    suffix = next(s for s in SUFFIXES if file.name.endswith(s))
    names: Names = {}
    if suffix == ".parquet":
        rows, names = _parquet(raw, file)
    else:
        text = decode(_unpack(raw, file) if suffix.endswith(".gz") else raw, file)
        rows = TEXTS[suffix.removesuffix(".gz")](text, file)
    if not rows:
        raise BadValue(f"{str(file)!r} is empty. Give at least one row, or remove the file.")
    return rows, names


def read_bytes(file: Path) -> bytes:
    """The content of a file; `Unavailable` where it cannot be had."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise Unavailable(
            f"{str(file)!r} cannot be read ({error.strerror}). Give a file that you may open."
        ) from error


def parse_json(text: str) -> Any:
    """What `text` says in JSON.

    Raises:
        ValueError: it is no JSON, or nested deeper, or with longer numbers, than Python reads.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unpack(raw: bytes, file: Path) -> bytes:
    most = max(EXPANSION * len(raw), SMALL)
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadValue(
            f"{str(file)!r} is corrupted: gzip cannot open it ({error}). Copy it again."
        ) from error
    if len(unpacked) > most:
        raise BadValue(
            f"{str(file)!r} has {len(raw):,} bytes and unpacks to more than {most:,}, as no text "
            "does. If it is meant to, unpack it and give the unpacked file."
        )
    return unpacked


def decode(raw: bytes, file: Path) -> str:
    """Bytes as text, with or without a byte-order mark."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadValue(
            f"{str(file)!r} is not UTF-8 text (line {line}). Save it with the encoding UTF-8."
        ) from error


def _json_lines(text: str, file: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            row, why = None, f" ({error})"
        else:
            why = ""
        if not isinstance(row, dict):
            raise BadValue(
                f"Line {number} of {str(file)!r} is not a JSON object{why}. Write one row a line, "
                'such as {"text": "...", "label": 0}.'
            )
        rows.append(row)
    return rows


def _json(text: str, file: Path) -> list[Row]:
    """A list of objects; or lines, which many call .json as well."""
    if not text.lstrip().startswith("["):
        return _json_lines(text, file)
    try:
        rows = parse_json(text)
    except ValueError as error:
        raise BadValue(f"{str(file)!r} is not JSON ({error}). Repair it.") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise BadValue(
                f"Row {number} of {str(file)!r} is not a JSON object. Write a list of rows, such "
                'as [{"text": "...", "label": 0}].'
            )
    return rows


def _csv(text: str, file: Path, delimiter: str = ",") -> list[Row]:
    before = csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, line = [], 1
    header: list[str] = []
    try:
        for cells in reader:
            if not cells:
                pass
            elif not header:
                header = [name.strip() for name in cells]
                _check_header(header, file)
            elif len(cells) != len(header):
                kind = "comma" if delimiter == "," else "tab"
                raise BadValue(
                    f"Line {line} of {str(file)!r} has {len(cells)} cells and the first line has "
                    f"{len(header)}. Put a text that holds a {kind} between quotation marks."
                )
            else:
                rows.append(dict(zip(header, cells, strict=True)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadValue(
            f"The row that begins in line {line} of {str(file)!r} cannot be read ({error}). Close "
            "each quotation mark that is opened, and write one inside a quoted text twice."
        ) from error
    finally:
        csv.field_size_limit(before)
    return rows


def _check_header(header: list[str], file: Path) -> None:
    if len(header) == 1 and ";" in header[0]:
        raise BadValue(
            f"The cells of {str(file)!r} are separated by semicolons. Save the table with commas."
        )
    twice = {name for name in header if name and header.count(name) > 1}
    if twice:
        raise BadValue(
            f"{str(file)!r} has two columns {min(twice)!r}. Give every column a name of its own."
        )


def _parquet(raw: bytes, file: Path) -> tuple[list[Row], Names]:
    import datasets
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(raw))
        return table.to_pylist(), class_names(datasets.Features.from_arrow_schema(table.schema))
    except (OSError, ValueError, TypeError, KeyError, pyarrow.ArrowException) as error:
        raise BadValue(
            f"{str(file)!r} is no Parquet file that can be read ({error}). Write it again."
        ) from error


def class_names(features: Any) -> Names:
    """The names of the classes in each column of a data set of `datasets`."""
    columns = {name: getattr(column, "feature", column) for name, column in features.items()}
    return {
        name: list(column.names) for name, column in columns.items() if hasattr(column, "names")
    }


TEXTS: dict[str, Callable[[str, Path], list[Row]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": partial(_csv, delimiter="\t"),
}
SUFFIXES = (*(suffix + packed for suffix in TEXTS for packed in (".gz", "")), ".parquet")
