"""The contract: what every method must keep on every architecture, read from its declaration.

A cell of the matrix is one method on one tiny model. A method may refuse a model, with a reason
and without touching it; everything else must hold.
"""

import copy
import pickle
from typing import Any

import pytest
import torch
from tiny import DECODERS, MODELS, batch, method, padded, perturb, tiny
from torch import Tensor

import pftlab as pft
from pftlab import METHODS

CELLS = [(m, a) for m in METHODS for a in MODELS]
#: cells that are refused, and the words of the reason
REFUSED = {
    **{("bitfit", a): "built without them" for a in ("llama", "llama-classification", "t5")},
    **{("linear_probe", a): "has none" for a in (*DECODERS, "t5")},
}


def logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Without gradients on every side: with them PyTorch may choose another attention kernel."""
    with torch.no_grad():
        return model(**inputs).logits


def attach(name: str, architecture: str) -> tuple[Any, Any]:
    """(model with the method attached, method); skips the cells that are refused."""
    model, how = tiny(architecture), method(name)
    if (name, architecture) in REFUSED:
        pytest.skip(REFUSED[name, architecture])
    return how.attach(model), how


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    if a.shape != b.shape or not b.numel():
        return a.shape == b.shape
    return bool((a - b).abs().max() <= tolerance * max(1.0, b.abs().max().item()))


@pytest.mark.parametrize(("name", "architecture"), sorted(REFUSED))
def test_refuses_with_a_reason_and_leaves_the_model(name: str, architecture: str) -> None:
    model = tiny(architecture)
    before = pickle.dumps(model.state_dict())
    with pytest.raises(pft.PftError, match=REFUSED[name, architecture]):
        method(name).attach(model)
    assert pickle.dumps(model.state_dict()) == before
    assert not hasattr(model, "pftlab")
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(("name", "architecture"), CELLS)
def test_attach_train_disable_save_merge_detach(
    name: str, architecture: str, tmp_path: Any
) -> None:
    base = tiny(architecture)
    inputs = batch(architecture)
    before, keys = logits(base, inputs), list(base.state_dict())
    model, how = attach(name, architecture)

    # base keys and values are untouched, and the start is what the method declares
    assert [k for k in model.state_dict() if ".pft_" not in f".{k}"] == keys
    start = logits(model, inputs)
    assert start.shape == before.shape
    if how.identity_at_start:
        assert close(start, before, 1e-6)
    else:
        assert not torch.equal(start, before)

    # every trainable parameter gets a gradient, and no frozen one does
    logits_with_gradient = model(**inputs).logits
    logits_with_gradient.pow(2).sum().backward()
    for n, p in model.named_parameters():
        assert (p.grad is not None) == p.requires_grad, n

    # an optimiser's step changes the model
    perturb(model)
    trained = logits(model, inputs)
    assert not close(trained, before, 1e-6)

    # disabled is the base bit for bit, head included, also when the block raises
    with pft.disabled(model):
        assert torch.equal(logits(model, inputs), before)
    with pytest.raises(ZeroDivisionError), pft.disabled(model):
        1 / 0  # noqa: B018
    assert torch.equal(logits(model, inputs), trained)

    # copies and pickles run their own deltas
    other = pickle.loads(pickle.dumps(model))
    assert torch.equal(logits(other, inputs), trained)
    perturb(other, seed=2)
    assert not torch.equal(logits(other, inputs), trained)
    assert torch.equal(logits(model, inputs), trained)

    # what is saved is loaded, and nothing else
    pft.save(model, tmp_path)
    loaded = pft.load(tiny(architecture), tmp_path)
    assert torch.equal(logits(loaded, inputs), trained)
    assert pft.attached(loaded) == pft.attached(model)

    # merging gives the same function with the base's keys, or refuses with a reason
    other = copy.deepcopy(model)
    if how.mergeable:
        pft.merge(other)
        assert list(other.state_dict()) == keys
        assert close(logits(other, inputs), trained, 3e-5)
    else:
        with pytest.raises(pft.Refused):
            pft.merge(other)
        assert torch.equal(logits(other, inputs), trained)

    # detaching brings the base back bit for bit
    pft.detach(model)
    assert list(model.state_dict()) == keys
    assert torch.equal(logits(model, inputs), before)
    assert all(p.requires_grad for p in model.parameters())
    assert model.config._attn_implementation == base.config._attn_implementation
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(("name", "architecture"), CELLS)
def test_rows_do_not_see_each_other_nor_padding(name: str, architecture: str) -> None:
    model, how = attach(name, architecture)
    perturb(model)
    inputs = batch(architecture)
    together = logits(model, inputs)
    if how.batch_independent:
        alone = logits(model, {k: v[:1] for k, v in inputs.items()})
        assert close(alone, together[:1])
    right = logits(model, padded(architecture, inputs))
    width = together.shape[1] if together.dim() == 3 else None
    assert close(right[:, :width] if width else right, together)
    if architecture in DECODERS and architecture != "opt":
        left = logits(model, padded(architecture, inputs, left=True))
        assert close(left[:, -width:], together)
    if architecture in DECODERS and how.causal:
        changed = inputs | {"input_ids": inputs["input_ids"].clone()}
        changed["input_ids"][:, -1] = 3 + (changed["input_ids"][:, -1] - 2) % 40
        assert close(logits(model, changed)[:, :-1], together[:, :-1])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("architecture", [*DECODERS, "t5"])
def test_generation_with_and_without_cache(name: str, architecture: str) -> None:
    model, _ = attach(name, architecture)
    perturb(model)
    inputs = {k: v for k, v in batch(architecture).items() if k != "decoder_input_ids"}
    how = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
    cached = model.generate(**inputs, **how, use_cache=True)
    assert torch.equal(cached, model.generate(**inputs, **how, use_cache=False))
    if architecture == "llama":
        beams = model.generate(**inputs, **how, num_beams=3, use_cache=True)
        assert torch.equal(beams, model.generate(**inputs, **how, num_beams=3, use_cache=False))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5"])
def test_gradient_checkpointing_gives_the_same_gradients(name: str, architecture: str) -> None:
    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        model, _ = attach(name, architecture)
        perturb(model)
        model.train()
        for module in model.modules():  # no randomness: the two runs must do the same
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(0)
        model(**batch(architecture)).logits.pow(2).mean().backward()
        return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}

    if name == "diff_pruning":
        pytest.skip("its gates are drawn anew when a block is computed again")
    plain, checkpointed = gradients(False), gradients(True)
    for n, gradient in plain.items():
        assert close(checkpointed[n], gradient, 1e-5), n


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_sixteen_bit_base_keeps_its_type(name: str, architecture: str) -> None:
    if (name, architecture) in REFUSED:
        pytest.skip(REFUSED[name, architecture])
    model = method(name).attach(tiny(architecture).to(torch.bfloat16))
    output = model(**batch(architecture)).logits
    assert output.dtype == torch.bfloat16
    output.float().pow(2).sum().backward()
    planted = [p for n, p in model.named_parameters() if ".pft_" in f".{n}" and p.requires_grad]
    assert all(p.dtype == torch.float32 for p in planted)
    assert all(p.grad is not None for p in planted)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_compiles_as_one_graph(name: str, architecture: str) -> None:
    model, _ = attach(name, architecture)
    perturb(model)
    inputs = batch(architecture)
    expected = logits(model, inputs)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert close(compiled(**inputs).logits, expected, 1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_stacks_on_another_method_and_leaves_it_alone(name: str) -> None:
    if name in ("linear_probe",):
        pytest.skip("plants nothing")
    model, inputs = tiny("bert"), batch("bert")
    pft.LoRA(rank=2, at=("attention.key",)).attach(model, "first")
    perturb(model)
    with_first = logits(model, inputs)
    method(name).attach(model)
    perturb(model, seed=3)
    assert not torch.equal(logits(model, inputs), with_first)
    model(**inputs).logits.sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    with pft.disabled(model):
        assert torch.equal(logits(model, inputs), logits(tiny("bert"), inputs))
    pft.detach(model, name)
    assert list(pft.attached(model)) == ["first"]
    pft.detach(model)
    assert torch.equal(logits(model, inputs), logits(tiny("bert"), inputs))


@pytest.mark.parametrize("name", METHODS)
def test_an_error_half_way_leaves_the_model_as_it_was(name: str, monkeypatch: Any) -> None:
    from pftlab.core import method as core

    model, inputs, how = tiny("bert"), batch("bert"), method(name)
    before = logits(model, inputs)
    calls = {"n": 0}
    real = core.plant

    def failing(*args: Any) -> None:
        calls["n"] += 1
        if calls["n"] == 2:
            raise RuntimeError("half way")
        real(*args)

    monkeypatch.setattr(core, "plant", failing)
    if how.plan(model) and len(how.plan(model)) > 1:
        with pytest.raises(RuntimeError, match="half way"):
            how.attach(model)
        assert not hasattr(model, "pftlab")
        assert not any(".pft_" in k for k in model.state_dict())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert model.config._attn_implementation == tiny("bert").config._attn_implementation
    assert torch.equal(logits(model, inputs), before)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_declares_itself(name: str) -> None:
    cls = METHODS[name]
    assert cls.name == name
    assert cls.family in ("finetune", "adapter", "prompt", "low_rank", "sparse", "others")
    assert cls.__module__.startswith(f"pftlab.{cls.family}.")
    assert cls.title and cls.paper and cls.url.startswith("https://") and 2010 < cls.year < 2027
    assert 1e-6 < cls.learning_rate < 1
    assert "Args" in cls.__doc__ or not cls.__dataclass_fields__
