"""DoRA against the paper's equation, its gradient and its counts."""

import pytest
import torch
from low_rank_setup import DORA_LINEAR, UP, update_at_up
from oracle import delta_at
from tiny import perturb, tiny

import pftlab as pft
from pftlab.experiments.sizes import blank


def test_each_row_has_the_trained_length_and_the_direction_of_the_sum() -> None:
    delta, weight, update = update_at_up(pft.DoRA(rank=3, alpha=5.0, at=("ffn.up",)))
    for row in range(48):
        v = weight[row].clone()
        for k in range(3):
            v += 5 / 3 * delta.B[row, k].detach() * delta.A[k].detach()
        expected = delta.m[row].detach() * v / v.pow(2).sum().sqrt()
        assert torch.allclose(weight[row] + update[row], expected, atol=1e-5)


def test_starts_with_the_lengths_of_the_weight() -> None:
    model = pft.DoRA(rank=2, at=("ffn.up",)).attach(tiny("bert"))
    weight = model.get_submodule(UP).weight
    for row, length in enumerate(delta_at(model, UP).m):
        assert length.item() == pytest.approx(weight[row].pow(2).sum().sqrt().item(), rel=1e-6)


def test_the_norm_is_a_constant_for_the_gradient() -> None:
    """Section 4.3: the gradient of m ⊙ (V x) / c with c = ‖V‖ held fixed."""
    model = pft.DoRA(rank=3, alpha=5.0, at=("ffn.up",)).attach(tiny("bert"))
    perturb(model)
    host, delta = model.get_submodule(UP), delta_at(model, UP)
    x, g = torch.randn(5, 32), torch.randn(5, 48)
    (host(x) * g).sum().backward()
    A, B, m = (p.detach().requires_grad_() for p in (delta.A, delta.B, delta.m))
    V = host.weight + 5 / 3 * B @ A
    c = V.detach().pow(2).sum(1).sqrt()
    ((m / c * (x @ V.T) + host.bias) * g).sum().backward()
    for ours, expected in ((delta.A, A), (delta.B, B), (delta.m, m)):
        assert torch.allclose(ours.grad, expected.grad, atol=1e-4)


def test_both_parts_see_the_same_dropout() -> None:
    model = pft.DoRA(rank=3, alpha=5.0, dropout=0.5, at=("ffn.up",)).attach(tiny("bert"))
    perturb(model)
    host, delta = model.get_submodule(UP).train(), delta_at(model, UP)
    x = torch.randn(5, 32)
    torch.manual_seed(0)
    dropped = torch.nn.functional.dropout(x, 0.5)
    torch.manual_seed(0)
    V = host.weight + 5 / 3 * delta.B @ delta.A
    change = delta.m / V.norm(dim=1) * (dropped @ V.T) - dropped @ host.weight.T
    expected = x @ host.weight.T + host.bias + change
    assert torch.allclose(host(x), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "rank", "at", "count"),
    [
        ("roberta-base", 8, ("attention.query", "attention.value"), 313_344),
        ("llama-7b", 32, DORA_LINEAR, 56_975_360),
    ],
)
def test_counts(size: str, rank: int, at: tuple[str, ...], count: int) -> None:
    model = pft.DoRA(rank=rank, at=at).attach(blank(size))
    assert pft.count(model).trainable == count


@pytest.mark.parametrize("method", [pft.DoRA, pft.PiSSA, pft.OLoRA])
@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("attention", "not the output of a linear map"),
        ("ffn.down.input", "not the output of a linear map"),
        ("block", "has no weight matrix"),
        ("embedding", "has no weight matrix"),
    ],
)
def test_sites_without_a_weight_are_refused(method: type[pft.LoRA], at: str, reason: str) -> None:
    model = tiny("bert")
    with pytest.raises(pft.Refused, match=reason):
        method(rank=2, at=(at,)).attach(model)
    assert not hasattr(model, "pftlab")


def test_a_quantised_base_is_refused() -> None:
    model = tiny("bert")
    host = model.get_submodule(UP)
    host.weight = torch.nn.Parameter(host.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(pft.Refused, match="quantised"):
        pft.DoRA(rank=2, at=("ffn.up",)).attach(model)


def test_keeps_one_tensor_of_the_outputs_width() -> None:
    """V x, and with a bias none of what it was made of."""
    delta, _, _ = update_at_up(pft.DoRA(rank=2, at=("ffn.up",)))
    kept: list[torch.Tensor] = []
    x, h = torch.randn(7, 32, requires_grad=True), torch.randn(7, 48, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        delta(x, h)
    assert sum(t.shape == (7, 48) for t in kept) == 1
