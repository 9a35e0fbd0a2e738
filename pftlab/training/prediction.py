"""Answers of a model to texts, as one uses it when it is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_tokenizer
from ..core.errors import BadValue
from ..core.heads import label_names
from ..tasks import Task
from ..tasks.encoding import IGNORED
from .checks import HEADS, check_head
from .choice import Chooser
from .data import encode, like_length
from .generation import Writer

SPLIT = "test"  # what the texts are called on the way


@dataclass(frozen=True)
class Prediction:
    """The class of a text.

    Attributes:
        label: the name of the likeliest.
        probabilities: of every class, by its name; they add up to 1.
    """

    label: str
    probabilities: dict[str, float]

    @property
    def probability(self) -> float:
        """Of the label."""
        return self.probabilities[self.label]


@torch.no_grad()
def predict(
    model: PreTrainedModel,
    texts: Sequence[Any],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    batch_size: int = 32,
    max_length: int = 128,
    max_new_tokens: int = 64,
    instruction: str = "",
    words: Mapping[str, str] | None = None,
    pattern: str | None = None,
) -> list[Any]:
    """Answer texts, encoded as in training, in their order; what is asked follows from the head.

    Args:
        model: on any device; its mode is left as it was.
        texts: strings. Of a classifier of pairs: tuples of two strings. For tags: lists of words,
            or strings, which are split at blanks.
        tokenizer: the base's; loaded if not given.
        batch_size: texts in a forward pass.
        max_length: in tokens, as in training; longer texts are cut.
        max_new_tokens: that are written at most.
        instruction: that the model was trained with, in front of each source (`Task.instruction`;
            of a task in words, that of the task before `in_words`).
        words: class → word: a language model answers by the most probable of them, as it does a
            task after `Task.in_words(words, pattern)`. The texts are strings, or pairs of them.
        pattern: where text and answer stand, as there; only with `words`.

    Returns:
        Of a classifier, and where `words` are given, a `Prediction` for each text (of words: their
        probabilities divided by the sum of them); of a regression, a number; of a tagger, a
        list with the tag of each word; of a decoder or an encoder-decoder, the text that it writes,
        greedily.

    Raises:
        BadValue: the texts are not of the kind that the head reads, a tagged text does not fit
            into `max_length`, the model has no head that answers, or none that gives words, or
            words or pattern are not such as `Task.in_words` takes.
    """
    if pattern is not None and words is None:
        raise BadValue(f"The pattern {pattern!r} is given without words. Give words={{…}} as well.")
    kind, columns = _columns(model, texts) if words is None else _texts_or_pairs(texts)
    if not columns:
        return []
    from datasets import Dataset

    tokenizer = tokenizer or load_tokenizer(model)
    rows = Dataset.from_dict(columns)
    labels = label_names(model) if words is None else tuple(words)
    task = Task("texts", kind, labels, {}, {SPLIT: rows}, "", instruction=instruction)
    if words is not None:
        task = task.in_words(words, pattern)
        check_head(model, task)
    training = model.training
    model.eval()
    try:
        if words is not None:
            choose = Chooser(
                model, task, tokenizer, SPLIT, max_length=max_length, limit=None,
                batch_size=batch_size,
            )  # fmt: skip
            return [_named(labels, row) for row in choose.scores()]
        if kind == "generation":
            write = Writer(
                model, task, tokenizer, SPLIT, max_length=max_length, longest=max_new_tokens,
                limit=None, batch_size=batch_size,
            )  # fmt: skip
            return [written.text for written in write()]
        return _read(model, task, tokenizer, max_length, batch_size)
    finally:
        model.train(training)


def _columns(model: Any, texts: Sequence[Any]) -> tuple[str, dict[str, list[Any]]]:
    """The kind of task that the model's head is for, and the texts as its rows; none, no columns.

    Raises:
        BadValue: no head, or texts that it does not read.
    """
    _check_list(texts)
    texts = list(texts)
    if _has(model, "tagging"):
        words = [text.split() if isinstance(text, str) else list(text) for text in texts]
        for i, row in enumerate(words):
            if not row or not all(isinstance(word, str) for word in row):
                raise BadValue(
                    f"Text {i} is {texts[i]!r}. Give a list of words, at least one of them."
                )
        columns: dict[str, list[Any]] = {"tokens": words, "tags": [[0] * len(w) for w in words]}
        return "tagging", columns if texts else {}
    kind, columns = _texts_or_pairs(texts)
    if _has(model, "classification"):
        if model.config.num_labels == 1:
            return "regression", columns | {"label": [0.0] * len(texts)} if texts else {}
        return kind, columns
    if not model.can_generate():
        raise BadValue(
            f"A {type(model).__name__} has no head that answers. Load the base with num_labels=… "
            "or labels=…, or a language model that writes."
        )
    if kind == "pairs":
        raise BadValue("A language model reads one text at a time. Give a list of strings.")
    return "generation", {"source": texts} if texts else {}


def _texts_or_pairs(texts: Sequence[Any]) -> tuple[str, dict[str, list[Any]]]:
    """Whether texts come one by one or in pairs, and their rows; no texts, no columns.

    Raises:
        BadValue: they are neither.
    """
    _check_list(texts)
    texts = list(texts)
    pairs = [isinstance(text, tuple | list) and len(text) == 2 for text in texts]
    parts = [part for text in texts for part in (text if any(pairs) else [text])]
    if len(set(pairs)) > 1 or not all(isinstance(part, str) for part in parts):
        raise BadValue("Give a list of strings, or a list of tuples of two strings each.")
    label = [0] * len(texts)
    if any(pairs):
        first, second = (list(column) for column in zip(*texts, strict=True))
        return "pairs", {"text_a": first, "text_b": second, "label": label}
    return "classification", {"text": texts, "label": label} if texts else {}


def _check_list(texts: Any) -> None:
    if isinstance(texts, str):
        raise BadValue("One text was given, and a list is needed. Write predict(model, [text]).")


def _has(model: Any, kind: str) -> bool:
    return any(cls.__name__.endswith(HEADS[kind]) for cls in type(model).__mro__)


def _read(
    model: Any, task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int, batch_size: int
) -> list[Any]:
    """What the head says of every row."""
    examples = encode(model, task, tokenizer, SPLIT, max_length, None, False)
    answers: list[Any] = [None] * len(examples)
    collate = task.collate(tokenizer)
    for rows, batch in like_length(model, examples, collate, batch_size, "predict", False):
        labels = batch.pop("labels")
        logits = model(**batch).logits.float()
        for i, row, label in zip(rows, logits.cpu(), labels.cpu(), strict=True):
            if task.kind == "regression":
                answers[i] = float(row)
            elif task.kind == "tagging":
                answers[i] = [task.labels[n] for n in row[label != IGNORED].argmax(-1).tolist()]
            else:
                answers[i] = _named(task.labels, row)
    if task.kind == "tagging":
        _check_words(task, answers, max_length)
    return answers


def _named(labels: Sequence[str], scores: Tensor) -> Prediction:
    """The prediction of scores (classes,), which are logits or log-probabilities."""
    named = dict(zip(labels, scores.softmax(-1).tolist(), strict=True))
    return Prediction(max(named, key=named.__getitem__), named)


def _check_words(task: Task, tags: list[list[str]], max_length: int) -> None:
    """Refuse a text of which words were cut off: the tags would not say whose they are."""
    for i, words in enumerate(task.splits[SPLIT]["tokens"]):
        if len(words) != len(tags[i]):
            raise BadValue(
                f"Text {i} has {len(words)} words, and {len(tags[i])} of them were read within "
                f"max_length={max_length}. Give more, or cut the text; a word must leave a token."
            )
