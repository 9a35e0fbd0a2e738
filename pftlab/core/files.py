"""Files: read with care, and written so that a kill leaves the old one or the new, never half."""

import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from .errors import BadCheckpoint, PftError, Refused, Unavailable

FORGOTTEN = 3600.0  # seconds after which no other process is still writing


def check_writable(folder: str | Path) -> Path:
    """Make `folder` if need be and prove that it can be written; return it as a Path.

    Call it before long work, so that a read-only folder is an error at once and not at the end.

    Raises:
        Unavailable: the folder cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Unavailable(
            f"The folder {str(folder)!r} cannot be written ({error.strerror or error}). "
            "Give another folder, or the right to write there."
        ) from error
    return folder


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; when the block ends well, the file there becomes `path`.

    The data reaches the disk before the name does. When the block raises, `path` keeps what it
    had. All that is written goes into a hidden folder beside `path`, also what a library writes
    before it moves it into its place, so that nothing else is left when the block ends; what a
    process that was killed here has left is removed an hour later, by the next one.

    Raises:
        Unavailable: the folder of `path` cannot be written, or the disk is full.
    """
    path = Path(path)
    with _beside(path) as temporary:
        yield temporary
        _reach_disk(temporary)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)


def check_empty(folder: str | Path) -> None:
    """Raise Refused unless `folder` is new or empty."""
    folder = Path(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise Refused(
            f"{str(folder)!r} is no empty folder, and nothing is overwritten. Give the name of a "
            "new folder, or remove that one."
        )


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a folder to write into; when the block ends well, it becomes `path`, as a whole.

    As `atomic_write` does for a file; nothing is overwritten.

    Raises:
        Refused: `path` is there and is no empty folder.
        Unavailable: it cannot be written, or the disk is full.
    """
    path = Path(path)
    check_empty(path)
    with _beside(path) as temporary:
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _reach_disk(file)
        if path.is_dir():
            path.rmdir()
        os.replace(temporary, path)


def _reach_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path of the same name in a hidden folder beside `path`, which goes in the end."""
    check_writable(path.parent)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(left)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            yield Path(folder) / path.name
    except PftError:
        raise
    except (OSError, SafetensorError) as error:
        raise Unavailable(
            f"{str(path)!r} cannot be written ({getattr(error, 'strerror', None) or error}); what "
            "was there before is as it was. Make room on the disk, or give another folder."
        ) from error


def parse_json(text: str | bytes, what: str) -> dict[str, Any]:
    """The JSON object in `text`.

    Args:
        text: as it was read.
        what: it is, for the error: a file and its folder, say.

    Raises:
        BadCheckpoint: it is none.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # deep nesting, numbers of thousands of digits
        raise BadCheckpoint(f"{what} is no JSON: {error}. Copy it again.") from error
    if not isinstance(data, dict):
        raise BadCheckpoint(
            f"{what} is a JSON {type(data).__name__}, not an object. Copy it again."
        )
    return data
