"""What deltas may ask about a pass: where the words are, and what attention reads."""

import copy
from typing import Any

import pytest
import torch
from oracle import states
from tiny import batch, padded, tiny
from torch import Tensor

import pftlab as pft
from pftlab.core import plant, planted, uproot
from pftlab.core.ports.attention import KeysValues
from pftlab.core.ports.sequence import TextMask


def watched(name: str) -> tuple[Any, TextMask]:
    model, text = tiny(name), TextMask()
    plant(pft.sites(model, ("sequence",))[0], "watch", text)
    return model, text


@pytest.mark.parametrize("name", ["bert", "gpt2", "opt", "llama", "t5"])
def test_words_are_told_from_padding(name: str) -> None:
    model, text = watched(name)
    plain, inputs = batch(name), padded(name, batch(name))
    with torch.no_grad():
        model(**inputs)
        assert torch.equal(text.of(torch.zeros(2, 10, 4)).real, inputs["attention_mask"].bool())
        plain.pop("attention_mask")
        model(**plain)
    now = text.of(torch.zeros(2, 7, 4))
    assert now.real.all() and now.begins
    with pytest.raises(pft.Refused, match="7 positions and the hidden states have 9"):
        text.of(torch.zeros(2, 9, 4))


def test_a_cache_says_that_the_text_has_begun() -> None:
    model, text = watched("gpt2")
    inputs = batch("gpt2")
    with torch.no_grad():
        cache = model(**inputs, use_cache=True).past_key_values
        assert text.of(torch.zeros(2, 7, 4)).begins
        mask = torch.cat([inputs["attention_mask"], torch.tensor([[1], [0]])], 1)
        word = torch.tensor([[5], [6]])
        model(input_ids=word, attention_mask=mask, past_key_values=cache)
    assert not text.of(word[..., None]).begins
    assert text.of(word[..., None]).real.tolist() == [[True], [False]]


def test_embedded_words_and_masks_of_other_shapes() -> None:
    model, text = watched("bert")
    ids = batch("bert")["input_ids"]
    with torch.no_grad():
        model(inputs_embeds=model.bert.embeddings.word_embeddings(ids))
        assert text.of(torch.zeros(2, 7, 4)).real.shape == (2, 7)
        assert text.latest and not copy.deepcopy(text).latest
        with pytest.raises(pft.Refused, match="not of 3 dimensions"):
            model(input_ids=ids, attention_mask=torch.ones(2, 7, 7))


class Reader(KeysValues):
    """Looks at what its attention module reads."""

    seen: Tensor

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.seen = x
        return keys, values


@pytest.mark.parametrize("name", ["bert", "distilbert", "gpt2", "llama", "t5"])
def test_keys_and_values_may_know_what_attention_reads(name: str) -> None:
    model = tiny(name)
    site = pft.sites(model, ("attention.keys_values",))[0]
    reader = Reader()
    plant(site, "reader", reader)
    seen = states(model, batch(name), site.path)[site.path][0]
    assert torch.equal(reader.seen, seen)
    assert reader.reading.look() is None
    uproot(site.host, "pft_reader")
    assert not list(planted(model)) and not site.host._forward_pre_hooks
    assert not any("reader" in path for path, _ in model.named_modules())
