"""A page that runs alone, as on Colab: the package is installed from a wheel, and no checkout is near."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "LICENSE-TEXT",
    "pftlab",
    "book/results",
)
# Of each chapter, the cells that import or read. What needs training, or other cells, may fail.
CELLS = """
import contextlib, io, json, sys, tempfile, warnings
from pathlib import Path
warnings.filterwarnings("ignore")
import matplotlib
matplotlib.use("agg")
from IPython.core.interactiveshell import InteractiveShell
import torch
import pftlab
from pftlab.experiments import STORED
print(pftlab.__file__, STORED)

def leave_out(*args, **options):
    raise RuntimeError("training is left out here")

pftlab.train = pftlab.evaluate = torch.Tensor.backward = leave_out
shell = InteractiveShell.instance()
for chapter in sys.argv[1:]:
    shell.reset(new_session=True)
    ran = 0
    for number, cell in enumerate(json.loads(Path(chapter).read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        reads = ("import", "load_results", "RESULTS", "STORED", "read_text", "family_")
        if cell["cell_type"] != "code" or not any(word in source for word in reads):
            continue
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            error = shell.run_cell(source).error_in_exec
        ran += error is None
        left_out = str(Path(tempfile.gettempdir(), "tmp")) in str(error)  # by a cell that is not run
        if isinstance(error, OSError) and not left_out:  # Unavailable, FileNotFoundError
            print("FAILED", chapter, number, type(error).__name__, str(error)[:200])
    print("DONE", ran, chapter)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: Any) -> Path:
    """A folder with the package in it, built and installed as pip does from a repository."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        (source / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "--target", site, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return site


def test_the_wheel_carries_the_results(installed: Path) -> None:
    stored = ROOT / "book" / "results"
    there = {file.relative_to(stored) for file in stored.rglob("*") if file.is_file()}
    carried = installed / "pftlab" / "stored"
    assert {file.relative_to(carried) for file in carried.rglob("*") if file.is_file()} == there
    assert (installed / "pftlab" / "__init__.pyi").is_file()


def test_the_wheel_carries_scripts_styles_and_templates(installed: Path) -> None:
    files = [file for file in (ROOT / "pftlab" / "book").rglob("*") if file.is_file()]
    wanted = [f for f in files if f.suffix in (".js", ".css", ".html")]
    assert {file.suffix for file in wanted} == {".js", ".css", ".html"}
    assert all((installed / file.relative_to(ROOT)).is_file() for file in wanted)


def test_every_chapter_finds_what_it_reads(installed: Path, tmp_path: Path) -> None:
    chapters = sorted(map(str, (ROOT / "book").rglob("*.ipynb")))
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "PFTLAB_PROGRESS": str(tmp_path / "p"),
    }
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CELLS, *chapters],
        capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.startswith(str(installed)), run.stdout[:300]
    assert run.stdout.count("DONE") == len(chapters)
    assert "FAILED" not in run.stdout, run.stdout
