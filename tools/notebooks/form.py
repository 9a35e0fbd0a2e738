"""The one form in which a notebook is stored, and reading and writing it.

What varies between two executions or two editors goes away: times, random ids of widgets, editors'
metadata, tracebacks (they hold paths), the cutting of a stream into chunks. So a rerun on one
machine gives the same bytes.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

CELL_KEYS = ("guess", "mystnb", "tags")  # of a cell's metadata, what is kept
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def notebooks(paths: Iterable[str]) -> list[Path]:
    """All notebooks in `paths`, which are files or folders."""
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = (p for p in path.rglob("*.ipynb") if not hidden(p.relative_to(path)))
            found += sorted(inside)
        elif path.suffix == ".ipynb" and path.is_file():
            found.append(path)
        else:
            raise SystemExit(f"{given!r} is no notebook and no folder. Give .ipynb files or book")
    if not found:
        raise SystemExit(f"No notebook in {', '.join(map(str, paths))}.")
    return found


def hidden(path: Path) -> bool:
    """Tell whether the path leads through a hidden folder or a build folder."""
    return any(part.startswith(".") or part == "_build" for part in path.parts)


def read(path: Path) -> NotebookNode:
    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)


def text_of(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


def write(path: Path, notebook: NotebookNode) -> None:
    """Write by way of a temporary file, so that a kill leaves the old notebook whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text_of(notebook))
    Path(name).chmod(0o644)
    Path(name).replace(path)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Bring a notebook into the one form in which it is stored; changes it in place.

    What varies between two executions or two editors goes away: times, random ids of widgets,
    editors' metadata, tracebacks (they hold paths), the cutting of a stream into chunks.
    """
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    kept = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for key in ("pftlab", "widgets", "mystnb"):
        if notebook.metadata.get(key):
            kept[key] = notebook.metadata[key]
    notebook.metadata = nbformat.from_dict(kept)
    seen: set[str] = set()
    for number, cell in enumerate(notebook.cells):
        if not re.fullmatch(r"[\w-]{1,64}", cell.get("id", "")) or cell.id in seen:
            cell.id = f"cell-{hashlib.sha256(f'{number} {cell.source}'.encode()).hexdigest()[:8]}"
        seen.add(cell.id)
        cell.source = "\n".join(line.rstrip() for line in cell.source.strip("\n").split("\n"))
        cell.metadata = nbformat.from_dict(
            {key: cell.metadata[key] for key in CELL_KEYS if cell.metadata.get(key)}
        )
        cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.outputs = [normalise_output(o) for o in join_streams(cell.outputs)]
    return stable_widget_ids(notebook)


def join_streams(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Join chunks of one stream: where a stream is cut depends on the machine's load."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def normalise_output(output: NotebookNode) -> NotebookNode:
    if output.output_type == "error":
        output.traceback = [f"{output.ename}: {output.evalue}"]
    if "metadata" in output:
        output.metadata = nbformat.from_dict({k: v for k, v in output.metadata.items() if v})
    output.pop("transient", None)
    return output


def stable_widget_ids(notebook: NotebookNode) -> NotebookNode:
    """Number the models of widgets in the order in which cells show them.

    Widgets that nothing shows are left out. Links between two shown widgets are kept.
    """
    stored = notebook.metadata.get("widgets", {}).get(WIDGET_STATE)
    if not stored:
        notebook.metadata.pop("widgets", None)
        return notebook
    state = stored["state"]
    order: list[str] = []

    def visit(model: str) -> None:
        if model in state and model not in order:
            order.append(model)
            for child in references(state[model]["state"]):
                visit(child)

    for cell in code_cells(notebook):
        for output in cell.outputs:
            if WIDGET_VIEW in output.get("data", {}):
                visit(output.data[WIDGET_VIEW]["model_id"])
    for model, entry in state.items():
        ends = list(references(entry["state"]))
        if entry["model_name"].endswith("LinkModel") and ends and all(e in order for e in ends):
            visit(model)
    stored["state"] = {model: state[model] for model in order}
    text = text_of(notebook)
    for number, model in enumerate(order, start=1):
        text = text.replace(model, f"{number:032x}")
    return nbformat.reads(text, as_version=4)


def references(value: Any) -> Iterator[str]:
    """The widget models that a widget's state refers to."""
    if isinstance(value, str) and value.startswith("IPY_MODEL_"):
        yield value.removeprefix("IPY_MODEL_")
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from references(value[key])
    elif isinstance(value, list):
        for entry in value:
            yield from references(entry)
