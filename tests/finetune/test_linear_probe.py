"""The linear probe: what it trains is linear in features that do not move."""

import pytest
import torch
from tiny import batch, tiny

import pftlab as pft


def test_trains_a_head_on_features_that_stay() -> None:
    inputs = batch("bert")
    model = pft.LinearProbe().attach(tiny("bert"))
    counted = pft.count(model)
    assert (counted.trainable, counted.head) == (0, 2 * 32 + 2)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"classifier.weight", "classifier.bias"}

    with torch.no_grad():  # the oracle: the same head on features computed beforehand
        features = tiny("bert").bert(**inputs).pooler_output
    head = torch.nn.Linear(32, 2)
    head.load_state_dict(tiny("bert").classifier.state_dict())
    labels = torch.tensor([0, 1])
    torch.nn.functional.cross_entropy(head(features), labels).backward()
    model(**inputs, labels=labels).loss.backward()
    assert torch.allclose(model.classifier.weight.grad, head.weight.grad, atol=1e-6)


def test_a_model_without_a_head_has_nothing_to_train() -> None:
    with pytest.raises(pft.BadValue, match="load the base with num_labels"):
        pft.LinearProbe().attach(tiny("gpt2"))
