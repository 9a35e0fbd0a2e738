"""Which of some words a language model finds most probable as the answer to each text."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..tasks import Task
from ..tasks.encoding import IGNORED, Example, word_tokens
from ..tasks.template import Shot, template_of
from .checks import fills_masks
from .data import encode, encoding_options, like_length

Choices = tuple[float, list[int]]  # mean loss of the right words, and the number of each answer


class Chooser:
    """Answers of a model to a verbalised task.

    log p(word | text) is the sum over the word's tokens, with the one that ends the answer: so a
    word that begins another is no more probable for it. At a mask it is that of the one token.

    Args:
        model: with a language-model head.
        task: of the kind "verbalised".
        tokenizer: of the model.
        split: of the task.
        max_length: in tokens, without the solved examples.
        limit: the first rows only; None: all.
        shots: solved examples in front of each text.
        batch_size: texts, each with one of the words, at a time.
        progress: show a bar where encoding takes longer than a second.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        split: str,
        *,
        max_length: int,
        limit: int | None,
        shots: Sequence[Shot] = (),
        batch_size: int = 64,
        progress: bool = False,
    ):
        self.model, self.split, self.batch_size = model, split, batch_size
        self.collate = task.collate(tokenizer)
        self.labels = task.references(split, limit)
        # also what `prompts` does not look at, such as the room for the answer, is checked here
        self.examples = encode(
            model, task, tokenizer, split, max_length, limit, progress, shots=shots
        )
        self.words: list[int] = []
        self.answers: list[list[int]] = []
        if fills_masks(model):
            self.words = list(word_tokens(tokenizer, task.words).values())
            return
        options = encoding_options(model, task)
        del options["masked"]
        if options["encoder_decoder"]:
            self.answers = tokenizer(text_target=list(task.words))["input_ids"]
            room = max_length
        else:
            template = template_of(tokenizer, task.instruction, shots)
            self.answers = template.answers([""] * len(task.words), task.words)
            room = max(8, max_length - max(map(len, self.answers)))
        self.prompts = task.prompts(
            tokenizer, split, max_length=room, limit=limit, shots=shots, **options
        )

    @torch.no_grad()
    def __call__(self, progress: bool = False) -> Choices:
        """The choices of the model as it is now; its mode is left alone."""
        scores = self.scores(progress)
        right = scores[torch.arange(len(self.labels)), torch.tensor(self.labels)]
        return -float(right.sum()) / self._counted(), scores.argmax(1).tolist()

    @torch.no_grad()
    def scores(self, progress: bool = False) -> Tensor:
        """The log-probability of each word as the answer to each row, (rows, classes)."""
        return self._at_masks(progress) if self.words else self._behind_prompts(progress)

    def _counted(self) -> int:
        """Tokens of all right answers, over which the loss is a mean."""
        if self.words:
            return len(self.labels)
        return sum(len(self.answers[label]) for label in self.labels)

    def _at_masks(self, progress: bool) -> Tensor:
        """The log-probability of each word at the mask of each row, (rows, classes)."""
        scores = torch.zeros(len(self.examples), len(self.words))
        for rows, batch in self._batches(self.examples, progress):
            logits = self.model(**batch).logits[batch["labels"] != IGNORED]
            scores[rows] = logits.float().log_softmax(-1)[:, self.words].cpu()
        return scores

    def _behind_prompts(self, progress: bool) -> Tensor:
        """The log-probability of each word behind the prompt of each row, (rows, classes)."""
        pairs: list[Example] = [
            self._answered(prompt, answer) for prompt in self.prompts for answer in self.answers
        ]
        scores = torch.zeros(len(pairs))
        for rows, batch in self._batches(pairs, progress):
            logits, labels = self.model(**batch).logits, batch["labels"]
            if not self.model.config.is_encoder_decoder:  # the token before says what comes
                logits, labels = logits[:, :-1], labels[:, 1:]
            counts = labels != IGNORED
            found = logits[counts].float().log_softmax(-1)
            found = found.gather(1, labels[counts][:, None])[:, 0].cpu()
            row = torch.tensor(rows)[:, None].expand(counts.shape)[counts.cpu()]
            scores.index_add_(0, row, found)
        return scores.view(len(self.prompts), len(self.answers))

    def _answered(self, prompt: Example, answer: list[int]) -> Example:
        """A prompt with one of the words behind it, or for the decoder beside the encoder."""
        if self.model.config.is_encoder_decoder:
            return {**prompt, "labels": answer}
        ids = prompt["input_ids"]
        return {
            "input_ids": ids + answer,
            "attention_mask": [1] * (len(ids) + len(answer)),
            "labels": [IGNORED] * len(ids) + answer,
        }

    def _batches(self, examples: list[Example], progress: bool) -> Any:
        return like_length(
            self.model, examples, self.collate, self.batch_size, self.split, progress
        )
