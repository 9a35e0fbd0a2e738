"""Adapter+: behind the whole block, with a scale for every channel."""

import torch
from oracle import delta_at, states
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.adapter.adapter_plus import ScaledBottleneck


def test_changes_what_the_block_returns() -> None:
    for name, block in (("bert", "bert.encoder.layer.0"), ("gpt2", "transformer.h.0")):
        h = states(tiny(name), batch(name), block)[block][1]
        model = pft.AdapterPlus(bottleneck=4, layers=(0,)).attach(tiny(name))
        perturb(model)
        a = delta_at(model, block)
        inner = torch.nn.functional.gelu(h @ a.down.weight.T + a.down.bias)
        expected = h + a.s * (inner @ a.up.weight.T + a.up.bias)
        assert torch.allclose(states(model, batch(name), block)[block][1], expected, atol=1e-5)


def test_count_of_the_authors() -> None:
    """12 layers of ViT-B, 768 wide, with the paper's 8 numbers in the middle."""
    one = ScaledBottleneck(768, 8, "gelu", 1e-2)
    assert 12 * sum(p.numel() for p in one.parameters()) == 165_984
