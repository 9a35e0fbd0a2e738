"""Prefix tuning against attention written out, against PEFT, and against a cache of real words."""

from typing import Any

import peft
import pytest
import torch
from tiny import batch, letters_tokenizer, perturb, tiny

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.sizes import blank
from pftlab.prompt.prefix import Prefix, prefixes_of
from pftlab.prompt.prefix_tuning import start_from_text


def logits(model: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama"])
def test_equals_peft_when_positions_shift(name: str) -> None:
    kind = "SEQ_CLS" if name in ("bert", "roberta") else "CAUSAL_LM"
    theirs = peft.get_peft_model(
        tiny(name), peft.PrefixTuningConfig(num_virtual_tokens=4, task_type=kind)
    ).eval()
    matrix = theirs.prompt_encoder["default"].embedding.weight  # (n, layers · 2 · heads · width)
    ours = pft.PrefixTuning(length=4, hidden=None, shift_positions=True).attach(tiny(name))
    prefixes = [d for *_, d in planted(ours) if isinstance(d, Prefix)]
    heads, _, width = prefixes[0].keys.shape
    with torch.no_grad():
        torch.nn.init.normal_(matrix)
        parts = matrix.view(4, len(prefixes), 2, heads, width).permute(1, 2, 3, 0, 4)
        for prefix, (keys, values) in zip(prefixes, parts, strict=True):
            prefix.keys.copy_(keys)
            prefix.values.copy_(values)
        if kind == "SEQ_CLS":
            head = theirs.base_model.classifier
            head = getattr(head, "modules_to_save", {"default": head})["default"]
            ours.classifier.load_state_dict(head.state_dict())
    expected = logits(theirs, **batch(name))
    assert torch.allclose(logits(ours, **batch(name)), expected, rtol=1e-5, atol=2e-6)


def test_a_prefix_of_real_words_is_the_cache_of_these_words() -> None:
    model = tiny("gpt2")
    words, text = torch.tensor([[7, 9, 11]]), batch("gpt2")["input_ids"][:1]
    expected = logits(model, input_ids=torch.cat([words, text], 1))[:, 3:]
    pft.PrefixTuning(length=3, hidden=None, shift_positions=True).attach(model)

    class Words:
        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": words[0].tolist()}

    start_from_text(model, Words(), "three words")
    assert torch.allclose(logits(model, input_ids=text), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_starts_from_text_on_every_kind_of_model(name: str) -> None:
    class Words:
        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [7, 9]}

    model = pft.PTuningV2(length=3).attach(tiny(name))
    before = [d.keys.clone() for *_, d in planted(model) if isinstance(d, Prefix)]
    start_from_text(model, Words(), "two words")
    after = [d.keys for *_, d in planted(model) if isinstance(d, Prefix)]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert model.config._attn_implementation == "pftlab"
    with pytest.raises(pft.BadValue, match="no tokens"):
        start_from_text(model, letters_tokenizer(), "")


def test_rotary_positions_make_the_shift_visible_and_relative_ones_do_not() -> None:
    for name, differs in (("llama", False), ("gpt2", True), ("t5", False)):
        outputs = []
        for shift in (True, False):
            torch.manual_seed(0)
            model = pft.PrefixTuning(length=4, hidden=None, shift_positions=shift, std=1.0)
            outputs.append(logits(method_on(model, name), **batch(name)))
        same = torch.allclose(*outputs, atol=1e-5)
        # rotary: the text keeps its relative positions, but its distance to the prefix changes
        assert same == (not differs and name == "t5"), name


def method_on(method: Any, name: str) -> Any:
    return method.attach(tiny(name))


def test_the_network_gives_each_layer_its_own_columns() -> None:
    model = pft.PrefixTuning(length=4, hidden=8).attach(tiny("bert"))
    perturb(model)
    shared = next(d for *_, d in planted(model) if hasattr(d, "shared")).shared
    whole = shared.mlp(shared.embedding)
    for layer in (0, 1):
        part = whole[:, layer * 64 : (layer + 1) * 64].view(4, 2, 4, 8).permute(1, 2, 0, 3)
        keys, values = shared.prefix(layer)
        assert torch.allclose(keys, part[0], atol=1e-6)
        assert torch.allclose(values, part[1], atol=1e-6)


@pytest.mark.parametrize(
    ("method", "size", "count"),
    [
        (pft.PrefixTuning(length=5, hidden=None), "gpt2-medium", 245_760),  # the paper's 250K
        (pft.PTuningV2(length=20), "roberta-large", 983_040),
        (pft.PTuningV2(length=128), "roberta-large", 6_291_456),
        (pft.PrefixTuning(length=20, hidden=None), "roberta-base", 368_640),
        (pft.PrefixTuning(length=20, hidden=512), "roberta-base", 9_864_704),
        (pft.PTuningV2(length=5, hidden=512), "bert-base", 9_860_105 - 6_921),  # without the head
    ],
)
def test_counts_of_the_papers(method: Any, size: str, count: int) -> None:
    assert pft.count(method.attach(blank(size))).trainable == count


def test_a_prefix_that_leaves_no_room() -> None:
    with pytest.raises(pft.BadValue, match="leaves no room"):
        pft.PrefixTuning(length=40).attach(tiny("bert"))
    model = pft.PrefixTuning(length=35).attach(tiny("bert"))
    with pytest.raises(pft.BadValue, match="do not fit"):
        model(**batch("bert"))


@pytest.mark.parametrize(("hidden", "least", "most"), [(None, 0.5, 1.01), (512, 20, 200)])
def test_one_step_moves_a_prefix_by_many_rates_where_a_network_makes_it(
    hidden: int | None, least: float, most: float
) -> None:
    """Why the network needs a small rate: all of its weights move, and an entry is their sum."""
    model = pft.PrefixTuning(length=4, hidden=hidden).attach(tiny("llama"), seed=0)
    rate = 1e-5
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0
    )

    def entries() -> torch.Tensor:
        parts = [part.detach().flatten() for d in prefixes_of(model) for part in d.prefix()]
        return torch.cat(parts).clone()

    before, inputs = entries(), batch("llama")
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    optimiser.step()
    moved = (entries() - before).abs().mean().item() / rate
    assert least < moved < most
