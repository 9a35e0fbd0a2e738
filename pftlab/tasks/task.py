"""A task: data in three splits, the way from text to tensors, and the score."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..core.errors import BadValue, UnknownName
from .draw import Draw
from .encoding import IGNORED, Collator, Example, encode_rows
from .metrics import Metric
from .template import Shot
from .words import in_words

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


WRITTEN = ("generation", "verbalised")  # kinds that a language model answers in text
SOURCE = {"generation": "source", "verbalised": "front"}  # kind → the column that it reads
CLASSES = ("classification", "pairs", "verbalised")


@dataclass(frozen=True, eq=False)
class Task:
    """What a model is adapted to. Made by `load_task`.

    Attributes:
        name: of the task.
        kind: "classification" (of single texts), "pairs" (classification of two texts),
            "regression", "tagging", "generation", or "verbalised" (classification that is
            answered in words; see `in_words`).
        labels: the names of the classes or tags, by number; empty where there is no head.
        metrics: the scores by name; the first is the main one. Which way is
            better is known from its name, see `pftlab.scores`; of one's own, more is better.
        splits: "train", "validation" and "test", with the columns text, label; or text_a,
            text_b, label; or tokens, tags; or source, target and references, the list of all
            texts that count as right.
        source: where the data came from.
        licence: of the data.
        citation: the paper to cite.
        notes: what a reader of the numbers must know about the splits.
        noise: share of the training labels that is wrong by construction; None if unknown.
        best_score: the highest value of the main metric on the test split that is possible, by
            construction; None if unknown.
        instruction: what a model that follows instructions is told to do, in front of each
            source; "" where the sources say it themselves.
        words: of a verbalised task, what each class is answered with, by number.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    metrics: Mapping[str, Metric]
    splits: Mapping[str, "Dataset"]
    source: str
    licence: str = ""
    citation: str = ""
    notes: tuple[str, ...] = ()
    noise: float | None = None
    best_score: float | None = None
    instruction: str = ""
    words: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """The name of the main score."""
        return next(iter(self.metrics))

    @property
    def num_labels(self) -> int | None:
        """The size of the head: classes or tags, 1 for regression, None where there is none."""
        return 1 if self.kind == "regression" else len(self.labels) or None

    @property
    def model_task(self) -> str | None:
        """What `load_base` takes as `task`; None lets it choose the model's language-model head."""
        if self.kind in WRITTEN:
            return None
        return "token_classification" if self.kind == "tagging" else "sequence_classification"

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the content of all splits: equal data, equal fingerprint."""
        digest = hashlib.sha256()
        for name in sorted(self.splits):
            digest.update(f"{name}\n".encode())
            for row in _in_turn(self.splits[name]):
                line = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
                digest.update(f"{line}\n".encode())
        return digest.hexdigest()

    def encode(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        split: str,
        *,
        max_length: int = 128,
        limit: int | None = None,
        positions: int | None = None,
        encoder_decoder: bool | None = None,
        masked: bool | None = None,
        shots: Sequence[Shot] = (),
    ) -> list[Example]:
        """Turn a split into numbers that `collate` makes batches of.

        Args:
            tokenizer: of the model.
            split: "train", "validation" or "test".
            max_length: in tokens. Longer inputs are cut at the end; of pairs, the longer text
                is. Words of a tagged sentence that are cut off are not scored. A target is never
                cut.
            limit: encode only the first rows.
            positions: how many tokens the model can take; None: what the tokenizer says.
            encoder_decoder: whether source and target go to an encoder and a decoder. Only for
                language models; None means that the tokenizer's class tells (T5).
            masked: whether the answer of a verbalised task is a mask in the text (encoders). None
                means that the tokenizer tells by having a mask.
            shots: solved examples in front of each source, for a decoder; see `shots`. Their
                tokens come on top of `max_length`.

        Returns:
            One dict a row with input_ids, attention_mask, what else the tokenizer gives, and
            labels: a class number, a float (regression), or a list with −100 where no loss falls.

        Raises:
            UnknownName: no such split.
            BadValue: `max_length` cannot be, or the tokenizer does not suit the task.
        """
        return encode_rows(
            self.rows(split, limit),
            tokenizer,
            max_length,
            positions=positions,
            encoder_decoder=encoder_decoder,
            masked=masked,
            instruction=self.instruction,
            shots=shots,
        )

    def prompts(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        split: str,
        *,
        max_length: int = 128,
        limit: int | None = None,
        positions: int | None = None,
        encoder_decoder: bool | None = None,
        shots: Sequence[Shot] = (),
    ) -> list[Example]:
        """Encode only the sources of a task that is answered in text, for `model.generate`.

        They read exactly as the beginnings of `encode`'s rows, unless these were cut to make room
        for their targets. `collate` pads them on the left, so that what the model writes follows
        on.
        """
        if self.kind not in WRITTEN:
            raise BadValue(
                f"The task {self.name!r} is of the kind {self.kind!r}; only generation has "
                "prompts. Use encode()."
            )
        return encode_rows(
            self.rows(split, limit).select_columns([SOURCE[self.kind]]),
            tokenizer,
            max_length,
            positions=positions,
            encoder_decoder=encoder_decoder,
            masked=False,
            instruction=self.instruction,
            shots=shots,
        )

    def shots(self, n: int, seed: int = 0) -> tuple[Shot, ...]:
        """Source and target of `n` training rows, to be shown to a model as solved examples.

        They are those of `subset(n, seed)`, in its order.

        Raises:
            BadValue: the task is answered by no text, or there are not `n` rows.
        """
        if self.kind not in WRITTEN:
            raise BadValue(
                f"The task {self.name!r} is of the kind {self.kind!r}; only a task that is "
                "answered in text can be shown as solved examples. A classification is, after "
                "in_words()."
            )
        if n == 0:
            return ()
        rows = self.subset(n, seed).rows("train")
        return tuple(zip(rows[SOURCE[self.kind]][:], rows["target"][:], strict=True))

    def in_words(
        self,
        words: Mapping[str, str] | Sequence[str] | None = None,
        pattern: str | None = None,
    ) -> "Task":
        """The same classification, answered in words by a language model, without a head.

            load_task("sst2").in_words({"negative": "bad", "positive": "good"},
                                       "{text} It was {answer}.")

        A decoder, or an encoder-decoder, reads what stands in front of the answer, and the class
        whose word is most probable behind it is taken; an encoder with a masked head fills in the
        mask at its place, by a word that is one token. Training has the loss on the word alone.

        Args:
            words: class → word, or the words in the order of the classes; None: the names of the
                classes.
            pattern: the text with its answer; None: the answer behind the text or texts.

        Raises:
            Refused: the task has no classes.
            BadValue: a class without a word of its own, or a pattern that lacks a part.
        """
        return in_words(self, words, pattern)

    def references(self, split: str, limit: int | None = None) -> list[Any]:
        """What `score` compares predictions with: labels, lists of tags, or lists of texts."""
        column = {"tagging": "tags", "generation": "references"}.get(self.kind, "label")
        return self.rows(split, limit)[column][:]

    def collate(self, tokenizer: "PreTrainedTokenizerBase", multiple: int = 1) -> Collator:
        """Make the function that pads a list of encoded rows into a dict of tensors (batch, …).

        Args:
            tokenizer: of the model.
            multiple: of which the padded length is one, in tokens.
        """
        return Collator(tokenizer, multiple)

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Compute every metric of the task.

        Args:
            predictions: class numbers; floats (regression); lists of tag numbers (tagging); texts.
            references: the same, but a list of texts, or one text, for every generated text.
                Tags of −100 are left out, with what was predicted there.

        Raises:
            BadValue: nothing to score, or not as many predictions as references.
        """
        predictions, references = _plain(predictions), _plain(references)
        if len(predictions) != len(references) or not references:
            raise BadValue(
                f"{len(predictions)} predictions were given for {len(references)} references. "
                "Give one for each, and at least one."
            )
        if self.kind == "tagging":
            predictions, references = self._tag_names(predictions, references)
        if self.kind == "generation":
            references = [[r] if isinstance(r, str) else r for r in references]
        return {name: metric(predictions, references) for name, metric in self.metrics.items()}

    def subset(self, n: int, seed: int = 0, split: str = "train") -> "Task":
        """Keep `n` rows of a split, drawn evenly over the classes, for few-shot experiments.

        Without classes (regression, tagging, generation) the draw is over all rows. With one seed
        a smaller subset is a part of every larger one.

        Raises:
            UnknownName: no such split.
            BadValue: there are not `n` rows.
        """
        rows = self.rows(split)
        if not 1 <= n <= len(rows):
            raise BadValue(
                f"A subset of {n} rows was asked of the {len(rows)} rows in {split!r}. "
                f"Choose between 1 and {len(rows)}."
            )
        draw = Draw("subset", seed)
        groups: dict[int, list[int]] = {}
        classes = rows["label"][:] if self.kind in CLASSES else [0] * len(rows)
        for i, label in enumerate(classes):
            groups.setdefault(label, []).append(i)
        queues = [draw.shuffled(groups[label]) for label in sorted(groups)]
        longest = max(map(len, queues))
        in_turn = [queue[k] for k in range(longest) for queue in queues if k < len(queue)]
        return replace(
            self,
            splits={**self.splits, split: rows.select(in_turn[:n])},
            notes=(*self.notes, f"{n} rows of {split} drawn with seed {seed}."),
        )

    def rows(self, split: str, limit: int | None = None) -> "Dataset":
        """The rows of a split, or the first of them; `UnknownName` where there is no such split."""
        if split not in self.splits:
            raise UnknownName("split", split, self.splits)
        rows = self.splits[split]
        return rows if limit is None else rows.select(range(min(limit, len(rows))))

    def _tag_names(
        self, predictions: Sequence[Sequence[int]], references: Sequence[Sequence[int]]
    ) -> tuple[list[list[str]], list[list[str]]]:
        pairs = [
            [(p, r) for p, r in zip(*row, strict=True) if r != IGNORED]
            for row in zip(predictions, references, strict=True)
        ]
        return (
            [[self.labels[p] for p, _ in row] for row in pairs],
            [[self.labels[r] for _, r in row] for row in pairs],
        )

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(rows)}" for name, rows in self.splits.items())
        return f"Task({self.name!r}, {self.kind}, {sizes}, metric {self.metric!r})"


def _in_turn(rows: "Dataset") -> Iterator[dict[str, Any]]:
    """All rows, of which only some are in memory at a time."""
    for start in range(0, len(rows), 10_000):
        yield from rows.select(range(start, min(start + 10_000, len(rows)))).to_list()


def _plain(values: Sequence[Any]) -> list[Any]:
    """Arrays and tensors as lists, which compare and hash by value."""
    return values.tolist() if hasattr(values, "tolist") else list(values)
