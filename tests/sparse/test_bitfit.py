"""BitFit: which biases, how many, and the one that never learns."""

import pytest
import torch
from tiny import batch, tiny

import pftlab as pft
from pftlab.experiments.sizes import blank


@pytest.mark.parametrize(
    ("size", "at", "count"),
    [
        ("bert-base", None, 102_912),
        ("bert-large", None, 272_384),
        ("roberta-base", None, 102_912 - 768),  # its pooler is part of the head
        ("bert-base", ("attention.query", "ffn.up"), 46_080),
        ("bert-large", ("attention.query", "ffn.up"), 122_880),
    ],
)
def test_counts_of_the_paper(size: str, at: tuple[str, ...] | None, count: int) -> None:
    model = pft.BitFit(at=at).attach(blank(size, num_labels=2))
    assert pft.count(model).trainable == count


def test_the_bias_of_the_keys_gets_no_gradient() -> None:
    model = pft.BitFit().attach(tiny("bert"))
    model(**batch("bert")).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        if name.endswith("key.bias"):
            assert parameter.grad.abs().max() < 1e-6
        if name.endswith("query.bias"):
            assert parameter.grad.abs().max() > 1e-5


@pytest.mark.parametrize("name", ["bert", "gpt2", "gpt_neox"])
def test_layers_are_kept_to(name: str) -> None:
    """The biases inside the chosen layers: none of the other layers, none outside the layers."""
    model = pft.BitFit(layers=(1,)).attach(tiny(name))
    number = {"bert": "bert.encoder.layer.", "gpt2": "transformer.h."}.get(name, "gpt_neox.layers.")
    inside = {n for n, _ in tiny(name).named_parameters() if n.startswith(f"{number}1.")}
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained - {"classifier.weight", "classifier.bias"} == {
        n for n in inside if n.endswith("bias")
    }
    with pytest.raises(pft.BadValue, match="no layer 2"):
        pft.BitFit(layers=(2,)).attach(tiny(name))


def test_a_slice_of_a_fused_bias_is_refused() -> None:
    with pytest.raises(pft.Refused, match="attention.query_key_value"):
        pft.BitFit(at=("attention.query",)).attach(tiny("gpt2"))
    whole = pft.BitFit(at=("attention.query_key_value",)).attach(tiny("gpt2"))
    assert pft.count(whole).trainable == 2 * 96


def test_only_biases_move() -> None:
    model = pft.BitFit().attach(tiny("bert"))
    trained = {n for n, p in model.named_parameters() if p.requires_grad and n.startswith("bert.")}
    assert trained == {
        n for n, _ in tiny("bert").bert.named_parameters(prefix="bert") if n.endswith("bias")
    }
    assert torch.equal(model.bert.pooler.dense.weight, tiny("bert").bert.pooler.dense.weight)
