"""The reference passes, the stub is "not written", every wrong answer gets its own message."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from pftlab.exercises import chapters, check, examine, exercise, exercises_of
from pftlab.exercises.progress import Progress

HERE = Path(__file__).parent


def answers_of(chapter):
    spec = spec_from_file_location("answers", HERE.joinpath(*chapter.split(".")).with_suffix(".py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ANSWERS


ALL = {name: pair for chapter in chapters() for name, pair in answers_of(chapter).items()}
MUTANTS = [(name, code, said) for name, (_, wrong) in ALL.items() for code, said in wrong.items()]


def run(name, code, seed=0):
    space = {"torch": torch}
    exec(code, space)
    return examine(exercise(name), space[exercise(name).defines], seed=seed)


def test_every_exercise_has_answers():
    for chapter in chapters():
        asked = exercises_of(chapter)
        assert [e.name for e in asked] == list(answers_of(chapter))
        assert sum(e.kind == "code" for e in asked) >= 3
        assert sum(e.kind == "short" for e in asked) >= 2
        for e in asked:
            wrong = ALL[e.name][1]
            assert len(set(wrong.values())) == len(wrong) >= 5


@pytest.mark.parametrize("name", ALL)
def test_the_reference_passes_and_the_stub_is_not_written(name):
    for seed in range(5):
        result = run(name, ALL[name][0], seed)
        assert result.state == "right" and result.points == result.out_of, str(result)
    stub = run(name, exercise(name).stub)
    assert stub.state == "not written" and stub.points == 0


@pytest.mark.parametrize(("name", "code", "said"), MUTANTS)
def test_every_mutant_gets_its_own_message(name, code, said):
    for seed in range(5):
        result = run(name, code, seed)
        assert result.state == "wrong" and said in result.message, str(result)
        assert result.points < result.out_of


def test_an_endless_loop_is_stopped_and_an_error_is_told():
    def endless(*_):
        while True:
            pass

    def broken(*_):
        raise KeyError("x")

    asked = exercise("low_rank.lora.3")
    assert examine(asked, endless, seconds=0.2).state == "too slow"
    assert "KeyError" in examine(asked, broken).message


def test_progress_keeps_the_best_score(tmp_path, monkeypatch):
    monkeypatch.setenv("PFTLAB_PROGRESS", str(tmp_path / "p.json"))
    check("low_rank.lora.1", (0.5, 0.8))
    check("low_rank.lora.1", (0.5, 2))
    row = Progress().rows()[0]
    assert row[3:] == (2, 2, 2)
    assert "Break-even" in repr(Progress()) and "<table>" in Progress()._repr_html_()
