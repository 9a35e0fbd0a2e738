"""The record of a run: which code made which outputs, from which files of the project.

It is stored in the notebook's metadata as `pftlab`:

    code_sha256      of the cells' code and tags
    outputs_sha256   of all that the run stored
    seconds          of processor time, rounded up
    made_from        the project's files that the run read (modules, results, other data), each
                     with a digest, so that a change tells which notebooks it touches
"""

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .form import code_cells, normalise, tags, text_of, write

ROOT = Path(__file__).resolve().parents[2]
# They only say which other files there are, and a new chapter or method adds a line to each: a
# notebook follows what the line leads it to.
LISTS = ("pftlab/book/exercises/catalogue.py", ".pyi")
NOTEBOOK_SECONDS = 180  # of processor time: what a quiet computer takes, however busy this one is


def code_digest(notebook: NotebookNode) -> str:
    """Of the code that the outputs belong to."""
    code = [[cell.source, tags(cell)] for cell in code_cells(notebook)]
    return hashlib.sha256(repr(code).encode()).hexdigest()


def outputs_digest(notebook: NotebookNode) -> str:
    """Of all that a run stores: outputs, counts, and the state of widgets."""
    stored = [[cell.execution_count, cell.outputs] for cell in code_cells(notebook)]
    text = json.dumps([stored, notebook.metadata.get("widgets")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def bracket(seconds: float, before: int | None) -> int:
    """The time to record: rounded up to 15 s, and kept while it is about right.

    Times vary from run to run, and a rerun should not change the file.
    """
    if before and before / 3 <= seconds <= before <= NOTEBOOK_SECONDS:
        return before
    return 15 * math.ceil(seconds / 15)


def store(path: Path, notebook: NotebookNode, seconds: int, files: Iterable[Path] = ()) -> None:
    """Write what a run came to, in its normal form and with the record of the run.

    Args:
        path: of the notebook.
        notebook: executed.
        seconds: of processor time that it took.
        files: of the project that the run read.
    """
    notebook = nbformat.reads(text_of(normalise(notebook)), as_version=4)
    notebook.metadata["pftlab"] = {
        "code_sha256": code_digest(notebook),
        "outputs_sha256": outputs_digest(notebook),
        "seconds": seconds,
        "made_from": digests([*files, ROOT / "requirements.txt"]),
    }
    write(path, notebook)


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Path in the project → the beginning of the sha256 of the file's contents."""
    return {
        file.relative_to(ROOT).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        for file in sorted(set(files))
        if not file.as_posix().endswith(LISTS)
    }


def changed_since(notebook: NotebookNode) -> list[str]:
    """The project's files that the stored run read and that are others now, or gone.

    A notebook without a record was made from everything: it is told by "everything".
    """
    made_from: dict[str, str] = notebook.metadata.get("pftlab", {}).get("made_from", {})
    if not made_from:
        return ["everything"]
    here = digests(ROOT / name for name in made_from if (ROOT / name).is_file())
    followed = {name: digest for name, digest in made_from.items() if not name.endswith(LISTS)}
    return [name for name, digest in followed.items() if here.get(name) != digest]
