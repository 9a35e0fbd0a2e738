"""What is read from notebooks as programs and students really hand them in."""

import json
import time

import nbformat
import pytest
from school import HEAD, NAME, RIGHT, cells_of, handed_in, sheet

from pftlab.book.classroom.world.notebook import NotANotebook, Shell, answers, python
from pftlab.book.exercises import exercise

ASKED = {NAME: {"defines": "lora_output", "stub": exercise(NAME).stub}}
CODE = RIGHT[NAME]


def read(notebook):
    data = notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode()
    return answers(data, ASKED)


def book(*cells):
    """A notebook of code cells, or of (kind, source)."""
    pairs = [cell if isinstance(cell, tuple) else ("code", cell) for cell in cells]
    return {"cells": [{"cell_type": k, "metadata": {}, "source": s} for k, s in pairs]}


def value(source):
    """What the source makes of lora_output, and what else it defines."""
    space = {}
    shell = Shell(space)
    space["get_ipython"] = lambda: shell
    exec(source, space)
    return space


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_encodings(encoding):
    text = handed_in(edit=lambda n: n["cells"].append({"cell_type": "markdown", "source": "Zoë ✓"}))
    assert CODE in read(text.encode(encoding))[0][NAME]


def test_a_byte_that_is_no_text():
    text = handed_in().encode().replace(b"lora_output(x", b"lora_output(x, \xff=0", 1)
    assert NAME in read(text)[0]


def test_large_outputs_cost_nothing():
    notebook = json.loads(handed_in())
    cell = cells_of(notebook)[0]
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * 22_000_000}]
    assert CODE in read(notebook)[0][NAME]


def test_a_notebook_of_version_3():
    old = nbformat.v4.downgrade(nbformat.reads(handed_in(), 4))
    assert "worksheets" in old
    assert CODE in read(json.loads(json.dumps(old)))[0][NAME]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"5", b"null", b'{"cells": 5}', b'{"cells": null}', b"\xff\xfe", b"PK\x03\x04",
     b"[" * 99_999, b'{"worksheets": 5}', b'{"a": ' + b"9" * 9999 + b"}"],
)  # fmt: skip
def test_what_is_no_notebook(data):
    with pytest.raises(NotANotebook):
        read(data)


@pytest.mark.parametrize(
    "cell",
    [5, None, [], {}, {"source": {"a": 1}}, {"source": [1]}, {"source": None, "metadata": 5},
     {"source": "x", "metadata": {"tags": 5}}, {"source": "x", "metadata": {"tags": [5]}}],
)  # fmt: skip
def test_cells_of_no_known_form_are_passed_over(cell):
    notebook = book(f"# {NAME}\n{CODE}")
    notebook["cells"].insert(0, cell)
    assert read(notebook)[0] == {NAME: f"# {NAME}\n{CODE}"}


def test_halves_of_characters():
    found = read(book(f"# {NAME}\n# done \ud83d\nmood = '\ud83d'\n{CODE}"))[0][NAME]
    found.encode()
    assert value(found)["mood"] == "?"


STUB = exercise(NAME).stub
CELLS = {
    "the answer, then a copy of the empty cell": ([CODE, STUB], CODE),
    "the answer, then an empty cell with a comment": ([CODE, f"# nothing yet\n{STUB}\n\n"], CODE),
    "the empty cell, then the answer": ([STUB, CODE], CODE),
    "a first try, then another": ([HEAD + "return h", CODE], CODE),
    "a first try that is no Python, then the answer": ([HEAD + "return (", CODE], CODE),
    "the answer, then something else in its cell": ([CODE, "unused = 1"], CODE),
    "a helper, then the answer": (["import math", CODE], CODE),
    "split in the middle": (CODE.rpartition("\n    ")[::2] if "\n    " in CODE else [CODE], CODE),
}


@pytest.mark.parametrize("name", CELLS)
def test_of_several_cells_the_last_written_counts(name):
    parts, code = CELLS[name]
    parts = [p if i == 0 or "split" not in name else "    " + p for i, p in enumerate(parts)]
    notebook = book(*parts)
    for cell in notebook["cells"]:
        cell["metadata"] = {"tags": [f"answer:{NAME}"]}
    found = value("import torch\n" + read(notebook)[0][NAME])["lora_output"]
    assert found.__code__.co_code == value("import torch\n" + code)["lora_output"].__code__.co_code


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_a_cell_of_another_kind_counts_and_is_named(kind):
    found, notes = read(book((kind, f"# {NAME}\n{CODE}")))
    assert CODE in found[NAME]
    assert notes == [f"{NAME}: its cell is of the kind {kind}; taken as code"]
    found, notes = read(book((kind, f"# {NAME}\nold = 1"), f"# {NAME}\n{CODE}"))
    assert found[NAME] == f"# {NAME}\n{CODE}" and not notes, "a cell of code goes first"


@pytest.mark.parametrize(
    "above", ["", "#@title Answer", "%%time", "\n\n", "# my answer\n%load_ext x", "!ls"]
)
def test_the_name_is_found_below_what_programs_put_above_it(above):
    source = f"{above}\n# {NAME}\n{CODE}"
    found = value("import torch\n" + read(book(source))[0].get(NAME, ""))
    assert "lora_output" in found


def test_a_name_below_code_is_no_name():
    assert read(book(f"x = 1\n# {NAME}\n{CODE}"))[0] == {}


MAGICS = {
    "a line": ("%matplotlib inline\nx = 1", {"x": 1}),
    "a shell command": ("!pip install torch\nx = 1", {"x": 1}),
    "in a block": ("if False:\n    %debug\nx = 1", {"x": 1}),
    "a question": ("import math\nmath.sqrt?\nx = 1", {"x": 1}),
    "an assigned command": ("files = !ls\nx = len(files)", {"x": 0}),
    "an assigned magic": ("t = %timeit -o 1\nx = 1", {"x": 1, "t": None}),
    "a whole cell": ("%%time\nx = 1", {"x": 1}),
    "a whole cell below comments": ("# a\n%%capture out\nx = 1", {"x": 1}),
    "a whole cell that is a script": ("%%bash\nrm -rf /", {}),
    "a remainder": ("x = (7\n% 4)", {"x": 3}),
    "a difference": ("x = (not\n(1)\n!= 2)", {"x": False}),
    "old formatting": ("x = ('%d'\n     % 5)", {"x": "5"}),
    "a text with magics": ("x = '''\n%time\n!ls\n'''", {"x": "\n%time\n!ls\n"}),
    "spaces around": ("   \n%time pass\nx = 1", {"x": 1}),
}


@pytest.mark.parametrize("name", MAGICS)
def test_magics(name):
    source, expected = MAGICS[name]
    space = value(python(source))
    assert {key: space[key] for key in expected} == expected


def test_python_stays_as_it_is():
    assert python(CODE) == CODE
    assert python("def f(:").strip() == "def f(:", "a syntax error is the student's"


def test_blank_lines_cost_no_time():
    begun = time.process_time()
    source = f"# {NAME}\n" + "\n" * 40_000 + CODE + "\n%time\n" + " \n" * 40_000
    assert "lora_output" in value("import torch\n" + read(book(source))[0][NAME])
    assert time.process_time() - begun < 20


def test_every_exercise_is_found_by_tag_and_by_name():
    notebook = sheet()
    for tags in (True, False):
        if not tags:
            for cell in notebook["cells"]:
                cell["metadata"] = {}
        found, _ = read(notebook)
        assert list(found) == [NAME]
