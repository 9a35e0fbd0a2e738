"""What is known of a method without importing it, so that listings and help texts are quick.

Importing a method imports torch, which takes seconds. Its class data and hyper-parameters stand as
literals in its source, and are read from there; where one is no literal, the class is imported
after all.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..registry import _WHERE, METHODS

PACKAGE = Path(__file__).resolve().parents[1]
METHOD = PACKAGE / "core" / "method.py"  # where the class data have their defaults
DATA = (
    "name", "title", "family", "surveys", "paper", "url", "year", "where", "model_tasks",
    "learning_rate", "mergeable", "identity_at_start", "causal",
)  # fmt: skip


@dataclass(frozen=True)
class Hyperparameter:
    """A field of a method: its name, type as written, default, and meaning in the docstring."""

    name: str
    kind: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class MethodCard:
    """The class data of a method, see `pftlab.core.Method`, and its hyper-parameters."""

    name: str
    title: str
    family: str
    surveys: str
    paper: str
    url: str
    year: int
    where: str
    model_tasks: tuple[str, ...]
    learning_rate: float
    mergeable: bool
    identity_at_start: bool
    causal: bool
    hyperparameters: tuple[Hyperparameter, ...]

    @property
    def acts_at(self) -> str:
        """Where it acts unless it is told otherwise, in words or as names of sites."""
        sites = next((h.default for h in self.hyperparameters if h.name == "at"), None)
        return self.where or ", ".join(sites or ())


@cache
def method_card(name: str) -> MethodCard:
    """The card of a method in the registry.

    Raises:
        UnknownName: there is no such method.
    """
    if name not in METHODS:
        METHODS[name]  # raises, with the nearest name
    try:
        return _from_source(name)
    except (ValueError, KeyError, LookupError):
        return from_class(METHODS[name])


def from_class(cls: Any) -> MethodCard:
    """The same card, from the imported class."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        meanings |= describe(base.__doc__)
    found = tuple(
        Hyperparameter(
            field.name,
            field.type.__name__ if type(field.type) is type else str(field.type),
            field.default,
            meanings.get(field.name, ""),
        )
        for field in dataclasses.fields(cls)
    )
    return MethodCard(**{key: getattr(cls, key) for key in DATA}, hyperparameters=found)


def describe(docstring: str | None) -> dict[str, str]:
    """What a docstring says of each argument under "Args:"."""
    text = inspect.cleandoc(docstring or "").partition("Args:")[2]
    entries = re.split(r"\n(?=\w+(?:, \w+)*: )", textwrap.dedent(text))
    found: dict[str, str] = {}
    for entry in entries:
        name, colon, meaning = entry.strip().partition(": ")
        if colon:
            found |= {n: " ".join(meaning.split()) for n in name.split(", ")}
    return found


def _from_source(name: str) -> MethodCard:
    module, _, cls = _WHERE[name].partition(":")
    file = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    lineage = list(reversed(list(_lineage(file, cls))))
    data: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    meanings: dict[str, str] = {}
    for node in [_classes(METHOD)["Method"], *lineage]:
        for target, value, kind in _assignments(node):
            if target in DATA:
                data[target] = ast.literal_eval(value)
            elif kind and node in lineage:
                kinds[target], data[target] = kind, ast.literal_eval(value)
        meanings |= describe(ast.get_docstring(node))
    found = tuple(Hyperparameter(n, k, data[n], meanings.get(n, "")) for n, k in kinds.items())
    return MethodCard(**{key: data[key] for key in DATA}, hyperparameters=found)


def _lineage(file: Path, name: str) -> Iterator[ast.ClassDef]:
    """The class and its bases up to Method, nearest first."""
    node = _classes(file)[name]
    yield node
    for base in node.bases:
        if not isinstance(base, ast.Name):
            raise LookupError(ast.unparse(base))
        if base.id in _classes(file):
            yield from _lineage(file, base.id)
        elif base.id != "Method":
            yield from _lineage(_imported_from(file, base.id), base.id)


def _assignments(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr, str]]:
    """(name, value, type if it is a field) of what the class body assigns."""
    for line in node.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            yield line.targets[0].id, line.value, ""
        elif isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value:
            yield line.target.id, line.value, ast.unparse(line.annotation)


@cache
def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _classes(file: Path) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in _parse(file).body if isinstance(node, ast.ClassDef)}


def _imported_from(file: Path, name: str) -> Path:
    """The file of this package that `name` is imported from in `file`."""
    for node in _parse(file).body:
        if isinstance(node, ast.ImportFrom) and any(a.name == name for a in node.names):
            folder = file.parents[node.level - 1]
            return folder.joinpath(*(node.module or "").split(".")).with_suffix(".py")
    raise LookupError(name)
