"""rsLoRA: the scale, and what it is for."""

import json
from pathlib import Path

import pytest
import torch
from low_rank_setup import update_at_up
from tiny import perturb, tiny

import pftlab as pft
from pftlab.experiments.sizes import blank


def test_the_update_is_divided_by_the_root_of_the_rank() -> None:
    delta, _, update = update_at_up(pft.RsLoRA(rank=9, alpha=6.0, at=("ffn.up",)))
    assert torch.allclose(update, 2.0 * delta.B.detach() @ delta.A.detach(), atol=1e-5)


@pytest.mark.parametrize(("method", "shrinks"), [(pft.LoRA, True), (pft.RsLoRA, False)])
def test_high_ranks_learn_as_much_as_low_ones(method: type[pft.LoRA], shrinks: bool) -> None:
    """After one step of gradient descent, B is scale · (G xᵀ Aᵀ): the update's size by rank."""
    sizes = []
    for rank in (4, 1024):
        torch.manual_seed(0)
        site = pft.sites(blank("bert-large"), ("attention.query",))[0]
        delta = method(rank=rank).delta(site)
        x, h = torch.ones(1, 1024), torch.zeros(1, 1024)
        delta(x, h).sum().backward()
        with torch.no_grad():
            delta.B -= 1e-3 * delta.B.grad
        sizes.append((delta(x, h) - h).abs().mean().item())
    assert (sizes[1] < 0.1 * sizes[0]) == shrinks
    assert shrinks or sizes[1] > 0.1 * sizes[0]


def test_slices_of_a_fused_projection_keep_their_scale(tmp_path: Path) -> None:
    model = pft.RsLoRA(rank=3, alpha=5.0).attach(tiny("gpt2"))
    perturb(model)
    pft.save(model, tmp_path)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert written["r"] == 6 and written["use_rslora"]
    assert written["lora_alpha"] / 6**0.5 == pytest.approx(5 / 3**0.5)


def test_count() -> None:
    model = pft.RsLoRA(rank=8).attach(blank("roberta-base"))
    assert pft.count(model).trainable == 294_912
