"""Cells that are made from the package: its source, and the exercises of a chapter.

A cell tagged `lib:pftlab.low_rank.lora.LowRank` holds that object's source; with `lib-brief:` it
is shown without its docstring. Cells tagged `exercises:low_rank.lora` are the exercises and the
quiz of that chapter; `sync` makes all of them from the data in pftlab/book/exercises, in the place
of the first. To add them to a chapter, add one cell with this tag.
"""

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from .form import code_cells, normalise, read, tags, write

LIBRARY_TAG = re.compile(r"lib(?P<brief>-brief)?:(?P<path>pftlab\.[\w.]+)")


def library_source(tag: str) -> str | None:
    """The source that a `lib:` tag stands for; None for any other tag."""
    match = LIBRARY_TAG.fullmatch(tag)
    if not match:
        return None
    parts = match["path"].split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        try:
            for name in parts[cut:]:
                found = getattr(found, name)
        except AttributeError as error:
            raise SystemExit(f"The tag {tag!r} points to nothing: {error}.") from error
        source = textwrap.dedent(inspect.getsource(found)).rstrip()
        return without_docstring(source) if match["brief"] else source
    raise SystemExit(f"The tag {tag!r} points to nothing: no module {parts[0]}.{parts[1]}.")


def without_docstring(source: str) -> str:
    """Cut the docstring of the first class or function, comments and layout untouched."""
    node: Any = ast.parse(source).body[0]
    if ast.get_docstring(node) is None or len(node.body) < 2:
        return source
    lines = source.split("\n")
    docstring = node.body[0]
    del lines[docstring.lineno - 1 : docstring.end_lineno]
    while lines[docstring.lineno - 1].strip() == "":
        del lines[docstring.lineno - 1]
    return "\n".join(lines)


def with_exercises(cells: list[NotebookNode]) -> list[NotebookNode]:
    """The cells with those of exercises made anew; one that is as it should be is kept."""
    cell_module = importlib.import_module("pftlab.book.exercises.cells")
    for chapter in dict.fromkeys(filter(None, map(cell_module.chapter_of, cells))):
        old = {cell.id: cell for cell in cells if cell_module.chapter_of(cell) == chapter}
        new = [nbformat.from_dict(cell) for cell in cell_module.section(chapter)]
        same = [
            kept if kept and (kept.source, tags(kept)) == (cell.source, tags(cell)) else cell
            for cell in new
            for kept in [old.get(cell.id)]
        ]
        cells = cell_module.replaced(cells, chapter, same)
    return cells


def sync(path: Path) -> bool:
    """Rewrite the cells made from the package. Return whether one was out of date."""
    notebook = read(path)
    before = [(cell.source, tags(cell)) for cell in notebook.cells]
    notebook.cells = with_exercises(notebook.cells)
    changed = int(before != [(cell.source, tags(cell)) for cell in notebook.cells])
    for cell in code_cells(notebook):
        for source in filter(None, map(library_source, tags(cell))):
            if cell.source != source:
                cell.source, changed = source, changed + 1
    if changed:
        write(path, normalise(notebook))
    print(f"{path}: {changed or 'no'} changes from the package")
    return bool(changed)
