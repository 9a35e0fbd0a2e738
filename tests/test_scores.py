"""Scores: which way is better, where they end, how they are written; whoever compares them asks."""

import ast
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import made_up
import pytest

from pftlab.cli.commands import _compared
from pftlab.experiments import summarise
from pftlab.experiments.progress import worth
from pftlab.experiments.protocol import search_of
from pftlab.scores import SCORES, score_of
from pftlab.tasks.bundled import data_to_text
from pftlab.tasks.metrics import METRICS
from pftlab.training import Run
from pftlab.training.evaluation import lengths_of_texts
from pftlab.training.generation import Written

PACKAGE = Path(__file__).resolve().parents[1] / "pftlab"


def test_every_score_of_the_package_is_known() -> None:
    bundled = {metric.__name__ for metric in data_to_text.DATA_TO_TEXT.scores}
    lengths = lengths_of_texts([Written("a text", 2, True)]).keys()
    losses = {"loss", "validation_loss", "perplexity"}
    losses |= {"lm_loss", "masked_lm_loss", "span_loss", "drift"}
    assert METRICS.keys() | bundled | lengths | losses == SCORES.keys()


@pytest.mark.parametrize(
    ("name", "higher", "ends", "written"),
    [
        ("accuracy", True, (0, 1), "83.9 %"),
        ("matthews", True, (-1, 1), "83.9"),
        ("pearson", True, (-1, 1), "83.9"),
        ("loss", False, (0, math.inf), "0.839"),
        ("perplexity", False, (1, math.inf), "0.84"),
        ("lm_loss", False, (0, math.inf), "0.839"),
        ("masked_lm_loss", False, (0, math.inf), "0.839"),
        ("span_loss", False, (0, math.inf), "0.839"),
        ("drift", False, (0, 2), "0.839"),
        ("tokens", True, (0, math.inf), "0.8"),
        ("ended", True, (0, 1), "83.9 %"),
        ("slot_error_rate", False, (0, math.inf), "83.9 %"),
        ("one_of_ones_own", True, (-math.inf, math.inf), "0.839"),
    ],
)
def test_direction_ends_and_words(name: str, higher: bool, ends: tuple, written: str) -> None:
    score = score_of(name)
    assert (score.higher_is_better, (score.low, score.high)) == (higher, ends)
    assert score.written(0.839) == written
    assert (score.worth(0.9) > score.worth(0.8)) is higher
    assert score.worth(math.nan) < min(score.worth(-1e9), score.worth(1e9))


def test_predictions_stay_between_the_ends() -> None:
    pytest.importorskip("scipy")
    for name, given in {
        "matthews": ([0, 1, 0, 1], [1, 0, 1, 0]),
        "pearson": ([1.0, 2.0], [2.0, 1.0]),
        "accuracy": ([1], [1]),
    }.items():
        value = METRICS[name](*given)
        assert value in (pytest.approx(SCORES[name].low), pytest.approx(SCORES[name].high))


def test_distances_are_points_of_shares_and_plain_numbers_of_losses() -> None:
    assert score_of("accuracy").apart(-0.0123) == "1.2 points"
    assert score_of("loss").apart(-0.0123) == "0.012"
    assert (score_of("accuracy").axis, score_of("loss").axis) == ("accuracy, %", "loss")
    assert score_of("pearson").axis == "Pearson correlation × 100"
    assert score_of("accuracy").within(0.9, 1.2) == (0.9, 1.0)


def test_training_keeps_the_evaluation_with_the_lowest_loss() -> None:
    run = Run({})
    for step, (loss, better) in enumerate([(0.5, True), (0.7, False), (0.3, True)], 1):
        assert run.evaluated(step, {"perplexity": loss}, "perplexity") is better
        if better:
            run.best = run.history[-1]


def test_a_search_takes_the_rate_with_the_lowest_loss() -> None:
    line = next(run for run in made_up.grid(1) if run.method == "lora")
    tried = {
        lr: worth([replace(line, task=line.task | {"metric": "perplexity"},
                           validation={"perplexity": value, "validation_loss": 1.0})])
        for lr, value in ((1e-4, 9.0), (3e-4, 4.0), (1e-3, 7.0))
    }  # fmt: skip
    assert search_of(tried).best == 3e-4


def test_the_command_line_prints_a_loss_as_a_loss() -> None:
    (row,) = [r for r in summarise(made_up.grid()) if (r.base, r.task, r.method) == ("tiny", "pairs", "lora")]  # fmt: skip
    assert f"{100 * row.mean:.1f} ± {100 * (row.interval or 0):.1f}" in _compared(row)
    loss = replace(row, metric="loss", mean=0.4567, interval=0.0123)
    assert "0.457 ± 0.012" in _compared(loss)


def test_nothing_is_imported_for_it() -> None:
    code = "import sys; before = set(sys.modules); import pftlab.scores; "
    code += "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "transformers", "matplotlib"} & set(done.stdout.split())


def test_no_score_is_turned_into_per_cent_by_hand() -> None:
    """Whoever writes a score asks `pftlab.scores` how."""
    for path in [*PACKAGE.glob("experiments/*.py"), *PACKAGE.glob("cli/*.py"),
                 *PACKAGE.glob("book/**/*.py")]:  # fmt: skip
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
                sides = {ast.unparse(side) for side in (node.left, node.right)}
                wrong = any(s.endswith((".mean", ".interval", ".validation")) for s in sides)
                assert not ("100" in sides and wrong), f"{path.name}:{node.lineno}"
