"""AdapterDrop: the backward pass really ends at the lowest adapter that is kept."""

import torch
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.adapter.adapter_drop import DroppableBottleneck, drop, skip_below
from pftlab.core.ports.steps import announced


def attached() -> object:
    model = pft.AdapterDrop(bottleneck=4).attach(tiny("bert"))
    perturb(model)
    return model


def test_nothing_below_the_lowest_kept_adapter_is_differentiated() -> None:
    model = attached()
    model.train()
    skip_below(model, 1)
    reached: list[str] = []
    for n in (0, 1):
        layer = model.bert.encoder.layer[n]
        layer.register_forward_hook(
            lambda m, a, out, n=n: reached.append(f"{n} {out.requires_grad}")
        )
    with announced(model):
        model(**batch("bert")).logits.sum().backward()
    assert reached == ["0 False", "1 True"]
    for name, parameter in model.named_parameters():
        if "pft_" in name:
            assert (parameter.grad is None) == ("layer.0." in name), name


def test_all_adapters_act_in_evaluation_until_they_are_dropped() -> None:
    model, inputs = attached(), batch("bert")
    full = model(**inputs).logits
    skip_below(model, 1)
    assert torch.equal(model.eval()(**inputs).logits, full)
    drop(model, 1)
    dropped = model(**inputs).logits
    assert not torch.equal(dropped, full)
    for *_, delta in pft.core.planted(model):
        delta.active = delta.layer >= 1
    assert torch.equal(model(**inputs).logits, dropped)
    drop(model, 0)
    assert torch.equal(model(**inputs).logits, full)


def test_the_number_of_dropped_layers_is_drawn_for_each_step() -> None:
    model, method = attached(), pft.AdapterDrop(bottleneck=4)
    drawn = []
    for step in range(1, 41):
        method.before_step(model, step, 40)
        adapters = [m for m in model.modules() if isinstance(m, DroppableBottleneck)]
        drawn.append(sum(a.skipped for a in adapters) // 2)
    assert set(drawn) == {0, 1}  # two layers: n is 0 or 1
    assert 10 < sum(drawn) < 30
    method.before_step(model, 7, 40)
    assert sum(a.skipped for a in adapters) // 2 == drawn[6]  # a resumed run draws alike


def test_the_last_step_brings_all_adapters_back() -> None:
    method = pft.AdapterDrop(bottleneck=4)
    for total in range(1, 9):
        model = method.attach(tiny("bert"))
        adapters = [m for m in model.modules() if isinstance(m, DroppableBottleneck)]
        skipped = []
        for step in range(1, total + 1):
            method.before_step(model, step, total)
            skipped.append(any(a.skipped for a in adapters))
            method.after_step(model, step, total)
            assert any(a.skipped for a in adapters) == (skipped[-1] and step < total)
        assert all(a.active for a in adapters)
    assert skipped[-1], "nothing was dropped in a last step: this has shown nothing"
