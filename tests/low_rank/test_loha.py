"""LoHa against its equation, its rank and its counts."""

import torch
from low_rank_setup import update_at_up

import pftlab as pft
from pftlab.experiments.sizes import blank


def test_the_update_is_the_entrywise_product_of_two_products() -> None:
    delta, _, update = update_at_up(pft.LoHa(rank=3, alpha=5.0, at=("ffn.up",)))
    B1, A1, B2, A2 = (p.detach() for p in (delta.B1, delta.A1, delta.B2, delta.A2))
    for row in range(48):
        for column in range(32):
            one = sum(B1[row, k] * A1[k, column] for k in range(3))
            two = sum(B2[row, k] * A2[k, column] for k in range(3))
            assert abs(update[row, column] - 5 / 3 * one * two) < 1e-5


def test_the_rank_is_squared() -> None:
    """FedPara, Proposition 1: up to r₁ r₂."""
    delta = pft.LoHa(rank=4).delta(pft.sites(blank("bert-base"), ("attention.query",))[0])
    torch.nn.init.normal_(delta.A2)
    update = ((delta.B1 @ delta.A1) * (delta.B2 @ delta.A2)).detach().double()
    values = torch.linalg.svdvals(update)
    assert (values > 1e-5 * values[0]).sum() == 16


def test_count() -> None:
    model = pft.LoHa(rank=8).attach(blank("roberta-base"))
    assert pft.count(model).trainable == 589_824  # 2 r (m + n) for each of 24 matrices
