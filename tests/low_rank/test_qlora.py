"""QLoRA: LoRA on weights that bitsandbytes would dequantise alike, and what is kept of them."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from low_rank_setup import UP
from tiny import batch, perturb, tiny
from torch import Tensor

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.sizes import blank
from pftlab.low_rank.nf4 import dequantise, quantise
from pftlab.low_rank.qlora import FourBitWeight


def rounded(name: str) -> Any:
    """The oracle: a base whose linear maps in the layers have the dequantised weights."""
    model = tiny(name)
    for path in paths(name):
        host = model.get_submodule(path)
        turned = host.weight.T if hasattr(host, "nf") else host.weight
        made = dequantise(quantise(turned), tuple(turned.shape), torch.float32)
        host.weight.data = made.T if hasattr(host, "nf") else made
    return model


def paths(name: str) -> list[str]:
    whole = ("Linear", "Conv1D")
    heads = ("classifier", "score", "lm_head", "pooler.dense")
    return [
        path
        for path, module in tiny(name).named_modules()
        if type(module).__name__ in whole and not path.endswith(heads)
    ]


def logits(model: Any, name: str) -> Tensor:
    return model(**batch(name)).logits


@pytest.mark.parametrize("name", ["bert", "gpt2", "gpt_neox", "opt", "llama", "distilbert", "t5"])
def test_every_linear_map_computes_with_the_dequantised_weight(name: str, tmp_path: Path) -> None:
    method = pft.QLoRA(rank=2)
    model, oracle = method.attach(tiny(name)), rounded(name)
    assert sorted({site.path for site in method.sites(model)}) == sorted(paths(name))
    assert torch.allclose(logits(model, name), logits(oracle, name), atol=1e-5)
    assert not torch.allclose(logits(model, name), logits(tiny(name), name), atol=1e-3)
    # and LoRA on top of it: PEFT reads our file into the oracle
    perturb(model)
    pft.save(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(oracle, tmp_path)
    assert torch.allclose(logits(theirs.eval(), name), logits(model, name), atol=1e-5)
    again = pft.load(tiny(name), tmp_path)
    assert torch.equal(logits(again, name), logits(model, name))
    assert pft.attached(again) == {"qlora": method}


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_gradients_are_those_of_lora_on_the_dequantised_weights(name: str) -> None:
    model, method = tiny(name), pft.QLoRA(rank=2)
    sites = tuple(dict.fromkeys(site.name for site in method.sites(model)))
    plain = pft.LoRA(rank=2, at=sites).attach(rounded(name))
    method.attach(model)
    perturb(model)
    perturb(plain)
    found = []
    for each in (model, plain):
        own = {n.replace("qlora", "lora"): p for n, p in each.named_parameters()}
        other = dict(model.named_parameters())
        with torch.no_grad():
            for n, p in own.items():
                if p.requires_grad:
                    p.copy_(other[n.replace("pft_lora", "pft_qlora")])
        logits(each, name).pow(2).sum().backward()
        found.append({n: p.grad for n, p in own.items() if p.requires_grad})
    assert found[0].keys() == found[1].keys() and len(found[0]) > 10
    for n, gradient in found[1].items():
        assert torch.allclose(found[0][n], gradient, rtol=1e-4, atol=1e-4), n


def test_no_copy_of_a_weight_is_kept_for_the_backward_pass() -> None:
    model = pft.QLoRA(rank=2).attach(tiny("bert"))
    shapes = {tuple(p.shape) for n, p in model.named_parameters() if n.startswith("bert.encoder")}
    shapes = {s for s in shapes if len(s) == 2 and min(s) > 2}
    assert shapes == {(32, 32), (48, 32), (32, 48)}
    both = shapes | {s[::-1] for s in shapes}

    def floats_of_a_weights_shape(model: Any) -> list[Tensor]:
        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            model(**batch("bert", size=3)).logits.sum()
        return [t for t in kept if t.is_floating_point() and tuple(t.shape) in both]

    own = {model.bert.pooler.dense.weight.data_ptr()}  # which is in no layer
    left = [t for t in floats_of_a_weights_shape(model) if t.data_ptr() not in own]
    assert not left
    plain = pft.LoRA(rank=2, at=("ffn.up",)).attach(tiny("bert"))
    assert floats_of_a_weights_shape(plain)  # where weights are not quantised, they are


def test_takes_four_bits_and_an_eighth_for_each_weight() -> None:
    model = pft.QLoRA().attach(blank("llama-7b"))
    deltas = [d for *_, d in planted(model) if isinstance(d, FourBitWeight)]
    assert len(deltas) == 32 * 7
    for delta in deltas:
        assert delta.bits_per_parameter == pytest.approx(4.127, abs=1e-3)


@pytest.mark.parametrize(("size", "count"), [("llama-7b", 159_907_840), ("llama-13b", 250_347_520)])
def test_trains_what_lora_on_all_linear_maps_trains(size: str, count: int) -> None:
    assert pft.count(pft.QLoRA().attach(blank(size))).trainable == count


def test_merging_adds_the_update_to_the_dequantised_weight() -> None:
    model = pft.QLoRA(rank=2, alpha=4.0).attach(tiny("bert"))
    perturb(model)
    host = model.get_submodule(UP)
    made = dequantise(quantise(host.weight), (48, 32), torch.float32)
    expected = made + 2 * host.pft_qlora.B @ host.pft_qlora.A
    pft.merge(model)
    assert torch.allclose(model.get_submodule(UP).weight, expected, atol=1e-6)


def test_other_updates_go_on_top_and_not_below() -> None:
    model = pft.RandomMask(density=0.1).attach(tiny("bert"))
    with pytest.raises(pft.Refused, match="Attach QLoRA first"):
        pft.QLoRA(rank=2).attach(model)
    model = pft.QLoRA(rank=2).attach(tiny("bert"))
    before = logits(model, "bert")
    pft.RandomMask(density=0.1).attach(model)
    assert torch.allclose(logits(model, "bert"), before, atol=1e-5)
    perturb(model)
    pft.LoRA(rank=2).attach(model, "second")
    assert not torch.allclose(logits(model, "bert"), before, atol=1e-3)
    with pft.disabled(model):
        assert torch.equal(logits(model, "bert"), logits(tiny("bert"), "bert"))


def test_places_without_a_linear_map_are_refused() -> None:
    with pytest.raises(pft.Refused, match="not the output of a linear map"):
        pft.QLoRA(rank=2, at=("attention",)).attach(tiny("bert"))
