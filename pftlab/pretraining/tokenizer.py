"""The tokenizer of the book's base models: one vocabulary of 8,192 tokens for all of them.

Byte-pair encoding (Sennrich et al., 2016) in the form of SentencePiece's: "▁" stands for a space
and belongs to the word after it, and characters outside the vocabulary fall back to their bytes.
Two choices make a small vocabulary go far:

* **Case is a token of its own.** "The" becomes "⇧ ▁the", so "The" and "the" share their meaning,
  half the vocabulary is not spent on capitals, and lower-cased data sets (SST-2) look like the
  text of pretraining. Decoding puts the capitals back: a lower-casing WordPiece could not write
  English, and its bits per byte would not be those of the text.
* **Clitics are cut as in the Penn Treebank** ("wasn't" = "▁was n't"), as many data sets write
  them, and numbers are cut into pairs of digits.

What is lost: capitals of scripts beyond Latin, Greek and Cyrillic, and the characters "▁" and "⇧"
themselves.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from ..core.errors import BadValue

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[END]")
# Latin, Greek and Cyrillic capitals whose small letter leads back to them.
CAPITALS = "".join(
    c for c in map(chr, range(0x530)) if c.isupper() and c.lower() != c and c.lower().upper() == c
)

# What may become a token: tokens never cross the border of two pieces.
PIECE = "|".join(
    (
        r"⇧",
        r"▁?n't(?!\p{L})",
        r"▁?'(?:s|re|ve|ll|d|m|t)(?!\p{L})",
        r"▁?\p{L}+?(?=n't(?!\p{L}))",
        r"▁?\p{L}+",
        r"▁?\p{N}{1,2}",
        r"▁?[^\s▁⇧\p{L}\p{N}]+",
        r"▁",
        r"\s",
    )
)


def train_tokenizer(texts: Iterable[str], vocabulary: int = 8192) -> Tokenizer:
    """Learn the vocabulary from texts; the result adds no special tokens by itself.

    Args:
        texts: the training text.
        vocabulary: number of tokens, with the special tokens and 256 bytes among them.
    """
    learner = _assemble(models.BPE())
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = BpeTrainer(
        vocab_size=vocabulary - len(byte_tokens),
        special_tokens=list(SPECIAL),
        limit_alphabet=160,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)

    # The trainer knows nothing of bytes: put them between the special tokens and the rest.
    learned = json.loads(learner.to_str())["model"]
    in_order = sorted(learned["vocab"], key=learned["vocab"].get)
    tokens = [*SPECIAL, *byte_tokens, *in_order[len(SPECIAL) :]]
    merges = [tuple(pair) for pair in learned["merges"]]
    tokenizer = _assemble(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=merges,
            unk_token="[UNK]",
            byte_fallback=True,
        )
    )
    # A mask in the middle of a text swallows the spaces around it: it stands for a whole word.
    tokenizer.add_special_tokens(
        [AddedToken(t, lstrip=t == "[MASK]", rstrip=t == "[MASK]", special=True) for t in SPECIAL]
    )
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the number of a token that must exist.

    Raises:
        BadValue: the vocabulary has no such token.
    """
    index = tokenizer.token_to_id(token)
    if index is None:
        raise BadValue(
            f"The tokenizer has no token {token!r}. Use one that this recipe trained, or a teacher "
            "of the BERT family."
        )
    return index


SENTINELS = 32


def sentinel(number: int) -> str:
    """The token that stands for a span that was taken out (Raffel et al., 2020)."""
    return f"<extra_id_{number}>"


def with_sentinels(tokenizer: Tokenizer) -> Tokenizer:
    """The same vocabulary with sentinels behind it, for an encoder-decoder.

    Like a mask, a sentinel in a text swallows the spaces around it: it stands for whole words.
    """
    longer = Tokenizer.from_str(tokenizer.to_str())
    tokens = [
        AddedToken(sentinel(n), lstrip=True, rstrip=True, special=True) for n in range(SENTINELS)
    ]
    longer.add_special_tokens(tokens)
    return longer


def spaced(piece: str) -> str:
    """Rewrite a piece as lower-cased, word-by-word tokenised data sets have it.

    "⇧ ▁the ▁film ." becomes "▁the ▁film ▁.": no capitals, a space before every word and mark.
    """
    bare = piece.strip("▁\n \t")
    return "" if bare in ("", "⇧") else f"▁{bare}"


def for_encoder(tokenizer: Tokenizer, positions: int) -> PreTrainedTokenizerFast:
    """Dress the tokenizer for an encoder: [CLS] first [SEP] second [SEP]."""
    encoder = Tokenizer.from_str(tokenizer.to_str())
    encoder.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, token_id(encoder, t)) for t in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=encoder,
        model_max_length=positions,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def for_decoder(tokenizer: Tokenizer, positions: int) -> PreTrainedTokenizerFast:
    """Dress the tokenizer for a decoder: nothing is added, [END] separates documents."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.to_str()),
        model_max_length=positions,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[END]",
        eos_token="[END]",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def for_seq2seq(tokenizer: Tokenizer, positions: int) -> PreTrainedTokenizerFast:
    """Dress one with sentinels for an encoder-decoder: [END] behind every text, as in T5."""
    ending = Tokenizer.from_str(tokenizer.to_str())
    ending.post_processor = TemplateProcessing(
        single="$A [END]",
        pair="$A [END] $B [END]",
        special_tokens=[("[END]", token_id(ending, "[END]"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=ending,
        model_max_length=positions,
        pad_token="[PAD]",
        unk_token="[UNK]",
        eos_token="[END]",
        additional_special_tokens=[sentinel(number) for number in range(SENTINELS)],
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def save_vocabulary(tokenizer: Tokenizer, path: Path) -> None:
    """Write the tokenizer to one JSON file, which `Tokenizer.from_file` reads."""
    path.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


def _assemble(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(" ", "▁"),
            normalizers.Prepend("▁"),
            normalizers.Replace("\n", "\n▁"),  # so that a word is the same in every place
            normalizers.Replace(Regex(f"(?=[{CAPITALS}])"), "⇧"),
            normalizers.Replace("▁⇧", "⇧▁"),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace("⇧▁", "▁⇧"),
            *(decoders.Replace(f"⇧{c.lower()}", c) for c in CAPITALS),
            decoders.Replace("⇧", ""),
            decoders.Replace("\n▁", "\n"),
            decoders.Replace("▁", " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer
