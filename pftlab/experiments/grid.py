"""A grid of runs as a small file: which bases, tasks and methods, at which sizes, how trained.

about = "Every method on two tasks, with a real encoder."

[protocol]                      # of all tables; what `Protocol` has
steps = 300

[[table]]                       # in the order of their importance
bases = ["minilm"]
tasks = ["sst2", "rte"]
methods = ["all"]               # or names; "family:adapter"; {name = "lora", rank = 4}
but = ["adapter_drop"]          # of these
sizes = "all"                   # three or four of each method; "one": as it suits small models
baselines = ["random weights"]  # full fine-tuning without the pretraining
max_length = 128                # what a table has otherwise than [protocol]
"""

import os
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch

from ..bases import load_base
from ..bases.find import find_base, plain
from ..bases.folder import read_weights
from ..core.errors import BadValue, Unavailable, UnknownName
from ..core.method import Method
from ..facts import FACTS
from ..registry import METHODS
from ..tasks import Task, load_task
from .protocol import Protocol, sizes, small
from .results import Result, key_of

#: The grids of the book.
GRIDS = Path(__file__).parent / "grids"
#: Not by itself: it combines adapters that were trained for other tasks. Its family's page does.
APART = ("adapter_fusion",)
RANDOM = "random weights"


@dataclass(frozen=True)
class InContext:
    """No method: the base itself, untouched, with solved examples in front of each text.

    Attributes:
        shots: how many.
    """

    shots: int = 0
    name: ClassVar[str] = "in_context"
    title: ClassVar[str] = "the base, in context"
    family: ClassVar[str] = "baseline"


@dataclass(frozen=True)
class Cell:
    """A row of a table: one method with its hyper-parameters on one base and one task.

    Attributes:
        base: for `load_base`: a name, a hub id or a folder.
        task: name for `load_task`.
        method: with its hyper-parameters; or examples in context.
        protocol: how it is trained.
        pretrained: False: the same architecture from random weights, the control of every claim
            about pretraining.
        size: preset of a bundled task.
        limit: train on a balanced subset of this many examples; None: on all.
        words: answered in words by the language model, without a head.
        capture: record steps on the GPU where the method allows it; see `train`. Not part of what
            identifies a run, as the device is none: both change rounding and what dropout draws.
        table: number of the table in its grid.
    """

    base: str
    task: str
    method: Method | InContext
    protocol: Protocol = field(default_factory=Protocol)
    pretrained: bool = True
    size: str = "default"
    limit: int | None = None
    words: bool = False
    capture: bool = field(default=False, compare=False)
    table: int = field(default=0, compare=False)

    @property
    def base_name(self) -> str:
        """The base as the results name it."""
        return self.base if self.pretrained else f"{self.base} ({RANDOM})"

    @property
    def task_name(self) -> str:
        """The task as the results name it."""
        return f"{self.task} (in words)" if self.words else self.task

    @property
    def searches(self) -> bool:
        """Whether a learning rate is looked for."""
        return self.protocol.search and isinstance(self.method, Method)

    @property
    def window(self) -> tuple[float, ...]:
        """The rates with which the search begins; none where nothing is trained."""
        return self.protocol.window(self.method) if isinstance(self.method, Method) else ()

    def load_task(self) -> Task:
        """The task in the form of this cell; one for all runs of a process."""
        data = os.environ.get("PFTLAB_DATA")
        return _load_task(self.task, self.size, self.limit, self.words, data)

    def training(self, lr: float) -> dict[str, Any]:
        """The training arguments that decide a result."""
        if isinstance(self.method, InContext):
            return {"steps": 0, "max_length": self.protocol.max_length, "lr": 0.0}
        return self.protocol.training(lr)

    def key(self, job: "Job") -> str:
        """What identifies one run: all that decides its result, and nothing else.

        How a learning rate was found does not belong to it, and neither does the device: equal
        runs on two devices differ by rounding and by what dropout draws.
        """
        sha256 = sha256_of(self.base) if self.pretrained else None
        fingerprint = self.load_task().fingerprint
        return key_of(
            self.method.name, settings(self.method), self.base_name, sha256, self.task_name,
            fingerprint, self.training(job.lr), job.seed, job.stage,
        )  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One run of a cell.

    Attributes:
        cell: of which.
        seed: of head, new parameters, order and dropout.
        lr: peak learning rate.
        lr_from: how it was found; see `Result`.
        search: part of the search for a rate: validation only, no look at the test split.
        found: what a search has found, for the record; see `Result.search`.
    """

    cell: Cell
    seed: int
    lr: float
    lr_from: str = "default"
    search: bool = False
    found: dict[str, Any] = field(default_factory=dict, compare=False, hash=False)

    @property
    def stage(self) -> str:
        """The part of the protocol."""
        return "search" if self.search else "final"

    @property
    def key(self) -> str:
        """See `Cell.key`."""
        return self.cell.key(self)

    def __str__(self) -> str:
        return f"{self.cell.method.name}, " + (
            f"lr {self.lr:.0e}" if self.search else f"seed {self.seed}"
        )


@dataclass(frozen=True)
class Grid:
    """Cells, from a file or from Python, and how they were asked for.

    Attributes:
        cells: the more important ones first.
        name: of the grid.
        about: what it shows.
        command: how it was called; written into the results.

    Raises:
        BadValue: there are no cells, or one is there twice.
    """

    cells: tuple[Cell, ...]
    name: str = "grid"
    about: str = ""
    command: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.cells:
            raise BadValue("A grid needs at least one method. Name them.")
        if any(cell.capture for cell in self.cells) and not torch.cuda.is_available():
            raise Unavailable("capture records steps on a GPU, and there is none. Leave it out.")
        seen: dict[Cell, int] = {}
        for cell in self.cells:
            if cell in seen:
                raise BadValue(
                    f"{cell.method} on {cell.base_name} and {cell.task_name} is there twice, "
                    f"in tables {seen[cell] + 1} and {cell.table + 1} of {self.name!r}. Name it "
                    "once."
                )
            seen[cell] = cell.table

    @classmethod
    def of(
        cls,
        bases: str | Iterable[str],
        tasks: str | Iterable[str],
        methods: Sequence[Method | InContext],
        protocol: Protocol | None = None,
        *,
        command: str = "",
        **more: Any,
    ) -> "Grid":
        """Every method on every base and task.

        Args:
            bases: names for `load_base`.
            tasks: names for `load_task`.
            methods: with their hyper-parameters.
            protocol: how they are trained.
            command: how it was called.
            **more: what else a `Cell` has.
        """
        bases = [bases] if isinstance(bases, str) else bases
        tasks = [tasks] if isinstance(tasks, str) else tasks
        cells = [
            Cell(plain(base), task, method, protocol or Protocol(), **more)
            for base in bases
            for task in tasks
            for method in methods
        ]
        return cls(tuple(cells), command=command)

    def try_methods(self) -> None:
        """Attach every method once, so that one that cannot be is known before hours of work.

        Raises:
            BadValue, UnknownName, Refused: a method does not fit its base.
            Unavailable: base or task cannot be loaded.
        """
        for cell in self.cells:
            task = cell.load_task()
            if isinstance(cell.method, Method):
                cell.method.attach(
                    load_base(cell.base, num_labels=task.num_labels, task=task.model_task)
                )


def read_grid(name: str | Path, command: str = "") -> Grid:
    """Read a grid from its file.

    Args:
        name: of a file, or of one of the book's grids, `GRIDS`.
        command: how it was called.

    Raises:
        UnknownName: there is neither; or an unknown name is in it.
        BadValue: it is no grid.
    """
    path = Path(name)
    if not path.is_file():
        path = GRIDS / f"{name}.toml"
    if not path.is_file():
        raise UnknownName("grid", str(name), [file.stem for file in sorted(GRIDS.glob("*.toml"))],
                          "Or give the name of a .toml file.")  # fmt: skip
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadValue(f"{str(path)!r} is no TOML: {error}.") from error
    _check_names("grid", data, ("about", "protocol", "table"))
    shared = data.get("protocol", {})
    tables = data.get("table", [])
    cells: dict[Cell, None] = {}  # each once: a later table may widen an earlier one
    for number, table in enumerate(tables):
        cells |= dict.fromkeys(_cells_of(table, shared, number))
    return Grid(tuple(cells), path.stem, data.get("about", ""), command)


_LISTS = ("bases", "tasks", "methods", "but", "baselines", "shots", "limits")
_ONES = ("sizes", "size", "words", "capture")


def _cells_of(table: dict[str, Any], shared: dict[str, Any], number: int) -> list[Cell]:
    of_protocol = [f.name for f in fields(Protocol)]
    _check_names("table", table, (*_LISTS, *_ONES, *of_protocol))
    _check_names("protocol", shared, of_protocol)
    for name in ("bases", "tasks"):
        if not table.get(name):
            raise BadValue(f"Table {number + 1} of the grid names no {name}.")
    try:
        own = {k: v for k, v in table.items() if k in of_protocol}
        protocol = Protocol(**(shared | own))
    except TypeError as error:
        raise BadValue(f"The protocol of table {number + 1} cannot be read: {error}.") from error
    capture = table.get("capture", False) and torch.cuda.is_available()
    chosen = [m for m in _methods(table) if m.name not in table.get("but", ())]
    cells = []
    for base in table["bases"]:
        for task in table["tasks"]:
            for limit in table.get("limits", [None]):
                cell = Cell(
                    plain(base), task, small("full"), protocol, size=table.get("size", "default"),
                    limit=limit, words=table.get("words", False), capture=capture, table=number,
                )  # fmt: skip
                for name in table.get("baselines", ()):
                    if name != RANDOM:
                        raise UnknownName("baseline", name, (RANDOM,))
                    cells.append(replace(cell, pretrained=False))
                cells += [replace(cell, method=method) for method in chosen]
                cells += [
                    replace(cell, method=InContext(shots), words=True)
                    for shots in table.get("shots", ())
                ]
    return cells


def _methods(table: dict[str, Any]) -> list[Method]:
    """The methods that a table names, at its sizes."""
    every = {"all": sizes, "one": lambda name: [small(name)]}
    wanted = table.get("sizes", "one")
    if wanted not in every:
        raise UnknownName("choice of sizes", str(wanted), every)
    found: dict[Method, None] = {}
    for word in table.get("methods", ()):
        if isinstance(word, dict):
            found[_method(word)] = None
            continue
        if word == "all":
            names = [n for n in METHODS if n not in APART]
        elif word.startswith("family:"):
            names = [n for n, row in FACTS.items() if row.family == word.removeprefix("family:")]
        else:
            names = [word]
        for name in names:
            METHODS[name]  # an unknown one is said here
            found |= dict.fromkeys(every[wanted](name))
    return list(found)


def _method(told: dict[str, Any]) -> Method:
    """A method from {name = "lora", rank = 4}."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items() if k != "name"}
    cls: Any = METHODS[str(told.get("name"))]
    _check_names(f"method {cls.name}", values, (f.name for f in fields(cls)))
    return cls(**values)


def _check_names(what: str, given: dict[str, Any], known: Iterable[str]) -> None:
    known = tuple(known)
    for name in given:
        if name not in known:
            raise UnknownName(f"entry of a {what}", name, known)


@cache
def sha256_of(base: str) -> str | None:
    """The sha256 of a base's weights."""
    return read_weights(find_base(base).folder).sha256


@lru_cache(maxsize=64)
def _load_task(name: str, size: str, limit: int | None, words: bool, data: str | None) -> Task:
    """One task for all runs of a process; `data` is where real tasks are looked for."""
    task = load_task(name, size=size)
    if words:
        task = task.in_words()
    return task if limit is None else task.subset(limit, seed=0)


def settings(method: Method | InContext) -> dict[str, Any]:
    """A method's hyper-parameters."""
    return asdict(method)  # type: ignore[arg-type]


def results_place(out: Path, cell: Cell) -> Path:
    """The file of a cell's lines: `out` itself, or one for each base and task in a folder."""
    if out.suffix == ".jsonl":
        return out
    name = f"{Path(cell.base).name}-{Path(cell.task).name}{'-words' * cell.words}.jsonl"
    return out / name


def job_of(result: Result) -> Job:
    """The run behind a line, to be run again.

    Raises:
        UnknownName: its method or task is not known any more.
        BadValue: its hyper-parameters are not those of today's method.
    """
    base = result.base["name"].removesuffix(f" ({RANDOM})")
    task = result.task["name"].removesuffix(" (in words)")
    cls: Any = InContext if result.method == InContext.name else METHODS[result.method]
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in result.hyperparameters.items()}
    known = {f.name for f in fields(Protocol)}
    try:
        method = cls(**values)
        told = {k: v for k, v in result.training.items() if k in known - {"lr"} and v}
        protocol = Protocol(**{"evaluations": 1} | told)
    except TypeError as error:
        raise BadValue(
            f"The line {result.key} cannot be run again by this version: {error}."
        ) from error
    cell = Cell(
        base, task, method, protocol, pretrained=base == result.base["name"],
        size=result.task.get("size", "default"), limit=result.task.get("limit"),
        words=task != result.task["name"],
    )  # fmt: skip
    return Job(cell, result.seed, result.training["lr"], result.lr_from, not result.test)
