"""Execution in a fresh kernel, offline, the same on every machine."""

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

from nbformat.v4 import new_code_cell

from .form import code_cells, read
from .record import NOTEBOOK_SECONDS, ROOT, bracket, store

CELL_SECONDS = 60  # of processor time
HANGS_AFTER = 1200  # by the clock; a busy computer may take many times what a quiet one does

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

# Two cells around those of the notebook, which are not stored: they tell which files were read.
WATCH = """
import os, sys
_opened = set()
sys.addaudithook(
    lambda event, args: event == "open" and isinstance(args[0], str)
    and _opened.add(os.path.abspath(args[0])))
"""
TELL = """
import json, sys
print(json.dumps(sorted(
    _opened | {str(getattr(m, "__file__", None)) for m in list(sys.modules.values())})))
"""
NO_SOURCE = {".git", ".venv", "_build", "__pycache__", "runs", ".ipynb_checkpoints"}


def run(path: Path) -> None:
    """Execute a notebook in a fresh kernel and store it in its normal form."""
    import psutil
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    os.environ.update(ENVIRONMENT, PYTHONPATH=str(ROOT))  # this checkout, wherever it was installed
    for name in UNSET:
        os.environ.pop(name, None)
    notebook = read(path)
    recorded = notebook.metadata.get("pftlab", {}).get("seconds")
    notebook.metadata.pop("widgets", None)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    notebook.cells = [new_code_cell(WATCH), *notebook.cells, new_code_cell(TELL)]
    client = NotebookClient(
        notebook,
        timeout=HANGS_AFTER,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    spent: list[float] = [0.0]

    def on_executed(**_: Any) -> None:
        kernel: Any = client.km
        used = psutil.Process(kernel.provisioner.pid).cpu_times()
        spent.append(used.user + used.system)

    client.on_cell_executed = on_executed
    try:
        client.execute()
    except CellTimeoutError as error:
        raise SystemExit(f"{path}: a cell hangs, or took over {HANGS_AFTER} s.\n{error}") from error
    except CellExecutionError as error:
        raise SystemExit(f"{path}: {error}") from error
    told = "".join(output.text for output in notebook.cells.pop().outputs)
    del notebook.cells[0]
    seconds = spent[-1]
    spent = spent[1:-1]
    cells = [after - before for before, after in pairwise(spent)]
    # a cell of comments alone gets no count from the kernel
    for number, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    store(path, notebook, bracket(seconds, recorded), sources(json.loads(told)))
    worst = max(cells, default=0.0)
    print(f"{path}: {seconds:.0f} s; the slowest cell {worst:.0f} s", flush=True)
    if seconds > NOTEBOOK_SECONDS:
        raise SystemExit(f"{path}: {seconds:.0f} s is over the budget of {NOTEBOOK_SECONDS} s.")
    if worst > CELL_SECONDS:
        source = code_cells(notebook)[cells.index(worst)].source
        raise SystemExit(f"{path}: {worst:.0f} s is over the {CELL_SECONDS} s of a cell:\n{source}")


def sources(names: list[str]) -> list[Path]:
    """Those of the files `names` that belong to the project."""
    inside = [Path(name).resolve() for name in names if Path(name).is_absolute()]
    return [
        path
        for path in inside
        if path.is_relative_to(ROOT)
        and path.is_file()
        and not NO_SOURCE & set(path.relative_to(ROOT).parts)
    ]
