"""VeRA against the paper's equation and its counts; the shared matrices."""

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from low_rank_setup import ALL_LINEAR, update_at_up
from safetensors.torch import load_file, save_file
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.sizes import blank

FILE = "adapter_model.safetensors"


def test_the_update_scales_rows_and_columns_of_random_matrices() -> None:
    delta, _, update = update_at_up(pft.VeRA(rank=5, at=("ffn.up",)))
    A, B = delta.shared.A, delta.shared.B
    expected = torch.diag(delta.b.detach()) @ B @ torch.diag(delta.d.detach()) @ A
    assert torch.allclose(update, expected, atol=1e-5)


def test_all_deltas_share_what_the_seed_gives() -> None:
    model = pft.VeRA(rank=5, seed=3, at=("ffn.up", "ffn.down")).attach(tiny("bert"))
    deltas: list[Any] = [delta for *_, delta in planted(model)]
    assert len({id(delta.shared) for delta in deltas}) == 1
    assert deltas[0].shared.A.shape == (5, 48) and deltas[0].shared.B.shape == (48, 5)
    generator = torch.Generator().manual_seed(3)
    expected = (2 * torch.rand(5, 48, generator=generator) - 1) * (6 / 48) ** 0.5
    assert torch.allclose(deltas[0].shared.A, expected, atol=1e-6)
    # moved and copied as one
    for other in (copy.deepcopy(model), model.double()):
        assert len({id(delta.shared.A) for *_, delta in planted(other)}) == 1
    assert not any("shared" in key for key in model.state_dict())


@pytest.mark.parametrize("save_projection", [True, False])
@pytest.mark.filterwarnings("ignore:Specified to not load")
def test_files_of_peft_with_and_without_the_matrices(save_projection: bool, tmp_path: Path) -> None:
    modules = ["query", "intermediate.dense", "attention.output.dense"]  # of different widths
    settings = peft.VeraConfig(
        r=5, task_type="SEQ_CLS", target_modules=modules, projection_prng_key=3,
        save_projection=save_projection,
    )  # fmt: skip
    theirs = peft.get_peft_model(tiny("bert"), settings)
    perturb(theirs)
    theirs.save_pretrained(tmp_path)
    assert ("base_model.vera_A" in load_file(tmp_path / FILE)) == save_projection
    ours = pft.load(tiny("bert"), tmp_path)
    with torch.no_grad():
        expected = theirs.eval()(**batch("bert")).logits
        assert torch.allclose(ours(**batch("bert")).logits, expected, atol=1e-5)


def test_other_matrices_than_those_of_the_seed_are_refused(tmp_path: Path) -> None:
    settings = peft.VeraConfig(r=5, task_type="SEQ_CLS", target_modules=["query"])
    peft.get_peft_model(tiny("bert"), settings).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / FILE)
    tensors["base_model.vera_A"] = -tensors["base_model.vera_A"]
    save_file(tensors, tmp_path / FILE)
    model = tiny("bert")
    with pytest.raises(pft.BadCheckpoint, match="vera_A is not what the seed 0 gives"):
        pft.load(model, tmp_path)
    assert not hasattr(model, "pftlab")


@pytest.mark.parametrize(
    ("size", "rank", "at", "count"),
    [
        ("roberta-base", 1024, None, 43_008),  # Table 2
        ("roberta-large", 256, None, 61_440),  # Table 2
        ("roberta-base", 1, None, 18_456),  # Table 1
        ("roberta-base", 16, None, 18_816),
        ("roberta-base", 256, None, 24_576),
        ("roberta-large", 1, None, 49_200),
        ("llama-7b", 1024, ALL_LINEAR, 1_589_248),  # Table 4
        ("llama-13b", 1024, ALL_LINEAR, 2_416_640),
    ],
)
def test_counts_of_the_paper(size: str, rank: int, at: tuple[str, ...] | None, count: int) -> None:
    sites = {} if at is None else {"at": at}
    model = pft.VeRA(rank=rank, **sites).attach(blank(size))
    assert pft.count(model).trainable == count


def test_a_start_that_cannot_move_is_refused() -> None:
    with pytest.raises(pft.BadValue, match="other than 0"):
        pft.VeRA(initial=0)
