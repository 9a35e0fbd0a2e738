"""What is graded already, so that a run that was killed goes on."""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.errors import Refused, Unavailable
from ...core.files import atomic_write, check_writable
from ..exercises.model import Exercise


def kept_in() -> Path:
    """The folder of journals: $PFTLAB_GRADING, or ~/.pftlab/grading."""
    return Path(os.environ.get("PFTLAB_GRADING", Path.home() / ".pftlab" / "grading"))


class Journal:
    """A file of your own, one line for each thing done; never beside what students handed in.

    Args:
        out: the table of grades that it belongs to.

    Attributes:
        seed: of the checks' inputs; drawn when there is no earlier run.
        rows: of an earlier run; a line that a kill cut off loses only itself.

    Raises:
        Refused: others can write it, so that it cannot be believed; or another run uses it.
        Unavailable: it cannot be written.
    """

    def __init__(self, out: Path):
        import fcntl  # not on Windows, where the rest of the classroom works

        name = hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:16]
        self.path = kept_in() / f"{name}.jsonl"
        self.seed = secrets.randbelow(2**31)
        self.rows: list[dict[str, Any]] = []
        self.wrote: list[list[str]] = []
        check_writable(self.path.parent)
        self.lock = (self.path.with_suffix(".lock")).open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.lock.close()
            raise Refused(f"Another run is grading into {out}. Let it end first.") from error
        for line in self._lines():
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if not isinstance(found, dict):
                continue
            if type(found.get("seed")) is int:
                self.seed = found["seed"]
            elif "wrote" in found:
                self.wrote.append(found["wrote"])
            else:
                self.rows.append(found)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: Any) -> None:
        self.lock.close()

    def _lines(self) -> list[str]:
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unavailable(f"The journal {self.path} cannot be read: {error}.") from error
        with open(handle, encoding="utf-8", errors="replace") as file:
            for about in (os.fstat(handle), os.stat(self.path.parent)):
                others = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
                if about.st_uid != os.getuid() or others:
                    raise Refused(
                        f"Others can write the journal {self.path}, so it cannot be believed. "
                        f"Remove it to grade everything again, or: chmod go-w {self.path.parent}"
                    )
            return file.read().splitlines()

    def begin(self, seed: int, kept: Iterable[dict[str, Any]]) -> None:
        """Write the head and the rows that still hold."""
        lines = [{"seed": seed}, *({"wrote": each} for each in self.wrote), *kept]
        with atomic_write(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        self.path.chmod(0o600)

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def may_write(self, path: Path) -> None:
        """Refuse to overwrite what another program, or somebody's hand, has written.

        Raises:
            Refused: there is such a file.
        """
        if not os.path.lexists(path):
            return
        known = path.is_file() and not path.is_symlink()
        if not known or _mark(path, path.read_bytes()) not in self.wrote:
            raise Refused(
                f"{path} is there, and is not as this command wrote it. Move it away, or give "
                "another --out."
            )

    def write(self, path: Path, text: str) -> None:
        """Write a file that may be overwritten by the next run, if nobody changed it.

        Raises:
            Refused: it would overwrite something.
            Unavailable: its folder cannot be written.
        """
        self.may_write(path)
        data = text.encode("utf-8", "replace")
        check_writable(path.parent)
        mark = _mark(path, data)
        if mark not in self.wrote:
            self.wrote.append(mark)
            self.add({"wrote": mark})
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)


def _mark(path: Path, data: bytes) -> list[str]:
    """What tells that this command wrote these bytes there."""
    return [str(path.parent.resolve() / path.name), hashlib.sha256(data).hexdigest()]


def fits(row: dict[str, Any], asked: list[Exercise]) -> bool:
    """Whether a row of the journal is what grading these exercises can have written."""
    texts = all(isinstance(row.get(key), str) for key in ("student", "of", "note", "at"))
    results, answers = row.get("results"), row.get("answers")
    if not texts or not isinstance(answers, dict) or not isinstance(results, list):
        return False
    return len(results) == len(asked) and all(map(_fits, results, asked))


def _fits(result: Any, asked: Exercise) -> bool:
    try:
        passed = result["passed"]
        points = sum(stage.points for stage in asked.stages[: len(passed)])
        return (
            (result["name"], result["points"], result["out_of"])
            == (asked.name, points, asked.points)
            and list(passed) == [stage.title for stage in asked.stages[: len(passed)]]
            and isinstance(result["message"], str)
            and isinstance(result["state"], str)
        )
    except (TypeError, KeyError):
        return False
