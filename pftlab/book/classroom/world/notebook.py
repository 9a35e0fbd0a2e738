"""Read what a student wrote from a notebook, as programs and students really hand it in."""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

LEADING = re.compile(r"[ \t]*(#.*|%.*|!.*)?")  # a line above the first line of code
NAME = re.compile(r"#\s*(\w+\.\w+\.\d+)\s*")


class NotANotebook(Exception):
    """What the bytes are instead."""


def answers(data: bytes, asked: dict[str, dict[str, str]]) -> tuple[dict[str, str], list[str]]:
    """({exercise: source of its answer}, notes) of a notebook.

    A cell is known by its tag, or by its name in the comments above its code, for some programs
    drop the tags. Of several, a stub that was left as it was does not count; the last one that
    defines the answer does, together with the cells that define something else.

    Args:
        data: the file.
        asked: {exercise: {"defines": the answer's name, "stub": what was handed out}}.

    Raises:
        NotANotebook: the bytes are something else.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for kind, tags, source in _cells(data):
        name = _name(tags, source)
        if name in asked:
            found.setdefault(name, []).append((kind, source))
    chosen, notes = {}, []
    for name, cells in found.items():
        code = [source for kind, source in cells if kind == "code"]
        written = [s for s in code if not _same(s, asked[name]["stub"])]
        others = [(k, s) for k, s in cells if k != "code" and not _same(s, asked[name]["stub"])]
        if not written and others:
            notes.append(f"{name}: its cell is of the kind {others[-1][0]}; taken as code")
            written = [others[-1][1]]
        chosen[name] = python(_one(written or code[-1:], asked[name]["defines"]).rstrip())
    return chosen, notes


def _cells(data: bytes) -> Iterator[tuple[str, list[str], str]]:
    """(kind, tags, source) of each cell; outputs are not looked at."""
    try:
        text = data.decode(json.detect_encoding(data), "replace")
        notebook = json.loads(text)
        if "cells" not in notebook and "worksheets" in notebook:  # before version 4
            import nbformat

            notebook = nbformat.convert(nbformat.from_dict(notebook), 4)
        cells = [cell for cell in notebook["cells"] if isinstance(cell, dict)]
    except ImportError:
        raise
    except Exception as error:
        raise NotANotebook("This file is not a Jupyter notebook.") from error
    for cell in cells:
        source, metadata = cell.get("source"), cell.get("metadata")
        lines: list[Any] = source if isinstance(source, list) else [source]
        tags = metadata.get("tags") if isinstance(metadata, dict) else None
        tags = [t for t in tags if isinstance(t, str)] if isinstance(tags, list) else []
        if all(isinstance(line, str) for line in lines):
            yield str(cell.get("cell_type")), tags, clean("".join(lines))


def clean(text: str) -> str:
    """`text` without halves of characters, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _name(tags: list[str], source: str) -> str:
    for tag in tags:
        if tag.startswith("answer:"):
            return tag.removeprefix("answer:")
    for line in source.splitlines():
        if found := NAME.fullmatch(line):
            return found[1]
        if not LEADING.fullmatch(line):
            break
    return ""


def parsed(source: str) -> ast.Module | None:
    """The syntax tree of Python; None of anything else."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _same(one: str, other: str) -> bool:
    """Whether two cells hold the same code, whatever their comments."""
    first, second = parsed(one), parsed(other)
    return first is not None and second is not None and ast.dump(first) == ast.dump(second)


def _one(sources: list[str], name: str) -> str:
    """One source of several cells."""
    if len(sources) == 1:
        return sources[0]
    if any(parsed(python(source)) is None for source in sources):  # split inside of something?
        whole = "\n".join(sources)
        return whole if parsed(python(whole)) is not None else sources[-1]
    defining = [source for source in sources if name in _defined(source)]
    return "\n".join(s for s in sources if s not in defining[:-1])


def _defined(source: str) -> set[str]:
    tree = parsed(python(source))
    names: set[str] = set()
    for node in tree.body if tree else []:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return names


def python(source: str) -> str:
    """A cell as Python: what is only IPython's, such as `%time` or `!ls`, becomes a call."""
    if parsed(source) is not None:
        return source
    from IPython.core.inputtransformer2 import TransformerManager

    first = next((i for i, s in enumerate(source.splitlines()) if s.startswith("%%")), 0)
    above = source.splitlines(keepends=True)[:first]  # comments over a magic for the whole cell
    if not all(LEADING.fullmatch(line.rstrip("\n")) for line in above):
        first, above = 0, []
    rest = "".join(source.splitlines(keepends=True)[first:])
    return "".join(above) + TransformerManager().transform_cell(rest)


class Shell:
    """What IPython's magics do in an answer: nothing, but those around a whole cell run it."""

    RUN = ("capture", "prun", "time", "timeit")

    def __init__(self, space: dict[str, Any]):
        self.space = space

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        if name in self.RUN:
            exec(compile(cell, "answer", "exec"), self.space)

    def getoutput(self, command: str) -> list[str]:
        return []

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None
