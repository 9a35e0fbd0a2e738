"""A class is graded, killed in the middle, graded on; and what is there is not overwritten."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from school import (
    ANSWERS,
    BOOK,
    CHAPTER,
    FULL,
    HEAD,
    NAME,
    PART,
    RIGHT,
    ROOT,
    WRONG,
    bubblewrap_works,
    confined,
    graded,
    handed_in,
    one,
    points,
    sheet,
)

from pftlab import BadValue, Refused, UnknownName
from pftlab.book.classroom import grade, grading, release
from pftlab.book.classroom.journal import Journal, fits, kept_in
from pftlab.book.classroom.remote import Sandbox
from pftlab.cli import main

OPEN = [] if bubblewrap_works() else ["--unconfined"]


def part(code):
    return handed_in({**RIGHT, NAME: code})


def tampered(notebook):
    for cell in notebook["cells"]:
        if f"check:{NAME}" in cell["metadata"].get("tags", []):
            cell["source"] = "print('All right: 100 points')"


def without(notebook):
    notebook["cells"] = [
        c for c in notebook["cells"] if f"answer:{NAME}" not in c["metadata"].get("tags", [])
    ]


def untagged(notebook):
    for cell in notebook["cells"]:
        cell["metadata"] = {}


# student: (notebook, points, what the report says)
EVERYONE = {
    "right": (handed_in(), FULL, "All right."),
    "wrong": (handed_in(WRONG), None, ""),
    "empty": (json.dumps(sheet()), 0, "Not written yet."),
    "syntax": (part("def lora_output(:"), FULL - PART, "Syntax error in line 2"),
    "loop": (part(HEAD + "while True: pass"), FULL - PART, "is there an endless loop?"),
    "memory": (part("hog = bytearray(1 << 40)\n" + RIGHT[NAME]), FULL - PART, "MemoryError"),
    "exit": (part(HEAD + "exit()"), FULL - PART, "called exit()"),
    "hard_exit": (part("import os; os._exit(0)"), FULL - PART, "ended the process"),
    "deleted": (handed_in(edit=without), FULL - PART, "There is no answer cell"),
    "renamed": (part(RIGHT[NAME].replace("lora_output", "f")), FULL - PART, "Did you rename it?"),
    "tampered": (handed_in(WRONG, tampered), None, ""),
    "output": (part("print('x' * 10**7)\n" + RIGHT[NAME]), FULL, "All right."),
    "untagged": (handed_in(edit=untagged), FULL, "All right."),
    "other": (part("answer = 1\n# sparse.index.1"), FULL - PART, "Did you rename it?"),
    "magics": (part("%matplotlib inline\n!ls\n" + RIGHT[NAME]), FULL, "All right."),
    "no_notebook": ("{", 0, "not a Jupyter notebook"),
}


def lines_of(journal):
    return journal.read_text().splitlines() if journal.is_file() else []


def test_a_class_is_graded_through_a_kill(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "grades" / "grades.csv"
    folder.mkdir()
    for student, (text, *_) in EVERYONE.items():
        (folder / f"{student}.ipynb").write_text(text)
    command = [sys.executable, "-m", "pftlab.cli", "classroom", "grade", str(folder), *OPEN]
    command += ["--chapters", CHAPTER, "--out", str(out), "--seconds", "30", "--quiet"]
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp"),
                   "PFTLAB_GRADING": str(tmp_path / "journals")}  # fmt: skip
    grader = subprocess.Popen(command, env=environment, cwd=tmp_path)
    journals = tmp_path / "journals"
    while not (found := list(journals.glob("*.jsonl"))) or len(lines_of(found[0])) < 7:
        assert grader.poll() is None, "the grader ended before it was killed"
        time.sleep(0.05)
    grader.send_signal(signal.SIGKILL)
    assert grader.wait() == -signal.SIGKILL and not out.exists()
    assert OPEN or not list((tmp_path / "tmp").iterdir()), "the killed grader left something"
    journal = found[0]
    with journal.open("a") as file:
        file.write('{"student": "cut o')  # a line that the kill cut off
    before = {row["student"]: row for row in map(json.loads, lines_of(journal)[1:-1])}
    assert 5 <= len(before) < len(EVERYONE)

    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert ("Confined by bubblewrap" in first) != bool(OPEN)
    assert f"{len(EVERYONE)} submissions" in last
    after = {row["student"]: row for row in map(json.loads, lines_of(journal)) if "student" in row}
    assert all(after[student] == row for student, row in before.items())  # "at" is the same
    rows = {row["student"]: row for row in csv.DictReader(out.open())}
    assert set(rows) == set(EVERYONE) == set(after)
    reports = {p.name.rpartition("-")[0]: p.read_text("utf-8")
               for p in (out.parent / "grades-reports").iterdir()}  # fmt: skip
    for student, (text, most, said) in EVERYONE.items():
        got = int(rows[student]["points"])
        assert got == most if most is not None else got < FULL, (student, after[student])
        assert (folder / f"{student}.ipynb").read_text() == text
        assert said in reports[student.replace("_", "-")]
        assert f"{got} of {FULL} points" in reports[student.replace("_", "-")]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "anna.ipynb").write_text(handed_in())
    (tmp_path / "in" / "bob.ipynb").write_text(one(RIGHT[NAME]))
    return tmp_path / "in"


@confined
def test_a_change_is_graded_again_and_nothing_else(folder, tmp_path):
    first, _ = graded(folder, tmp_path, seed=1)
    (folder / "bob.ipynb").write_text(handed_in())
    second, lines = graded(folder, tmp_path, seed=1)
    assert first.rows[0] == second.rows[0] | {"results": first.rows[0]["results"]}
    assert lines["bob"]["points"] == lines["anna"]["points"] == "21"
    (folder / "carl.ipynb").write_text("{")
    third, lines = graded(folder, tmp_path, seed=1)
    assert lines["carl"]["points"] == "0" and len(lines) == 3
    assert third.rows[1] == second.rows[1] | {"results": third.rows[1]["results"]}


@confined
def test_one_submission_never_ends_the_class(folder, tmp_path, monkeypatch):
    """Whatever goes wrong, wherever: the row says so, the others have their points."""
    (folder / "zoe.ipynb").write_text(one(RIGHT[NAME]))
    real = {"read": Sandbox.read, "answer": Sandbox.answer, "report": None}
    broken = RecursionError("deep \ud800 \x1b[2J")

    def fails(sandbox, data, asked):
        if b"bob" in data:
            raise broken
        return real["read"](sandbox, data, asked)

    (folder / "bob.ipynb").write_text(one("name = 'bob'\n" + RIGHT[NAME]))
    monkeypatch.setattr(Sandbox, "read", fails)
    _, lines = graded(folder, tmp_path)
    assert lines["anna"]["points"] == "21" and lines["zoe"]["points"] == "4"
    assert lines["bob"]["points"] == "0"
    assert lines["bob"]["note"] == r"could not be graded: RecursionError: deep \ud800 \x1b[2J"
    monkeypatch.setattr(Sandbox, "read", real["read"])
    _, lines = graded(folder, tmp_path)
    assert lines["bob"]["points"] == "4", "what was not the student's fault is graded again"


@confined
def test_a_report_that_cannot_be_written_costs_no_grade(folder, tmp_path, monkeypatch):
    from pftlab.book.classroom import pages

    real = pages.report

    def fails(row, asked):
        if row["student"] == "anna":
            raise OSError("the disk is full")
        return real(row, asked)

    monkeypatch.setattr(pages, "report", fails)
    grades, lines = graded(folder, tmp_path)
    assert lines["anna"]["points"] == "21"
    assert grades.rows[0]["note"] == "no report: OSError: the disk is full"
    assert "the disk is full" in (tmp_path / "grades.html").read_text("utf-8")
    assert len(list((tmp_path / "grades-reports").iterdir())) == 1


BAD = {
    "no chapter": ({"chapters": []}, BadValue, "--chapters"),
    "a chapter twice": ({"chapters": [CHAPTER, CHAPTER]}, BadValue, "twice"),
    "no such chapter": ({"chapters": ["low_rank.nothing"]}, UnknownName, "chapter"),
    "no time": ({"seconds": 0}, BadValue, "--seconds 0"),
    "negative time": ({"seconds": -5}, BadValue, "--seconds -5"),
    "time that is no number": ({"seconds": float("nan")}, BadValue, "--seconds nan"),
    "endless time": ({"seconds": float("inf")}, BadValue, "--seconds inf"),
    "too much time": ({"seconds": 1e12}, BadValue, "--seconds 1e"),
    "no memory": ({"megabytes": 0}, BadValue, "--megabytes 0"),
    "negative memory": ({"megabytes": -1}, BadValue, "--megabytes -1"),
    "too much memory": ({"megabytes": 10**9}, BadValue, "--megabytes"),
    "no suffix": ({"out": "grades"}, BadValue, r"ends in \.csv"),
    "another suffix": ({"out": "grades.html"}, BadValue, r"ends in \.csv"),
    "only a suffix": ({"out": ".csv"}, BadValue, r"ends in \.csv"),
    "among the submissions": ({"out": "in/grades.csv"}, Refused, "among the submissions"),
    "through a link": ({"out": "link/grades.csv"}, Refused, "among the submissions"),
    "reports among the submissions": ({"folder": "g-reports", "out": "g.csv"}, Refused, "among"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused_before_anything_runs(name, folder, tmp_path, monkeypatch):
    change, kind, said = BAD[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "g-reports").mkdir()
    given = {"folder": folder, "out": "grades.csv", "chapters": [CHAPTER], "unconfined": True}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(kind, match=said):
        grade(**given | change, quiet=True)
    assert sorted(tmp_path.rglob("*")) == before


@confined
def test_what_somebody_else_wrote_is_not_overwritten(folder, tmp_path):
    out = tmp_path / "grades.csv"
    for name in ("grades.csv", "grades.html"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(Refused, match=f"{name} is there, and is not as this command wrote it"):
            graded(folder, tmp_path)
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    graded(folder, tmp_path)
    graded(folder, tmp_path)
    out.write_text(out.read_text() + "# with words of the teacher\n")
    with pytest.raises(Refused, match="not as this command wrote it"):
        graded(folder, tmp_path)
    out.unlink()
    out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="not as this command wrote it"):
        graded(folder, tmp_path)
    out.unlink()
    graded(folder, tmp_path)


@confined
def test_the_natural_names(folder, tmp_path):
    """`grade hw1 --out hw1.csv`: what alice handed in stays what it is."""
    hw1 = folder.rename(tmp_path / "hw1")
    (hw1 / "alice.html").write_text("of alice")
    (hw1 / "alice.html.d").mkdir()
    grades = grade(hw1, tmp_path / "hw1.csv", [CHAPTER], quiet=True, say=lambda _: None)
    assert (hw1 / "alice.html").read_text() == "of alice"
    assert [p.name for p in grades.written] == ["hw1.csv", "hw1.html", "hw1-reports"]
    assert ("alice.html", "not a notebook (.ipynb)") in grades.left_out


@confined
def test_a_journal_handed_in_is_not_believed(folder, tmp_path):
    (folder / "bob.ipynb").write_text(one(HEAD + "return 0"))
    grades, lines = graded(folder, tmp_path)
    assert lines["bob"]["points"] == "0"
    rows = [
        row | {"results": [r | {"points": r["out_of"]} for r in row["results"]]}
        for row in grades.rows
    ]
    forged = "".join(json.dumps(row) + "\n" for row in ({"seed": 1}, *rows))
    for place in (folder, tmp_path):
        for name in ("grades.journal.jsonl", "grades.jsonl"):
            (place / name).write_text(forged)
    _, lines = graded(folder, tmp_path)
    assert lines["bob"]["points"] == "0"


def test_a_journal_that_others_can_write_is_refused(tmp_path):
    with Journal(tmp_path / "g.csv") as journal:
        journal.begin(1, [])
        assert journal.path.stat().st_mode & 0o777 == 0o600
    journal.path.chmod(0o666)
    with pytest.raises(Refused, match="Others can write"):
        Journal(tmp_path / "g.csv")
    journal.path.unlink()
    journal.path.symlink_to(tmp_path / "x")
    with pytest.raises(OSError, match="cannot be read"):
        Journal(tmp_path / "g.csv")
    journal.path.unlink()


def test_two_runs_at_once_are_refused(tmp_path):
    with Journal(tmp_path / "g.csv"), pytest.raises(Refused, match="Another run"):
        Journal(tmp_path / "g.csv")
    with Journal(tmp_path / "g.csv"):
        pass
    assert kept_in().is_dir()


ROW = {"student": "a", "of": "x", "note": "", "at": "", "answers": {}, "results": []}


@pytest.mark.parametrize(
    "line",
    [b"[]", b"5", b"null", b"{", b"[" * 99_999, b'{"seed": "x"}', b'{"seed": ' + b"9" * 9999 + b"}",
     b'{"student": 5}', b'{"wrote": 5}', b'{"wrote": [1]}', b"\xff\xfe", b'{"seed": true}',
     json.dumps(ROW).encode(), json.dumps(ROW | {"results": [5] * 6}).encode(),
     json.dumps(ROW | {"results": [{"passed": 5}] * 6}).encode(),
     json.dumps(ROW | {"answers": 5}).encode()],
)  # fmt: skip
def test_a_damaged_journal_loses_only_what_is_damaged(line, tmp_path):
    from pftlab.book.exercises.catalogue import checked

    with Journal(tmp_path / "g.csv") as journal:
        journal.begin(7, [])
    with journal.path.open("ab") as file:
        file.write(line + b"\n")
    with Journal(tmp_path / "g.csv") as journal:
        assert journal.seed == 7
        assert not any(fits(row, checked(CHAPTER)) for row in journal.rows)
        journal.may_write(tmp_path / "g.csv")
    journal.path.unlink()


def test_the_command_line(folder, tmp_path, capsys):
    (folder / "x\x1b[2J.txt").write_text("")
    words = ["classroom", "grade", str(folder), "--out", str(tmp_path / "g.csv"), "--quiet", *OPEN]
    with pytest.raises(SystemExit):
        main(words)
    assert "--chapters" in capsys.readouterr().err
    assert main([*words, "--chapters", CHAPTER]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Unconfined: " if OPEN else "Confined by bubblewrap")
    assert "2 submissions" in said and "g-reports" in said
    assert "Not taken: x\\x1b[2J.txt: not a notebook" in said and "\x1b" not in said
    assert main([*words, "--chapters", CHAPTER, "--seconds", "0"]) == 2


def test_release_does_not_overwrite_the_book(tmp_path):
    book = tmp_path / "book"
    (book / "low_rank").mkdir(parents=True)
    source = book / "low_rank" / "lora.ipynb"
    source.write_bytes((BOOK / "low_rank" / "lora.ipynb").read_bytes())
    before = source.read_bytes()
    for out in (book, book / "handout", Path(f"{book}/../book")):
        with pytest.raises(Refused, match="would be overwritten"):
            release([CHAPTER], out, book)
    assert source.read_bytes() == before
    assert release([CHAPTER], tmp_path / "out", book)


def test_every_answer_of_the_sheet_is_known():
    assert set(ANSWERS) == set(RIGHT) and grading.plain("anna") == "anna"
    assert points({"results": []}) == 0
