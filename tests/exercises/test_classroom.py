"""Release hides the answers; grading sixty submissions survives all of them."""

import csv
import json
import re

import pytest
from test_answers import ALL, HERE

from pftlab.exercises import classroom
from pftlab.exercises.classroom import grade, release

BOOK = HERE.parents[1] / "book"
NAME = "low_rank.lora.3"
RIGHT = {name: reference for name, (reference, _) in ALL.items()}
WRONG = {name: next(iter(wrong)) for name, (_, wrong) in ALL.items()}
F = "def lora_output(x, h, A, B, alpha):\n    "
CHEAT = "import pathlib, os\nfor p in pathlib.Path(r'{out}').rglob('*'):\n    p.is_file() and p.write_text('forged')\n"


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    return release(["low_rank.lora"], tmp_path_factory.mktemp("out"), BOOK)[0].read_text("utf-8")


def submission(sheet, answers, change=None):
    notebook = json.loads(sheet)
    for cell in notebook["cells"]:
        for tag in cell["metadata"].get("tags", []):
            kind, _, name = tag.partition(":")
            if kind == "answer" and name in answers:
                cell["source"] = answers[name]
            if kind == "check" and change == "tamper":
                cell["source"] = "print('All right: 100 points')"
    if change == "delete":
        notebook["cells"] = [c for c in notebook["cells"] if c["id"] != "answer-low-rank-lora-3"]
    return json.dumps(notebook)


def test_no_solution_is_in_the_released_notebook(sheet):
    assert "<summary>Solution" not in sheet and "<summary>Proof" in sheet
    squeezed = re.sub(r"\s|\\n", "", sheet)
    for reference, _ in ALL.values():
        last = re.sub(r"\s", "", reference.splitlines()[-1])
        assert last not in squeezed
    assert all(not c["outputs"] for c in json.loads(sheet)["cells"] if c["cell_type"] == "code")


def everyone(sheet, out):
    """{student: (notebook, points of 21 or None for "any")}"""
    part = lambda code: {**RIGHT, NAME: code}  # noqa: E731
    kinds = {
        "right": (submission(sheet, RIGHT), 21),
        "wrong": (submission(sheet, WRONG), None),
        "empty": (sheet, 0),
        "syntax": (submission(sheet, part("def lora_output(:")), 17),
        "loop": (submission(sheet, part(F + "while True: pass")), 17),
        "memory": (submission(sheet, part("hog = bytearray(1 << 40)\n" + RIGHT[NAME])), 17),
        "exit": (submission(sheet, part(F + "exit()")), 17),
        "hard_exit": (submission(sheet, part("import os; os._exit(0)")), None),
        "deleted": (submission(sheet, RIGHT, "delete"), 17),
        "renamed": (submission(sheet, part(RIGHT[NAME].replace("lora_output", "f"))), 17),
        "tampered": (submission(sheet, WRONG, "tamper"), None),
        "files": (submission(sheet, part(CHEAT.format(out=out) + RIGHT[NAME])), 21),
        "output": (submission(sheet, part("print('x' * 10**7)\n" + RIGHT[NAME])), 21),
        "network": (submission(sheet, part("import socket; socket.create_connection(('127.0.0.1', 9))")), 17),
        "no_notebook": ("{", 0),
    }  # fmt: skip
    return {f"{kind}_{n}": pair for n in range(4) for kind, pair in kinds.items()}


def test_sixty_submissions(sheet, tmp_path, monkeypatch):
    out = tmp_path / "grades" / "grades.csv"
    students = everyone(sheet, out.parent)
    assert len(students) == 60
    for student, (text, _) in students.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{student}.ipynb").write_text(text)

    real, count = classroom._grade_one, []

    def killed_at_twenty(*arguments):
        if len(count) == 20:
            raise KeyboardInterrupt
        count.append(1)
        return real(*arguments)

    monkeypatch.setattr(classroom, "_grade_one", killed_at_twenty)
    with pytest.raises(KeyboardInterrupt):
        grade(tmp_path / "in", out, seconds=6, quiet=True)
    kept = len(out.with_suffix(".journal.jsonl").read_text().splitlines())
    assert kept == 20

    def counted(*arguments):
        count.append(1)
        return real(*arguments)

    monkeypatch.setattr(classroom, "_grade_one", counted)
    with out.with_suffix(".journal.jsonl").open("a") as journal:
        journal.write('{"student": "cut o')  # a line that a crash cut off loses only itself
    grade(tmp_path / "in", out, seconds=6, quiet=True)
    assert len(count) == 60  # those before the kill were not done again
    rows = {row["student"]: row for row in csv.DictReader(out.open())}
    assert set(rows) == set(students)
    for student, (_, points) in students.items():
        got = int(rows[student]["points"])
        assert got == points if points is not None else got < 21, (student, rows[student])
        report = out.with_suffix("") / f"{student}.html"
        assert f"{got} of 21 points" in report.read_text("utf-8")
