"""No hyper-parameter is ignored: another value is another training, or is refused."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from tiny import batch, method, tiny
from torch import Tensor

import pftlab as pft
from pftlab import METHODS
from pftlab.core import trainable_state
from pftlab.core.ports.steps import announced
from pftlab.testing import logits

STEPS = 6
#: another value of a field, whatever the method
OTHER: dict[str, Any] = {
    "activation": "tanh",
    "alpha": 3.0,
    "anchors": (None, 5, None, None),
    "at": ("attention.query",),
    "beta1": 0.01,
    "beta2": 0.01,
    "bottleneck": 12,
    "bottlenecks": (4, 5),
    "block": 4,
    "count": 2,
    "decompose_both": True,
    "density": 0.01,
    "dimension": 90,
    "divisor": 1.5,
    "dropout": 0.5,
    "encoder": "mlp",
    "factor": 4,
    "final": 0.2,
    "first": 3,
    "frequencies": 10,
    "full_learning_rate": 1e-2,
    "full_steps": 3,
    "gate": "none",
    "gate_learning_rate": 10.0,
    "hidden": 6,
    "highest": 1,
    "initial": 0.3,
    "interval": 2,
    "last": 1,
    "layer_norm": False,
    "layers": (1,),
    "length": 4,
    "neumann": True,
    "norms": ("ln_1",),
    "orthogonality": 50.0,
    "penalty": 10.0,
    "phase_steps": 2,
    "pieces": ("adapter", "lora"),
    "population": 4,
    "position": 0,
    "rank": 1,
    "ratio": 4.0,
    "regularise": 5.0,
    "samples": 1,
    "scale": 2.0,
    "seed": 5,
    "shift_positions": False,
    "start": 0.5,
    "start_rank": 4,
    "std": 0.5,
    "structured": False,
    "tasks": 3,
    "terms": 2,
    "tied": False,
    "tokens": (4, 5, 6),
    "tuning": 0.6,
    "warmup": 0.4,
}
#: and of some, where a method needs one of its own
OWN: dict[tuple[str, str], Any] = {
    ("adapter_drop", "highest"): 0,
    ("adapter_drop", "layer_norm"): True,
    ("compacter", "rank"): 2,
    ("compacter_plus_plus", "rank"): 2,
    ("frozen_bottom", "count"): 2,
    ("fourierft", "seed"): 7,
    ("gradual_unfreezing", "phase_steps"): 1,
    ("gradual_unfreezing", "start"): 2,
    ("llama_adapter", "gate"): "plain",
    ("lokr", "factor"): 2,
    ("prompt_tuning", "start"): "normal",
    ("multitask_prompt_tuning", "start"): "normal",
}
#: the rest of the method, where a field counts only beside others
BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("adalora", "warmup"): {"interval": 1},
    ("lokr", "decompose_both"): {"rank": 1},
    ("loreft", "tied"): {"last": 1},
    ("prefix_tuning", "std"): {"hidden": None},
}
#: a place of one kind: these methods work at no other
ONE_PLACE = ("sequence", "attention.keys_values")


def data() -> Iterator[dict[str, Tensor]]:
    for seed in range(3):
        labels = torch.tensor([seed % 2, 1, 0, 1])
        yield batch("bert", size=4) | {"labels": labels}


def outcome(how: Any) -> dict[str, Tensor] | str:
    """What a short training makes of a tiny BERT, or the words of a refusal."""
    torch.manual_seed(0)
    model = tiny("bert")
    try:
        how.attach(model)
    except pft.PftError as refusal:
        return str(refusal)
    (how,) = pft.attached(model).values()
    seen = {f"start {name}": tensor.clone() for name, tensor in trainable_state(model).items()}
    with announced(model):
        train(model, how, seen)
    model.eval()
    return seen | trainable_state(model) | {"logits": logits(model, batch("bert"))}


def train(model: Any, how: Any, seen: dict[str, Tensor]) -> None:
    how.before_training(model, data, STEPS)
    optimiser = torch.optim.AdamW(how.parameter_groups(model, 1e-2), lr=1e-2)
    model.train()
    for step, inputs in zip(range(1, STEPS + 1), [*data(), *data()], strict=True):
        how.before_step(model, step, STEPS)
        loss = model(**inputs).loss
        extra = how.extra_loss(model)
        (loss if extra is None else loss + extra).backward()
        how.after_backward(model, step, STEPS)
        optimiser.step()
        optimiser.zero_grad()
        how.after_step(model, step, STEPS)
        if step == STEPS // 2 - 1:
            seen |= {f"early {name}": t.clone() for name, t in trainable_state(model).items()}


def alike(one: dict[str, Tensor] | str, other: dict[str, Tensor] | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("name", [name for name in METHODS if fields(METHODS[name])])
def test_every_field_counts(name: str) -> None:
    plain = method(name)
    expected = outcome(plain)
    assert not isinstance(expected, str) and alike(expected, outcome(plain))
    ignored = []
    for field in fields(plain):
        if field.name == "at" and plain.at is not None and set(plain.at) <= set(ONE_PLACE):
            continue
        how = replace(plain, **BESIDE.get((name, field.name), {}))
        before = outcome(how) if how != plain else expected
        value = OWN.get((name, field.name), OTHER[field.name])
        try:
            after = outcome(replace(how, **{field.name: value}))
        except pft.PftError as refusal:
            after = str(refusal)
        if alike(before, after):
            ignored.append(field.name)
    assert not ignored


#: methods that train more than the layers that `layers` names, and say so
BEYOND = {"galore", "mad_x"}
WITH_LAYERS = [n for n in METHODS if "layers" in {field.name for field in fields(METHODS[n])}]


@pytest.mark.parametrize("name", sorted(set(WITH_LAYERS) - BEYOND))
def test_layers_are_kept_to(name: str) -> None:
    """Nothing of the base outside the layers, the head apart, is trained."""
    model = replace(method(name), layers=(1,)).attach(tiny("bert"))
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    outside = {n for n in trained if not n.startswith(("bert.encoder.layer.1.", "classifier."))}
    assert not outside
