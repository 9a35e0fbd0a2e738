"""LT-SFT: the mask is where a full fine-tuning moved most, and the weights are rewound."""

import torch
from tiny import batch, tiny

import pftlab as pft
from pftlab.sparse.mask import entries


def test_masks_what_moved_most_and_rewinds() -> None:
    data = batch("bert", size=4) | {"labels": torch.tensor([0, 1, 1, 0])}
    oracle = tiny("bert")
    optimiser = torch.optim.AdamW(oracle.parameters(), lr=1e-3, weight_decay=0.0)
    for _ in range(3):
        optimiser.zero_grad()
        oracle(**data).loss.backward()
        optimiser.step()
    base = dict(tiny("bert").named_parameters())
    moved = {n: (p.detach() - base[n].detach()).abs() for n, p in oracle.named_parameters()}

    model = tiny("bert")
    method = pft.LTSFT(density=0.01, full_steps=3, full_learning_rate=1e-3)
    method.attach(model)
    before = pft.count(model)
    method.before_training(model, lambda: iter([data]), 10)
    assert pft.count(model) == before
    for n, p in base.items():
        assert torch.equal(model.get_parameter(n), p), n  # rewound, the head too
    names = {id(p): n for n, p in model.named_parameters()}
    kept, dropped = [], []
    for parameter, delta in entries(model, "lt_sft"):
        change = moved[names[id(parameter)]].flatten()
        mask = torch.zeros(change.numel(), dtype=torch.bool)
        mask[delta.places.long()] = True
        kept.append(change[mask])
        dropped.append(change[~mask])
    assert torch.cat(kept).min() >= torch.cat(dropped).max() - 1e-5  # Adam blows rounding up


def test_differences_of_two_tasks_add_up() -> None:
    model, inputs = tiny("bert"), batch("bert")
    pft.LTSFT(density=0.01, seed=1).attach(model, "task")
    pft.LTSFT(density=0.01, seed=2).attach(model, "language")
    weight = model.bert.encoder.layer[0].output.dense.weight
    expected = weight.detach().flatten().clone()
    for name in ("task", "language"):
        for parameter, delta in entries(model, name):
            torch.nn.init.normal_(delta.values)
            if parameter is weight:
                expected.index_add_(0, delta.places.long(), delta.values.detach())
    together = model(**inputs).logits
    pft.merge(model)
    merged = model.bert.encoder.layer[0].output.dense.weight
    assert torch.allclose(merged.flatten(), expected, atol=1e-6)
    assert torch.allclose(model(**inputs).logits, together, atol=1e-5)
