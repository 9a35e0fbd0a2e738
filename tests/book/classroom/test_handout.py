"""Release hides the answers."""

import json
import re
import sys

import pytest
from school import BOOK, CHAPTER, ROOT

from pftlab.book.classroom import release, rubric
from pftlab.book.classroom.world.notebook import answers
from pftlab.book.exercises import chapters, exercises_of, quiz_of

sys.path.insert(0, str(ROOT / "tests" / "book" / "exercises"))
from test_answers import ALL


def in_book():
    return [c for c in chapters() if BOOK.joinpath(*c.split(".")).with_suffix(".ipynb").is_file()]


def squeezed(text):
    """Without white space, escapes and quotes: a notebook or a page may lay code out anew."""
    return re.sub(r"\\n|<[^>]*>|[\s\\\"',]|&\w+;", "", text)


def secrets():
    """What would give an answer away: the last two lines of each reference that are not asked."""
    told = {}
    for name, (code, _) in ALL.items():
        asked = squeezed(stub_of(name))
        lines = [line.strip() for line in code.splitlines() if squeezed(line) not in asked]
        told[name] = "\n".join(lines[-2:])
    return {name: lines for name, lines in told.items() if len(squeezed(lines)) > 12}


def stub_of(name):
    """What a reader finds in the box."""
    chapter = name.rpartition(".")[0]
    return next(e.stub for e in exercises_of(chapter) if e.name == name)


def test_the_search_for_solutions_finds_one():
    name, line = next(iter(secrets().items()))
    hidden = json.dumps(f"<p>{line.replace(' ', chr(10))}</p>")
    assert squeezed(line) in squeezed(hidden) and name in ALL


@pytest.mark.parametrize("chapter", in_book())
def test_no_solution_is_in_the_released_notebook(chapter, tmp_path):
    path = release([chapter], tmp_path, BOOK)[0]
    text = path.read_text("utf-8")
    assert "<summary>Solution" not in text and "import quiz" not in text
    cells = json.loads(text)["cells"]
    assert all(not c["outputs"] for c in cells if c["cell_type"] == "code")
    asked = {
        e.name: {"defines": e.defines, "stub": "pass"} for e in exercises_of(chapter) if e.stages
    }
    stubs, _ = answers(text.encode(), asked)
    assert list(stubs) == [e.name for e in exercises_of(chapter) if e.stages]
    for e in exercises_of(chapter):
        assert not e.stages or e.stub.strip() in stubs[e.name]
    for name, line in secrets().items():
        assert squeezed(line) not in squeezed(text), name
    for question in quiz_of(chapter):
        assert not any(option.feedback in text for option in question.options)
    for picture in re.findall(r'src=\\"([\w.]+)', text):
        assert (path.parent / picture).is_file()


def test_no_solution_is_in_the_package():
    """What a student installs: everything below pftlab."""
    text = squeezed("".join(p.read_text("utf-8") for p in (ROOT / "pftlab").rglob("*.py")))
    for name, line in secrets().items():
        if "=" in line and name.rpartition(".")[2] in "12":
            continue  # a number; the check of it has to know it
        assert squeezed(line) not in text, name


def test_the_rubric_has_every_stage():
    text = rubric([CHAPTER])
    for e in exercises_of(CHAPTER):
        assert all(f"| {stage.title} | {stage.points} |" in text for stage in e.stages)
