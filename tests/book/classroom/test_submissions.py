"""Odd files: everyone is in the table, and what was not taken is named."""

import json
import os
import socket
import sys
import zipfile
from pathlib import Path

import pytest
from school import FULL, confined, graded, handed_in, one, points

from pftlab import Unavailable
from pftlab.book.classroom import submissions
from pftlab.book.classroom.grading import plain
from pftlab.book.classroom.pages import name_of
from pftlab.book.classroom.remote import Sandbox
from pftlab.book.classroom.submissions import collect, printable

linux = pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
GOOD = handed_in()
BIG = 22_000_000
# name: (content or a function that makes the file, student, points of FULL)
TAKEN = {
    "anna.ipynb": (GOOD, "anna", FULL),
    "Müller Zoë.ipynb": (GOOD, "Müller Zoë", FULL),
    b"M\x81ller.ipynb": (GOOD, "M\\x81ller", FULL),
    b"M\xfcller.ipynb": (GOOD, "M\\xfcller", FULL),
    "BEN.IPYNB": (GOOD, "BEN", FULL),
    "cleo.Ipynb": (GOOD, "cleo", FULL),
    "lora (1).ipynb": (GOOD, "lora (1)", FULL),
    "=1+1.ipynb": (GOOD, "'=1+1", FULL),
    " =1+1.ipynb": (GOOD, "' =1+1", FULL),
    "\t=1+1.ipynb": (GOOD, "\\t=1+1", FULL),
    "x;=1+1;.ipynb": (GOOD, "x;'=1+1;", FULL),
    "@sum.ipynb": (GOOD, "'@sum", FULL),
    'a,b"c.ipynb': (GOOD, 'a,b"c', FULL),
    "two\nlines.ipynb": (GOOD, "two\\nlines", FULL),
    "C# student?&%20.ipynb": (GOOD, "C# student?&%20", FULL),
    "<script>alert(1)<|script>.ipynb": (GOOD, "<script>alert(1)<|script>", FULL),
    "\x1b[31mred.ipynb": (GOOD, "\\x1b[31mred", FULL),
    "\u202eevil.ipynb": (GOOD, "\\u202eevil", FULL),
    "n" * 249 + ".ipynb": (GOOD, "n" * 249, FULL),
    "n" * 243 + ".ipynb": (GOOD, "n" * 243, FULL),
    "deep/in/a/folder.ipynb": (GOOD, "deep/in/a/folder", FULL),
    "folder.ipynb/inside.ipynb": (GOOD, "folder.ipynb/inside", FULL),
    "dora.ipynb": (GOOD.encode("utf-8-sig"), "dora", FULL),
    "emil.ipynb": (GOOD.encode("utf-16"), "emil", FULL),
    "fred.ipynb": (
        json.dumps(json.loads(GOOD) | {"padding": "x" * BIG}).encode(), "fred", FULL),
    "empty.ipynb": (b"", "empty", 0),
    "zeros.ipynb": (b"\0" * 1000, "zeros", 0),
    "text.ipynb": ("I could not do it, sorry.", "text", 0),
    "zip.ipynb": (b"PK\x03\x04 ...", "zip", 0),
    "list.ipynb": ("[]", "list", 0),
    "lists.ipynb": ("[" + "[]," * (2 << 20) + "[]]", "lists", 0),
    "depth.ipynb": ("[" * 10**6, "depth", 0),
    "half.ipynb": (GOOD[: len(GOOD) // 2], "half", 0),
    "blank.ipynb": (one("\n" * 10**6), "blank", 0),
    "magics.ipynb": (one("%time\n" * 10**5), "magics", 0),
    "long.ipynb": (one("x = '" + "x" * (2 << 20) + "'"), "long", 0),
    "link.ipynb": (lambda p: p.symlink_to("anna.ipynb"), "link", 0),
    "nowhere.ipynb": (lambda p: p.symlink_to("/nowhere"), "nowhere", 0),
    "zero.ipynb": (lambda p: p.symlink_to("/dev/zero"), "zero", 0),
    "fifo.ipynb": (os.mkfifo, "fifo", 0),
    "large.ipynb": (lambda p: (p.touch(), os.truncate(p, 200 << 20)), "large", 0),
}  # fmt: skip
LEFT_OUT = {
    "answers.py": "not a notebook",
    "answers.zip": "not a notebook",
    "answers.txt": "not a notebook",
    "no_suffix": "not a notebook",
    "ipynb": "not a notebook",
    ".hidden.ipynb": "hidden",
    "._anna.ipynb": "hidden",
    "..ipynb": "hidden",
    ".ipynb": "hidden",
    "__MACOSX/._anna.ipynb": "hidden",
    ".ipynb_checkpoints/anna-checkpoint.ipynb": "copies that Jupyter keeps",
    "grades.journal.jsonl": "not a notebook",
    "carol/": "an empty folder",
    "other": "a link to a folder",
    "line": "not a notebook",
}


def fill(folder):
    for name, (content, *_) in TAKEN.items():
        path = Path(os.fsdecode(os.fsencode(str(folder)) + b"/" + os.fsencode(name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for name in LEFT_OUT:
        path = folder / name
        if name.endswith("/"):
            path.mkdir()
        elif name == "other":
            path.symlink_to(folder / "deep")
        elif name == "line":
            with socket.socket(socket.AF_UNIX) as line:
                before = Path.cwd()
                os.chdir(folder)
                line.bind("line")
                os.chdir(before)
        elif name.endswith(".zip"):
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("anna.ipynb", GOOD)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(GOOD)


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    place = tmp_path_factory.mktemp("odd")
    (place / "in").mkdir()
    fill(place / "in")
    with pytest.MonkeyPatch.context() as patch:  # nobody here needs a process of their own
        patch.setattr(Sandbox, "fresh", lambda *_: None)
        grades, lines = graded(place / "in", place, seconds=60)
    return place, grades, lines


@linux
@confined
@pytest.mark.parametrize("name", TAKEN, ids=ascii)
def test_everyone_is_in_the_table(school, name):
    _, student, most = TAKEN[name]
    _, _, lines = school
    assert lines[student]["points"] == str(most)
    assert bool(lines[student]["note"]) == (name in NOTED)


NOTED = {n for n, (_, _, most) in TAKEN.items() if most == 0} - {"blank.ipynb"}


@linux
@confined
@pytest.mark.parametrize("name", LEFT_OUT)
def test_everything_else_is_named(school, name):
    _, grades, _ = school
    top = name.split("/")[0]
    reasons = dict(grades.left_out)
    assert LEFT_OUT[name] in reasons[top]
    assert len(reasons) == len({n.split("/")[0] for n in LEFT_OUT})


@linux
@confined
def test_the_pages_of_odd_names(school):
    place, grades, lines = school
    assert len(grades.rows) == len(lines) == len(TAKEN)
    overview = (place / "grades.html").read_text("utf-8")
    for row in grades.rows:
        report = place / "grades-reports" / name_of(row["student"])
        assert f'href="grades-reports/{report.name}"' in overview
        assert f"{points(row)} of {FULL} points" in report.read_text("utf-8")
    for text in (overview, *(p.read_text("utf-8") for p in (place / "grades-reports").iterdir())):
        assert "<script" not in text and "\x1b" not in text
    assert "not a notebook" in overview and "answers.zip" in overview
    for name, said in {"link": "a link", "zero": "a link", "fifo": "no file", "large": "100 MiB",
                       "half": "not a Jupyter notebook", "long": "too much"}.items():  # fmt: skip
        assert said in lines[name]["note"], lines[name]


def test_two_names_that_differ_in_their_suffix_are_two_students(tmp_path):
    for name in ("ben.ipynb", "ben.IPYNB"):
        (tmp_path / name).write_text(GOOD)
    students = [each.student for each in collect(tmp_path).submissions]
    assert len(set(students)) == len(list(tmp_path.iterdir()))


def test_an_empty_folder(tmp_path):
    with pytest.raises(Unavailable, match="no notebooks"):
        collect(tmp_path)
    (tmp_path / "a.zip").write_text("")
    with pytest.raises(Unavailable, match=r"a.zip: not a notebook"):
        collect(tmp_path)
    with pytest.raises(Unavailable, match="no notebooks"):
        collect(tmp_path / "missing")


def test_a_file_that_changes_into_a_link_is_not_followed(tmp_path):
    (tmp_path / "a.ipynb").write_text(GOOD)
    found = collect(tmp_path).submissions[0]
    (tmp_path / "a.ipynb").unlink()
    (tmp_path / "a.ipynb").symlink_to(__file__)
    with pytest.raises(submissions.BadValue, match="a link"):
        found.read()


def test_what_is_printed_steers_no_terminal():
    assert printable("\x1b[2J\ud83d\u202e") == "\\x1b[2J\\ud83d\\u202e"
    assert printable("Zoë ✓ (1)") == "Zoë ✓ (1)"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", " =1", "\t=1", '"=1', "x;=1+1", "x, =1", "'=1"]
)
def test_no_cell_is_a_formula(text):
    found = plain(text)
    for part in found.split(";"):
        assert part.strip(' "')[:1] not in ("=", "+", "-", "@"), found


@pytest.mark.parametrize("text", ["anna-maria", "a+b", "x=1", "Anna; Ben", "7-3"])
def test_other_cells_stay_as_they_are(text):
    assert plain(text) == text
