"""Execute, normalise and check the book's notebooks: the one road from a cell to a page.

    python tools/notebooks.py sync  book     rewrite the cells made from the package
    python tools/notebooks.py run   book     execute in a fresh kernel, offline, and store outputs
    python tools/notebooks.py check book     fail when a stored notebook cannot be trusted

The stored outputs are what the reader sees and what nbval compares with a new execution. So a
rerun on one machine must give the same bytes, and `check` looks for what nbval does not see: a
notebook that was never run, whose code was edited since, or whose outputs are not those of that
run; figures that are missing or have no alternative text; widgets without their state; library code
that is out of date; warnings and machine paths in outputs.

A cell tagged `lib:pftlab.low_rank.lora.LowRank` holds that object's source; with `lib-brief:` it
is shown without its docstring. Cells tagged `exercises:low_rank.lora` are the exercises and the
quiz of that chapter; `sync` makes all of them from the data in pftlab/exercises, in the place of
the first. To add them to a chapter, add one cell with this tag.
"""

import argparse
import ast
import hashlib
import importlib
import inspect
import json
import math
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
# Budgets are in processor seconds of one thread: what a quiet computer takes, whatever else a busy
# one is doing. A cell that hangs is stopped by the clock.
CELL_SECONDS = 60
NOTEBOOK_SECONDS = 180
HANGS_AFTER = 10 * CELL_SECONDS
CODE_LINES = 25  # of a cell; a cell that shows the library may have more
LIBRARY_LINES = 35
ALT_CHARACTERS = 30

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LIBRARY_TAG = re.compile(r"lib(?P<brief>-brief)?:(?P<path>pftlab\.[\w.]+)")
MACHINE_PATH = re.compile(
    r"(?<![\w./:])(?:/(?:home|root|work|tmp|var|opt|usr|mnt|private|Users|builds|content)/[\w.]"
    r"|[A-Z]:\\\w)"
)
ADDRESS = re.compile(r"\b0x[0-9a-f]{8,}\b")
WARNING = re.compile(r"\b\w*Warning:")
MARKDOWN_IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<file>[^)\s]+)")
HTML_IMAGE = re.compile(r"<img\b[^>]*>")

# What an execution may depend on, the same on every machine: one thread, no network, no colours.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "PFTLAB_OFFLINE": "1",
    "PYTHONHASHSEED": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "NO_COLOR": "1",
    "COLUMNS": "80",
}
# Settings of the developer's own machine that would change what a reader of the book sees.
UNSET = ("PFTLAB_DATA", "MPLSTYLE", "MATPLOTLIBRC")


# Reading and writing


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


# The normal form


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
            {key: cell.metadata[key] for key in ("mystnb", "tags") if cell.metadata.get(key)}
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


# Library code in cells


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
    cell_module = importlib.import_module("pftlab.exercises.cells")
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


# Execution


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


def store(path: Path, notebook: NotebookNode, seconds: int) -> None:
    """Write what a run came to, in its normal form and with the record of the run."""
    notebook = nbformat.reads(text_of(normalise(notebook)), as_version=4)
    notebook.metadata["pftlab"] = {
        "code_sha256": code_digest(notebook),
        "outputs_sha256": outputs_digest(notebook),
        "seconds": seconds,
    }
    write(path, notebook)


def run(path: Path) -> None:
    """Execute a notebook in a fresh kernel and store it in its normal form."""
    import psutil
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    os.environ.update(ENVIRONMENT)
    for name in UNSET:
        os.environ.pop(name, None)
    notebook = read(path)
    recorded = notebook.metadata.get("pftlab", {}).get("seconds")
    notebook.metadata.pop("widgets", None)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=HANGS_AFTER,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    spent: list[float] = [0.0]

    def on_executed(**_: Any) -> None:
        used = psutil.Process(client.km.provisioner.pid).cpu_times()
        spent.append(used.user + used.system)

    client.on_cell_executed = on_executed
    try:
        client.execute()
    except CellTimeoutError as error:
        raise SystemExit(f"{path}: a cell hangs, or took over {HANGS_AFTER} s.\n{error}") from error
    except CellExecutionError as error:
        raise SystemExit(f"{path}: {error}") from error
    seconds = spent[-1]
    cells = [after - before for before, after in pairwise(spent)]
    # a cell of comments alone gets no count from the kernel
    for number, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    store(path, notebook, bracket(seconds, recorded))
    worst = max(cells, default=0.0)
    print(f"{path}: {seconds:.0f} s; the slowest cell {worst:.0f} s", flush=True)
    if seconds > NOTEBOOK_SECONDS:
        raise SystemExit(f"{path}: {seconds:.0f} s is over the budget of {NOTEBOOK_SECONDS} s.")
    if worst > CELL_SECONDS:
        source = code_cells(notebook)[cells.index(worst)].source
        raise SystemExit(f"{path}: {worst:.0f} s is over the {CELL_SECONDS} s of a cell:\n{source}")


# Checks


def check(path: Path) -> list[str]:
    """What is wrong with a stored notebook, one line each."""
    stored = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(stored, as_version=4)
    problems = [f"{path}: {problem}" for problem in of_notebook(notebook)]
    for index, cell in enumerate(notebook.cells):
        rules: tuple[Callable[..., Iterator[str]], ...] = (in_markdown,)
        if cell.cell_type == "code":
            rules = (in_code, in_outputs, in_figures)
        for rule in rules:
            problems += [f"{path}: cell {index} ({cell.id}): {p}" for p in rule(cell, path)]
    if text_of(normalise(nbformat.reads(stored, as_version=4))) != stored:
        problems.append(f"{path}: not in normal form: python tools/notebooks.py run {path}")
    return problems


def of_notebook(notebook: NotebookNode) -> Iterator[str]:
    record = notebook.metadata.get("pftlab", {})
    cells = code_cells(notebook)
    if "code_sha256" not in record or any(cell.execution_count is None for cell in cells):
        yield "was never run as a whole: python tools/notebooks.py run"
    elif record["code_sha256"] != code_digest(notebook):
        yield "its code was edited after the run: python tools/notebooks.py run"
    elif [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield "its cells were not run once each, in order"
    elif record.get("outputs_sha256") != outputs_digest(notebook):
        yield "its outputs are not those of the run: python tools/notebooks.py run"
    if record.get("seconds", 0) > NOTEBOOK_SECONDS:
        yield f"takes {record['seconds']} s; the budget is {NOTEBOOK_SECONDS} s"
    if [(c.source, tags(c)) for c in with_exercises(notebook.cells)] != [
        (c.source, tags(c)) for c in notebook.cells
    ]:
        yield "its exercises are not those of pftlab/exercises: python tools/notebooks.py sync"
    models = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for cell in cells:
        for output in cell.outputs:
            view = output.get("data", {}).get(WIDGET_VIEW)
            if view and view["model_id"] not in models:
                yield f"the widget of cell {cell.id} has no stored state: the page would be blank"
    for model in models.values():
        for part in references(model["state"]):
            if part not in models:
                yield f"a {model['model_name']} has a part without stored state: {part}"


def in_code(cell: NotebookNode, path: Path) -> Iterator[str]:
    sources = [source for tag in tags(cell) if (source := library_source(tag)) is not None]
    if any(cell.source != source for source in sources):
        yield f"differs from the library's code: python tools/notebooks.py sync {path}"
    lines, most = cell.source.count("\n") + 1, LIBRARY_LINES if sources else CODE_LINES
    if lines > most:
        yield f"{lines} lines; at most {most}, one idea a cell"
    if re.search(r"^\s*[!%](pip|conda)\b", cell.source, re.MULTILINE):
        yield "installs packages; the book runs offline"
    if not cell.source.strip():
        yield "is empty"


def in_outputs(cell: NotebookNode, path: Path) -> Iterator[str]:
    raises = "raises-exception" in tags(cell)
    errors = [o for o in cell.outputs if o.output_type == "error"]
    if errors and not raises:
        yield f"fails: {errors[0].ename}: {errors[0].evalue}"
    if raises and not errors:
        yield "is tagged raises-exception and raises nothing"
    for output in cell.outputs:
        text = output_text(output)
        if output.get("name") == "stderr":
            yield f"writes on stderr: {text.strip()[:80]!r}"
        elif found := WARNING.search(text):
            yield f"shows a warning: {found[0]}"
        if found := MACHINE_PATH.search(text):
            yield f"shows a path of this machine: {text[found.start() :][:40]!r}"
        if found := ADDRESS.search(text):
            yield f"shows a memory address: {found[0]}"


def output_text(output: NotebookNode) -> str:
    """All text in an output that a reader sees."""
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    shown = (v for k, v in output.data.items() if k.startswith("text/"))
    return "\n".join(v for v in shown if isinstance(v, str))


def in_figures(cell: NotebookNode, path: Path) -> Iterator[str]:
    images = [
        kind
        for output in cell.outputs
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]
    alt = str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")).strip()
    draws = alt or re.search(r"\bplt\.show\(|\bshow_figure\(", cell.source)
    if draws and not images:
        yield "should show a figure, and none is stored"
    if images and len(alt) < ALT_CHARACTERS:
        yield "has a figure without alternative text: state its finding in mystnb.image.alt"
    if len(images) > 1:
        yield f"shows {len(images)} figures; one a cell, each with its own alternative text"


def in_markdown(cell: NotebookNode, path: Path) -> Iterator[str]:
    images = [(m["alt"], m["file"]) for m in MARKDOWN_IMAGE.finditer(cell.source)]
    for image in HTML_IMAGE.findall(cell.source):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', image))
        images.append((attributes.get("alt", ""), attributes.get("src", "")))
    for alt, file in images:
        if len(alt.strip()) < ALT_CHARACTERS:
            yield f"the picture {file} has no alternative text that states its finding"
        if re.match(r"[a-z]+:", file):
            yield f"the picture {file} is remote; the book is read offline"
        elif not (path.parent / file).is_file():
            yield f"the picture {file} does not exist"


# The command line


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("sync", "run", "check"))
    parser.add_argument("paths", nargs="+", metavar="PATH", help="notebooks, or folders of them")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(ROOT))
    found = notebooks(options.paths)
    if options.command == "check":
        problems = [problem for path in found for problem in check(path)]
        print("\n".join(problems) or f"{len(found)} notebooks are in order", flush=True)
        return 1 if problems else 0
    for path in found:
        if options.command == "run":
            sync(path)
            run(path)
        else:
            sync(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
