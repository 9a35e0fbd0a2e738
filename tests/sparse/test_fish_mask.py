"""FISH mask against Eq. 4, summed by hand over single examples."""

from typing import Any

import pytest
import torch
from tiny import batch, tiny

import pftlab as pft
from pftlab.sparse.fish_mask import fisher
from pftlab.sparse.mask import entries


def data() -> dict[str, torch.Tensor]:
    return batch("bert", size=5) | {"labels": torch.tensor([0, 1, 1, 0, 1])}


def test_fisher_is_the_mean_squared_gradient_of_single_examples() -> None:
    model, everything = tiny("bert"), data()
    parameters = [p for n, p in model.named_parameters() if n.startswith("bert.")]
    expected = [torch.zeros_like(p) for p in parameters]
    for i in range(3):
        model.zero_grad()
        model(**{k: v[i : i + 1] for k, v in everything.items()}).loss.backward()
        for total, p in zip(expected, parameters, strict=True):
            total += p.grad**2 / 3
    found = fisher(model, parameters, iter([everything]), 3)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def log_probability(model: Any, example: dict[str, torch.Tensor]) -> torch.Tensor:
    """log p(y | x) of one example, label by label, from the logits."""
    labels = example["labels"][0]
    scores = model(**example).logits[0].log_softmax(-1)
    if "LMHead" in type(model).__name__:  # what stands at a place is the guess of the next word
        scores, labels = scores[:-1], labels[1:]
    return sum(s[y] for s, y in zip(scores, labels, strict=True) if y != -100)


@pytest.mark.parametrize("name", ["gpt2", "gpt2-tagging", "t5"])
def test_log_p_of_a_text_is_the_sum_over_its_labels(name: str) -> None:
    """Texts of 3 to 8 labels, and one that has none; the model's loss is the mean over them."""
    model, rows = tiny(name), batch(name, size=4, length=8)
    rows.pop("decoder_input_ids", None)
    lengths = (8, 3, 1 if name == "gpt2" else 0, 5)
    ids = rows["input_ids"]
    beyond = torch.arange(8) >= torch.tensor(lengths)[:, None]
    rows["labels"] = (ids % 3 if "tagging" in name else ids).masked_fill(beyond, -100)
    rows["attention_mask"] = rows["attention_mask"].masked_fill(beyond & (torch.arange(8) > 0), 0)
    parameters = list(model.base_model.parameters())
    expected = [torch.zeros_like(p) for p in parameters]
    for i in (0, 1, 3):
        one = {k: v[i : i + 1] for k, v in rows.items()}
        gradients = torch.autograd.grad(log_probability(model, one), parameters, allow_unused=True)
        for total, gradient in zip(expected, gradients, strict=True):
            total += 0 if gradient is None else gradient**2 / 4
    found = fisher(model, parameters, iter([rows]), 4)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-7 * float(b.max()) + 1e-12)


def test_keeps_the_highest_of_all_weights_and_exactly_as_many() -> None:
    model, method = tiny("bert"), pft.FishMask(density=0.01, samples=5)
    method.attach(model)
    before = pft.count(model)
    pairs = entries(model, "fish_mask")
    scores = fisher(model, [p for p, _ in pairs], iter([data()]), 5)
    method.before_training(model, lambda: iter([data()]), 10)
    assert pft.count(model) == before
    kept, dropped = [], []
    for (_, delta), score in zip(pairs, scores, strict=True):
        mask = torch.zeros(score.numel(), dtype=torch.bool)
        mask[delta.places.long()] = True
        kept.append(score.flatten()[mask])
        dropped.append(score.flatten()[~mask])
    assert torch.cat(kept).min() >= torch.cat(dropped).max()
    assert all(not p.requires_grad for p, _ in pairs)
    assert all(p.grad is None for p, _ in pairs)
