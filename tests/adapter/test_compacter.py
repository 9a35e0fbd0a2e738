"""Compacter's hypercomplex layers, entry by entry, and its published shares."""

import pytest
import torch
from oracle import delta_at, states
from tiny import batch, tiny

import pftlab as pft
from pftlab.adapter.compacter import LPHM
from pftlab.experiments.sizes import blank


def test_a_layer_is_a_sum_of_kronecker_products() -> None:
    n, d_in, d_out, rank = 3, 6, 9, 2
    rule = torch.nn.Parameter(torch.randn(n, n, n))
    layer = LPHM(d_in, d_out, rule, rank)
    torch.nn.init.normal_(layer.b)
    weight = torch.zeros(d_in, d_out)
    for i in range(n):
        low_rank = layer.s[i] @ layer.t[i]
        for a in range(n):
            for b in range(n):
                rows = slice(a * d_in // n, (a + 1) * d_in // n)
                columns = slice(b * d_out // n, (b + 1) * d_out // n)
                weight[rows, columns] += (rule[i, a, b] * low_rank).detach()
    x = torch.randn(4, d_in)
    assert torch.allclose(layer(x), x @ weight + layer.b, atol=1e-5)


def test_all_layers_share_their_first_factors() -> None:
    model = pft.Compacter(bottleneck=8).attach(tiny("bert"))
    rules = {id(m.A) for m in model.modules() if isinstance(m, LPHM)}
    assert len(rules) == 1


def test_shared_factors_begin_as_small_as_the_authors() -> None:
    model = pft.Compacter(bottleneck=8, terms=8).attach(tiny("bert"))
    rule = next(m.A for m in model.modules() if isinstance(m, LPHM))
    assert rule.std().item() == pytest.approx(1e-4, rel=0.2)  # of 512 numbers


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_on_the_stream_it_reads_what_pfeiffers_adapter_reads(name: str) -> None:
    """LN(s) where a layer norm follows, as AdapterHub's compacter++ does; else s itself."""
    path = {"bert": "bert.encoder.layer.0.output.LayerNorm", "gpt2": "transformer.h.0"}[name]
    inputs = batch(name)
    read, wrote = states(tiny(name), inputs, path)[path]
    how = pft.CompacterPlusPlus(bottleneck=8, std=1.0, layer_norm=False, at=("stream",))
    model = how.attach(tiny(name))
    host, adapter = model.get_submodule(path), delta_at(model, path)

    def change(z: torch.Tensor) -> torch.Tensor:
        hidden = torch.nn.functional.gelu(
            z @ adapter.down.weight() + adapter.down.b, approximate="tanh"
        )
        return hidden @ adapter.up.weight() + adapter.up.b

    if name == "bert":
        expected = host.forward(read + change(host.forward(read)))
    else:
        expected = wrote + change(wrote)
    assert torch.allclose(states(model, inputs, path)[path][1], expected, atol=1e-5)
    assert not torch.allclose(expected, wrote, atol=1e-2)


@pytest.mark.parametrize(
    ("method", "count", "percent"),
    [
        (pft.Compacter(bottleneck=24, terms=4), 161_728, 0.073),
        (pft.CompacterPlusPlus(bottleneck=24, terms=4), 104_704, 0.047),
    ],
)
def test_shares_of_the_paper_on_t5_base(method: pft.Compacter, count: int, percent: float) -> None:
    model = method.attach(blank("t5-base"))
    assert pft.count(model).trainable == count
    assert round(100 * count / 222_903_552, 3) == percent  # of T5-base alone


@pytest.mark.parametrize("terms", [5, 0])
def test_terms_must_divide(terms: int) -> None:
    with pytest.raises(pft.BadValue, match="must divide|at least 1"):
        pft.Compacter(bottleneck=8, terms=terms).attach(tiny("bert"))
