"""Heads: which parameters they are, and that every adapter keeps the one it was trained with."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import batch, perturb, save_tiny_base, tiny
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

import pftlab as pft
from pftlab.core.heads import name_labels
from pftlab.core.record import record_of
from pftlab.core.saved import TENSORS
from pftlab.core.trained import load_trainable_state, trainable_state

#: one with a form of PEFT's, one without
METHODS = {"lora": pft.LoRA(rank=2), "houlsby": pft.Houlsby(bottleneck=2, layer_norm=False)}


def logits(model: Any, name: str = "bert") -> Tensor:
    with torch.no_grad():
        return model(**batch(name)).logits


def trained(method: Any, folder: Path, seed: int) -> Path:
    model = method.attach(tiny("bert"), seed=seed)
    perturb(model, seed)
    return pft.save(model, folder)


@pytest.fixture(params=METHODS)
def two(request: Any, tmp_path: Path) -> tuple[Path, Path]:
    """Two adapters of one base, each trained with a head of its own."""
    method = METHODS[request.param]
    return trained(method, tmp_path / "a", 1), trained(method, tmp_path / "b", 2)


def test_detaching_one_adapter_brings_back_the_other_ones_head(two: tuple[Path, Path]) -> None:
    model = pft.load(tiny("bert"), two[0], name="a")
    only_a, flags = logits(model), {n: p.requires_grad for n, p in model.named_parameters()}
    pft.load(model, two[1], name="b")
    assert list(pft.attached(model)) == ["a", "b"]
    only_b = load_file(two[1] / TENSORS)
    [key] = [key for key in only_b if key.endswith("classifier.weight")]
    assert torch.equal(model.classifier.weight, only_b[key]), "the last head is the one in use"
    pft.detach(model, "b")
    assert torch.equal(logits(model), only_a)
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags


def test_detaching_the_first_adapter_leaves_the_second(two: tuple[Path, Path]) -> None:
    only_b = logits(pft.load(tiny("bert"), two[1]))
    model = pft.load(pft.load(tiny("bert"), two[0], name="a"), two[1], name="b")
    assert torch.equal(logits(pft.detach(model, "a")), only_b)
    pft.detach(model)
    assert torch.equal(logits(model), logits(tiny("bert")))


def test_every_adapter_is_saved_with_its_own_head(two: tuple[Path, Path], tmp_path: Path) -> None:
    model = pft.load(pft.load(tiny("bert"), two[0], name="a"), two[1], name="b")
    with pytest.raises(pft.Refused, match=r"heads of their own.*name='a'"):
        pft.save(model, tmp_path / "both")
    for name, folder in zip("ab", two, strict=True):
        pft.save(model, tmp_path / name / "again", name=name)
        again = pft.load(tiny("bert"), tmp_path / name / "again")
        assert torch.equal(logits(again), logits(pft.load(tiny("bert"), folder)))
    with pytest.raises(pft.BadValue, match=r"'c' is not attached. Attached: a, b"):
        pft.save(model, tmp_path / "c", name="c")


def test_heads_survive_copies_disabling_and_training(two: tuple[Path, Path]) -> None:
    model = pft.load(pft.load(tiny("bert"), two[0], name="a"), two[1], name="b")
    with pft.disabled(model), pft.disabled(model):
        assert torch.equal(logits(model), logits(tiny("bert")))
    state = {n: t.clone() for n, t in trainable_state(model).items()}
    before = logits(model)
    perturb(model)
    assert not torch.equal(logits(model), before)
    load_trainable_state(model, state)
    assert torch.equal(logits(model), before)
    other = copy.deepcopy(model)
    pft.detach(other, "b")
    assert torch.equal(logits(model), before)
    assert torch.equal(other.classifier.weight, pft.load(tiny("bert"), two[0]).classifier.weight)


def test_an_adapter_without_a_head_uses_that_of_the_base(tmp_path: Path, two: Any) -> None:
    pft.save(pft.LoRA(rank=2).attach(tiny("bert"), head=()), tmp_path / "none")
    model = pft.load(tiny("bert"), tmp_path / "none", name="none")
    assert pft.count(model).head == 2 * 32 + 2
    plain = model.classifier.weight.clone()
    pft.load(model, two[0], name="a")
    assert not torch.equal(model.classifier.weight, plain)
    pft.detach(model, "a")
    assert torch.equal(model.classifier.weight, plain)
    pft.load(model, two[0], name="a")
    pft.detach(model, "none")
    assert torch.equal(logits(model), logits(pft.load(tiny("bert"), two[0])))


def test_a_second_method_trains_the_same_head() -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    pft.BitFit().attach(model)
    perturb(model)
    head = model.classifier.weight.clone()
    pft.detach(model, "bitfit")
    assert torch.equal(model.classifier.weight, head)


def test_two_files_that_train_one_parameter_are_refused(tmp_path: Path) -> None:
    for method in (pft.BitFit(), pft.LayerNormTuning()):  # the second has PEFT's form
        folder = trained(method, tmp_path / method.name, 1)
        model = pft.load(tiny("bert"), folder, name="a")
        before = {n: t.clone() for n, t in model.state_dict().items()}
        with pytest.raises(pft.BadCheckpoint, match=r"which 'a' has trained already"):
            pft.load(model, folder, name="b")
        assert list(pft.attached(model)) == ["a"]
        assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    full = pft.FullFineTuning().attach(tiny("bert"), "all", head=())
    with pytest.raises(pft.BadCheckpoint, match=r"as its head, and 'all' has trained it already"):
        pft.load(full, trained(pft.LoRA(rank=2), tmp_path / "lora", 1))


def test_a_shared_parameter_is_not_saved_apart(tmp_path: Path) -> None:
    model = pft.BitFit().attach(tiny("bert"))
    pft.FullFineTuning().attach(model)
    with pytest.raises(pft.Refused, match=r"by 'bitfit' and by 'full'.*cannot be saved apart"):
        pft.save(model, tmp_path / "one", name="bitfit")
    pft.save(model, tmp_path / "both")


@pytest.mark.parametrize("loaded", ["load_base", "from_pretrained"])
def test_a_classifier_of_ones_own_is_trained_however_it_was_loaded(
    loaded: str, tmp_path: Path
) -> None:
    base = save_tiny_base(tmp_path / "base")
    pft.load_base(base, num_labels=2).save_pretrained(tmp_path / "tuned")
    make = {
        "load_base": lambda: pft.load_base(str(tmp_path / "tuned"), num_labels=2),
        "from_pretrained": lambda: AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "tuned"
        ),
    }[loaded]
    assert pft.count(pft.LoRA(rank=2).attach(make())).head == 2 * 32 + 2
    assert pft.count(pft.LinearProbe().attach(make())).head == 2 * 32 + 2
    assert pft.count(pft.LoRA(rank=2).attach(make(), head=())).head == 0
    with pytest.raises(pft.BadValue, match=r"trains the task.s head.*head=\(\)"):
        pft.LinearProbe().attach(make(), head=())


def test_the_head_can_be_chosen(tmp_path: Path) -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"), head=("bert.pooler", "classifier.bias"))
    assert record_of(model).head == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.bias",
    }
    assert not model.classifier.weight.requires_grad
    perturb(model)
    again = pft.load(tiny("bert"), pft.save(model, tmp_path))
    assert torch.equal(logits(again), logits(model))
    assert record_of(again).head == record_of(model).head
    with pytest.raises(pft.UnknownName, match=r"'bert.pool'.*bert, dropout, classifier"):
        pft.LoRA(rank=2).attach(tiny("bert"), head=["bert.pool"])
    with pytest.raises(pft.BadValue, match="first attachment decides"):
        pft.LoRA(rank=2).attach(model, "second", head="classifier")


def test_a_table_of_words_in_the_head_is_saved_and_stays_tied(tmp_path: Path) -> None:
    model = pft.LoRA(rank=2).attach(tiny("gpt2"), head=["transformer.wte"])
    perturb(model)
    again = pft.load(tiny("gpt2"), pft.save(model, tmp_path))
    assert again.lm_head.weight is again.transformer.wte.weight
    assert torch.equal(logits(again, "gpt2"), logits(model, "gpt2"))


@pytest.mark.parametrize(
    ("name", "module"), [("gpt2", "wte"), ("t5", "shared")], ids=["gpt2", "t5"]
)
def test_modules_that_peft_would_untie_are_refused(name: str, module: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    targets = {"gpt2": ["c_attn"], "t5": ["q", "v"]}[name]
    config = peft.LoraConfig(target_modules=targets, modules_to_save=[module])
    peft.get_peft_model(tiny(name), config).save_pretrained(tmp_path)
    model = tiny(name)
    with pytest.raises(pft.BadCheckpoint, match=r"The base ties this tensor"):
        pft.load(model, tmp_path)
    assert not pft.attached(model)


def test_a_quantised_head_is_refused() -> None:
    model = tiny("bert")
    weight = nn.Parameter(model.classifier.weight.to(torch.int8), requires_grad=False)
    model.classifier.weight = weight
    with pytest.raises(pft.Refused, match=r"classifier.weight is quantised"):
        pft.LoRA(rank=2).attach(model)
    assert not pft.attached(model)


def test_names_of_labels_are_one_for_each_output() -> None:
    model = tiny("bert")
    for names in (("ham",), ("ham", "ham")):
        with pytest.raises(pft.BadValue, match="2 outputs"):
            name_labels(model, names)
    name_labels(model, ("ham", "spam"))
    assert model.config.id2label == {0: "ham", 1: "spam"}
    assert model.config.label2id == {"ham": 0, "spam": 1}
