"""What is wrong with a stored notebook and cannot be seen by running it again.

A notebook that was never run, whose code was edited since, or whose outputs are not those of that
run; figures that are missing or have no alternative text; widgets without their state; library code
that is out of date; warnings and machine paths in outputs.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from pftlab.book.guess import guess_of
from pftlab.core.errors import BadValue

from .form import WIDGET_STATE, WIDGET_VIEW, code_cells, normalise, references, tags, text_of
from .package import library_source, with_exercises
from .record import NOTEBOOK_SECONDS, code_digest, outputs_digest

CODE_LINES = 25  # of a cell; a cell that shows the library may have more
LIBRARY_LINES = 35
ALT_CHARACTERS = 30

MACHINE_PATH = re.compile(
    r"(?<![\w./:])(?:/(?:home|root|work|tmp|var|opt|usr|mnt|private|Users|builds|content)/[\w.]"
    r"|[A-Z]:\\\w)"
)
ADDRESS = re.compile(r"\b0x[0-9a-f]{8,}\b")
WARNING = re.compile(r"\b\w*Warning:")
MARKDOWN_IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<file>[^)\s]+)")
HTML_IMAGE = re.compile(r"<img\b[^>]*>")


def check(path: Path) -> list[str]:
    """What is wrong with a stored notebook, one line each."""
    stored = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(stored, as_version=4)
    problems = [f"{path}: {problem}" for problem in of_notebook(notebook)]
    for index, cell in enumerate(notebook.cells):
        rules: tuple[Callable[..., Iterator[str]], ...] = (in_markdown,)
        if cell.cell_type == "code":
            rules = (in_code, in_outputs, in_figures, in_guess)
        for rule in rules:
            problems += [f"{path}: cell {index} ({cell.id}): {p}" for p in rule(cell, path)]
    if text_of(normalise(nbformat.reads(stored, as_version=4))) != stored:
        problems.append(f"{path}: not in normal form: python tools/notebooks run {path}")
    return problems


def of_notebook(notebook: NotebookNode) -> Iterator[str]:
    record = notebook.metadata.get("pftlab", {})
    cells = code_cells(notebook)
    if "code_sha256" not in record or any(cell.execution_count is None for cell in cells):
        yield "was never run as a whole: python tools/notebooks run"
    elif record["code_sha256"] != code_digest(notebook):
        yield "its code was edited after the run: python tools/notebooks run"
    elif [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield "its cells were not run once each, in order"
    elif record.get("outputs_sha256") != outputs_digest(notebook):
        yield "its outputs are not those of the run: python tools/notebooks run"
    if record.get("seconds", 0) > NOTEBOOK_SECONDS:
        yield f"takes {record['seconds']} s; the budget is {NOTEBOOK_SECONDS} s"
    if [(c.source, tags(c)) for c in with_exercises(notebook.cells)] != [
        (c.source, tags(c)) for c in notebook.cells
    ]:
        yield "its exercises are not those of pftlab/book/exercises: python tools/notebooks sync"
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
        yield f"differs from the library's code: python tools/notebooks sync {path}"
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


def in_guess(cell: NotebookNode, path: Path) -> Iterator[str]:
    """A guess fits what the cell showed, and only a folded output can be guessed."""
    if guess := cell.metadata.get("guess"):
        alt = str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""))
        try:
            guess_of(guess, "\n".join([*map(output_text, cell.outputs), alt]))
        except BadValue as error:
            yield str(error)
        if "predict" not in tags(cell):
            yield "has a guess and no tag predict: the answer would stand below the question"


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
