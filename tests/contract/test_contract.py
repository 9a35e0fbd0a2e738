"""The contract over all methods × architectures, read from what each method declares of itself.

A cell of the matrix is one method on one tiny model. A method may refuse a model, with a reason
and without touching it (`REFUSED`); everything else must hold. `pytest tests/contract --matrix -`
prints the matrix, `--matrix FILE` writes it as JSON.
"""

from typing import Any

import checks
import pytest
from tiny import DECODERS, MODELS, method, tiny

import pftlab as pft
from pftlab import METHODS

#: cells that are refused, and the words of the reason
REFUSED = {
    **{("bitfit", a): "built without them" for a in MODELS if a.split("-")[0] in ("llama", "t5")},
    **{
        ("linear_probe", a): "has none" for a in (*DECODERS, "t5", "bert-features", "roberta-words")
    },
    **{("unipelt", a): "word by word" for a in (*DECODERS, "t5")},
}
#: the task of each tiny model, in the words of `load_base`
TASK = {
    **dict.fromkeys(DECODERS, "causal_lm"),
    "t5": "seq2seq_lm",
    "roberta-words": "masked_lm",
    "bert-features": "features",
    **{name: "token_classification" for name in MODELS if name.endswith("-tagging")},
}
#: architectures for what does not differ from one to the next, or takes long
FEW = ("bert", "gpt2", "llama", "t5")

pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`")


def cells(*architectures: str) -> Any:
    """Every method on every one of `architectures` that it does not refuse."""
    pairs = [(m, a) for m in METHODS for a in architectures if (m, a) not in REFUSED]
    return pytest.mark.parametrize(("name", "architecture"), pairs)


@pytest.fixture(autouse=True)
def _skip_what_the_method_cannot_keep(request: pytest.FixtureRequest) -> None:
    check = request.node.originalname.removeprefix("test_")
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    if name and check in METHODS[name].cannot:
        pytest.skip(METHODS[name].cannot[check])


@pytest.mark.parametrize(("name", "architecture"), sorted(REFUSED))
def test_refusal(name: str, architecture: str, record_property: Any) -> None:
    model = tiny(architecture)
    before = checks.snapshot(model)
    with pytest.raises(pft.PftError, match=REFUSED[name, architecture]) as refusal:
        method(name).attach(model)
    assert checks.snapshot(model) == before
    record_property("cell", (name, architecture, str(refusal.value)))


@cells(*MODELS)
def test_life(name: str, architecture: str, tmp_path: Any, record_property: Any) -> None:
    checks.check_life(method(name), architecture, tmp_path)
    record_property("cell", (name, architecture, ""))


@cells(*MODELS)
def test_rows(name: str, architecture: str) -> None:
    checks.check_rows(method(name), architecture)


@cells(*checks.GENERATORS)
def test_generation(name: str, architecture: str) -> None:
    checks.check_generation(method(name), architecture)


@cells(*FEW)
def test_checkpointing(name: str, architecture: str) -> None:
    checks.check_checkpointing(method(name), architecture)


@cells("bert", "llama")
def test_sixteen_bits(name: str, architecture: str, tmp_path: Any) -> None:
    checks.check_sixteen_bits(method(name), architecture, tmp_path)


@cells("bert")
def test_compiling(name: str, architecture: str) -> None:
    checks.check_compiling(method(name), architecture)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        *((m, a) for m in ("lora", "prompt_tuning", "prefix_tuning") for a in ("gpt2", "llama")),
        ("parallel", "gpt2"),
        ("ia3", "t5"),
    ],
)
def test_compiling_elsewhere(name: str, architecture: str) -> None:
    checks.check_compiling(method(name), architecture)


@cells("bert", "gpt2")
def test_stacking(name: str, architecture: str) -> None:
    checks.check_stacking(method(name), architecture)


@cells("bert", "gpt2")
def test_error_half_way(name: str, architecture: str, monkeypatch: Any) -> None:
    checks.check_error_half_way(method(name), architecture, monkeypatch)


@pytest.mark.parametrize("name", METHODS)
def test_declaration(name: str) -> None:
    checks.check_declaration(METHODS[name])


@pytest.mark.parametrize("name", METHODS)
def test_declared_tasks(name: str) -> None:
    """A method refuses the models of the tasks that it does not declare, and works on the rest.

    The one other reason to refuse is that a model has no part of the kind that is to be trained.
    """
    for architecture in MODELS:
        declared = TASK.get(architecture, "sequence_classification") in METHODS[name].model_tasks
        reason = REFUSED.get((name, architecture), "")
        assert declared == (reason in ("", "built without them")), architecture
