"""UniPELT: each gate against its equation, each piece against the method it comes from."""

from typing import Any

import pytest
import torch
from oracle import states
from tiny import batch, padded, perturb, tiny

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.sizes import blank
from pftlab.others.unipelt import Gated, GatedPrefix
from pftlab.prompt.prefix import Prefix


def gate(unit: Any, z: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """One number for each row of z (B, T, d), from the words alone: (B,)."""
    w, b = unit.score.weight[0], unit.score.bias[0]
    numbers = []
    for row, mask in zip(z, words.bool(), strict=True):
        scores = [1 / (1 + torch.exp(-(w @ word + b))) for word in row[mask]]
        numbers.append(torch.stack(scores).mean())
    return torch.stack(numbers)


def small(**changed: Any) -> pft.UniPELT:
    settings = {"length": 3, "hidden": None, "rank": 2, "bottleneck": 4, "layers": (0,)}
    return pft.UniPELT(**(settings | changed))


@pytest.mark.parametrize("name", ["bert", "gpt2-classification"])
def test_a_gated_update_of_the_query(name: str) -> None:
    """The authors' code has the gate in the place of α / r."""
    inputs = padded(name, batch(name))
    model = small(pieces=("lora",)).attach(tiny(name))
    perturb(model)
    host = {"bert": "bert.encoder.layer.0.attention.self.query"}.get(
        name, "transformer.h.0.attn.c_attn"
    )
    x, plain = states(tiny(name), inputs, host)[host]
    after = states(model, inputs, host)[host][1]
    delta = next(d for path, _, _, d in planted(model) if path == host)
    assert isinstance(delta, Gated)
    g = gate(delta.gate, x, inputs["attention_mask"])[:, None, None]
    change = g * (x @ delta.inner.A.T @ delta.inner.B.T)
    assert torch.allclose(after[..., :32], plain[..., :32] + change, atol=1e-5)


def test_a_gated_adapter_in_a_post_norm_and_a_pre_norm_model() -> None:
    for name, path in (
        ("bert", "bert.encoder.layer.0.output.LayerNorm"),
        ("gpt2-classification", "transformer.h.0"),
    ):
        inputs = padded(name, batch(name))
        read, wrote = states(tiny(name), inputs, path)[path]
        model = small(pieces=("adapter",)).attach(tiny(name))
        perturb(model)
        delta = next(d for _, _, _, d in planted(model) if isinstance(d, Gated))
        a, host = delta.inner, model.get_submodule(path)
        z = host.forward(read) if name == "bert" else wrote
        g = gate(delta.gate, z, inputs["attention_mask"])[:, None, None]
        change = g * a.up(torch.relu(a.down(z)))
        expected = host.forward(read + change) if name == "bert" else wrote + change
        after = states(model, inputs, path)[path][1]
        assert torch.allclose(after, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "llama-classification"])
def test_a_gated_prefix_is_a_prefix_times_the_gate(name: str) -> None:
    path = {"bert": "bert.encoder.layer.0.attention.self"}.get(name, "model.layers.0.self_attn")
    model = small(pieces=("prefix",)).attach(tiny(name))
    perturb(model)
    inputs = batch(name, size=1)
    x, after = states(model, inputs, path)[path]
    delta = next(d for *_, d in planted(model) if isinstance(d, GatedPrefix))
    g = gate(delta.gate, x, inputs["attention_mask"])
    assert 0.01 < g.item() < 0.99
    plain = pft.PrefixTuning(length=3, hidden=None, shift_positions=False, layers=(0,))
    other = plain.attach(tiny(name))
    (prefix,) = (d for *_, d in planted(other) if isinstance(d, Prefix))
    with torch.no_grad():
        prefix.keys.copy_(g * delta.inner.keys)
        prefix.values.copy_(g * delta.inner.values)
    assert torch.allclose(after, states(other, inputs, path)[path][1], atol=1e-5)


@pytest.mark.parametrize(
    ("pieces", "count"),
    [(("adapter", "prefix"), 1_097_304), (("adapter", "prefix", "lora"), 1_410_672)],
)
def test_counts_of_the_paper(pieces: tuple[str, ...], count: int) -> None:
    """The paper counts the prefix and not the network that produced it.

    With all three pieces it has 1.3 % of BERT's parameters, and Houlsby's adapters 3.4 times as
    many; a gate of query and value together would have 9,228 numbers less, and the same digits.
    """
    base = blank("bert-base", num_labels=2)
    total = sum(p.numel() for p in base.bert.parameters())
    model = pft.UniPELT(pieces=pieces, hidden=None).attach(base)
    assert pft.count(model).trainable == count
    published = {1_097_304: (1.0, 4.3), 1_410_672: (1.3, 3.4)}[count]
    houlsby = pft.Houlsby(bottleneck=256, layer_norm=False).attach(blank("bert-base"))
    ratio = pft.count(houlsby).trainable / 2 / count
    assert (round(100 * count / total, 1), round(ratio, 1)) == published


def test_query_and_value_of_a_layer_have_a_gate_each() -> None:
    model = small(pieces=("lora",), layers=None).attach(tiny("bert"))
    gates = [d.gate for *_, d in planted(model) if isinstance(d, Gated)]
    assert len(gates) == 4 and len({id(each) for each in gates}) == 4


def test_closed_gates_leave_the_base() -> None:
    model = pft.UniPELT(length=3, rank=2, bottleneck=4, pieces=("adapter", "lora"))
    model.attach(base := tiny("bert"))
    perturb(base)
    for *_, delta in planted(base):
        if isinstance(delta, Gated):
            torch.nn.init.constant_(delta.gate.score.bias, -1e4)
    expected = tiny("bert")
    expected.classifier.load_state_dict(base.classifier.state_dict())
    with torch.no_grad():
        assert torch.equal(base(**batch("bert")).logits, expected(**batch("bert")).logits)


def test_refusals() -> None:
    with pytest.raises(pft.Refused, match=r"word by word.*MAM"):
        pft.UniPELT().attach(tiny("gpt2"))
    with pytest.raises(pft.BadValue, match="adapter, prefix, lora"):
        pft.UniPELT(pieces=("prompt",))
    with pytest.raises(pft.BadValue, match="hidden=0"):
        pft.UniPELT(hidden=0)


def test_what_the_prefix_read_does_not_linger_when_disabled() -> None:
    model = small(pieces=("prefix",)).attach(tiny("bert"))
    with pft.disabled(model):
        model(**batch("bert"))
    prefixes = [delta for *_, delta in planted(model) if isinstance(delta, GatedPrefix)]
    assert prefixes and all(prefix.reading.look() is None for prefix in prefixes)
    pft.detach(model)
    assert not any("pft_" in n for n, _ in model.named_modules())
