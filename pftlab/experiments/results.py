"""A result is one line of JSON: what was run, on what, and what came out.

The first line of a file, {"shared": …}, holds what most of its runs have in common: base, task,
versions, device. A run's line holds the rest, and what it has otherwise. Lines are only ever
appended. A line that a killed program left unfinished is reported and passed over; the run behind
it counts as not done.
"""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BadValue, Unavailable
from ..core.files import check_writable, parse_json

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parent / "book" / "results"
#: The folder of the book's own results: in a checkout, or where a wheel carries them.
STORED = _CHECKOUT if _CHECKOUT.is_dir() else _PACKAGE / "stored"
#: What methods cost on models of known sizes; see `pftlab.experiments.costs`.
COSTS = STORED / "costs.json"

#: What methods cost beside Hugging Face PEFT's; see `pftlab.experiments.benchmark`.
SIDE_BY_SIDE = STORED / "side_by_side.json"

#: In which order layers are opened; see `pftlab.experiments.unfreezing`.
UNFREEZING = STORED / "unfreezing.json"

#: The fields that the runs of one file have in common for the most part.
SHARED = ("base", "task", "device", "versions", "commit", "command", "lr_from")


@dataclass(frozen=True)
class Asked:
    """A run as it was asked for; `Result` says what its attributes are."""

    key: str
    method: str
    hyperparameters: dict[str, Any]
    base: dict[str, Any]
    task: dict[str, Any]
    training: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class Result(Asked):
    """One finished run.

    Attributes:
        key: a hash of everything that decides the result; two runs of one key are the same run.
        method: its name in the registry.
        hyperparameters: all of the method's fields.
        base: {"name", "sha256", "origin"} of the pretrained model: its weights may come from more
            than one source, that differ (see `Found`). Old lines have no origin.
        task: {"name", "fingerprint", "metric", "train", "validation", "test"}; the last three are
            numbers of rows.
        training: steps, batch_size, max_length, precision, lr (the peak learning rate).
        seed: of the head, the order of the examples and dropout.
        validation: scores on the validation split.
        test: scores on the test split, which is looked at once, at the end of the run; empty for
            a run of a learning-rate search, which must not look at it.
        parameters: {"trainable", "head", "total"}.
        seconds: of training, without evaluation.
        examples_per_second: in training.
        peak_memory_bytes: as the device or the process reported it; see `Run`.
        device: name of the processor.
        memory: bytes that a step holds, counted exactly; see `training_memory`.
        forgetting: {"metric", "before", "after"}, what the base lost; see `Forgetting`. Empty for a
            run of a search, for random weights, and in old lines.
        lr_from: how the learning rate was found: "default" (the method's own), "search" (the best
            by validation) or "given" (by the caller).
        versions: of the packages that matter.
        commit: of the package's source when the grid began, with "+" behind it if it was changed
            since; "" when it is not under version control.
        date: of the end of the run, UTC, ISO 8601.
        command: how it was called.
        protocol: 1: of `pftlab.experiments.protocol`. 0: lines of before it, whose rates were
            multiples of each method's own.
        curve: [step, score on the validation split] of each evaluation.
        search: of a run at a rate that was searched: {"rates", "scores" on the validation split
            (None where runs failed), "inside": the best lies between two others}.
        texts: what was answered to each text of the test split; see `outcomes.unpack`.
    """

    validation: dict[str, float]
    test: dict[str, float]
    parameters: dict[str, int]
    seconds: float
    examples_per_second: float
    peak_memory_bytes: int
    device: str
    memory: dict[str, int] = field(default_factory=dict)
    forgetting: dict[str, Any] = field(default_factory=dict)
    lr_from: str = "default"
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    date: str = ""
    command: str = ""
    protocol: int = 0
    curve: list[list[float]] = field(default_factory=list)
    search: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """The task's main metric on the test split."""
        return self.test[self.task["metric"]]


@dataclass(frozen=True)
class Failure(Asked):
    """A run that ended without a result, which is a result too.

    Attributes:
        key: of the run; see `Result`, also for what else has a name from there.
        error: what was raised, in a line.
        refused: the run cannot be as it was asked for, so that no other of its method could.
    """

    stage: str
    error: str
    refused: bool = False
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    date: str = ""
    command: str = ""


def key_of(*parts: Any) -> str:
    """A short hash of data that JSON can hold."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def append(path: str | Path, result: Result | Failure) -> None:
    """Add one line to `path`, in one write, so that parallel writers do not mix.

    A new file begins with what its runs will share.

    Raises:
        Unavailable: the file cannot be written.
    """
    path, whole = Path(path), asdict(result)
    check_writable(path.parent)
    try:
        if not path.exists():
            _begin(path, {name: whole[name] for name in SHARED if name in whole})
        if isinstance(result, Failure):
            line = _line({"failure": whole})
        else:
            with open(path, "rb") as file:
                shared = _header(file.readline().decode("utf-8", "replace")) or {}
            line = _line({k: v for k, v in whole.items() if k not in shared or shared[k] != v})
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(handle).st_size
            os.lseek(handle, max(0, size - 1), os.SEEK_SET)
            torn = size and os.read(handle, 1) != b"\n"  # a killed writer's unfinished line
            os.write(handle, (("\n" if torn else "") + line).encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise Unavailable(
            f"{str(path)!r} cannot be written ({error.strerror}). Give another file."
        ) from error


def _begin(path: Path, shared: dict[str, Any]) -> None:
    """Make the file with its first line, unless another writer has just done so."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        new = Path(folder) / path.name
        new.write_text(_line({"shared": shared}), encoding="utf-8")
        with suppress(FileExistsError):
            os.link(new, path)  # which never replaces a file


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n"


def _header(line: str) -> dict[str, Any] | None:
    """What the lines of a file share, if `line` is one that says so."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    shared = data.get("shared") if isinstance(data, dict) and len(data) == 1 else None
    return shared if isinstance(shared, dict) else None


def load_results(
    paths: str | Path | Iterable[str | Path] | None = None, *, searches: bool = False, **equal: Any
) -> list[Result]:
    """Read result lines.

    Args:
        paths: a file, a folder of .jsonl files, however deep, or several of them; None: the
            book's own results, `STORED`.
        searches: the runs of learning-rate searches, which have no test scores, in place of the
            others.
        **equal: keep the results with these values, such as method="lora", seed=0; `base` and
            `task` are compared by name.

    Raises:
        Unavailable: a path does not exist.
        BadValue: a line is JSON, but no result; or a name in `equal` is none of a result's.
    """
    unknown = equal.keys() - Result.__dataclass_fields__
    if unknown:
        raise BadValue(
            f"Results have no {min(unknown)!r}. Choose from: "
            f"{', '.join(Result.__dataclass_fields__)}."
        )
    results = [r for file in files_of(paths) for r in _read(file)[0]]
    return [
        r
        for r in results
        if searches == (not r.test) and all(_value(r, n) == v for n, v in equal.items())
    ]


def load_failures(paths: str | Path | Iterable[str | Path] | None = None) -> list[Failure]:
    """Read the runs that failed; the arguments and errors are those of `load_results`."""
    return [f for file in files_of(paths) for f in _read(file)[1]]


def files_of(paths: str | Path | Iterable[str | Path] | None) -> list[Path]:
    """The files behind what `load_results` is given.

    Raises:
        Unavailable: a path does not exist.
    """
    if paths is None:
        paths = STORED
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    files: list[Path] = []
    for path in map(Path, given):
        if not path.exists():
            if path.is_relative_to(STORED):
                raise Unavailable(
                    f"This installation of pftlab lacks the book's results {path.name!r}. Install "
                    "it again from its repository, or work in a checkout."
                )
            raise Unavailable(
                f"There are no results at {str(path)!r}. Give a .jsonl file or a folder of them; "
                "`pftlab experiment run` and `pftlab compare` write them."
            )
        files += sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
    return files


def _value(result: Result, name: str) -> Any:
    value = getattr(result, name)
    return value["name"] if name in ("base", "task") else value


def _read(file: Path) -> tuple[list[Result], list[Failure]]:
    results: list[Result] = []
    failures: list[Failure] = []
    shared: dict[str, Any] = {}
    # split at "\n" alone: other line ends may stand inside a JSON text
    for number, line in enumerate(
        file.read_text(encoding="utf-8", errors="replace").split("\n"), 1
    ):
        if not line.strip():
            continue
        if number == 1 and (header := _header(line)) is not None:
            shared = header
            continue
        try:
            data = json.loads(line)
        except json.JSONDecodeError:
            warnings.warn(f"{file}:{number}: an unfinished line was passed over", stacklevel=3)
            continue
        except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python
            raise BadValue(f"{file}:{number} is no result line ({error}). Remove it.") from error
        try:
            if isinstance(data, dict) and data.keys() == {"failure"}:
                failures.append(Failure(**data["failure"]))
            else:
                results.append(_checked(shared | data))
        except (TypeError, KeyError) as error:
            raise BadValue(
                f"{file}:{number} is no result line ({str(error)[:200]}). Give a file that "
                "`pftlab experiment run` or `pftlab compare` wrote."
            ) from error
    return results, failures


# What later work relies on, field by field: the type, and the types of a dictionary's entries.
_NAMES: dict[str, type | tuple[type, ...]] = {"name": str}
_KINDS: dict[str, tuple[type | tuple[type, ...], dict[str, Any]]] = {
    "key": (str, {}),
    "method": (str, {}),
    "hyperparameters": (dict, {}),
    "base": (dict, _NAMES),
    "task": (dict, _NAMES | {"fingerprint": str, "metric": str}),
    "training": (dict, {"lr": (int, float)}),
    "seed": (int, {}),
    "parameters": (dict, dict.fromkeys(("trainable", "head", "total"), int)),
    "seconds": ((int, float), {}),
    **dict.fromkeys(("device", "lr_from", "commit", "date", "command"), (str, {})),
    **dict.fromkeys(("memory", "versions", "forgetting", "search", "texts"), (dict, {})),
    "protocol": (int, {}),
    "curve": (list, {}),
}


def _checked(data: dict[str, Any]) -> Result:
    """The result that a line describes.

    Raises:
        TypeError, KeyError: it describes none.
    """
    result = Result(**data)
    for name, (kind, entries) in _KINDS.items():
        value: Any = getattr(result, name)
        of_kind = isinstance(value, kind)
        if not of_kind or any(not isinstance(value[key], of) for key, of in entries.items()):
            raise TypeError(f"{name}: {value!r}")
    for scores in (result.validation, result.test):
        if not isinstance(scores, dict) or not all(
            isinstance(score, int | float) for score in scores.values()
        ):
            raise TypeError(f"scores: {scores!r}")
    if result.test and result.task["metric"] not in result.test:
        raise KeyError(result.task["metric"])
    return result


def load_costs(path: str | Path = COSTS) -> dict[str, Any]:
    """The stored costs: {"models": …, "methods": […], "costs": {model: {method: rows}}}.

    Raises:
        Unavailable: there is no such file.
    """
    return _made_by("costs", path)


def load_side_by_side(path: str | Path = SIDE_BY_SIDE) -> list[dict[str, Any]]:
    """The stored runs of `pftlab.experiments.benchmark`, one for each call of it.

    Raises:
        Unavailable: there is no such file.
    """
    runs: list[dict[str, Any]] = _made_by("benchmark", path)["runs"]
    return runs


def load_unfreezing(path: str | Path = UNFREEZING) -> dict[str, Any]:
    """The stored runs of `pftlab.experiments.unfreezing`: "searches", "runs" and their protocol.

    Raises:
        Unavailable: there is no such file.
    """
    found: dict[str, Any] = _made_by("unfreezing", path)
    return found


def _made_by(module: str, path: str | Path) -> Any:
    """What a module of this package has stored."""
    if not Path(path).is_file():
        raise Unavailable(
            f"There is no {str(path)!r}. `python -m pftlab.experiments.{module}` makes it."
        )
    return parse_json(Path(path).read_bytes(), str(path))
