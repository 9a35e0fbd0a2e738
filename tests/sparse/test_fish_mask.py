"""FISH mask against Eq. 4, summed by hand over single examples."""

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
