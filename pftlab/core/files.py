"""Writing files so that a kill at any moment leaves the old file or the new one, never half."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import Unavailable


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
    """Yield a temporary path beside `path`; when the block ends well, it becomes `path`.

    The data reaches the disk before the name does. When the block raises, `path` keeps what it
    had and the temporary file is removed.

    Raises:
        Unavailable: the folder of `path` cannot be written.
    """
    path = Path(path)
    check_writable(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
