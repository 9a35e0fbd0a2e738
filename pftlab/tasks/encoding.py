"""From text to numbers: one function for every kind of row, for every kind of tokenizer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.errors import BadValue
from .rows import shown
from .template import SEPARATOR, Shot, Template, ids, shortened, template_of

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

Example = dict[str, Any]  # input_ids, attention_mask, (token_type_ids), (labels)
IGNORED = -100


def encode_rows(
    rows: "Dataset | Mapping[str, list[Any]]",
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    *,
    positions: int | None = None,
    encoder_decoder: bool | None = None,
    masked: bool | None = None,
    instruction: str = "",
    shots: Sequence[Shot] = (),
) -> list[Example]:
    """Encode rows by their columns; see `Task.encode`, and of `instruction` `template_of`."""
    # a tokenizer that was saved without its limit says 10^30
    limit = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)
    if not 8 <= max_length <= limit:
        raise BadValue(f"max_length={max_length} cannot be. This model takes 8 to {limit} tokens.")
    columns: dict[str, Any] = dict(rows if isinstance(rows, Mapping) else rows[:])  # of lists
    if "tokens" in columns:
        return _encode_tags(tokenizer, columns["tokens"], columns["tags"], max_length)
    if "behind" in columns and (tokenizer.mask_token is not None if masked is None else masked):
        if shots:
            raise BadValue(
                "Solved examples in front are read by decoders (GPT-2, Llama); an encoder fills in "
                "one mask. Give shots=0."
            )
        return _encode_for_mask(tokenizer, columns, max_length)
    if "source" in columns or "front" in columns:
        if encoder_decoder is None:
            encoder_decoder = type(tokenizer).__name__.startswith("T5")
        sources = columns["source"] if "source" in columns else columns["front"]
        targets = columns.get("target")
        if encoder_decoder:
            if shots:
                raise BadValue(
                    "Solved examples in front are read by decoders (GPT-2, Llama); this is an "
                    "encoder-decoder. Give shots=0."
                )
            return _encode_for_encoder_decoder(tokenizer, sources, targets, max_length)
        template = template_of(tokenizer, instruction, shots)
        if max_length + template.shots > limit:
            raise BadValue(
                f"{len(shots)} solved examples take {template.shots} tokens, beside the "
                f"{max_length} of max_length, and this model takes {limit}. Give fewer examples, "
                "or a smaller max_length."
            )
        return _encode_for_decoder(template, sources, targets, max_length)
    texts = [columns["text_a"], columns["text_b"]] if "text_a" in columns else [columns["text"]]
    if len(texts) == 2 and not _separates(tokenizer):
        texts[1] = [SEPARATOR + text for text in texts[1]]
    encoded = dict(tokenizer(*texts, truncation="longest_first", max_length=max_length))
    _give_tokens(encoded, tokenizer)
    return _to_rows({**encoded, "labels": columns["label"]})


def _give_tokens(encoded: dict[str, Any], tokenizer: "PreTrainedTokenizerBase") -> None:
    """Read a text without any token as the end-of-text token alone: a model needs something.

    Encoders put tokens around every text; decoders have none for an empty one.
    """
    empty = [i for i, ids in enumerate(encoded["input_ids"]) if not ids]
    if empty and tokenizer.eos_token_id is None:
        raise BadValue(
            "A text leaves no token in this tokenizer, which has no end-of-text token to stand in "
            "for it. Remove empty texts, or set tokenizer.eos_token."
        )
    for name, values in encoded.items():
        for i in empty:
            alone = {"input_ids": tokenizer.eos_token_id, "attention_mask": 1}
            values[i] = [alone.get(name, 0)]


def _separates(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the tokenizer puts something between two texts; GPT-2's does not."""
    return tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add()


def _encode_tags(
    tokenizer: "PreTrainedTokenizerBase",
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[int]],
    max_length: int,
) -> list[Example]:
    """Give every word's tag to its first sub-word, as in Devlin et al. (2019, section 5.3)."""
    space = _space_before_words(tokenizer)
    words = [[s[0], *(space + word for word in s[1:])] for s in sentences]
    encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length)
    labels = []
    for i, row_tags in enumerate(tags):
        row, before = [], None
        for word in encoded.word_ids(i):
            row.append(IGNORED if word is None or word == before else row_tags[word])
            before = word
        if all(label == IGNORED for label in row):
            raise BadValue(
                f"Of the words {shown(list(sentences[i]))} this tokenizer leaves no token, so none "
                "can be tagged. Remove the row."
            )
        labels.append(row)
    return _to_rows({**encoded, "labels": labels})


def _space_before_words(tokenizer: "PreTrainedTokenizerBase") -> str:
    """What to put before a word so that it gets the tokens that it has inside a text.

    Byte-level tokenizers (GPT-2, RoBERTa) need the space; others supply it themselves.
    """
    first, second, both = ids(tokenizer, ["a", "word", "a word"])
    return "" if first + second == both else " "


def _encode_for_encoder_decoder(
    tokenizer: "PreTrainedTokenizerBase",
    sources: Sequence[str],
    targets: Sequence[str] | None,
    max_length: int,
) -> list[Example]:
    columns = dict(tokenizer(list(sources), truncation=True, max_length=max_length))
    _give_tokens(columns, tokenizer)
    if targets is not None:
        columns["labels"] = tokenizer(text_target=list(targets))["input_ids"]
        _check_room(max(map(len, columns["labels"])), max_length)
    return _to_rows(columns)


def _encode_for_decoder(
    template: Template, sources: Sequence[str], targets: Sequence[str] | None, max_length: int
) -> list[Example]:
    """Write a prompt and an answer, with the loss on the answer alone, its end included."""
    goals = [[]] * len(sources) if targets is None else template.answers(sources, targets)
    _check_room(template.around + 1 + max(map(len, goals)), max_length)
    rooms = [max_length - len(goal) for goal in goals]
    examples = []
    for prompt, goal in zip(template.prompts(sources, rooms), goals, strict=True):
        row: Example = {
            "input_ids": prompt + goal,
            "attention_mask": [1] * (len(prompt) + len(goal)),
        }
        if targets is not None:
            row["labels"] = [IGNORED] * len(prompt) + goal
        examples.append(row)
    return examples


def _encode_for_mask(
    tokenizer: "PreTrainedTokenizerBase", columns: dict[str, list[Any]], max_length: int
) -> list[Example]:
    """Write a mask at the place of the answer, with the loss on it alone."""
    tokens = word_tokens(tokenizer, sorted(set(columns["target"])))
    examples = []
    for front, behind, word in zip(
        columns["front"], columns["behind"], columns["target"], strict=True
    ):
        row = _masked(tokenizer, front, behind)
        while (excess := len(row["input_ids"]) - max_length) > 0:
            if front:
                front = shortened(tokenizer, front, excess)
            else:
                behind = shortened(tokenizer, behind, excess)
            row = _masked(tokenizer, front, behind)
        places = [token == tokenizer.mask_token_id for token in row["input_ids"]]
        if sum(places) != 1:
            raise BadValue(
                f"The text {shown(front)} holds {tokenizer.mask_token} itself, so it cannot be "
                "known which is to be filled in. Remove it from the data."
            )
        row["labels"] = [tokens[word] if place else IGNORED for place in places]
        examples.append(row)
    return examples


def _masked(tokenizer: "PreTrainedTokenizerBase", front: str, behind: str) -> Example:
    return dict(tokenizer(f"{front} {tokenizer.mask_token}{behind}".lstrip()))


def word_tokens(tokenizer: "PreTrainedTokenizerBase", words: Sequence[str]) -> dict[str, int]:
    """The token that each word is inside a text.

    Raises:
        BadValue: a word is none that the tokenizer knows as one token.
    """
    space = _space_before_words(tokenizer)
    tokens = {word: ids(tokenizer, [space + word])[0] for word in words}
    unknown = tokenizer.unk_token_id
    odd = [word for word, found in tokens.items() if len(found) != 1 or found[0] == unknown]
    if odd or len({found[0] for found in tokens.values()}) < len(words):
        raise BadValue(
            f"A mask is filled in by one token, and {', '.join(odd or words)} "
            f"{'is' if len(odd) == 1 else 'are'} not one token each in this tokenizer. Give "
            'other words, as in task.in_words(["bad", "good"]).'
        )
    return {word: found[0] for word, found in tokens.items()}


def _check_room(needed: int, max_length: int) -> None:
    if needed > max_length:
        raise BadValue(
            f"The longest target needs max_length={needed} and {max_length} was given. A target is "
            f"never cut: give max_length={needed} or more, or shorten the data."
        )


def _to_rows(columns: dict[str, Any]) -> list[Example]:
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


class Collator:
    """Pad encoded rows to the longest and stack them into tensors of shape (batch, length).

    Prompts, which are sequences without labels, are padded on the left, everything else on the
    right.

    Args:
        tokenizer: of the model.
        multiple: of which the length is one: that of the longest, rounded up.

    Raises:
        BadValue: the tokenizer has no token to pad with.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", multiple: int = 1):
        padding = tokenizer.pad_token_id
        if padding is None:
            padding = tokenizer.eos_token_id
        if padding is None:
            raise BadValue(
                f"{type(tokenizer).__name__} has neither a padding nor an end-of-text token, so "
                "rows of unequal length cannot share a batch. Set tokenizer.pad_token."
            )
        self.fill = {"input_ids": padding, "labels": IGNORED}
        self.multiple = multiple

    def __call__(self, examples: list[Example]) -> dict[str, "Tensor"]:
        """Make one batch."""
        import torch

        left = "labels" not in examples[0]
        batch = {}
        for name, first in examples[0].items():
            values = [example[name] for example in examples]
            if isinstance(first, list):
                length = -(-max(map(len, values)) // self.multiple) * self.multiple
                fill = self.fill.get(name, 0)
                pads = [[fill] * (length - len(value)) for value in values]
                values = [
                    pad + value if left else value + pad
                    for pad, value in zip(pads, values, strict=True)
                ]
            batch[name] = torch.tensor(values)
        return batch
