"""OLoRA against a Gram-Schmidt process."""

import torch
from low_rank_setup import UP, update_at_up
from oracle import delta_at
from tiny import tiny

import pftlab as pft


def gram_schmidt(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(Q, R): the first columns of `weight` made orthonormal, and the weight in their terms."""
    columns: list[torch.Tensor] = []
    for column in weight.double().T[:rank]:
        for known in columns:
            column = column - (known @ column) * known
        columns.append(column / column.norm())
    Q = torch.stack(columns, dim=1)
    return Q.float(), (Q.T @ weight.double()).float()


@torch.no_grad()
def test_starts_with_the_orthonormal_factors() -> None:
    model = pft.OLoRA(rank=3, at=("ffn.up",)).attach(tiny("bert"))
    delta, (Q, R) = delta_at(model, UP), gram_schmidt(model.get_submodule(UP).weight, 3)
    assert torch.allclose(delta.B, Q, atol=1e-5)
    assert torch.allclose(delta.A, R, atol=1e-4)


def test_replaces_them() -> None:
    delta, weight, update = update_at_up(pft.OLoRA(rank=3, alpha=5.0, at=("ffn.up",)))
    Q, R = gram_schmidt(weight, 3)
    expected = 5 / 3 * (delta.B.detach() @ delta.A.detach() - Q @ R)
    assert torch.allclose(update, expected, atol=1e-4)


@torch.no_grad()
def test_knows_how_gpt2_stores_its_weights() -> None:
    """W is (in, out) there; the decomposition is that of (out, in), as the paper has it."""
    model = pft.OLoRA(rank=3, at=("attention.output",)).attach(tiny("gpt2"))
    host = model.transformer.h[0].attn.c_proj
    Q, R = gram_schmidt(host.weight.T, 3)
    assert torch.allclose(host.pft_olora.B, Q, atol=1e-5)
    assert torch.allclose(host.pft_olora.A, R, atol=1e-4)
