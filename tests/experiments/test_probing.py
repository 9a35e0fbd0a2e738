"""The probe of a relation: templates filled in for both kinds of model, and nouns of one token."""

import pytest
import torch

import pftlab as pft
from pftlab.experiments import probing
from pftlab.prompt.soft_prompt import prompt_of


def test_a_template_is_words_and_places() -> None:
    tokenizer = pft.load_tokenizer("tiny-encoder")
    free = probing.fill(tokenizer, "[P] [P] [X] [P] [MASK] [P].")
    assert free.position == (1, 1, 2, 3) and free.ids.shape == (200, 5) and free.place == 2
    noun, plural = probing.nouns()[7]
    ids = tokenizer(f"{noun} {plural}.")["input_ids"]
    assert free.ids[7].tolist() == [*ids[:2], tokenizer.mask_token_id, *ids[3:]]
    assert tokenizer.decode([free.right[7]]) == plural

    decoder = pft.load_tokenizer("tiny-decoder")
    behind = probing.fill(decoder, "[P] [X] [P], two [MASK].")
    assert behind.position == (0, 1) and behind.place == 2
    assert behind.ids[7].tolist() == decoder(f"{noun}, two")["input_ids"][-3:]
    with pytest.raises(pft.BadValue, match="Put one before"):
        probing.fill(decoder, "[X] [P] [MASK]")
    with pytest.raises(pft.BadValue, match="one .X. and one"):
        probing.fill(tokenizer, "[X] [X] [MASK]")


@pytest.mark.parametrize("base", ["tiny-encoder", "tiny-decoder"])
def test_nouns_and_plurals_are_tokens_of_their_own(base: str) -> None:
    pairs = probing.nouns()
    assert len(set(pairs)) == len({noun for noun, _ in pairs}) == 200
    tokens = pft.load_tokenizer(base)(
        [f"{noun} {plural}" for noun, plural in pairs], add_special_tokens=False
    )["input_ids"]
    assert {len(ids) for ids in tokens} == {2}


def test_training_moves_the_template_alone_and_is_of_its_seed() -> None:
    model, again = (
        probing.train_template("tiny-encoder", "[P] [X] [MASK]", "lstm", 0.01, steps=2)
        for _ in range(2)
    )
    base = pft.load_base("tiny-encoder").state_dict()
    assert all(torch.equal(base[name], p) for name, p in model.state_dict().items() if name in base)
    assert torch.equal(
        prompt_of(model, "p_tuning").vectors(), prompt_of(again, "p_tuning").vectors()
    )
    assert (
        0 <= probing.share_right(model, probing.fill(pft.load_tokenizer(model), "[X] [MASK]")) <= 1
    )
