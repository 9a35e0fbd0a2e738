"""Attaching: bad input is an error at once, and every error leaves the model as it was."""

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import batch, perturb, save_tiny_base, tiny
from torch import nn

import pftlab as pft
from pftlab.core import Delta, Method, Site, trainable_state
from pftlab.core.handover import Handover
from pftlab.core.heads import head_parameters
from pftlab.core.record import record_of
from pftlab.core.trained import load_trainable_state


def untouched(model: Any, name: str) -> bool:
    same = all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), tiny(name).state_dict().values(), strict=True)
    )
    hooks = any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    return (
        same
        and not hooks
        and not hasattr(model, "pftlab")
        and all(p.requires_grad for p in model.parameters())
    )


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        ("LoRA", {"rank": 0}, r"LoRA\(rank=0\).*at least 1"),
        ("LoRA", {"rank": 1.5}, "whole number"),
        ("LoRA", {"rank": True}, "whole number"),
        ("LoRA", {"alpha": 0}, "greater than 0"),
        ("LoRA", {"alpha": None}, "greater than 0"),
        ("LoRA", {"dropout": 1.0}, "less than 1"),
        ("LoRA", {"dropout": "a little"}, "a share"),
        ("LoRA", {"at": "attention.query"}, r"a tuple of site names, such as \("),
        ("LoRA", {"at": ["attention.query"]}, "tuple of site names"),
        ("LoRA", {"at": ()}, "tuple of site names"),
        ("LoRA", {"at": None}, r"name the sites; by default .*attention.value"),
        ("LoRA", {"at": ("ffn.up", "ffn.up")}, "named twice"),
        ("LoRA", {"layers": 3}, "tuple of layer numbers"),
        ("LoRA", {"layers": (-1,)}, "tuple of layer numbers"),
        ("Houlsby", {"bottleneck": 0}, "bottleneck must be"),
        ("Houlsby", {"activation": "sin"}, "one of gelu"),
        ("PromptTuning", {"length": 0}, "length must be"),
        ("PromptTuning", {"start": "zeros"}, "one of uniform"),
        ("PromptTuning", {"start": "tokens"}, "from_text or from_labels"),
        ("PromptTuning", {"start": "tokens", "tokens": ((1,),), "length": 2}, "1 groups.*length=2"),
        ("PromptTuning", {"position": -1}, "at least 0"),
        ("PromptTuning", {"population": 0}, "at least 1"),
    ],
)
def test_impossible_hyperparameters(cls: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(pft.BadValue, match=message):
        getattr(pft, cls)(**values)


@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        (lambda: pft.LoRA(rank=33), "bert", r"rank 32 at most.*smaller rank"),
        (lambda: pft.LoRA(at=("attention.qery",)), "bert", r"'attention.qery'.*Did you mean"),
        (lambda: pft.LoRA(layers=(2,)), "bert", r"no layer 2"),
        (lambda: pft.PromptTuning(length=40), "bert", r"length 40 .*40 positions.*shorter"),
        (lambda: pft.PromptTuning(length=40), "roberta", r"has 38 positions"),
        (
            lambda: pft.PromptTuning(length=1, start="tokens", tokens=((99,),)),
            "bert",
            "beyond this model",
        ),
        (lambda: pft.BitFit(), "llama", r"biases.*built without them.*Use LayerNorm"),
        (lambda: pft.BitFit(), "t5", r"biases.*built without them"),
        (lambda: pft.BitFit(at=("attention.query",)), "gpt2", r"slice of a fused projection"),
        (lambda: pft.LinearProbe(), "gpt2", r"there is none: load the base with num_labels"),
        (lambda: pft.TopLayers(count=3), "bert", r"2 layers"),
        (lambda: pft.TopLayers(count=0), "bert", r"at least 1 layer"),
        (lambda: pft.FrozenBottom(count=-1), "bert", r"at least 0"),
        (lambda: pft.FrozenBottom(count=2), "bert", r"between 1 and 2"),
    ],
)
def test_impossible_for_this_model(method: Any, name: str, message: str) -> None:
    model = tiny(name)
    with pytest.raises(pft.PftError, match=message):
        method().attach(model)
    assert untouched(model, name)


def test_an_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(pft.UnknownName, match=r"no method 'lorra'.*Did you mean 'lora'"):
        pft.METHODS["lorra"]


def test_a_text_too_long_for_the_prompt_is_refused_in_the_forward_pass() -> None:
    model = pft.PromptTuning(length=35).attach(tiny("bert"))
    with pytest.raises(pft.BadValue, match=r"7 tokens, and the 35 positions .* 40 positions"):
        model(**batch("bert"))


def test_attaching_twice_needs_another_name() -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    before = list(model.state_dict())
    with pytest.raises(pft.BadValue, match=r"attached already.*name='lora_2'"):
        pft.LoRA(rank=2).attach(model)
    assert list(model.state_dict()) == before
    pft.LoRA(rank=2).attach(model, "lora_2")
    assert list(pft.attached(model)) == ["lora", "lora_2"]


@pytest.mark.parametrize("name", ["a.b", "", "1st", "a b", 3])
def test_a_name_is_a_word(name: Any) -> None:
    model = tiny("bert")
    with pytest.raises(pft.BadValue, match="cannot be a name"):
        pft.LoRA(rank=2).attach(model, name)
    assert untouched(model, "bert")


def test_nothing_attached_is_said() -> None:
    for action in (pft.detach, pft.merge, trainable_state, lambda m: pft.save(m, "nowhere")):
        with pytest.raises(pft.Refused, match="Nothing is attached"):
            action(tiny("bert"))
    with pytest.raises(pft.Refused, match="Nothing is attached"), pft.disabled(tiny("bert")):
        pass
    assert pft.attached(tiny("bert")) == {}


def test_detaching_what_is_not_there() -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    with pytest.raises(pft.BadValue, match=r"'houlsby' is not attached. Attached: lora"):
        pft.detach(model, "houlsby")
    assert list(pft.attached(model)) == ["lora"]


def test_two_sites_of_one_module_are_two_attachments() -> None:
    """OPT has no module around its feed-forward sub-layer: it ends where ffn.down ends."""
    model = tiny("opt")
    with pytest.raises(pft.BadValue, match="two sites of one module"):
        pft.LoRA(rank=2, at=("ffn.down", "ffn")).attach(model)
    assert untouched(model, "opt")


def test_a_kill_while_planting_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    from pftlab.core.ports import attention

    def interrupted(model: nn.Module) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(attention, "listen", interrupted)
    model = tiny("bert")
    with pytest.raises(KeyboardInterrupt):
        pft.PrefixTuning(length=2, hidden=None).attach(model)
    assert untouched(model, "bert")


def test_flags_come_back_as_they_were() -> None:
    model = tiny("bert")
    for n, p in model.named_parameters():
        p.requires_grad_("layer.1" in n)
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    pft.FullFineTuning().attach(model)
    assert all(p.requires_grad for p in model.parameters())
    pft.detach(model)
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    pft.merge(pft.LoRA(rank=2).attach(model))
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags


def test_a_model_that_moved_to_another_type_detaches_in_that_type() -> None:
    model = pft.FullFineTuning().attach(tiny("bert")).to(torch.float64)
    with pft.disabled(model):
        model(**batch("bert"))
    pft.detach(model)
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_the_head_is_what_the_task_adds_and_what_was_random() -> None:
    model = tiny("bert")
    assert head_parameters(model) == {"classifier.weight", "classifier.bias"}
    model.pftlab_base = type("Info", (), {"fresh": frozenset({"bert.pooler.dense.weight"})})()
    pooler = {"bert.pooler.dense.weight"}
    assert head_parameters(model) == {"classifier.weight", "classifier.bias"} | pooler
    pft.LoRA(rank=2).attach(model)
    assert not model.bert.pooler.dense.bias.requires_grad
    assert pft.count(model).head == 32 * 32 + 2 * 32 + 2
    for name in ("gpt2", "t5", "bert-features", "roberta-words"):
        assert head_parameters(tiny(name)) == frozenset()


def test_one_method_under_two_names_knows_both() -> None:
    model, method = tiny("bert"), pft.LoRA(rank=2)
    method.attach(model, "a")
    method.attach(model, "b")
    assert [m.attached_as(model) for m in pft.attached(model).values()] == ["a", "b"]
    assert method.attached_as(model) == "a"
    with pytest.raises(pft.Refused, match="not attached"):
        pft.LoRA(rank=3).attached_as(model)
    copied = copy.deepcopy(model)
    assert [m.attached_as(copied) for m in pft.attached(copied).values()] == ["a", "b"]


def test_trained_twice_is_restored_when_the_last_goes() -> None:
    model, inputs = tiny("bert"), batch("bert")
    pft.BitFit().attach(model)
    pft.FullFineTuning().attach(model)
    perturb(model)
    pft.detach(model, "bitfit")
    assert model.get_parameter("bert.encoder.layer.0.output.dense.bias").requires_grad
    pft.detach(model, "full")
    assert untouched(model, "bert")
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, tiny("bert")(**inputs).logits)


def test_a_frozen_delta_is_nothing_to_train() -> None:
    class Fixed(Delta):
        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return h

    @dataclass(frozen=True)
    class Nothing(Method):
        at: tuple[str, ...] = ("ffn",)
        name, title = "nothing", "Nothing"

        def delta(self, site: Site) -> Delta:
            return Fixed()

    model = tiny("bert")
    with pytest.raises(pft.BadValue, match="Nothing has nothing to train"):
        Nothing().attach(model)
    assert untouched(model, "bert")


def test_quantised_parameters_are_not_trained() -> None:
    model = tiny("bert")
    weight = model.bert.encoder.layer[0].output.dense
    weight.weight = nn.Parameter(weight.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(pft.Refused, match="quantised"):
        pft.FullFineTuning().attach(model)
    assert not hasattr(model, "pftlab")


def test_state_of_another_method_does_not_load() -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    before = {n: t.clone() for n, t in trainable_state(model).items()}
    other = trainable_state(pft.LoRA(rank=3).attach(tiny("bert")))
    with pytest.raises(pft.BadValue, match=r"shape \(3, 32\) in the file and \(2, 32\)"):
        load_trainable_state(model, other)
    with pytest.raises(pft.BadValue, match=r"missing .*unknown"):
        load_trainable_state(model, trainable_state(pft.Houlsby(bottleneck=2).attach(tiny("bert"))))
    assert all(torch.equal(t, before[n]) for n, t in trainable_state(model).items())


def test_tapped_inputs_do_not_linger() -> None:
    model = pft.ParallelAdapter(bottleneck=2).attach(tiny("bert"))
    model.train()
    with pft.disabled(model):
        model(**batch("bert"))
    hooks = [h for m in model.modules() for h in m._forward_hooks.values()]
    passed_on = [a for h in hooks for a in getattr(h, "args", ()) if isinstance(a, Handover)]
    assert passed_on and not any(each._left for each in passed_on)
    passed_on[0].leave(torch.ones(1, requires_grad=True) * 2)  # as an interrupted pass would
    assert copy.deepcopy(passed_on[0]).look() is None
    copy.deepcopy(model)


def test_the_record_survives_copies() -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    other = copy.deepcopy(model)
    assert record_of(other) is not record_of(model)
    pft.detach(other)
    assert pft.attached(model) and not pft.attached(other)


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (lambda m, folder: pft.save(m, folder / "new"), "Saving"),
        (lambda m, folder: pft.merge(m), "Merging"),
        (lambda m, folder: pft.detach(m), "Detaching"),
        (lambda m, folder: pft.LoRA(rank=2).attach(m, "more"), "Attaching"),
        (lambda m, folder: pft.load(m, folder, name="more"), "Attaching"),
        (lambda m, folder: trainable_state(m), "Reading what is trained"),
        (lambda m, folder: load_trainable_state(m, {}), "Loading"),
    ],
    ids=["save", "merge", "detach", "attach", "load", "state", "load state"],
)
@pytest.mark.parametrize("method", [pft.LoRA(rank=2), pft.BitFit()], ids=["lora", "bitfit"])
def test_a_disabled_model_is_not_changed_or_written(
    method: Any, action: Any, says: str, tmp_path: Any
) -> None:
    model = method.attach(tiny("bert"))
    perturb(model)
    pft.save(model, tmp_path)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pft.disabled(model):
        with pft.disabled(model):
            model(**batch("bert"))
        with pytest.raises(pft.Refused, match=rf"{says} inside .*Leave the block first"):
            action(model, tmp_path)
    assert list(pft.attached(model)) == [method.name]
    assert not (tmp_path / "new").exists()
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    pft.detach(model)
    assert untouched(model, "bert")


class Offloaded:
    offload = True


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (lambda m: torch.compile(m, backend="eager"), "compiled.*Attach first"),
        (lambda m: (m.bert.encoder.layer[0].compile(backend="eager"), m)[1], "compiled"),
        (lambda m: (setattr(m.bert, "_hf_hook", Offloaded()), m)[1], "offloaded"),
        (lambda m: (m.bert.pooler.to("meta"), m)[1], "has no values"),
        (nn.DataParallel, "no config"),
    ],
    ids=["compiled", "partly compiled", "offloaded", "meta", "data parallel"],
)
def test_a_model_that_was_wrapped_before_is_refused(wrap: Any, says: str, tmp_path: Path) -> None:
    pft.save(pft.LoRA(rank=2).attach(tiny("bert")), tmp_path)
    model = wrap(tiny("bert"))
    for act in (pft.LoRA(rank=2).attach, lambda model: pft.load(model, tmp_path)):
        with pytest.raises(pft.PftError, match=says) as error:
            act(model)
        assert isinstance(error.value, pft.Refused | pft.BadValue), "it is not the file's fault"
    assert not any(".pft_" in n for n, _ in model.named_parameters())


def test_a_sharded_model_is_refused() -> None:
    class FSDPModule(nn.Module):
        """What torch's fully_shard mixes into the classes of the modules that it shards."""

    model = tiny("bert")
    model.bert.__class__ = type("FSDPBertModel", (FSDPModule, type(model.bert)), {})
    with pytest.raises(pft.Refused, match="sharded.*Attach first"):
        pft.LoRA(rank=2).attach(model)


def test_a_model_with_modules_of_peft_is_refused() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["query"])
    wrapped = peft.get_peft_model(tiny("bert"), config)
    for model in (wrapped, wrapped.base_model.model):
        with pytest.raises(pft.Refused, match="Hugging Face PEFT has put modules"):
            pft.LoRA(rank=2).attach(model)


def test_a_seed_decides_what_is_drawn_and_leaves_the_random_state() -> None:
    def drawn(seed: int | None) -> torch.Tensor:
        model = pft.LoRA(rank=2).attach(tiny("bert"), seed=seed)
        return next(t for n, t in trainable_state(model).items() if n.endswith(".A"))

    state = torch.get_rng_state()
    one, same, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())
    drawn(None)
    assert not torch.equal(state, torch.get_rng_state())


def test_new_rows_of_the_embedding_are_said(tmp_path: Any) -> None:
    base = save_tiny_base(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = pft.load_base(base, num_labels=2)
        pft.detach(pft.LoRA(rank=2).attach(model))
        model.resize_token_embeddings(model.config.vocab_size + 2, mean_resizing=False)
        pft.FullFineTuning().attach(copy.deepcopy(model))
        pft.LoRA(rank=2).attach(copy.deepcopy(model), head=["bert.embeddings.word_embeddings"])
    with pytest.warns(UserWarning, match=r"2 rows of bert.embeddings.word_embeddings.weight"):
        pft.LoRA(rank=2).attach(model)
