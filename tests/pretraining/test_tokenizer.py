"""The tokenizer of the book's base models gives every text back, and opens without the book."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from pftlab import BadValue, load_task
from pftlab.pretraining.tokenizer import (
    CAPITALS,
    SPECIAL,
    for_decoder,
    for_encoder,
    for_seq2seq,
    save_vocabulary,
    spaced,
    token_id,
    train_tokenizer,
    with_sentinels,
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    rows = load_task("reviews", size="tiny").splits["train"]
    texts = [row["text"] for row in rows] * 2 + ["The year 1984, O'Brien wasn't sure; we'll see."]
    return train_tokenizer(texts, vocabulary=700)


TEXTS = (
    "The cat sat on the mat.",
    "THE CAT, McDonald and iPhone: aBc.",
    "it wasn't, they'll, I'm, O'Brien's, rock 'n' roll",
    "1, 12, 123, 1,234.56 and 3rd",
    "line one\nLine two\n\n  indented\twith a tab",
    "two  spaces   three",
    "naïve café, Ünïcödé, ЖИЗНЬ и жизнь, Ωμέγα",
    "日本語 and emoji 🙂🙃 fall back to bytes",
    "under_score, snake_case, a-b, (c) [d] {e} <f> @g #h",
    "",
    "x",
    " begins and ends with a space ",
    "\nbegins with a new line, and ends with one\n",
)


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_gives_the_text_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids) == text


def test_a_sentinel_stands_for_words_and_for_the_spaces_around_them(tokenizer: Tokenizer) -> None:
    """So a text with sentinels has the tokens that pretraining makes by taking some out."""
    seq2seq = for_seq2seq(with_sentinels(tokenizer), 256)
    text, end = "The cat sat on the mat.", seq2seq.eos_token_id
    ids = seq2seq(text)["input_ids"]
    assert ids == [*tokenizer.encode(text).ids, end]
    cat = tokenizer.encode("cat").ids
    place = next(i for i in range(len(ids)) if ids[i : i + len(cat)] == cat)
    first = seq2seq.convert_tokens_to_ids("<extra_id_0>")
    without = [*ids[:place], first, *ids[place + len(cat) :]]
    assert seq2seq("The <extra_id_0> sat on the mat.")["input_ids"] == without
    assert seq2seq("<extra_id_0> cat")["input_ids"] == [first, *cat, end]


def test_every_byte_has_a_token(tokenizer: Tokenizer) -> None:
    for byte in range(256):
        assert token_id(tokenizer, f"<0x{byte:02X}>") == len(SPECIAL) + byte
    assert token_id(tokenizer, "[UNK]") not in tokenizer.encode("\x00\x7f ￿ ᚠ").ids


def test_every_capital_comes_back(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode(CAPITALS).ids) == CAPITALS


def test_the_vocabulary_has_the_size_that_was_asked_for(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == 700
    assert [token_id(tokenizer, token) for token in SPECIAL] == list(range(len(SPECIAL)))


def test_training_is_deterministic() -> None:
    rows = load_task("reviews", size="tiny").splits["train"]
    first, second = (train_tokenizer([row["text"] for row in rows], 600) for _ in range(2))
    assert first.to_str() == second.to_str()


def test_words_share_their_meaning_across_case_and_place(tokenizer: Tokenizer) -> None:
    words = tokenizer.encode("the")
    assert tokenizer.encode("The").tokens == ["⇧", *words.tokens]
    assert tokenizer.encode("a\nthe").ids[-len(words.ids) :] == words.ids


def test_clitics_and_numbers_are_cut(tokenizer: Tokenizer) -> None:
    cut = tokenizer.pre_tokenizer.pre_tokenize_str
    normal = tokenizer.normalizer.normalize_str
    assert [p for p, _ in cut(normal("wasn't we'll 1984"))] == [
        "▁was", "n't", "▁we", "'ll", "▁19", "84",
    ]  # fmt: skip


def test_spaced_is_how_lower_cased_data_sets_write() -> None:
    assert [spaced(p) for p in ("⇧", "▁the", ".", "\n", "▁", "n't")] == [
        "", "▁the", "▁.", "", "", "▁n't",
    ]  # fmt: skip


def test_a_pair_has_two_segments(tokenizer: Tokenizer) -> None:
    encoder = for_encoder(tokenizer, 32)
    both = encoder("a cat", "a dog")
    tokens = encoder.convert_ids_to_tokens(both["input_ids"])
    assert tokens[0] == "[CLS]" and tokens.count("[SEP]") == 2 and tokens[-1] == "[SEP]"
    border = tokens.index("[SEP]") + 1
    assert both["token_type_ids"] == [0] * border + [1] * (len(tokens) - border)
    assert encoder("cat [MASK] dog")["input_ids"].count(encoder.mask_token_id) == 1
    assert for_decoder(tokenizer, 32)("a cat")["input_ids"] == tokenizer.encode("a cat").ids


@pytest.mark.parametrize("dress", [for_encoder, for_decoder])
def test_transformers_opens_it_alone(dress: object, tokenizer: Tokenizer, tmp_path: Path) -> None:
    ours = dress(tokenizer, 48)  # type: ignore[operator]
    ours.save_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert theirs(text)["input_ids"] == ours(text)["input_ids"]
    assert theirs.model_max_length == 48
    ids = theirs("It wasn't Ω, 42!")["input_ids"]
    assert theirs.decode(ids, skip_special_tokens=True) == "It wasn't Ω, 42!"


def test_a_foreign_vocabulary_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_vocabulary(tokenizer, tmp_path / "vocabulary.json")
    assert Tokenizer.from_file(str(tmp_path / "vocabulary.json")).to_str() == tokenizer.to_str()
    with pytest.raises(BadValue, match=r"no token '\[BOS\]'"):
        token_id(tokenizer, "[BOS]")
