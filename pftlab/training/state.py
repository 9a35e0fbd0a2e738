"""The state of a run on disk: one safetensors file, replaced in one step, so never half a state.

Tensors are in sections, "<section>.<name>"; the header holds the record of the run as JSON. Random
numbers need no state: each step begins its own. Nothing is ever unpickled.
"""

import json
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..core.errors import BadCheckpoint, Refused, Unavailable
from ..core.files import atomic_write, check_writable

STATE = "training_state.safetensors"
LOCK = ".training.lock"
Sections = dict[str, dict[str, Tensor]]


def read_state(folder: str | Path) -> tuple[dict[str, Any], Sections] | None:
    """The record and the sections of the state in `folder`; None: there is none.

    Raises:
        BadCheckpoint: the file is damaged.
    """
    path = Path(folder) / STATE
    if not path.is_file():
        return None
    sections: Sections = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                section, _, name = key.partition(".")
                sections.setdefault(section, {})[name] = file.get_tensor(key)
            record = json.loads(file.metadata()["run"])
        if not isinstance(record, dict):
            raise ValueError(f"the record is a {type(record).__name__}")
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise damaged(folder, error) from error
    return record, sections


def damaged(folder: str | Path | None, why: object) -> BadCheckpoint:
    """The error that says that the state in `folder` cannot be what was written."""
    return BadCheckpoint(
        f"{STATE} in {str(folder)!r} cannot be read ({str(why)[:200]}). Remove it, or give "
        "another folder, to begin anew."
    )


def write_state(
    folder: str | Path, record: dict[str, Any], sections: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Put a state in the place of the last one in `folder`.

    Raises:
        Unavailable: it cannot be written; the last one is still there.
    """
    tensors = {
        f"{section}.{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for section, named in sections.items()
        for name, tensor in named.items()
    }
    with atomic_write(Path(folder) / STATE) as path:
        save_file(tensors, path, metadata={"run": json.dumps(record)})


class RunFolder:
    """Where a run keeps its state; within a `with` block, this run alone.

    A disk that is full ends no training: that a state cannot be written is said, what was saved
    before stays, and it is tried again with the next one.

    Args:
        folder: made if need be; None: nothing is kept, and nothing was.
        writes: whether this process writes; of several that train together, one does.

    Raises:
        Unavailable: the folder cannot be written.
        Refused: another run is using the folder.
    """

    def __init__(self, folder: str | Path | None, writes: bool = True):
        self.path = None if folder is None else check_writable(folder)
        self.writes = writes and self.path is not None
        self.saved_at = time.monotonic()
        self._lock: FileLock | None = None

    def __enter__(self) -> "RunFolder":
        if self.path is None or not self.writes:
            return self
        lock = FileLock(self.path / LOCK, blocking=False)
        try:
            lock.acquire()
            self._lock = lock
        except Timeout:
            raise Refused(
                f"Another training is using the folder {str(self.path)!r}: one of the two would "
                "overwrite the other. Give another folder, or wait for its end."
            ) from None
        except NotImplementedError:
            pass  # a file system without locks
        for left in self.path.glob(f".{STATE}.*"):  # by a run that was killed while writing
            shutil.rmtree(left, ignore_errors=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            self._lock.release()

    @property
    def age(self) -> float:
        """Seconds since a state was written, or since the run began."""
        return time.monotonic() - self.saved_at

    def read(self) -> tuple[dict[str, Any], Sections] | None:
        """What was written last; see `read_state`."""
        return None if self.path is None else read_state(self.path)

    def write(self, record: dict[str, Any], sections: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write a state, or say that it could not be written."""
        if self.path is None or not self.writes:
            return
        try:
            write_state(self.path, record, sections)
            self.saved_at = time.monotonic()
        except Unavailable as error:
            warnings.warn(
                f"The state of the run could not be saved, and training goes on. {error}",
                stacklevel=2,
            )

    def clear(self) -> None:
        """Remove the state, for a run that begins anew."""
        if self.path is not None and self.writes:
            (self.path / STATE).unlink(missing_ok=True)
