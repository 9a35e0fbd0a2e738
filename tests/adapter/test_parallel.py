"""The scaled parallel adapter of He et al.: h + s f(x), x what the sub-layer reads."""

import pytest
import torch
from oracle import delta_at, states
from tiny import batch, perturb, tiny

import pftlab as pft


@pytest.mark.parametrize(
    ("name", "layer", "reads", "writes", "host"),
    [
        ("bert", "bert.encoder.layer.0", "intermediate", "output.dense", "output.dropout"),
        ("gpt2", "transformer.h.0", "ln_2", "mlp.c_proj", "mlp"),
        ("llama", "model.layers.0", "post_attention_layernorm", "mlp.down_proj", "mlp"),
        ("t5", "encoder.block.0.layer.1", "layer_norm", "DenseReluDense.wo", "dropout"),
    ],
)
def test_adds_a_scaled_change_of_what_the_sublayer_reads(
    name: str, layer: str, reads: str, writes: str, host: str
) -> None:
    model = pft.ParallelAdapter(bottleneck=4, scale=2.5).attach(tiny(name))
    perturb(model)
    paths = [f"{layer}.{p}" for p in (reads, writes, host)]
    seen = states(model, batch(name), *paths)
    x, h = seen[paths[0]][0], seen[paths[1]][1]
    a = delta_at(model, f"{layer}.{host}")
    expected = h + 2.5 * a.up(torch.relu(a.down(x)))
    assert torch.allclose(a(x, h), expected, atol=1e-6)
    # the host's own output is observed behind the delta's hook: it was planted first
    assert torch.allclose(seen[paths[2]][1], expected, atol=1e-6)


def test_a_scale_of_zero_is_refused() -> None:
    with pytest.raises(pft.BadValue, match="other than 0"):
        pft.ParallelAdapter(scale=0.0)
