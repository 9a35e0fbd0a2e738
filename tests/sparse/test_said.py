"""Intrinsic dimension: the Fastfood transform against the dense matrix that it stands for."""

import math

import pytest
import torch
from tiny import batch, tiny

import pftlab as pft
from pftlab.sparse.fastfood import Fastfood, hadamard


def dense_hadamard(length: int) -> torch.Tensor:
    """Sylvester's construction."""
    matrix = torch.ones(1, 1)
    while len(matrix) < length:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def test_hadamard_equals_the_dense_matrix() -> None:
    x = torch.randn(16)
    assert torch.allclose(hadamard(x), dense_hadamard(16) @ x, atol=1e-5)


@pytest.mark.parametrize("size", [16, 13, 1])
def test_fastfood_equals_its_dense_factors(size: int) -> None:
    transform = Fastfood(size, seed=3)
    length = transform.length
    h = dense_hadamard(length)
    permutation = torch.eye(length)[transform.order.long()]
    dense = h @ torch.diag(transform.gauss) @ permutation @ h @ torch.diag(transform.signs)
    dense /= torch.sqrt(length * transform.gauss.square().sum() * size / length)
    theta = torch.randn(5)
    padded = torch.zeros(length)
    padded[: min(5, length)] = theta[:length]
    assert torch.allclose(transform(theta), (dense @ padded)[:size], atol=1e-5)


def test_columns_are_about_of_unit_length() -> None:
    transform = Fastfood(3000, seed=0)
    columns = torch.stack([transform(torch.eye(40)[i]) for i in range(40)])
    assert columns.norm(dim=1).mean() == pytest.approx(1.0, abs=0.1)


def test_d_numbers_in_all_and_the_scales_among_them() -> None:
    model = pft.IntrinsicSAID(dimension=100).attach(tiny("bert"))
    assert pft.count(model).trainable == 100
    scales = [p for n, p in model.named_parameters() if n.endswith(".scale")]
    tensors = sum(1 for n, _ in tiny("bert").named_parameters() if n.startswith("bert."))
    assert len(scales) == tensors
    with pytest.raises(pft.BadValue, match=f"more than {tensors}"):
        pft.IntrinsicSAID(dimension=tensors).attach(tiny("bert"))


def test_the_gradient_is_the_papers_not_the_scaled_one_of_its_code() -> None:
    model = pft.IntrinsicDID(dimension=60).attach(tiny("bert").double())
    theta = next(p for n, p in model.named_parameters() if n.endswith(".theta"))
    torch.nn.init.normal_(theta, std=0.01)
    inputs = batch("bert")

    def loss() -> torch.Tensor:
        return model(**inputs).logits.square().sum()

    loss().backward()
    step = 1e-5
    with torch.no_grad():
        for i in (0, 17):
            theta[i] += step
            above = loss()
            theta[i] -= 2 * step
            below = loss()
            theta[i] += step
            assert math.isclose((above - below) / (2 * step), theta.grad[i], rel_tol=1e-4)


def test_only_d_numbers_are_stored(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from safetensors.torch import load_file

    model = pft.IntrinsicDID(dimension=60).attach(tiny("llama"))
    pft.save(model, tmp_path)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert sum(t.numel() for t in stored.values()) == 60
