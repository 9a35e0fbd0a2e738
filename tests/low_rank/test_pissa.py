"""PiSSA against the singular value decomposition of the weight."""

import json
from pathlib import Path

import pytest
import torch
from low_rank_setup import ALL_LINEAR, UP, update_at_up
from oracle import delta_at
from safetensors.torch import load_file
from tiny import perturb, tiny

import pftlab as pft
from pftlab.experiments.sizes import blank


def largest(weight: torch.Tensor, rank: int) -> torch.Tensor:
    """The part of `weight` with its `rank` largest singular values, from W Wᵀ's eigenvectors."""
    weight = weight.double()
    _, vectors = torch.linalg.eigh(weight @ weight.T)
    top = vectors[:, -rank:]
    return (top @ top.T @ weight).float()


def test_replaces_the_largest_singular_values() -> None:
    delta, weight, update = update_at_up(pft.PiSSA(rank=3, alpha=5.0, at=("ffn.up",)))
    expected = 5 / 3 * delta.B.detach() @ delta.A.detach() - largest(weight, 3)
    assert torch.allclose(update, expected, atol=1e-4)


@torch.no_grad()
def test_starts_with_them_and_shares_them_evenly() -> None:
    model = pft.PiSSA(rank=3, alpha=5.0, at=("ffn.up",)).attach(tiny("bert"))
    delta, weight = delta_at(model, UP), model.get_submodule(UP).weight
    assert torch.allclose(5 / 3 * delta.B @ delta.A, largest(weight, 3), atol=1e-4)
    assert torch.allclose(delta.A.norm(dim=1), delta.B.norm(dim=0), atol=1e-5)
    values = torch.linalg.svdvals(weight)[:3]
    assert torch.allclose(5 / 3 * delta.A.norm(dim=1) * delta.B.norm(dim=0), values, atol=1e-4)


def test_the_start_is_the_same_every_time_and_in_every_precision() -> None:
    def start(double: bool) -> torch.Tensor:
        base = tiny("bert").double() if double else tiny("bert")
        return delta_at(pft.PiSSA(rank=3, at=("ffn.up",)).attach(base), UP).A.detach()

    assert torch.equal(start(False), start(False))
    assert torch.allclose(start(True).float(), start(False), atol=1e-6)


def test_only_the_trained_factors_are_saved(tmp_path: Path) -> None:
    for name in ("bert", "gpt2"):
        model = pft.PiSSA(rank=3).attach(tiny(name))
        perturb(model)
        pft.save(model, tmp_path)
        tensors = load_file(tmp_path / "adapter_model.safetensors")
        counted = pft.count(model)
        assert sum(t.numel() for t in tensors.values()) == counted.trainable + counted.head
        config = json.loads((tmp_path / "adapter_config.json").read_text())
        # slices of GPT-2's fused projection have no form in PEFT, which decomposes the whole
        assert ("peft_type" in config) == (name == "bert")


def test_a_rank_above_the_widths_is_refused() -> None:
    for method in (pft.PiSSA, pft.OLoRA):
        with pytest.raises(pft.BadValue, match="has rank 32 at most"):
            method(rank=33, at=("ffn.up",)).attach(tiny("bert"))


def test_count_of_the_paper() -> None:
    model = pft.PiSSA(rank=128, alpha=128.0, at=ALL_LINEAR).attach(blank("llama-7b"))
    assert pft.count(model).trainable == 319_815_680
