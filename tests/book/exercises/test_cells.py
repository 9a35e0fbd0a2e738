"""The cells of exercises in chapters, the command line around them, and the figures for slides."""

import copy
import json
import os
import subprocess
import sys

import nbformat
import pytest
from notebooks import checks, form, package
from test_answers import ALL, HERE

from pftlab import Unavailable, UnknownName
from pftlab.book.exercises import chapters, exercises_of, quiz, quiz_of
from pftlab.book.exercises.catalogue import title_of
from pftlab.book.exercises.cells import section
from pftlab.book.exercises.slides import figures
from pftlab.cli import main

ROOT = HERE.parents[2]
BOOK = ROOT / "book"
LORA = BOOK / "low_rank" / "lora.ipynb"


def problems(notebook):
    return [p for p in checks.of_notebook(notebook) if "exercises are not those" in p]


def test_a_chapter_has_the_cells_of_its_data():
    notebook = form.read(LORA)
    assert not problems(notebook)
    at = next(i for i, cell in enumerate(notebook.cells) if cell.id == "exercise-3")
    edited = copy.deepcopy(notebook)
    edited.cells[at].source += " Or so."
    assert problems(edited)
    del edited.cells[at]
    assert problems(edited)
    edited.cells = package.with_exercises(edited.cells)
    assert [c.source for c in edited.cells] == [c.source for c in notebook.cells]


def test_one_cell_is_enough_to_begin():
    cell = nbformat.v4.new_markdown_cell("here", metadata={"tags": ["exercises:sparse.index"]})
    end = nbformat.v4.new_markdown_cell("the end")
    cells = package.with_exercises([cell, end])
    assert cells[-1].source == "the end" and cells[0].source.startswith("## Exercises")
    ids = [c.id for c in cells]
    assert len(set(ids)) == len(ids)
    answers = [t for c in cells for t in c.metadata.get("tags", []) if t.startswith("answer:")]
    assert answers == [f"answer:{e.name}" for e in exercises_of("sparse.index") if e.stages]


def test_outputs_are_kept_where_nothing_changed():
    notebook = form.read(LORA)
    again = package.with_exercises(notebook.cells)
    shown = next(c for c in again if c.id == "check-3")
    assert "Not written yet." in json.dumps(shown.outputs)


@pytest.mark.parametrize("chapter", chapters())
def test_the_cells_of_every_chapter(chapter):
    cells = section(chapter)
    assert title_of(chapter)
    for cell in cells:
        assert cell["source"].count("\n") < 25 or cell["cell_type"] == "markdown"
        if cell["cell_type"] == "code":
            compile(cell["source"], chapter, "exec")
    text = json.dumps(section(chapter, quiz=False))
    assert not any(option.feedback in text for q in quiz_of(chapter) for option in q.options)


def test_a_quiz_shows_itself_alike_every_time():
    one, two = (quiz("low_rank.lora")._repr_html_() for _ in range(2))
    assert one == two and "http" not in one
    assert one.count(" data-right>") == 5
    assert "( ) 0.1 %" in repr(quiz("low_rank.lora"))
    with pytest.raises(UnknownName):
        quiz("low_rank.nothing")


def test_figures_for_slides(tmp_path):
    found = figures(tmp_path, BOOK)
    assert {p.suffix for p in found} == {".svg", ".png"} and all(p.stat().st_size for p in found)
    listed = (tmp_path / "figures.md").read_text("utf-8")
    assert all(p.relative_to(tmp_path).as_posix() in listed for p in found)
    assert tmp_path / "low_rank" / "lora" / "lora.svg" in found
    with pytest.raises(Unavailable):
        figures(tmp_path / "new", tmp_path / "nothing")


def test_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PFTLAB_PROGRESS", str(tmp_path / "p.json"))
    out = str(tmp_path / "out")
    assert main(["classroom", "release", "low_rank.lora", "--out", out, "--book", str(BOOK)]) == 0
    assert (tmp_path / "out" / "low_rank" / "lora.ipynb").is_file()
    assert (tmp_path / "out" / "low_rank" / "lora.svg").is_file()
    assert main(["classroom", "rubric", "low_rank.lora"]) == 0
    assert main(["classroom", "figures", "--out", out, "--book", str(BOOK)]) == 0
    assert main(["progress"]) == 0
    said = capsys.readouterr().out
    assert "| both agree with automatic differentiation | 3 |" in said and "0/4" in said
    assert main(["classroom", "release", "low_rank.nothing", "--out", out]) == 2


def test_in_plain_python(tmp_path):
    """Without a notebook, a file is enough."""
    answer, name = ALL["low_rank.lora.3"][0], "low_rank.lora.3"
    code = f"from pftlab.book import check\n{answer}\nprint(check({name!r}, lora_output))"
    (tmp_path / "mine.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PFTLAB_PROGRESS": str(tmp_path / "p.json")},
    )  # fmt: skip
    assert "All right: 4 of 4 points." in done.stdout
    assert json.loads((tmp_path / "p.json").read_text())[name]["points"] == 4
