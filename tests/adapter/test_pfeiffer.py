"""Pfeiffer adapters: behind the feed-forward sub-layer, reading the normalised sum."""

import torch
from oracle import delta_at, states
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.experiments.sizes import blank


def test_reads_the_normalised_sum_in_a_post_norm_model() -> None:
    model = pft.Pfeiffer(bottleneck=4).attach(tiny("bert"))
    perturb(model)
    layer = "bert.encoder.layer.1"
    seen = states(model, batch("bert"), f"{layer}.intermediate", f"{layer}.output.dense", layer)
    s = seen[f"{layer}.output.dense"][1] + seen[f"{layer}.intermediate"][0]
    norm, a = (
        model.get_submodule(f"{layer}.output.LayerNorm"),
        delta_at(model, f"{layer}.output.LayerNorm"),
    )
    expected = norm.forward(s + a.up(torch.relu(a.down(norm.forward(s)))))
    assert torch.allclose(seen[layer][1], expected, atol=1e-6)


def test_reads_the_residual_stream_in_a_pre_norm_model() -> None:
    model, layer = tiny("gpt2"), "transformer.h.0"
    y = states(model, batch("gpt2"), layer)[layer][1]
    pft.Pfeiffer(bottleneck=4, layers=(0,)).attach(model)
    perturb(model)
    a = delta_at(model, layer)
    expected = y + a.up(torch.relu(a.down(y)))
    after = states(model, batch("gpt2"), "transformer.h.1.ln_1")["transformer.h.1.ln_1"][0]
    assert torch.allclose(after, expected, atol=1e-6)


def test_count_of_the_paper() -> None:
    model = pft.Pfeiffer(bottleneck=48).attach(blank("bert-base", num_labels=2))
    assert pft.count(model).trainable == 894_528
