"""The contract over all methods × architectures, read from what each method declares of itself.

A cell of the matrix is one method on one tiny model, with every check of `pftlab.testing`. A method
may refuse a model, with a reason and without touching it; which cells those are stands in the book's
matrix. On an encoder and on a decoder every method is tried always, and on two more, which methods
take in turns; on every architecture a few methods are, one for each port and family. The rest of
the grid is marked `full`. `--matrix -` prints what was found, `--matrix
FILE` writes it there:

    pytest tests/contract/test_contract.py -m "full or not full" --matrix book/results/matrix.json

With `-k <method>` it does that for this method alone.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import REPRESENTATIVES, method, tiny

from pftlab import METHODS
from pftlab.core.architectures import ARCHITECTURES as TABLE
from pftlab.core.places import Port
from pftlab.core.ports.steps import own_callbacks
from pftlab.facts import FAMILIES
from pftlab.testing import CHECKS, FEW, MODELS, Case, check_method, outcome, outcomes
from pftlab.testing.contract import refused

MATRIX = Path(__file__).resolve().parents[2] / "book" / "results" / "matrix.json"
STORED = json.loads(MATRIX.read_text(encoding="utf-8"))
ALWAYS = ("bert", "llama")
TURNS = [name for name in FEW if name not in ALWAYS]
REST = [name for name in MODELS if name not in FEW]
ARCHITECTURES = [name for name in MODELS if "-" not in name]  # each with its plainest head

pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`")


def cells() -> list[Any]:
    """Every method on every model; which of them always, is said above."""

    def always(name: str, number: int, model: str) -> bool:
        represents = name in REPRESENTATIVES and model in ARCHITECTURES
        turns = (TURNS[number % len(TURNS)], REST[number % len(REST)])
        return represents or model in (*ALWAYS, *turns)

    return [
        pytest.param(name, model, marks=[] if always(name, number, model) else pytest.mark.full)
        for number, name in enumerate(METHODS)
        for model in MODELS
    ]


@pytest.mark.parametrize(("name", "model"), cells())
def test_cell(name: str, model: str, request: Any, record_property: Any) -> None:
    found = list(outcomes(method(name), model))
    broken = [f"{o.check}: {o.broken}" for o in found if o.broken]
    assert not broken, "\n".join([f"{len(broken)} of {len(found)} checks", *broken])
    reason = found[0].left_out if found[0].check == "refusal" else ""
    record_property("cell", (name, model, reason))
    if not request.config.getoption("--matrix", default=None):
        expected = STORED.get(name, {}).get(model, "works")
        assert (f"refused: {reason}" if reason else "works") == expected, (
            "the book's matrix says something else: see the top of this file"
        )


def test_the_representatives_stand_for_every_family_and_port() -> None:
    chosen = [method(name) for name in REPRESENTATIVES]
    assert {how.family for how in chosen} == set(FAMILIES)
    ports = {site.place.port for how in chosen for site, _ in how.plan(tiny("bert"))}
    assert ports == set(Port)
    assert any(list(how.trains(tiny("bert"))) for how in chosen)
    assert any(own_callbacks(type(how)) for how in chosen)


def test_every_architecture_has_a_tiny_model() -> None:
    kinds = [tiny(name).config.model_type for name in ARCHITECTURES]
    assert sorted(kinds) == sorted(TABLE)


def test_the_books_matrix_has_every_cell() -> None:
    """That each of them is true is what the cells above prove, all of them every week."""
    for name in METHODS:
        assert STORED.get(name, {}).keys() == MODELS.keys(), (
            f"{name}: the book's matrix is out of date: see the top of this file"
        )
        assert "works" in STORED[name].values(), name
    assert STORED.keys() == METHODS.keys()


@pytest.mark.parametrize(
    ("name", "model"),
    [
        *((m, a) for m in ("lora", "prompt_tuning", "prefix_tuning") for a in ("gpt2", "llama")),
        ("parallel", "gpt2"),
        ("ia3", "t5"),
    ],
)
def test_compiling_elsewhere(name: str, model: str, tmp_path: Path) -> None:
    CHECKS["compiling"].run(Case(method(name), model, tmp_path))


def test_a_report_has_a_line_for_each_broken_check(monkeypatch: Any) -> None:
    def two(case: Case) -> None:
        raise AssertionError("is wrong")

    def three(case: Case) -> None:
        raise ZeroDivisionError("by zero")

    for name, function in (("two", two), ("three", three)):
        monkeypatch.setitem(CHECKS, name, type(CHECKS["start"])(name, function, ("bert",)))
    with pytest.raises(AssertionError) as report:
        check_method(method("bitfit"), on=("bert",))
    assert str(report.value).splitlines() == [
        f"BitFit breaks 2 of {len([c for c in CHECKS.values() if c.concerns('bert')])} checks:",
        "  two on bert: is wrong",
        "  three on bert: ZeroDivisionError: by zero",
    ]


def test_what_a_method_refuses_everywhere_is_no_success() -> None:
    with pytest.raises(AssertionError, match="works on none of these models: .* nothing to train"):
        check_method(method("bitfit"), on=("llama", "t5"))


def test_a_method_says_what_it_cannot_keep() -> None:
    found = outcome(CHECKS["checkpointing"], method("diff_pruning"), "bert")
    assert "drawn anew" in found.left_out and not found.broken
    assert all(set(cls.cannot) <= CHECKS.keys() for cls in METHODS.values())


def test_only_models_for_declared_tasks_are_taken(monkeypatch: Any) -> None:
    how = method("lora")
    assert refused(how, "t5") == ("", "")
    monkeypatch.setattr(type(how), "model_tasks", ("causal_lm",))
    assert "takes a model for seq2seq_lm" in refused(how, "t5")[1]
