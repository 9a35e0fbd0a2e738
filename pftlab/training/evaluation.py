"""Scores of a model on a split of a task."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_tokenizer
from ..core.errors import BadValue
from ..tasks import Task
from ..tasks.encoding import IGNORED
from .checks import check_head
from .choice import Chooser
from .data import counted, encode, like_length
from .generation import Writer, Written
from .stack import Stack

GENERATED = 64  # texts that are generated when no limit is given


def evaluate(
    model: PreTrainedModel,
    task: Task,
    split: str = "validation",
    *,
    batch_size: int = 64,
    max_length: int = 128,
    tokenizer: PreTrainedTokenizerBase | None = None,
    limit: int | None = None,
    shots: int = 0,
    max_new_tokens: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, float]:
    """Score `model` on a split.

    Args:
        model: with the head that the task needs; on any device. Its mode is left as it was.
        task: from `load_task`.
        split: "train", "validation" or "test".
        batch_size: examples in a forward pass.
        max_length: in tokens, as in training.
        tokenizer: the base's; loaded if not given.
        limit: use only the first rows; None: all, but of a generation task the first 64, for
            writing texts is slow. Give the length of the split to use all.
        shots: solved examples from the training split that stand in front of each prompt of a
            decoder (in-context learning): the base without any training, as a baseline. Their
            tokens come on top of `max_length`.
        max_new_tokens: that are written at most; None: as many as the longest target has.
        seed: of the choice of the solved examples.
        progress: show a progress bar.

    Returns:
        "loss", the mean over all labels (of texts, over their tokens), and every metric of the
        task by name. Texts are generated greedily; of them there are also "tokens", the mean
        number written, and "ended", the share that the model ended by itself (the others were
        cut).

    Raises:
        UnknownName: no such split.
        BadValue: the split is empty, an argument cannot be, or the task does not fit the head.
    """
    evaluator = Evaluator(
        model,
        task,
        split,
        batch_size=batch_size,
        max_length=max_length,
        tokenizer=tokenizer or load_tokenizer(model),
        limit=limit,
        shots=shots,
        max_new_tokens=max_new_tokens,
        seed=seed,
        progress=progress,
    )
    return evaluator(progress)


class Evaluator:
    """`evaluate`, with the split encoded once, for a model that is evaluated often."""

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        split: str = "validation",
        *,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        batch_size: int = 64,
        limit: int | None = None,
        shots: int = 0,
        max_new_tokens: int | None = None,
        seed: int = 0,
        progress: bool = False,
    ):
        check_head(model, task)
        numbers = {"batch_size": batch_size, "limit": limit, "max_new_tokens": max_new_tokens}
        for name, value in numbers.items():
            if value is not None and (not isinstance(value, int) or value < 1):
                raise BadValue(f"{name}={value!r}: give a whole number of at least 1.")
        if not isinstance(shots, int) or shots < 0:
            raise BadValue(f"shots={shots!r}: give a whole number, 0 for none.")
        if task.kind == "generation" and limit is None:
            limit = GENERATED
        self.model, self.task, self.split = model, task, split
        self.batch_size = batch_size
        solved = task.shots(shots, seed) if shots else ()
        #: prediction and reference of each text, from the last call; of each run of a stack
        self.pairs: list[tuple[Any, Any]] = []
        self.pairs_of_runs: list[list[tuple[Any, Any]]] = []
        self.choose: Chooser | None = None
        if task.kind == "verbalised":
            self.choose = Chooser(
                model,
                task,
                tokenizer,
                split,
                max_length=max_length,
                limit=limit,
                shots=solved,
                batch_size=batch_size,
                progress=progress,
            )
            return
        self.examples = encode(
            model, task, tokenizer, split, max_length, limit, progress, shots=solved
        )
        self.weights = [counted(example["labels"]) for example in self.examples]
        self.collate = task.collate(tokenizer)
        if task.kind == "generation":
            self.references = task.references(split, limit)
            self.write = Writer(
                model,
                task,
                tokenizer,
                split,
                max_length=max_length,
                longest=max_new_tokens or max(self.weights),
                limit=limit,
                shots=solved,
                batch_size=batch_size,
            )

    @torch.no_grad()
    def __call__(self, progress: bool = False) -> dict[str, float]:
        """The loss and the scores of the model as it is now; see `evaluate`."""
        training = self.model.training
        self.model.eval()
        lengths: dict[str, float] = {}
        predictions: list[Any]
        try:
            if self.choose is not None:
                loss, predictions = self.choose(progress)
                references = self.choose.labels
            else:
                [(loss, predictions, references)] = self._read(progress)
            if self.task.kind == "generation":
                written = self.write(progress)
                predictions, references = [w.text for w in written], self.references
                lengths = lengths_of_texts(written)
        finally:
            self.model.train(training)
        self.pairs = list(zip(predictions, references, strict=True))
        return {"loss": loss, **self.task.score(predictions, references), **lengths}

    @torch.no_grad()
    def of_runs(self, stack: Stack, progress: bool = False) -> list[dict[str, float]]:
        """The scores of each run of a stack, read in one pass; its first model is this one's.

        Words are chosen and texts are written by one model alone: see `separately`.
        """
        training = self.model.training
        self.model.eval()
        try:
            found = self._read(progress, stack)
        finally:
            self.model.train(training)
        self.pairs_of_runs = [list(zip(p, r, strict=True)) for _, p, r in found]
        return [
            {"loss": loss, **self.task.score(predictions, references)}
            for loss, predictions, references in found
        ]

    @property
    def separately(self) -> bool:
        """Whether the runs of a stack must be scored one by one."""
        return self.task.kind in ("generation", "verbalised")

    def _read(
        self, progress: bool, stack: Stack | None = None
    ) -> list[tuple[float, list[Any], list[Any]]]:
        """The mean loss, and predictions and references in the order of the rows.

        One of these for the model, or for each run of the stack.
        """
        runs = 1 if stack is None else len(stack)
        predictions: list[list[Any]] = [[None] * len(self.examples) for _ in range(runs)]
        references: list[Any] = [None] * len(self.examples)
        totals = [0.0] * runs
        for rows, batch in like_length(
            self.model, self.examples, self.collate, self.batch_size, self.split, progress
        ):
            losses, logits = _passed(self.model, stack, batch)
            weight = sum(self.weights[i] for i in rows)
            totals = [
                total + loss * weight for total, loss in zip(totals, losses.tolist(), strict=True)
            ]
            if self.task.kind == "generation":
                continue
            regresses = self.task.kind == "regression"
            chosen = logits.squeeze(-1) if regresses else logits.argmax(-1)
            chosen, labels = chosen.float().cpu() if regresses else chosen.cpu(), batch["labels"]
            labels = labels.cpu()
            for k, of_run in enumerate(chosen):
                for i, prediction, label in zip(rows, of_run, labels, strict=True):
                    predictions[k][i], references[i] = _pair(prediction, label)
        count = sum(self.weights)
        return [(totals[k] / count, predictions[k], references) for k in range(runs)]


def _passed(model: Any, stack: Stack | None, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Losses (K,) and logits (K, B, …) of a batch, of one model or of all runs of a stack."""
    if stack is None:
        output = model(**batch)
        return output.loss[None], output.logits[None]
    everywhere = {name: t.repeat(len(stack), *[1] * (t.dim() - 1)) for name, t in batch.items()}
    labels = everywhere.pop("labels")
    output = stack(everywhere)
    return stack.losses(output, labels), output.logits.unflatten(0, (len(stack), -1))


def lengths_of_texts(written: list[Written]) -> dict[str, float]:
    """The mean length of texts in tokens, and the share that the model ended by itself."""
    return {
        "tokens": sum(w.tokens for w in written) / len(written),
        "ended": sum(w.ended for w in written) / len(written),
    }


def _pair(prediction: Tensor, label: Tensor) -> tuple[Any, Any]:
    """Prediction and label as numbers, or as lists of those tags that count."""
    if label.dim() == 0:
        return prediction.item(), label.item()
    seen = label != IGNORED
    return prediction[seen].tolist(), label[seen].tolist()
