"""LLaMA-Adapter against its equations, head by head."""

import math

import pytest
import torch
from tiny import batch, tiny

import pftlab as pft
from pftlab.core import planted
from pftlab.core.ports.attention import KeysValues
from pftlab.experiments.sizes import blank
from pftlab.prompt.llama_adapter import ZeroInitAttention


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "qwen3", "olmo2", "gemma2"])
def test_adds_a_gated_second_softmax(name: str) -> None:
    model = pft.LLaMAAdapter(length=3).attach(tiny(name))
    seen: dict[str, torch.Tensor] = {}
    delta = next(d for *_, d in planted(model) if isinstance(d, ZeroInitAttention))
    torch.nn.init.normal_(delta.gate)
    real = ZeroInitAttention.finish

    def watched(self, query, output, *how):  # type: ignore[no-untyped-def]
        result = real(self, query, output, *how)
        if self is delta:
            seen.update(query=query, before=output, after=result)
        return result

    ZeroInitAttention.finish = watched  # type: ignore[method-assign]
    try:
        with torch.no_grad():
            model(**batch(name))
    finally:
        ZeroInitAttention.finish = real  # type: ignore[method-assign]
    key, value = (s for s in pft.sites(model, ("attention.key", "attention.value")) if s.layer == 0)
    query, heads = seen["query"], seen["query"].shape[1]
    width = query.shape[-1]
    bias = [0.0, 0.0]
    if getattr(key.host, "bias", None) is not None:
        whole = key.host.bias
        bias = [whole, value.host.bias] if name == "bert" else [whole[32:64], whole[64:96]]
    keys = delta.P @ key.weight.T + bias[0]
    norms = pft.sites(model, ("attention.key_norm",)) if name in ("qwen3", "olmo2") else []
    if name == "olmo2":  # of all heads at once
        keys = norms[0].host(keys)
    keys = keys.view(3, -1, width)
    if name == "qwen3":
        keys = norms[0].host(keys)
    values = (delta.P @ value.weight.T + bias[1]).view(3, -1, width)
    expected = seen["before"].clone()
    for h in range(heads):
        shared = h * keys.shape[1] // heads  # grouped queries
        scores = query[:, h] @ keys[:, shared].T / math.sqrt(width)
        if name == "gemma2":
            cap = model.config.attn_logit_softcapping
            scores = cap * torch.tanh(scores / cap)
        extra = torch.softmax(scores, -1) @ values[:, shared]
        expected[:, :, h] += torch.tanh(delta.gate[h]) * extra
    assert torch.allclose(seen["after"], expected, atol=1e-5)


def test_count_of_the_paper() -> None:
    upper = tuple(range(2, 32))
    model = pft.LLaMAAdapter(length=10, layers=upper).attach(blank("llama-7b"))
    assert pft.count(model).trainable == 30 * 10 * 4096 + 30 * 32  # 1.2M


def test_is_not_a_prefix() -> None:
    delta = next(d for *_, d in planted(pft.LLaMAAdapter(length=3).attach(tiny("llama"))))
    assert isinstance(delta, KeysValues)
    keys = torch.randn(1, 2, 5, 8)
    assert delta(torch.randn(1, 5, 32), keys, keys)[0] is keys
