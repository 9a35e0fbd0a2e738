"""Full fine-tuning: everything is trained, and the base can be had back."""

import torch
from tiny import batch, perturb, tiny

import pftlab as pft


def test_every_parameter_is_trained_and_comes_back() -> None:
    model, inputs = tiny("bert"), batch("bert")
    values = {n: p.detach().clone() for n, p in model.named_parameters()}
    pft.FullFineTuning().attach(model)
    assert all(p.requires_grad for p in model.parameters())
    counted = pft.count(model)
    assert (
        counted.trainable + counted.head == counted.total == sum(map(torch.numel, values.values()))
    )
    perturb(model)
    assert not any(torch.equal(p, values[n]) for n, p in model.named_parameters())
    with pft.disabled(model), torch.no_grad():
        assert torch.equal(model(**inputs).logits, tiny("bert")(**inputs).logits)
    pft.detach(model)
    assert all(torch.equal(p, values[n]) for n, p in model.named_parameters())


def test_a_step_is_the_optimisers_own() -> None:
    """No method stands between the gradient and the parameter."""
    model, plain = pft.FullFineTuning().attach(tiny("gpt2")), tiny("gpt2")
    for each in (model, plain):
        optimiser = torch.optim.AdamW(each.parameters(), lr=1e-2)
        each(**batch("gpt2")).logits.pow(2).mean().backward()
        optimiser.step()
    plain = dict(plain.named_parameters())
    assert all(torch.equal(p, plain[n]) for n, p in model.named_parameters())
