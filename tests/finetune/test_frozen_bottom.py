"""Fine-tuning with a frozen bottom: the complement of what TopLayers freezes."""

import pytest
from tiny import tiny

import pftlab as pft


def trained(method: object, name: str) -> set[str]:
    model = method.attach(tiny(name))  # type: ignore[attr-defined]
    return {n for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "gpt2", "llama", "t5"])
def test_is_top_layers_counted_from_below(name: str) -> None:
    assert trained(pft.FrozenBottom(count=1), name) == trained(pft.TopLayers(count=1), name)


def test_zero_freezes_the_embeddings_alone() -> None:
    model = tiny("bert")
    everything = {n for n, _ in model.named_parameters()}
    frozen = everything - trained(pft.FrozenBottom(count=0), "bert")
    assert frozen and all(n.startswith("bert.embeddings.") for n in frozen)


@pytest.mark.parametrize("count", [-1, 2])
def test_impossible_counts(count: int) -> None:
    with pytest.raises(pft.BadValue, match="at least 0|between 1 and 2"):
        pft.FrozenBottom(count=count).attach(tiny("bert"))
