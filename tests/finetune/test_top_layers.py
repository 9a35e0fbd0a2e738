"""Fine-tuning of the top layers: which they are, and that the backward pass ends below them."""

import pytest
from tiny import batch, tiny

import pftlab as pft


def test_the_last_layer_and_what_follows_it() -> None:
    for name, kept in (
        ("bert", ("bert.encoder.layer.1.", "bert.pooler.", "classifier.")),
        ("gpt2-classification", ("transformer.h.1.", "transformer.ln_f.", "score.")),
        ("llama", ("model.layers.1.", "model.norm.")),  # not the output words: a pretrained head
    ):
        model = pft.TopLayers(count=1).attach(tiny(name))
        for n, p in model.named_parameters():
            assert p.requires_grad == n.startswith(kept), n


def test_a_tied_output_is_no_layer() -> None:
    """GPT-2's output words are its embeddings, which stay frozen."""
    model = pft.TopLayers(count=1).attach(tiny("gpt2"))
    assert not model.lm_head.weight.requires_grad


def test_nothing_below_is_differentiated() -> None:
    model = pft.TopLayers(count=1).attach(tiny("bert"))
    reached = []
    for layer in model.bert.encoder.layer:
        layer.register_forward_hook(lambda m, a, out: reached.append(out.requires_grad))
    model(**batch("bert")).logits.sum().backward()
    assert reached == [False, True]


@pytest.mark.parametrize("count", [0, 3])
def test_impossible_counts(count: int) -> None:
    with pytest.raises(pft.BadValue, match="between 1 and 2|at least 1 layer"):
        pft.TopLayers(count=count).attach(tiny("bert"))
