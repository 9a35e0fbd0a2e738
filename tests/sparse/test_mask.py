"""The random mask: an exact count at fixed places, everything else untouched."""

import pytest
import torch
from tiny import batch, tiny

import pftlab as pft
from pftlab.sparse.mask import entries


@pytest.mark.parametrize("density", [0.001, 0.01, 0.3, 1.0])
def test_the_count_is_exact(density: float) -> None:
    model = tiny("bert")
    weights = sum(p.numel() for n, p in model.named_parameters() if n.startswith("bert."))
    pft.RandomMask(density=density).attach(model)
    assert pft.count(model).trainable == int(density * weights)


def test_only_the_chosen_entries_change_when_merged() -> None:
    model, base = tiny("bert"), tiny("bert")
    pft.RandomMask(density=0.01).attach(model)
    places = {id(p): d.places.long() for p, d in entries(model, "random_mask")}
    named = {n: p for n, p in model.named_parameters() if "pft_" not in n}
    for _, delta in entries(model, "random_mask"):
        torch.nn.init.ones_(delta.values)
    chosen = {n: places[id(p)] for n, p in named.items() if id(p) in places}
    pft.merge(model)
    for n, p in base.named_parameters():
        expected = p.detach().flatten().clone()
        if n in chosen:
            expected[chosen[n]] += 1
        assert torch.equal(model.get_parameter(n).flatten(), expected), n


def test_optimiser_state_is_proportional_to_the_mask() -> None:
    model = pft.RandomMask(density=0.01).attach(tiny("bert"))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained)
    model(**batch("bert")).logits.sum().backward()
    optimiser.step()
    moments = sum(s["exp_avg"].numel() for s in optimiser.state.values())
    counted = pft.count(model)
    assert moments == counted.trainable + counted.head


@pytest.mark.parametrize(
    "method",
    [
        pft.RandomMask(),
        pft.FishMask(),
        pft.LTSFT(),
        pft.DiffPruning(),
        pft.IntrinsicDID(),
        pft.IntrinsicSAID(dimension=100),
    ],
)
def test_a_quantised_base_is_refused(method: pft.core.Method) -> None:
    """Not trained by what is left of it: its norms and embeddings."""
    model = tiny("bert")
    host = model.bert.encoder.layer[1].output.dense
    host.weight = torch.nn.Parameter(host.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(pft.Refused, match=r"layer.1.output.dense.weight is quantised.*16 bits"):
        method.attach(model)


@pytest.mark.parametrize("density", [0, -0.1, 1.1])
def test_impossible_densities(density: float) -> None:
    with pytest.raises(pft.BadValue, match="a share: greater than 0"):
        pft.RandomMask(density=density)
