"""LoRA against the paper's equation and its counts."""

import ast
import re

import pytest
import torch
from low_rank_setup import ALL_LINEAR, update_at_up
from tiny import tiny

import pftlab as pft
from pftlab.experiments.sizes import blank


def test_the_update_is_a_scaled_product() -> None:
    delta, _, update = update_at_up(pft.LoRA(rank=3, alpha=5.0, at=("ffn.up",)))
    expected = torch.zeros(48, 32)
    for k in range(3):
        for row in range(48):
            expected[row] += 5 / 3 * delta.B[row, k].detach() * delta.A[k].detach()
    assert torch.allclose(update, expected, atol=1e-5)
    assert torch.linalg.matrix_rank(expected) == 3


def test_only_the_update_sees_dropout() -> None:
    """x is dropped on its way to A: what is left of it is scaled up."""
    method = pft.LoRA(rank=2, alpha=2.0, dropout=0.5)
    delta = method.delta(pft.sites(tiny("bert"), ("ffn.up",))[0]).train()
    torch.nn.init.ones_(delta.B)
    x, h = torch.ones(1, 32), torch.ones(1, 48)
    torch.manual_seed(0)
    dropped = torch.nn.functional.dropout(x, 0.5)
    torch.manual_seed(0)
    assert torch.allclose(delta(x, h)[0, 0], 1 + (delta.A @ dropped[0]).sum(), atol=1e-5)
    assert set(dropped[0].tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("size", "rank", "at", "count"),
    [
        ("roberta-base", 8, None, 294_912),  # Table 2
        ("roberta-large", 8, None, 786_432),  # Table 2
        ("gpt3", 1, None, 4_718_592),  # Table 4
        ("gpt3", 8, None, 37_748_736),  # Table 4
        ("roberta-base", 1, None, 36_864),  # VeRA, Table 1
        ("roberta-base", 16, None, 589_824),
        ("roberta-base", 256, None, 9_437_184),
        ("llama-7b", 64, ALL_LINEAR, 159_907_840),  # VeRA, Table 4
        ("llama-13b", 64, ALL_LINEAR, 250_347_520),
        ("llama-3.1-8b", 8, None, 3_407_872),  # values are narrower: grouped queries
        # AdaLoRA, Table 1: DeBERTaV3-base has the shapes of BERT-base
        ("bert-base", 8, (*ALL_LINEAR[:4], "ffn.up", "ffn.down"), 1_327_104),
        ("bert-base", 2, (*ALL_LINEAR[:4], "ffn.up", "ffn.down"), 331_776),
    ],
)
def test_counts_of_the_papers(size: str, rank: int, at: tuple[str, ...] | None, count: int) -> None:
    sites = {} if at is None else {"at": at}
    model = pft.LoRA(rank=rank, **sites).attach(blank(size))
    assert pft.count(model).trainable == count


def test_a_rank_above_the_widths_is_refused() -> None:
    with pytest.raises(pft.BadValue, match=r"48 × 32 matrix has rank 32 at most"):
        pft.LoRA(rank=33, at=("ffn.up",)).attach(tiny("bert"))


@pytest.mark.parametrize(("name", "more"), [("bert", ()), ("llama", ("ffn.gate",))])
def test_without_sites_it_says_how_to_name_all_linear_maps(
    name: str, more: tuple[str, ...]
) -> None:
    with pytest.raises(pft.BadValue, match="by default they are .'attention.query'") as error:
        pft.LoRA(rank=2, at=None)  # type: ignore[arg-type]
    (listed,) = re.findall(r"at=(\(.*?\)), with 'ffn.gate'", str(error.value))
    at = (*ast.literal_eval(listed), *more)
    model = tiny(name)
    assert {s.path for s in pft.LoRA(rank=2, at=at).sites(model)} == {
        s.path for s in pft.QLoRA(rank=2).sites(model)
    }
