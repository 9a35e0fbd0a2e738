"""Prompt tuning: the prompt is a few words nobody wrote, with places, mask and starts of its own."""

from typing import Any

import pytest
import torch
from tiny import batch, letters_tokenizer, perturb, tiny
from torch import Tensor

import pftlab as pft
from pftlab.prompt.soft_prompt import prompt_of

WORDS = (7, 11, 23)


def of_words(**more: Any) -> Any:
    """A prompt that starts as the embeddings of three words."""
    return pft.PromptTuning(length=3, start="tokens", tokens=tuple((w,) for w in WORDS), **more)


def with_words(inputs: dict[str, Tensor], place: int) -> dict[str, Tensor]:
    """The same inputs with these words written into the text, behind `place` of its own."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    new = torch.tensor(WORDS).expand(len(ids), 3)
    return {
        "input_ids": torch.cat([ids[:, :place], new, ids[:, place:]], 1),
        "attention_mask": torch.cat([mask[:, :place], torch.ones_like(new), mask[:, place:]], 1),
    }


@pytest.mark.parametrize(
    ("name", "place"), [("bert", 1), ("roberta", 1), ("gpt2", 0), ("llama", 0)]
)
def test_a_prompt_of_real_words_is_these_words(name: str, place: int) -> None:
    """[P; X] of Section 2: on an encoder behind the first word, which classification reads."""
    inputs = batch(name)
    with torch.no_grad():
        expected = tiny(name)(**with_words(inputs, place)).logits
        found = of_words().attach(tiny(name))(**inputs).logits
    expected = expected if expected.dim() == 2 else expected[:, 3:]
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, tiny(name)(**inputs).logits, atol=1e-3)


def test_the_decoder_of_an_encoder_decoder_model_does_not_read_it() -> None:
    inputs = batch("t5")
    given = with_words(inputs, 0) | {"decoder_input_ids": inputs["decoder_input_ids"]}
    with torch.no_grad():
        expected = tiny("t5")(**given).logits
        found = of_words().attach(tiny("t5"))(**inputs).logits
    assert torch.allclose(found, expected, atol=1e-5)


def test_starts_of_the_paper() -> None:
    words = tiny("bert").get_input_embeddings().weight
    torch.manual_seed(0)
    uniform = prompt_of(
        pft.PromptTuning(length=9, start="uniform").attach(tiny("bert")), "prompt_tuning"
    ).P
    assert uniform.min() < -0.4 and uniform.max() > 0.4 and uniform.abs().max() <= 0.5
    drawn = pft.PromptTuning(length=9, start="vocabulary", population=12).attach(tiny("bert"))
    rows = (prompt_of(drawn, "prompt_tuning").P[:, None] == words[None]).all(-1).nonzero()
    assert len(rows) == 9 and rows[:, 1].max() < 12 and len(set(rows[:, 1].tolist())) == 9


def test_starts_from_words_of_a_tokenizer() -> None:
    tokenizer = letters_tokenizer()
    a, b = (tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "ab")
    text = pft.PromptTuning.from_text(tokenizer, "a b", length=5)
    assert text.tokens == ((a,), (b,), (a,), (b,), (a,))
    labels = pft.PromptTuning.from_labels(tokenizer, ["ab", "b"], length=3)
    first, second, third = labels.tokens
    assert (len(first), second, third) == (2, (b,), first)  # "ab" is two pieces of a word
    words = tiny("bert").get_input_embeddings().weight
    small = pft.PromptTuning(length=1, start="tokens", tokens=((3, 5),)).attach(tiny("bert"))
    assert torch.allclose(prompt_of(small, "prompt_tuning").P[0], (words[3] + words[5]) / 2)


def test_trains_and_saves_nothing_but_the_vectors() -> None:
    model = pft.PromptTuning(length=3).attach(tiny("gpt2"))
    assert pft.count(model).trainable == 3 * 32
    perturb(model)
    model(**batch("gpt2")).logits.sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is not None] == [
        "transformer.pft_prompt_tuning.P"
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start": "zeros"}, "one of"),
        ({"start": "tokens"}, "go together"),
        ({"tokens": ((1,),)}, "go together"),
        ({"start": "tokens", "tokens": ((1,),)}, "1 groups of ids for length=20"),
        ({"population": 0}, "at least 1"),
    ],
)
def test_impossible_hyperparameters(values: dict[str, Any], message: str) -> None:
    with pytest.raises(pft.BadValue, match=message):
        pft.PromptTuning(**values)
