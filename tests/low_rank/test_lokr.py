"""LoKr against its equation, its shapes and its counts."""

from typing import Any

import pytest
import torch
from low_rank_setup import update_at_up
from peft.tuners.lokr.layer import factorization
from torch.utils.flop_counter import FlopCounterMode

import pftlab as pft
from pftlab.experiments.sizes import blank
from pftlab.low_rank.lokr import factors


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"rank": 2}, {"C", "D1", "D0"}),
        ({"rank": 4}, {"C", "D"}),
        ({"rank": 1, "decompose_both": True}, {"C1", "C0", "D1", "D0"}),
        ({"rank": 2, "factor": 2}, {"C", "D1", "D0"}),
    ],
)
def test_the_update_is_a_kronecker_product(options: dict[str, Any], names: set[str]) -> None:
    delta, _, update = update_at_up(pft.LoKr(alpha=5.0, at=("ffn.up",), **options))
    own = {name: p.detach() for name, p in delta.named_parameters()}
    assert own.keys() == names
    C = own["C"] if "C" in own else own["C1"] @ own["C0"]
    D = own["D"] if "D" in own else own["D1"] @ own["D0"]
    assert (C.shape[0] * D.shape[0], C.shape[1] * D.shape[1]) == (48, 32)
    for row in range(48):
        for column in range(32):
            i, p = divmod(row, len(D))
            j, q = divmod(column, D.shape[1])
            expected = 5 / options["rank"] * C[i, j] * D[p, q]
            assert abs(update[row, column] - expected) < 1e-5


def test_the_rank_is_the_product_of_the_ranks() -> None:
    delta = pft.LoKr(rank=3).delta(pft.sites(blank("bert-base"), ("attention.query",))[0])
    torch.nn.init.normal_(delta.C)
    eye = torch.eye(768)
    update = (delta(eye, torch.zeros(768, 768))).detach().double()
    values = torch.linalg.svdvals(update)
    assert (values > 1e-6 * values[0]).sum() == 24 * 3


@pytest.mark.parametrize("factor", [-1, 1, 2, 3, 5, 8, 16, 100])
def test_widths_are_factorised_as_in_peft(factor: int) -> None:
    for width in (*range(1, 130), 768, 1024, 3072, 4096, 11008):
        assert factors(width, factor) == tuple(factorization(width, factor))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"rank": 8}, 26_112),
        ({"rank": 16}, 38_400),
        ({"rank": 4, "decompose_both": True}, 10_752),
    ],
)
def test_counts(options: dict[str, Any], count: int) -> None:
    model = pft.LoKr(**options).attach(blank("roberta-base"))
    assert pft.count(model).trainable == count


@pytest.mark.parametrize("factor", [0, -2])
def test_impossible_factors(factor: int) -> None:
    with pytest.raises(pft.BadValue, match="at least 1"):
        pft.LoKr(factor=factor)


def test_costs_what_its_two_products_cost() -> None:
    """To the width a r and back, not a product with the whole update."""
    delta, _, _ = update_at_up(pft.LoKr(rank=2, at=("ffn.up",)))
    (l, a), (k, r), b = delta.C.shape, delta.D1.shape, delta.D0.shape[1]
    with FlopCounterMode(display=False) as counter:
        delta(torch.randn(7, a * b), torch.randn(7, l * k))
    assert counter.get_total_flops() == 2 * 7 * (a * b * a * r + a * r * l * k)
