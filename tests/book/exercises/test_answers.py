"""The reference passes, the stub is "not written", every wrong answer gets its own message.

Each of them is run twice: as in a notebook, and as when it is graded, in a process of its own.
"""

import io
import json
import threading
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from pftlab import UnknownName
from pftlab.book.classroom.remote import Sandbox
from pftlab.book.classroom.walls import NoWalls
from pftlab.book.exercises import (
    Progress,
    chapters,
    check,
    examine,
    exercise,
    exercises_of,
    quiz_of,
)
from pftlab.book.exercises.check import AnswerError
from pftlab.book.exercises.progress import load_progress
from pftlab.book.exercises.stream import printable_here

HERE = Path(__file__).parent


def answers_of(chapter):
    path = HERE.joinpath(*chapter.split(".")).with_suffix(".py")
    spec = spec_from_file_location(f"answers_{chapter.replace('.', '_')}", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ANSWERS


ALL = {name: pair for chapter in chapters() for name, pair in answers_of(chapter).items()}
MUTANTS = [(name, code, said) for name, (_, wrong) in ALL.items() for code, said in wrong.items()]


def run(name, code, seed=0):
    space = {"torch": torch}
    exec(code, space)
    return examine(exercise(name), space[exercise(name).defines], seed=seed)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(NoWalls(), 2048) as sandbox:
        yield sandbox


@pytest.mark.parametrize("chapter", chapters())
def test_every_exercise_has_answers(chapter):
    asked = exercises_of(chapter)
    assert [e.name for e in asked] == [f"{chapter}.{i}" for i in range(1, len(asked) + 1)]
    assert [e.name for e in asked if e.stages] == list(answers_of(chapter))
    assert sum(e.kind == "code" for e in asked) >= 3
    assert sum(e.kind == "short" for e in asked) >= 2
    for e in asked:
        assert e.kind in ("code", "short", "open") and 1 <= e.stars <= 3 and e.minutes > 0
        assert bool(e.stages) == bool(e.stub) == (e.kind != "open")
        if e.stages:
            assert e.hints
            said = list(ALL[e.name][1].values())
            assert len(said) >= 5 and all(said)
            assert not any(a in b for a in said for b in said if a is not b), "a message of its own"


@pytest.mark.parametrize("name", ALL)
def test_the_reference_passes_and_the_stub_is_not_written(name, sandbox):
    for seed in range(5):
        result = run(name, ALL[name][0], seed)
        assert result.state == "right" and result.points == result.out_of, str(result)
    stub = run(name, exercise(name).stub)
    assert stub.state == "not written" and stub.points == 0
    for code, state in ((ALL[name][0], "right"), (exercise(name).stub, "not written")):
        with sandbox.answer(code, exercise(name).defines, 20) as answer:
            assert examine(exercise(name), answer, 20, seed=0).state == state


@pytest.mark.parametrize(("name", "code", "said"), MUTANTS)
def test_every_mutant_gets_its_own_message(name, code, said, sandbox):
    messages = set()
    for seed in range(5):
        result = run(name, code, seed)
        assert result.state == "wrong" and said in result.message, str(result)
        assert result.points < result.out_of
        messages.add(result.message)
    with sandbox.answer(code, exercise(name).defines, 20) as answer:
        there = examine(exercise(name), answer, 20, seed=4)
    assert there == result


def test_messages_hold_no_solution():
    """No message that a wrong answer gets holds the last line of the reference."""
    for name, code, _ in MUTANTS:
        last = ALL[name][0].splitlines()[-1].replace("return", "").replace(" ", "")
        assert last not in run(name, code).message.replace(" ", "")


@pytest.mark.parametrize("in_thread", [False, True])
def test_an_endless_loop_is_stopped(in_thread):
    def endless(*_):
        while True:
            pass

    results = []
    asked = exercise("low_rank.lora.3")
    work = threading.Thread(target=lambda: results.append(examine(asked, endless, seconds=0.3)))
    if in_thread:
        work.start()
        work.join(300)
    else:
        work.run()
    assert results[0].state == "too slow" and "endless loop" in results[0].message


def test_errors_are_told_and_whose_they_are():
    def broken(*_):
        raise KeyError("x")

    def leaves(*_):
        raise SystemExit

    asked = exercise("low_rank.lora.3")
    assert "Your code raised KeyError: 'x' (in line" in examine(asked, broken).message
    assert "called exit()" in examine(asked, leaves).message
    assert "The check cannot use what your code gave" in examine(asked, lambda x: x).message
    assert "not what it returns" in examine(asked, torch.zeros(3)).message
    result = examine(asked, lambda x, h, A, B, alpha: h)
    assert (result.points, result.out_of, result.passed) == (
        2,
        4,
        ("the shape is right", "B = 0 starts at the base model"),
    )
    assert "2 of 4 points so far" in str(result)


def test_inputs_are_drawn_anew():
    first, second = [], []
    for seen in (first, second):
        examine(
            exercise("low_rank.lora.3"), lambda x, h, A, B, alpha, seen=seen: seen.append(x) or h
        )
    assert len(first) > 3 and not any(torch.equal(a, b) for a in first for b in second)
    assert not torch.equal(first[0], first[1])


def test_an_open_exercise_cannot_be_checked():
    with pytest.raises(UnknownName):
        check("low_rank.lora.7", 1)


def test_progress_keeps_the_best_score(tmp_path, monkeypatch):
    monkeypatch.setenv("PFTLAB_PROGRESS", str(tmp_path / "p.json"))
    check("low_rank.lora.1", (..., ...))
    assert not (tmp_path / "p.json").exists(), "not written is no try"
    check("low_rank.lora.1", (0.5, 0.8))
    check("low_rank.lora.1", (0.5, 2))
    row = next(row for row in Progress().rows() if row[0] == "low_rank.lora.1")
    assert row[3:] == (2, 2, 2)
    assert "Break-even" in repr(Progress()) and "<table>" in Progress()._repr_html_()


def test_quizzes():
    for chapter in chapters():
        questions = quiz_of(chapter)
        assert 4 <= len(questions) <= 6
        for question in questions:
            assert sum(option.right for option in question.options) == 1
            said = [option.feedback for option in question.options]
            assert len(said) >= 3 and len(set(said)) == len(said) and all(said)
        places = {[o.right for o in q.shuffled()].index(True) for q in questions}
        assert len(places) > 1, "the right option is not always at the same place"


def test_length_does_not_tell_the_right_option():
    """Of three options each is the longest in a third of the questions, more or less."""
    questions = [question for chapter in chapters() for question in quiz_of(chapter)]
    longest = [max(q.options, key=lambda option: len(option.text)).right for q in questions]
    assert 0.2 < sum(longest) / len(questions) < 0.47


def test_a_broken_answer_breaks_no_check(sandbox):
    """Bytes that are no message, and objects that lie about themselves."""
    liar = (
        "class Liar(torch.Tensor):\n"
        "    @classmethod\n"
        "    def __torch_function__(cls, f, types, args=(), kwargs=None):\n"
        "        return True\n"
        "def lora_output(x, h, A, B, alpha):\n    return torch.zeros(3, 5, 4).as_subclass(Liar)\n"
    )
    noise = (
        "import os\ndef lora_output(*_):\n    for fd in range(3, 20):\n        try:\n"
        "            os.write(fd, b'\\xff' * 64)\n        except OSError:\n            pass\n"
        "    return 1\n"
    )
    easier = (  # a question about zeros
        "def lora_output(x, h, A, B, alpha):\n    for each in (x, h, A, B):\n"
        "        each.zero_()\n    return torch.zeros_like(h)\n"
    )
    asked = exercise("low_rank.lora.3")
    for code in (liar, noise, easier):
        with sandbox.answer(code, "lora_output", 5) as answer:
            result = examine(asked, answer, 5, seed=0)
        assert result.state in ("wrong", "error") and result.points <= 1, str(result)
    assert "in place" in result.message
    assert "in place" in run("low_rank.lora.3", easier).message
    with pytest.raises(AnswerError), sandbox.answer("x = 1", "y", 5):
        pass


DAMAGED = [
    '{"low_rank.lora.1": 5}', '{"low_rank.lora.1": {}}', '{"low_rank.lora.1": {"points": "2"}}',
    '{"low_rank.lora.1": {"points": 1e999, "tries": 1, "out_of": 2}}', "[]", "5", "null", "{", "",
    "[" * 99_999, '{"a": ' + "9" * 9999 + "}", '{"low_rank.lora.1": null}', "\ud800",
    '{"low_rank.lora.1": {"points": true, "tries": 1, "out_of": 2}}',
    '{"low_rank.lora.1": {"points": -1, "tries": 1, "out_of": 2}}',
]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_record_is_put_aside_and_breaks_no_check(text, tmp_path, monkeypatch, capsys):
    place = tmp_path / "p.json"
    monkeypatch.setenv("PFTLAB_PROGRESS", str(place))
    place.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert check("low_rank.lora.1", (0.5, 0.8)).state == "right"
    assert "put aside as p.json.damaged" in capsys.readouterr().err
    assert (tmp_path / "p.json.damaged").read_bytes() == text.encode("utf-8", "surrogatepass")
    row = next(row for row in Progress().rows() if row[0] == "low_rank.lora.1")
    assert row[3:] == (2, 2, 1)
    assert not capsys.readouterr().err


def test_what_is_whole_in_a_damaged_record_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PFTLAB_PROGRESS", str(tmp_path / "p.json"))
    row = {"points": 2, "out_of": 2, "tries": 4}
    (tmp_path / "p.json").write_text(json.dumps({"low_rank.lora.1": row, "low_rank.lora.2": 5}))
    assert load_progress() == {"low_rank.lora.1": row}


def test_a_record_that_cannot_be_written_breaks_no_check(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file" / "p.json"):
        monkeypatch.setenv("PFTLAB_PROGRESS", str(place))
        assert check("low_rank.lora.1", (0.5, 0.8)).state == "right"


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1252", "latin-1"])
def test_streams_that_cannot_print_stars_and_ticks(encoding, monkeypatch):
    wrong = examine(exercise("low_rank.lora.3"), lambda x, h, A, B, alpha: h)
    with io.TextIOWrapper(io.BytesIO(), encoding=encoding) as stream:
        monkeypatch.setattr("sys.stdout", stream)
        print(wrong, Progress(), flush=True)
        said = stream.buffer.getvalue().decode(encoding)
        monkeypatch.undo()
    assert "[ok] the shape is right" in said and "[no] " in said and "**" in said
    assert "✓ the shape is right" in str(wrong)
    assert printable_here("α ≤ ✓ ★") == "α ≤ ✓ ★"
