"""LayerNorm tuning: every norm of the base, and the published counts."""

import pytest
from tiny import tiny

import pftlab as pft
from pftlab.experiments.sizes import blank


@pytest.mark.parametrize(
    ("size", "count"), [("bert-base", 38_400), ("bert-large", 100_352), ("llama-7b", 266_240)]
)
def test_counts_of_the_papers(size: str, count: int) -> None:
    assert pft.count(pft.LayerNormTuning().attach(blank(size))).trainable == count


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "opt"])
def test_trains_the_norms_and_nothing_else(name: str) -> None:
    model = pft.LayerNormTuning().attach(tiny(name))
    head = model.pftlab.head
    for n, p in model.named_parameters():
        is_norm = any(word in n.lower() for word in ("norm", "ln_"))
        assert p.requires_grad == (is_norm or n in head), n
