"""Scores of a model on a split of a task."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_tokenizer
from ..core.errors import BadValue
from ..tasks import Task
from ..tasks.encoding import IGNORED
from .checks import check_head
from .data import counted, encode, encoding_options

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
        progress: show a progress bar.

    Returns:
        "loss", the mean over all labels, and every metric of the task by name. Texts are
        generated greedily, up to the length of the longest target.

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
        progress: bool = False,
    ):
        check_head(model, task)
        for name, value in {"batch_size": batch_size, "limit": limit}.items():
            if value is not None and (not isinstance(value, int) or value < 1):
                raise BadValue(f"{name}={value!r}: give a whole number of at least 1.")
        if task.kind == "generation" and limit is None:
            limit = GENERATED
        self.model, self.task, self.split, self.tokenizer = model, task, split, tokenizer
        self.batch_size = batch_size
        self.examples = encode(model, task, tokenizer, split, max_length, limit, progress)
        self.weights = [counted(example["labels"]) for example in self.examples]
        self.collate = task.collate(tokenizer)
        if task.kind == "generation":
            self.longest = max(self.weights)
            options = encoding_options(model, task)
            self.positions = options["positions"]
            if not options["encoder_decoder"]:  # source and target share the positions
                max_length = max(8, max_length - self.longest)
            self.prompts = task.prompts(
                tokenizer, split, max_length=max_length, limit=limit, **options
            )
            self.references = task.references(split, limit)

    @torch.no_grad()
    def __call__(self, progress: bool = False) -> dict[str, float]:
        """The loss and the scores of the model as it is now; see `evaluate`."""
        training = self.model.training
        self.model.eval()
        try:
            loss, predictions, references = self._read(progress)
            if self.task.kind == "generation":
                predictions, references = self._write(progress), self.references
        finally:
            self.model.train(training)
        return {"loss": loss, **self.task.score(predictions, references)}

    def _read(self, progress: bool) -> tuple[float, list[Any], list[Any]]:
        """The mean loss, and predictions and references in the order of the rows."""
        predictions: list[Any] = [None] * len(self.examples)
        references: list[Any] = [None] * len(self.examples)
        total = 0.0
        for rows, batch in self._batches(self.examples, progress):
            output = self.model(**batch)
            total += float(output.loss) * sum(self.weights[i] for i in rows)
            if self.task.kind == "generation":
                continue
            regresses = self.task.kind == "regression"
            chosen = output.logits.squeeze(-1) if regresses else output.logits.argmax(-1)
            chosen, labels = chosen.float().cpu() if regresses else chosen.cpu(), batch["labels"]
            for i, prediction, label in zip(rows, chosen, labels.cpu(), strict=True):
                predictions[i], references[i] = _pair(prediction, label)
        return total / sum(self.weights), predictions, references

    def _write(self, progress: bool) -> list[str]:
        """Greedy continuations of the task's prompts, as text."""
        texts = [""] * len(self.prompts)
        for rows, batch in self._batches(self.prompts, progress):
            longest = self.longest
            if self.positions is not None and not self.model.config.is_encoder_decoder:
                longest = min(longest, self.positions - batch["input_ids"].shape[1])
            written = self.model.generate(  # type: ignore[operator]
                **batch,
                max_new_tokens=longest,
                do_sample=False,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
            )
            if not self.model.config.is_encoder_decoder:
                written = written[:, batch["input_ids"].shape[1] :]
            for i, ids in zip(rows, written, strict=True):
                text: Any = self.tokenizer.decode(ids, skip_special_tokens=True)
                texts[i] = text.strip()
        return texts

    def _batches(
        self, examples: list[dict[str, Any]], progress: bool
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Row numbers and their batch, texts of like length together, so that little is padded."""
        device = next(self.model.parameters()).device
        order = sorted(range(len(examples)), key=lambda i: len(examples[i]["input_ids"]))
        starts = range(0, len(order), self.batch_size)
        for start in tqdm(starts, self.split, unit="batch", disable=not progress, leave=False):
            rows = order[start : start + self.batch_size]
            batch = self.collate([examples[i] for i in rows])
            yield rows, {name: tensor.to(device) for name, tensor in batch.items()}


def _pair(prediction: Tensor, label: Tensor) -> tuple[Any, Any]:
    """Prediction and label as numbers, or as lists of those tags that count."""
    if label.dim() == 0:
        return prediction.item(), label.item()
    seen = label != IGNORED
    return prediction[seen].tolist(), label[seen].tolist()
