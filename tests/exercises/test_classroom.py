"""Release hides the answers; grading sixty submissions survives all of them."""

import csv
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_answers import ALL, HERE

from pftlab import BadValue, Unavailable
from pftlab.exercises import chapters, exercises_of, quiz_of
from pftlab.exercises.check import AnswerError
from pftlab.exercises.classroom import answers_in, grade, release, rubric
from pftlab.exercises.sandbox import Sandbox

ROOT = HERE.parents[1]
BOOK = ROOT / "book"
CHAPTER = "low_rank.lora"
NAME = f"{CHAPTER}.3"
RIGHT = {name: code for name, (code, _) in ALL.items() if name.startswith(f"{CHAPTER}.")}
WRONG = {name: next(iter(ALL[name][1])) for name in RIGHT}
FULL = 21
F = "def lora_output(x, h, A, B, alpha):\n    "
# writes into every file of the class that it can find, at once and from a process left behind
SPOIL = """
import os, pathlib, time
def spoil():
    for place in (pathlib.Path({folder!r}), pathlib.Path({solutions!r})):
        for path in place.rglob("*"):
            try:
                path.is_file() and path.write_text("forged")
            except OSError:
                pass
spoil()
if os.fork() == 0:
    os.setsid()
    while True:
        time.sleep(0.2)
        spoil()
"""
# makes everything that the checks use say yes, if they ran here; and sends forged results
FORGE = """
import gc, json, os, sys
import pftlab.exercises.check as check, pftlab.exercises.compare as compare
torch.allclose = lambda *a, **k: True
compare.close = lambda *a, **k: True
check.examine = lambda asked, *a, **k: check.Result(asked.name, "right", 4, 4, (), "")
for each in gc.get_objects():
    if type(each).__name__ == "Exercise":
        object.__setattr__(each, "stages", ())
row = json.dumps({"name": "low_rank.lora.3", "state": "right", "points": 4, "out_of": 4})
for handle in range(3, 30):
    try:
        os.write(handle, (row + "\\n").encode())
    except OSError:
        pass
"""
STEAL = """
import pathlib
found = []
for place in {places!r}:
    try:
        found += [p.read_text() for p in pathlib.Path(place).rglob("*") if p.is_file()]
    except OSError:
        pass
assert not found, "it could be read"
"""


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    return release([CHAPTER], tmp_path_factory.mktemp("out"), BOOK)[0].read_text("utf-8")


def in_book():
    return [c for c in chapters() if BOOK.joinpath(*c.split(".")).with_suffix(".ipynb").is_file()]


def submission(sheet, answers, change=None):
    notebook = json.loads(sheet)
    for cell in notebook["cells"]:
        for tag in cell["metadata"].get("tags", []):
            kind, _, name = tag.partition(":")
            if kind == "answer" and name in answers:
                cell["source"] = answers[name]
            if kind == "check" and change == "tamper":
                cell["source"] = "print('All right: 100 points')"
        if change == "untagged" and cell["cell_type"] == "code":
            names = [t[7:] for t in cell["metadata"].get("tags", []) if t.startswith("answer:")]
            cell["metadata"] = {}
            cell["source"] = "".join([f"# {n}\n%matplotlib inline\n" for n in names]) + "".join(
                cell["source"]
            )
    if change == "delete":
        notebook["cells"] = [
            c for c in notebook["cells"] if f"answer:{NAME}" not in c["metadata"].get("tags", [])
        ]
    return json.dumps(notebook)


# Hand out


def squeezed(text):
    """Without white space, escapes and quotes: a notebook or a page may lay code out anew."""
    return re.sub(r"\\n|<[^>]*>|[\s\\\"',]|&\w+;", "", text)


def secrets():
    """What would give an answer away: the last line of each reference that is a line of code."""
    lines = {name: code.splitlines()[-1].strip() for name, (code, _) in ALL.items()}
    return {name: line for name, line in lines.items() if len(squeezed(line)) > 12}


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
    stubs = answers_in(text)
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


# Grade


def everyone(sheet, folder):
    """{student: (notebook, points of FULL or None for "not all")}"""
    part = lambda code: {**RIGHT, NAME: code}  # noqa: E731
    places = [str(folder), str(HERE), str(Path.home())]
    spoil = SPOIL.format(folder=str(folder), solutions=str(HERE / "nowhere"))
    kinds = {
        "right": (submission(sheet, RIGHT), FULL),
        "wrong": (submission(sheet, WRONG), None),
        "empty": (sheet, 0),
        "syntax": (submission(sheet, part("def lora_output(:")), FULL - 4),
        "loop": (submission(sheet, part(F + "while True: pass")), FULL - 4),
        "memory": (submission(sheet, part("hog = bytearray(1 << 40)\n" + RIGHT[NAME])), FULL - 4),
        "exit": (submission(sheet, part(F + "exit()")), FULL - 4),
        "hard_exit": (submission(sheet, part("import os; os._exit(0)")), FULL - 4),
        "deleted": (submission(sheet, RIGHT, "delete"), FULL - 4),
        "renamed": (submission(sheet, part(RIGHT[NAME].replace("lora_output", "f"))), FULL - 4),
        "tampered": (submission(sheet, WRONG, "tamper"), None),
        "forged": (submission(sheet, part(FORGE + F + "return h")), None),
        "files": (submission(sheet, part(spoil + RIGHT[NAME])), FULL),
        "steal": (submission(sheet, part(STEAL.format(places=places) + RIGHT[NAME])), FULL if confines() else None),
        "output": (submission(sheet, part("print('x' * 10**7)\n" + RIGHT[NAME])), FULL),
        "huge": (submission(sheet, part(F + "return torch.zeros(9 * 10**6).double()")), FULL - 4),
        "network": (submission(sheet, part("import socket; socket.create_connection(('127.0.0.1', 9))")), FULL - 4),
        "untagged": (submission(sheet, RIGHT, "untagged"), FULL),
        "other": (submission(sheet, {**RIGHT, NAME: "answer = 1\n# sparse.index.1"}), FULL - 4),
        "no_notebook": ("{", 0),
    }  # fmt: skip
    return {f"{kind}_{n}": pair for n in range(3) for kind, pair in kinds.items()}


def confines():
    """Whether this system can confine an answer, found out without the package."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    landlock = ctypes.CDLL(None).syscall(444, None, 0, 1) > 0
    return landlock and subprocess.run(["unshare", "-Urpni", "--fork", "true"]).returncode == 0


def lines_of(journal):
    return journal.read_text().splitlines() if journal.is_file() else []


def test_sixty_submissions(sheet, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "grades" / "grades.csv"
    students = everyone(sheet, tmp_path)
    assert len(students) == 60
    folder.mkdir()
    for student, (text, _) in students.items():
        (folder / f"{student}.ipynb").write_text(text)
    journal = out.with_suffix(".journal.jsonl")

    command = [sys.executable, "-m", "pftlab.cli", "classroom", "grade", str(folder)]
    command += ["--out", str(out), "--seconds", "18", "--quiet"]
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")}
    grader = subprocess.Popen(command, env=environment, cwd=tmp_path)
    for _ in range(1200):
        if len(lines_of(journal)) > 20 or grader.poll() is not None:
            break
        time.sleep(0.05)
    grader.send_signal(signal.SIGKILL)
    assert grader.wait() == -signal.SIGKILL and not out.exists()
    for _ in range(200):
        if not list((tmp_path / "tmp").iterdir()):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the killed grader left something behind")
    with journal.open("a") as file:
        file.write('{"student": "cut o')  # a line that the kill cut off
    before = {row["student"]: row for row in map(json.loads, lines_of(journal)[1:-1])}
    assert 20 <= len(before) < 60

    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "60 submissions" in done.stdout
    after = {row["student"]: row for row in map(json.loads, lines_of(journal)[1:])}
    assert all(after[student] == row for student, row in before.items())  # "at" is the same
    rows = {row["student"]: row for row in csv.DictReader(out.open())}
    assert set(rows) == set(students) == set(after)
    for student, (text, points) in students.items():
        got = int(rows[student]["points"])
        assert got == points if points is not None else got < FULL, (student, after[student])
        assert int(rows[student]["out_of"]) == FULL
        assert (folder / f"{student}.ipynb").read_text() == text
        report = (out.with_suffix("") / f"{student}.html").read_text("utf-8")
        assert f"{got} of {FULL} points" in report
    overview = out.with_suffix(".html").read_text("utf-8")
    assert all(f'href="grades/{student}.html"' in overview for student in students)
    for kind, message in {
        "syntax": "Syntax error in line 1",
        "loop": "is there an endless loop?",
        "memory": "MemoryError",
        "exit": "called exit()",
        "hard_exit": "ended the process",
        "deleted": "There is no answer cell",
        "renamed": "Did you rename it?",
        "no_notebook": "not a Jupyter notebook",
    }.items():
        assert message in (out.with_suffix("") / f"{kind}_1.html").read_text("utf-8")


@pytest.mark.skipif(not confines(), reason="this system has no namespaces or no Landlock")
def test_an_answer_is_alone():
    """No other file, no other process, no way to leave one behind."""
    code = (
        "import os, time\nfrom pathlib import Path\ndef f(name, seconds):\n"
        "    if os.fork() == 0:\n        os.setsid()\n"
        "        while True:\n            Path('left').write_text(str(time.time()))\n"
        "    return os.getpid(), Path('left').absolute().parent.as_posix()\n"
    )
    with Sandbox(2048) as sandbox:
        with sandbox.answer(code, "f", 5) as answer:
            pid, place = answer("x", 1)
            assert all(sandbox.protection.values())
            assert pid == 1 and Path(place).is_dir()
        assert not Path(place).exists()
        time.sleep(0.3)
        assert not Path(place).exists()
        for reach in (f"open({str(HERE / 'test_answers.py')!r})", "open('/tmp/x', 'w')"):
            code = f"def f():\n    {reach}"
            with (
                sandbox.answer(code, "f", 5) as answer,
                pytest.raises(AnswerError, match="PermissionError"),
            ):
                answer()


def test_what_was_handed_out_is_not_decided_by_one(sheet, tmp_path):
    for student in ("a", "b", "c"):
        extra = ["# sparse.index.1\nbitfit = (1, 1)"] if student == "c" else []
        notebook = json.loads(submission(sheet, RIGHT))
        for source in extra:
            notebook["cells"].append({"cell_type": "code", "metadata": {}, "source": source})
        (tmp_path / f"{student}.ipynb").write_text(json.dumps(notebook))
    (tmp_path / "=1+1.ipynb").write_bytes(b"\xff\x00")
    (tmp_path / "folder.ipynb").mkdir()
    rows = grade(tmp_path, tmp_path / "g.csv", quiet=True)
    assert {len(row["results"]) for row in rows} == {6}
    rows = list(csv.DictReader((tmp_path / "g.csv").open()))
    assert {r["student"]: r["points"] for r in rows} == {
        "'=1+1": "0", "a": "21", "b": "21", "c": "21", "folder": "0"}  # fmt: skip


def test_nothing_to_grade(tmp_path):
    with pytest.raises(Unavailable, match="no notebooks"):
        grade(tmp_path, tmp_path / "g.csv", quiet=True)
    (tmp_path / "a.ipynb").write_text('{"cells": []}')
    with pytest.raises(BadValue, match="--chapters"):
        grade(tmp_path, tmp_path / "g.csv", quiet=True)
