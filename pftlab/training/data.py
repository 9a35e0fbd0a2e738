"""The training examples, and which of them each step takes."""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..core.errors import BadValue
from ..tasks import Task
from ..tasks.encoding import IGNORED, Example
from .checks import check_labels
from .processes import Processes

Batch = dict[str, Tensor]


class TrainingData:
    """The training split of a task, encoded once, in batches on the device.

    Args:
        model: for which to encode.
        task: whose "train" split to take.
        tokenizer: of the model.
        max_length: in tokens.
        batch_size: examples in a step.
        accumulate: parts that each process computes its share of a batch in.
        seed: of the order.
        processes: among which each batch is divided.

    Raises:
        BadValue: the batch cannot be divided evenly, or labels do not fit the model's head.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        batch_size: int,
        accumulate: int,
        seed: int,
        processes: Processes,
    ):
        if processes.count > 1 and batch_size % (processes.count * accumulate):
            raise BadValue(
                f"batch_size={batch_size} must be a multiple of {processes.count} processes × "
                f"accumulate={accumulate}, so that all do the same work."
            )
        self.examples = encode(model, task, tokenizer, "train", max_length)
        self.collate = task.collate(tokenizer)
        self.weights = [counted(example["labels"]) for example in self.examples]
        self.batch_size, self.accumulate = batch_size, accumulate
        self.seed, self.processes = seed, processes

    def parts(self, step: int) -> Iterator[tuple[Batch, float]]:
        """The batches that this process computes in `step`, one after the other.

        Yields:
            A batch, and its share of the step's loss. A loss is a mean over the labels of its
            batch; weighted by its share of them, the sum over all parts and processes is the
            mean over the whole step, also where texts differ in length.
        """
        rows = rows_of_step(len(self.examples), self.batch_size, self.seed, step)
        total = sum(self.weights[i] for i in rows)
        for k in range(self.accumulate):
            part = self.processes.part_of(rows[k :: self.accumulate])
            yield self._batch(part), sum(self.weights[i] for i in part) / total

    def batches(self) -> Iterator[Batch]:
        """All examples once, for methods that look at the data before training.

        The same in every process.
        """
        order = _order(len(self.examples), self.seed, 0)
        for i in range(0, len(order), self.batch_size):
            yield self._batch(order[i : i + self.batch_size])

    def _batch(self, rows: list[int]) -> Batch:
        batch = self.collate([self.examples[i] for i in rows])
        return {name: tensor.to(self.processes.device) for name, tensor in batch.items()}


def encode(
    model: PreTrainedModel,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    split: str,
    max_length: int,
    limit: int | None = None,
) -> list[Example]:
    """A split as numbers for `model`, with labels that its head knows.

    Raises:
        UnknownName: no such split.
        BadValue: the split is empty, or a label is out of range.
    """
    if split in task.splits and len(task.splits[split]) == 0:
        raise BadValue(f"The split {split!r} of {task.name!r} is empty. Give it examples.")
    examples = task.encode(
        tokenizer, split, max_length=max_length, limit=limit, **encoding_options(model, task)
    )
    check_labels(model, task, split, examples)
    return examples


def encoding_options(model: PreTrainedModel, task: Task) -> dict[str, bool]:
    """What else `task.encode` must know of the model."""
    if task.kind != "generation":
        return {}
    return {"encoder_decoder": bool(model.config.is_encoder_decoder)}


def counted(labels: list[int] | int | float) -> int:
    """How many labels of an example a loss falls on: the weight of the example in a mean.

    (A decoder predicts no first token, but that belongs to the source, which has no loss anyway.)
    """
    if isinstance(labels, list):
        return sum(label != IGNORED for label in labels)
    return 1


def rows_of_step(n: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The examples of one step: a stretch of the endless sequence of shuffled epochs.

    It depends on nothing but the arguments, so a resumed run goes on with the same examples.
    """
    first, stop = (step - 1) * batch_size, step * batch_size
    orders = {epoch: _order(n, seed, epoch) for epoch in range(first // n, (stop - 1) // n + 1)}
    return [orders[i // n][i % n] for i in range(first, stop)]


@lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(n, generator=generator).tolist()
