"""A result is one line of JSON: what was run, on what, and what came out.

Lines are only ever appended. A line that a killed program left unfinished is reported and passed
over; the run behind it counts as not done.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BadValue, Unavailable
from ..core.files import check_writable


@dataclass(frozen=True)
class Result:
    """One finished run.

    Attributes:
        key: a hash of everything that decides the result; two runs of one key are the same run.
        method: its name in the registry.
        hyperparameters: all of the method's fields.
        base: {"name", "sha256"} of the pretrained model.
        task: {"name", "fingerprint", "metric", "train", "validation", "test"}; the last three are
            numbers of rows.
        training: steps, batch_size, lr, max_length, precision, and so on.
        seed: of the head, the order of the examples and dropout.
        validation: scores on the validation split.
        test: scores on the test split, which is looked at once, at the end of the run.
        parameters: {"trainable", "head", "total"}.
        seconds: of training, without evaluation.
        examples_per_second: in training.
        peak_memory_bytes: see `Run`.
        device: name of the processor.
        versions: of the packages that matter.
        commit: of the package's source, or "" when it is not under version control.
        date: UTC, ISO 8601.
        command: how it was called.
    """

    key: str
    method: str
    hyperparameters: dict[str, Any]
    base: dict[str, Any]
    task: dict[str, Any]
    training: dict[str, Any]
    seed: int
    validation: dict[str, float]
    test: dict[str, float]
    parameters: dict[str, int]
    seconds: float
    examples_per_second: float
    peak_memory_bytes: int
    device: str
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    date: str = ""
    command: str = ""

    @property
    def score(self) -> float:
        """The task's main metric on the test split."""
        return self.test[self.task["metric"]]


def key_of(*parts: Any) -> str:
    """A short hash of data that JSON can hold."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def append(path: str | Path, result: Result) -> None:
    """Add one line to `path`, in one write, so that parallel writers do not mix.

    Raises:
        Unavailable: the file cannot be written.
    """
    path = Path(path)
    check_writable(path.parent)
    line = json.dumps(asdict(result), sort_keys=True) + "\n"
    try:
        torn = path.exists() and path.stat().st_size and path.read_bytes()[-1:] != b"\n"
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, ("\n" if torn else "").encode() + line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise Unavailable(
            f"{str(path)!r} cannot be written ({error.strerror}). Give another file."
        ) from error


def load_results(
    paths: str | Path | Iterable[str | Path] | None = None, **equal: Any
) -> list[Result]:
    """Read result lines.

    Args:
        paths: a file, a folder of .jsonl files, or several of them; None: the book's own
            results, `book/results`, in a checkout.
        **equal: keep the results with these values, such as method="lora", seed=0; `base` and
            `task` are compared by name.

    Raises:
        Unavailable: a path does not exist.
        BadValue: a line in the middle of a file is no result.
    """
    if paths is None:
        paths = Path(__file__).resolve().parents[2] / "book" / "results"
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    results: list[Result] = []
    for path in map(Path, given):
        if not path.exists():
            raise Unavailable(
                f"There are no results at {str(path)!r}. Give a .jsonl file or a folder of them; "
                "`pftlab compare` writes one."
            )
        for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            results += _read(file)
    return [r for r in results if all(_value(r, name) == value for name, value in equal.items())]


def _value(result: Result, name: str) -> Any:
    value = getattr(result, name)
    return value["name"] if name in ("base", "task") else value


def _read(file: Path) -> list[Result]:
    lines = file.read_text(encoding="utf-8").split("\n")
    results = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            results.append(Result(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if isinstance(error, json.JSONDecodeError):
                warnings.warn(f"{file}:{number}: an unfinished line was passed over", stacklevel=3)
                continue
            raise BadValue(f"{file}:{number} is no result line: {error}.") from error
    return results
