"""Houlsby adapters against the paper's Figure 2 and its counts."""

import pytest
import torch
from oracle import delta_at, states
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.experiments.sizes import blank


def test_stands_between_sublayer_and_residual_sum_in_a_post_norm_model() -> None:
    model = pft.Houlsby(bottleneck=4).attach(tiny("bert"))
    perturb(model)
    layer = "bert.encoder.layer.0"
    seen = states(
        model, batch("bert"),
        f"{layer}.attention.self", f"{layer}.attention.output.dense", f"{layer}.attention.output",
        f"{layer}.intermediate", f"{layer}.output.dense", f"{layer}.output",
    )  # fmt: skip
    for sub, reads in (("attention.output", "attention.self"), ("output", "intermediate")):
        x, h = seen[f"{layer}.{reads}"][0], seen[f"{layer}.{sub}.dense"][1]
        a = delta_at(model, f"{layer}.{sub}.dropout")
        adapted = h + a.up(torch.nn.functional.gelu(a.down(h)))
        norm = model.get_submodule(f"{layer}.{sub}.LayerNorm")
        assert torch.allclose(seen[f"{layer}.{sub}"][1], norm(adapted + x), atol=1e-6)


def test_starts_near_the_base_with_cut_off_normals() -> None:
    model = pft.Houlsby(bottleneck=16, std=0.01).attach(tiny("bert"))
    weights = [p for n, p in model.named_parameters() if "pft_" in n and n.endswith("weight")]
    flat = torch.cat([w.detach().flatten() for w in weights])
    assert flat.abs().max() <= 0.02
    assert flat.std() == pytest.approx(0.0088, rel=0.1)  # of a normal cut off at two deviations
    assert all(not p.any() for n, p in model.named_parameters() if "pft_" in n and "bias" in n)


@pytest.mark.parametrize(
    ("size", "bottleneck", "norms", "count"),
    [
        ("bert-base", 64, False, 2_379_264),  # "approximately 2M" (Section 3.5)
        ("bert-large", 64, False, 6_343_680),  # 2.1 % of the encoder (Table 1)
        ("bert-base", 64, True, 2_379_264 + 38_400),
    ],
)
def test_counts_of_the_paper(size: str, bottleneck: int, norms: bool, count: int) -> None:
    model = blank(size, num_labels=2)
    pft.Houlsby(bottleneck=bottleneck, layer_norm=norms).attach(model)
    assert pft.count(model).trainable == count


def test_unknown_activation() -> None:
    with pytest.raises(pft.BadValue, match="gelu, relu"):
        pft.Houlsby(activation="sine")
