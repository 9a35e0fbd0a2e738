"""MAD-X: the invertible adapter against its equations, its inverse, and AdapterHub's count."""

import pytest
import torch
from oracle import delta_at, states
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.adapter.mad_x import Coupling, Invertible, word_scores
from pftlab.core import planted
from pftlab.experiments.sizes import blank


def network(parts: torch.nn.Sequential, z: torch.Tensor) -> torch.Tensor:
    down, _, up = parts
    return torch.relu(z @ down.weight.T + down.bias) @ up.weight.T + up.bias


def test_the_inverse_undoes_the_coupling() -> None:
    coupling, x = Coupling(16, std=0.5), torch.randn(3, 16)
    y = coupling(x)
    first = x[:, :8] + network(coupling.f, x[:, 8:])
    assert torch.allclose(y, torch.cat([first, x[:, 8:] + network(coupling.g, first)], 1))
    assert torch.allclose(coupling.inverse(y), x, atol=1e-5) and not torch.allclose(y, x, atol=0.1)


@pytest.mark.parametrize("name", ["gpt2", "roberta-words"])
def test_words_are_compared_behind_the_inverse(name: str) -> None:
    model = pft.MADX(bottleneck=4).attach(tiny(name))
    perturb(model)
    head, words = {
        "gpt2": ("lm_head", "transformer.wte"),
        "roberta-words": ("lm_head.decoder", "roberta.embeddings.word_embeddings"),
    }[name]
    ids = batch(name)["input_ids"]
    plain = tiny(name).get_submodule(words)(ids)
    seen = states(model, batch(name), words)
    coupling = delta_at(model, words).coupling
    assert torch.allclose(seen[words][1], coupling(plain), atol=1e-6)
    assert delta_at(model, head).coupling is coupling
    h = torch.randn(2, 3, 32)
    host = model.get_submodule(head)
    expected = coupling.inverse(h) @ host.weight.T + (0 if host.bias is None else host.bias)
    assert torch.allclose(host(h), expected, atol=1e-5)


def test_a_classifier_needs_no_inverse() -> None:
    model = pft.MADX(bottleneck=4).attach(tiny("bert"))
    kinds = [d.inverse for *_, d in planted(model) if isinstance(d, Invertible)]
    assert kinds == [False]
    assert word_scores(tiny("bert")) is None


def test_count_of_adapterhub() -> None:
    """Its Pfeiffer adapters, reduction 16, with one invertible adapter."""
    model = pft.MADX(bottleneck=48).attach(blank("bert-base", num_labels=2))
    assert pft.count(model).trainable == 1_190_592
