"""(IA)³: three vectors against the modules' own inputs and outputs, and the published counts."""

import pytest
import torch
from oracle import states
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.sizes import blank


def test_rescales_keys_values_and_the_hidden_activations() -> None:
    layer, model = "bert.encoder.layer.0", tiny("bert")
    paths = [f"{layer}.attention.self.key", f"{layer}.attention.self.value"]
    plain = states(model, batch("bert"), *paths)
    pft.IA3(layers=(0,)).attach(model)
    perturb(model)
    vectors = {path: delta.l for path, _, _, delta in planted(model)}
    inner = [f"{layer}.intermediate", f"{layer}.output.dense"]
    seen = states(model, batch("bert"), *paths, *inner)
    for path in paths:
        assert torch.allclose(seen[path][1], vectors[path] * plain[path][1], atol=1e-6)
    down = model.get_submodule(inner[1])
    # the vector scales what comes behind the activation, bias of the second map excluded
    expected = (seen[inner[0]][1] * vectors[inner[1]]) @ down.weight.T + down.bias
    assert torch.allclose(seen[inner[1]][1], expected, atol=1e-5)


def test_a_slice_of_a_fused_projection_is_rescaled_alone() -> None:
    path, model = "transformer.h.0.attn.c_attn", tiny("gpt2")
    plain = states(model, batch("gpt2"), path)[path][1]
    pft.IA3(at=("attention.value",), layers=(0,)).attach(model)
    perturb(model)
    after = states(model, batch("gpt2"), path)[path][1]
    assert torch.equal(after[..., :64], plain[..., :64])
    assert torch.allclose(after[..., 64:], plain[..., 64:] * next(planted(model))[3].l, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "count"), [("bert-base", 55_296), ("gpt2", 55_296), ("t5-base", 129_024)]
)
def test_counts(size: str, count: int) -> None:
    """An encoder layer has 2 d + f numbers, a decoder layer with cross-attention 4 d + f."""
    assert pft.count(pft.IA3().attach(blank(size))).trainable == count
