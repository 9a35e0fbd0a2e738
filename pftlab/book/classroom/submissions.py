"""What was handed in: the files of a folder, and the bytes of each notebook."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import BadValue, Unavailable

LARGEST = 100 * 2**20  # bytes of a notebook


@dataclass(frozen=True)
class Submission:
    """One notebook; `student` is its path without the suffix, as it can be shown."""

    student: str
    path: Path

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            BadValue: it is no regular file, too large, or cannot be read.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            handle = os.open(self.path, flags)
            with open(handle, "rb") as file:
                about = os.fstat(handle)
                if not stat.S_ISREG(about.st_mode):
                    raise BadValue("This is no file.")
                if about.st_size > LARGEST:
                    raise BadValue(f"This file is larger than {LARGEST // 2**20} MiB.")
                return file.read(LARGEST)
        except OSError as error:
            if self.path.is_symlink():
                raise BadValue("This is a link to a file, and not a file.") from error
            raise BadValue(f"This file cannot be read ({error.strerror}).") from error


@dataclass
class Handed:
    """What a folder holds.

    Attributes:
        submissions: every notebook, by student.
        left_out: (path as it can be shown, why) of everything else.
    """

    submissions: list[Submission] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def collect(folder: Path) -> Handed:
    """Look through `folder`; links are not followed.

    Raises:
        Unavailable: it holds no notebooks, or cannot be read.
    """
    handed, students = Handed(), set()

    def failed(error: OSError) -> None:
        place = Path(error.filename or folder)
        handed.left_out.append((shown(place, folder), f"it cannot be read ({error.strerror})"))

    for place, folders, files in os.walk(folder, onerror=failed):
        for name in sorted([*folders, *files]):
            path = Path(place, name)
            reason = _not_taken(name, path, name in folders)
            if reason:
                handed.left_out.append((shown(path, folder), reason))
            elif name not in folders:
                student = shown(path.with_suffix(""), folder)
                student = shown(path, folder) if student in students else student
                students.add(student)
                handed.submissions.append(Submission(student, path))
        folders[:] = sorted(name for name in folders if not _apart(name))
        if not folders and not files and Path(place) != folder:
            handed.left_out.append((shown(Path(place), folder), "an empty folder"))
    if not handed.submissions:
        why = "".join(f" {name}: {reason}." for name, reason in handed.left_out[:5])
        raise Unavailable(f"There are no notebooks in {printable(str(folder))}.{why}")
    handed.submissions.sort(key=lambda each: each.student)
    return handed


def _apart(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _not_taken(name: str, path: Path, folder: bool) -> str:
    if name == ".ipynb_checkpoints":
        return "copies that Jupyter keeps"
    if _apart(name):
        return "hidden, or put there by a system"
    if folder:
        return "a link to a folder" if path.is_symlink() else ""
    if not name.lower().endswith(".ipynb"):
        return "not a notebook (.ipynb)"
    return ""


def shown(path: Path, folder: Path) -> str:
    """The path below `folder` as it can be printed and stored, and no two alike."""
    relative = path.relative_to(folder).as_posix()
    return printable(os.fsencode(relative).decode("utf-8", "backslashreplace"))


def printable(text: str) -> str:
    """`text` with what would steer a terminal, or cannot be printed, as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
