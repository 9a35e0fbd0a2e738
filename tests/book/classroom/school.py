"""What the tests of the classroom share: the sheet, its answers, and classes of students."""

import csv
import json
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from pftlab.book.classroom import grade, release, walls
from pftlab.book.exercises.catalogue import checked

ROOT = Path(__file__).resolve().parents[3]
BOOK = ROOT / "book"
CHAPTER = "low_rank.lora"
NAME = f"{CHAPTER}.3"
FULL, PART = 21, 4  # points of the chapter, and of NAME
HEAD = "def lora_output(x, h, A, B, alpha):\n    "


def _answers():
    path = ROOT / "tests/book/exercises/low_rank/lora.py"
    spec = spec_from_file_location("answers_for_the_classroom", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ANSWERS


ANSWERS = {name: pair for name, pair in _answers().items() if name.startswith(CHAPTER)}
RIGHT = {name: code for name, (code, _) in ANSWERS.items()}
DEFINES = {exercise.name: exercise.defines for exercise in checked(CHAPTER)}
WRONG = {name: next(iter(wrong)) for name, (_, wrong) in ANSWERS.items()}


def bubblewrap_works():
    """Whether this system can confine an answer, found out without the package."""
    if sys.platform != "linux" or shutil.which("bwrap") is None:
        return False
    command = "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true"
    return subprocess.run(command.split(), capture_output=True).returncode == 0


confined = pytest.mark.skipif(not bubblewrap_works(), reason="bubblewrap does not work here")


def sheet(_made=[]):  # noqa: B006
    """The notebook that was handed out."""
    if not _made:
        import tempfile

        with tempfile.TemporaryDirectory() as out:
            _made.append(release([CHAPTER], out, BOOK)[0].read_text("utf-8"))
    return json.loads(_made[0])


def cells_of(notebook, name=NAME):
    tag = f"answer:{name}"
    return [c for c in notebook["cells"] if tag in c["metadata"].get("tags", [])]


def handed_in(answers=RIGHT, edit=None):
    """A notebook with these answers, as its file's text."""
    notebook = sheet()
    for name, code in answers.items():
        for cell in cells_of(notebook, name):
            cell["source"] = f"# {name}\n{code}"
    if edit:
        edit(notebook)
    return json.dumps(notebook)


def several(answers):
    """A small notebook with these answers."""
    sources = [f"# {name}\n{code}" for name, code in answers.items()]
    cells = [{"cell_type": "code", "metadata": {}, "source": source} for source in sources]
    return json.dumps({"cells": cells})


def one(code):
    """A small notebook with one answer."""
    return several({NAME: code})


def points(row):
    return sum(result["points"] for result in row["results"])


@cache
def probed():
    """Walls that a probe has tried; once is enough, but in the tests of the probe itself."""
    return walls.found("pftlab", 2048)


def graded(folder, tmp_path, **more):
    """{student: row}, and the table as {student: its line}."""
    out, tried = tmp_path / "grades.csv", probed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walls, "found", lambda *_: tried)
        grades = grade(folder, out, [CHAPTER], quiet=True, say=lambda _: None, **more)
    with out.open(encoding="utf-8", newline="") as file:
        lines = {line["student"]: line for line in csv.DictReader(file)}
    return grades, lines
