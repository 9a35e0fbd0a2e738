"""Scores of a model on a split of a task."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_tokenizer
from ..tasks import Task

IGNORED = -100
GENERATED = 64  # texts that are generated when no limit is given
NEW_TOKENS = 96


@torch.no_grad()
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
        limit: use only the first rows. Generation takes 64 by default, for it is slow.
        progress: show a progress bar.

    Returns:
        The mean loss ("loss") and every metric of the task by name.
    """
    tokenizer = tokenizer or load_tokenizer(model)
    generates = task.kind == "generation"
    if generates and limit is None:
        limit = GENERATED
    options: dict[str, Any] = {"max_length": max_length, "limit": limit}
    if generates:
        options["encoder_decoder"] = bool(model.config.is_encoder_decoder)
    examples = task.encode(tokenizer, split, **options)
    collate = task.collate(tokenizer)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        predictions: list[Any] = [None] * len(examples)
        references: list[Any] = [None] * len(examples)
        total = 0.0
        bar = tqdm(total=len(examples), desc=split, unit="ex", disable=not progress, leave=False)
        for rows in _by_length(examples, batch_size):
            batch = {k: v.to(device) for k, v in collate([examples[i] for i in rows]).items()}
            output = model(**batch)
            total += float(output.loss) * len(rows)
            if not generates:
                for i, prediction, label in zip(
                    rows, _predict(task, output.logits), batch["labels"].cpu(), strict=True
                ):
                    predictions[i], references[i] = _pair(prediction, label)
            bar.update(len(rows))
        bar.close()
        if generates:
            references = task.references(split, limit)
            predictions = _generate(model, task, tokenizer, split, options, batch_size)
    finally:
        model.train(training)
    return {"loss": total / len(examples), **task.score(predictions, references)}


def _by_length(examples: list[dict[str, Any]], batch_size: int) -> Iterator[list[int]]:
    """Row numbers in batches of like length, so that little is padded."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]["input_ids"]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _predict(task: Task, logits: Tensor) -> Tensor:
    logits = logits.float().cpu()
    return logits.squeeze(-1) if task.kind == "regression" else logits.argmax(-1)


def _pair(prediction: Tensor, label: Tensor) -> tuple[Any, Any]:
    """Prediction and label as numbers, or as lists of those tags that count."""
    if label.dim() == 0:
        return prediction.item(), label.item()
    counted = label != IGNORED
    return prediction[counted].tolist(), label[counted].tolist()


def _generate(
    model: PreTrainedModel,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    split: str,
    options: dict[str, Any],
    batch_size: int,
) -> list[str]:
    """Greedy continuations of the task's prompts, as text."""
    prompts = task.prompts(tokenizer, split, **options)
    collate = task.collate(tokenizer)
    device = next(model.parameters()).device
    texts = [""] * len(prompts)
    for rows in _by_length(prompts, batch_size):
        batch = {k: v.to(device) for k, v in collate([prompts[i] for i in rows]).items()}
        written = model.generate(  # type: ignore[operator]
            **batch,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        if not options["encoder_decoder"]:
            written = written[:, batch["input_ids"].shape[1] :]
        for i, ids in zip(rows, written, strict=True):
            texts[i] = tokenizer.decode(ids, skip_special_tokens=True).strip()
    return texts
