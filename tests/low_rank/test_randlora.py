"""RandLoRA against the paper's sum of bases, its rank and its counts; PEFT's files."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from low_rank_setup import update_at_up
from safetensors.torch import load_file, save_file
from tiny import batch, perturb, tiny
from transformers import LlamaConfig, LlamaForCausalLM

import pftlab as pft
from pftlab.core import planted

FILE = "adapter_model.safetensors"


def by_hand(delta: Any, d_out: int, d_in: int, scale: float) -> torch.Tensor:
    """s Σⱼ Bⱼ Λⱼ A Γⱼ, term by term; the n r columns of B in their order, r of them a base."""
    (r, n), d_min = delta.Lambda.shape, min(d_in, d_out)
    columns = delta.shared.B[: max(d_in, d_out), :n].flatten(1)
    total = torch.zeros(max(d_in, d_out), d_min)
    for j in range(n):
        B = torch.stack([columns[:, k * n + j] for k in range(r)], 1)
        A = delta.shared.A[:, :d_min]
        total += B @ torch.diag(delta.Lambda[:, j]) @ A @ torch.diag(delta.Gamma[j])
    return scale * (total if d_in <= d_out else total.T)


@pytest.mark.parametrize("rank", [5, 8, 32, 50])  # 32 is the smaller width; 5 does not divide it
def test_the_update_is_the_sum_over_the_bases(rank: int) -> None:
    delta, _, update = update_at_up(pft.RandLoRA(rank=rank, alpha=3.0, at=("ffn.up",)))
    assert delta.Lambda.shape == (rank, -(-32 // rank))
    assert torch.allclose(update, by_hand(delta.requires_grad_(False), 48, 32, 3 / rank), atol=1e-5)


def test_where_the_output_is_the_smaller_side_it_is_transposed() -> None:
    model = pft.RandLoRA(rank=8, alpha=3.0, at=("ffn.down",)).attach(tiny("bert"))
    perturb(model)
    delta = next(delta for *_, delta in planted(model)).requires_grad_(False)
    x, h = torch.randn(4, 48), torch.randn(4, 32)
    assert torch.allclose(delta(x, h), h + x @ by_hand(delta, 32, 48, 3 / 8).T, atol=1e-4)


def test_the_update_has_full_rank() -> None:
    """Which LoRA's of the same rank has not."""
    _, _, update = update_at_up(pft.RandLoRA(rank=4, at=("ffn.up",)))
    _, _, low = update_at_up(pft.LoRA(rank=4, at=("ffn.up",)))
    assert torch.linalg.matrix_rank(update, rtol=1e-4) == 32
    assert torch.linalg.matrix_rank(low, rtol=1e-4) == 4


def test_all_deltas_share_the_bases_and_none_is_saved() -> None:
    model = pft.RandLoRA(rank=8, at=("ffn.up", "ffn.down")).attach(tiny("bert"))
    deltas: list[Any] = [delta for *_, delta in planted(model)]
    assert len({id(delta.shared) for delta in deltas}) == 1
    assert deltas[0].shared.A.shape == (8, 48) and deltas[0].shared.B.shape == (48, 6, 8)
    assert not any("shared" in key for key in model.state_dict())


def test_the_count_is_that_of_peft_on_llama() -> None:
    """PEFT's defaults on Llama 3.2 3B, whose value projection is narrower: 28 · 331,776."""
    config = LlamaConfig(
        hidden_size=3072, num_hidden_layers=1, num_attention_heads=24, num_key_value_heads=8,
        intermediate_size=8, vocab_size=8,
    )  # fmt: skip
    model = pft.RandLoRA().attach(LlamaForCausalLM(config))
    assert 28 * pft.count(model).trainable == 9_289_728


@pytest.mark.parametrize("save_projection", [True, False])
@pytest.mark.filterwarnings("ignore:Specified to not")
def test_files_of_peft_with_and_without_the_bases(save_projection: bool, tmp_path: Path) -> None:
    modules = ["query", "intermediate.dense", "attention.output.dense"]
    settings = peft.RandLoraConfig(
        r=5, randlora_alpha=10, task_type="SEQ_CLS", target_modules=modules,
        projection_prng_key=3, save_projection=save_projection,
    )  # fmt: skip
    theirs = peft.get_peft_model(tiny("bert"), settings)
    perturb(theirs)
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / FILE)
    assert any(key.endswith("randlora_A") for key in tensors) == save_projection
    ours = pft.load(tiny("bert"), tmp_path)
    with torch.no_grad():
        expected = theirs.eval()(**batch("bert")).logits
        assert torch.allclose(ours(**batch("bert")).logits, expected, atol=1e-5)
    if save_projection:
        key = next(key for key in tensors if key.endswith("query.randlora_A"))
        save_file(tensors | {key: -tensors[key]}, tmp_path / FILE)
        with pytest.raises(pft.BadCheckpoint, match="randlora_A is not what the seed 3 gives"):
            pft.load(tiny("bert"), tmp_path)
