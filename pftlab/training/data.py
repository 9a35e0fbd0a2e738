"""The training examples, and which of them each step takes."""

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..core.errors import BadValue
from ..tasks import Task
from ..tasks.encoding import IGNORED, Example, encode_rows
from ..tasks.task import WRITTEN
from ..tasks.template import Shot
from .checks import check_labels, check_tokens, fills_masks, positions
from .packing import check_packing, on, packed, share_rows
from .processes import Processes

Batch = dict[str, Any]  # tensors, and options of the model's call
Order = Callable[[int, int, int], list[int]]  # rows, seed and epoch → the rows of the epoch

BLOCK = 1_000  # rows that are encoded at a time
KEPT = 4  # encodings of a task that are kept: of two splits for two bases
#: What decides how a tokenizer encodes, beside what its backend holds.
DECIDING = ("model_input_names", "model_max_length", "truncation_side", "bos_token_id",
            "eos_token_id", "chat_template")  # fmt: skip
SCORES = 2**28  # numbers that a language model may give for one batch: 1 GiB
POOL = 50  # batches among which texts of like length are looked for


class Examples:
    """A split as numbers for a model, each row encoded when it is first needed.

    What was encoded is kept as long as the task, so that the next run on it finds it done.

    Args:
        model: for which to encode.
        task: that the split is of.
        tokenizer: of the model.
        split: of the task.
        max_length: in tokens.
        progress: show a bar where encoding takes longer than a second.
        shots: solved examples in front of each text.

    Raises:
        UnknownName: no such split.
        BadValue: the split is empty; and in `need`, a label or a token is none of the model's.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        split: str,
        max_length: int,
        progress: bool = False,
        shots: Sequence[Shot] = (),
    ):
        if split in task.splits and len(task.splits[split]) == 0:
            raise BadValue(f"The split {split!r} of {task.name!r} is empty. Give it examples.")
        self.rows = task.rows(split)
        self.model, self.task, self.tokenizer = model, task, tokenizer
        self.split, self.max_length, self.progress = split, max_length, progress
        self.options = encoding_options(model, task) | {
            "instruction": task.instruction,
            "shots": tuple(shots),
        }
        mark = (split, max_length, *self.options.values(), mark_of(tokenizer))
        self.known = _kept(task, mark)
        self.checked: set[int] = set()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Example:
        if row not in self.checked:
            self.need([row])
        return self.known[row]

    def need(self, rows: Iterable[int]) -> None:
        """Encode those of `rows` that are not, and check that the model can take them all."""
        rows = [row for row in dict.fromkeys(rows) if row not in self.checked]
        missing = [row for row in rows if row not in self.known]
        bar = tqdm(total=len(missing), desc=f"encode {self.split}", unit="text", delay=1,
                   leave=False, disable=not self.progress)  # fmt: skip
        with bar:
            for start in range(0, len(missing), BLOCK):
                block = missing[start : start + BLOCK]
                part = self.rows.select(block)
                encoded = encode_rows(part, self.tokenizer, self.max_length, **self.options)
                self.known.update(zip(block, encoded, strict=True))
                bar.update(len(block))
        examples = [self.known[row] for row in rows]
        check_labels(self.model, self.task, self.split, examples)
        check_tokens(self.model, self.task, self.tokenizer, self.split, examples)
        self.checked.update(rows)


class TrainingData:
    """The training split of a task in batches on the device.

    Of the split, only those rows are encoded that the steps take, before the first of them.

    Args:
        model: for which to encode.
        task: whose "train" split to take.
        tokenizer: of the model.
        max_length: in tokens.
        batch_size: examples in a step.
        accumulate: parts that each process computes its share of a batch in.
        seed: of the order.
        processes: among which each batch is divided.
        steps: numbers of the steps that are still to be done, the first being 1.
        multiple: of which the length of a batch is one, in tokens; more padding, fewer shapes.
        pack: put several examples of a batch into one row, each row at most `max_length` long.
        like_lengths: make batches of texts of like length, which leaves less to pad: about half
            the time of a step where lengths differ much. An epoch still has every text once.
        progress: show a bar where encoding takes longer than a second.

    Raises:
        BadValue: the batch cannot be divided evenly, or labels, tokens or the length do not fit
            the model.
        Refused: what `check_packing` refuses.
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
        *,
        steps: range,
        multiple: int = 1,
        pack: bool = False,
        like_lengths: bool = False,
        progress: bool = False,
    ):
        if processes.count > 1 and batch_size % (processes.count * accumulate):
            raise BadValue(
                f"batch_size={batch_size} must be a multiple of {processes.count} processes × "
                f"accumulate={accumulate}, so that all do the same work."
            )
        if pack:
            check_packing(model, task)
        self.room = max_length if pack else None
        self.examples = Examples(model, task, tokenizer, "train", max_length, progress)
        self.collate = task.collate(tokenizer, multiple)
        self.batch_size, self.accumulate = batch_size, accumulate
        self.seed, self.processes = seed, processes
        self.order: Order = shuffled
        if like_lengths:
            self.order = LikeLengths(lengths_of(task, "train"), batch_size)
        self.examples.need(self._rows_of(steps))

    def parts(self, step: int) -> Iterator[tuple[Batch, float]]:
        """The batches that this process computes in `step`, one after the other.

        Yields:
            A batch, and its share of the step's loss. A loss is a mean over the labels of its
            batch; weighted by its share of them, the sum over all parts and processes is the
            mean over the whole step, also where texts differ in length.
        """
        for part, share in self.rows_of_parts(step):
            yield self._batch(part, self.room), share

    def rows_of_parts(self, step: int) -> Iterator[tuple[list[int], float]]:
        """The rows of each part, and their share."""
        rows = rows_of_step(len(self.examples), self.batch_size, self.seed, step, self.order)
        weights = {i: counted(self.examples[i]["labels"]) for i in rows}
        total = sum(weights[i] for i in rows)
        for k in range(self.accumulate):
            part = self.processes.part_of(rows[k :: self.accumulate])
            yield part, sum(weights[i] for i in part) / total

    def batches(self) -> Iterator[Batch]:
        """All examples once, for methods that look at the data before training.

        The same in every process.
        """
        order = shuffled(len(self.examples), self.seed, 0)
        for i in range(0, len(order), self.batch_size):
            if i // BLOCK > (i - self.batch_size) // BLOCK:  # a block ahead, not one by one
                self.examples.need(order[i : i + BLOCK + self.batch_size])
            yield self._batch(order[i : i + self.batch_size])

    def _batch(self, rows: list[int], room: int | None = None) -> Batch:
        """Examples in rows of their own, or packed into rows of `room` tokens."""
        examples = [self.examples[i] for i in rows]
        if room is None:
            batch = self.collate(examples)
        else:
            shared = share_rows([len(example["input_ids"]) for example in examples], room)
            padding = self.collate.fill["input_ids"]
            batch = packed([[examples[i] for i in row] for row in shared], padding)
        return {name: on(self.processes.device, value) for name, value in batch.items()}

    def _rows_of(self, steps: range) -> Iterable[int]:
        """What some steps take, each row once where they are more than an epoch."""
        n = len(self.examples)
        if len(steps) * self.batch_size >= 2 * n:  # an epoch lies in them, wherever they begin
            return range(n)
        take = (rows_of_step(n, self.batch_size, self.seed, step, self.order) for step in steps)
        return dict.fromkeys(row for rows in take for row in rows)


def encode(
    model: PreTrainedModel,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    split: str,
    max_length: int,
    limit: int | None = None,
    progress: bool = False,
    shots: Sequence[Shot] = (),
) -> list[Example]:
    """The first rows of a split, or all, as numbers for `model`; see `Examples`."""
    examples = Examples(model, task, tokenizer, split, max_length, progress, shots)
    rows = range(len(examples) if limit is None else min(limit, len(examples)))
    examples.need(rows)
    return [examples[row] for row in rows]


def like_length(
    model: PreTrainedModel,
    examples: Sequence[Example],
    collate: Callable[[list[Example]], Batch],
    batch_size: int,
    doing: str,
    progress: bool,
) -> Iterator[tuple[list[int], Batch]]:
    """Row numbers and their batch, texts of like length together, so that little is padded.

    A language model gives a number for each word of its vocabulary at each token, so a batch has
    fewer rows where these would be more than `SCORES`.
    """
    device = next(model.parameters()).device
    lengths = [len(example["input_ids"]) for example in examples]
    order = sorted(range(len(examples)), key=lengths.__getitem__)
    words = model.config.vocab_size if model.get_output_embeddings() is not None else 1
    with tqdm(total=len(order), desc=doing, unit="text", disable=not progress, leave=False) as bar:
        start = 0
        while start < len(order):
            rows = order[start : start + batch_size]
            while len(rows) > 1 and len(rows) * lengths[rows[-1]] * words > SCORES:
                rows = rows[: -(-len(rows) // 2)]
            batch = collate([examples[i] for i in rows])
            yield rows, {name: tensor.to(device) for name, tensor in batch.items()}
            start += len(rows)
            bar.update(len(rows))


def encoding_options(model: PreTrainedModel, task: Task) -> dict[str, Any]:
    """What else `task.encode` must know of the model."""
    options: dict[str, Any] = {"positions": positions(model)}
    if task.kind in WRITTEN:
        options["encoder_decoder"] = bool(model.config.is_encoder_decoder)
    if task.kind == "verbalised":
        options["masked"] = fills_masks(model)
    return options


def mark_of(tokenizer: PreTrainedTokenizerBase) -> Hashable:
    """What decides how a tokenizer encodes: equal for two that were loaded alike."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return tokenizer
    state = json.loads(backend.to_str())
    del state["truncation"], state["padding"]  # what these say changes with each call
    state |= {name: getattr(tokenizer, name) for name in DECIDING}
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


_ENCODED: WeakKeyDictionary[Task, dict[Hashable, dict[int, Example]]] = WeakKeyDictionary()


def _kept(task: Task, mark: Hashable) -> dict[int, Example]:
    """The rows of a task that were encoded under one mark; the oldest mark gives way to a new."""
    kept = _ENCODED.setdefault(task, {})
    kept[mark] = kept.pop(mark, {})
    while len(kept) > KEPT:
        del kept[next(iter(kept))]
    return kept[mark]


def counted(labels: list[int] | int | float) -> int:
    """How many labels of an example a loss falls on: the weight of the example in a mean.

    (A decoder predicts no first token, but that belongs to the source, which has no loss anyway.)
    """
    if isinstance(labels, list):
        return sum(label != IGNORED for label in labels)
    return 1


@lru_cache(maxsize=4)
def shuffled(n: int, seed: int, epoch: int) -> list[int]:
    """The numbers below `n` in an order of their own for each seed and epoch."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(n, generator=generator).tolist()


class LikeLengths:
    """An order in which the texts of a batch are of like length, and yet each epoch is another.

    The shuffled rows are sorted by length within stretches of `POOL` batches, and the batches
    that this makes are shuffled.

    Args:
        lengths: of the rows, in any unit.
        batch_size: rows that go together.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int):
        self.lengths, self.batch_size = lengths, batch_size
        self.epochs: dict[tuple[int, int, int], list[int]] = {}

    def __call__(self, n: int, seed: int, epoch: int) -> list[int]:
        """The rows of an epoch."""
        key = (n, seed, epoch)
        if key not in self.epochs:
            self.epochs = dict(list(self.epochs.items())[-1:])  # a batch may lie in two epochs
            self.epochs[key] = self._epoch(*key)
        return self.epochs[key]

    def _epoch(self, n: int, seed: int, epoch: int) -> list[int]:
        order, pool = shuffled(n, seed, epoch), POOL * self.batch_size
        pools = [
            sorted(order[i : i + pool], key=self.lengths.__getitem__) for i in range(0, n, pool)
        ]
        rows = [row for some in pools for row in some]
        begun = (
            -epoch * n % self.batch_size
        )  # rows that complete the last batch of the epoch before
        whole = (n - begun) // self.batch_size if n > begun else 0
        starts = [begun + k * self.batch_size for k in shuffled(whole, seed, epoch)]
        batches = [row for start in starts for row in rows[start : start + self.batch_size]]
        return rows[:begun] + batches + rows[begun + len(batches) :]


def lengths_of(task: Task, split: str) -> list[int]:
    """The length of each row's text in characters, which its tokens follow closely enough."""
    rows = task.rows(split)
    columns = [rows[name][:] for name in ("text", "text_a", "text_b", "tokens", "source", "front",
                                       "behind", "target")
               if name in rows.column_names]  # fmt: skip
    return [sum(len("".join(text)) for text in texts) for texts in zip(*columns, strict=True)]


def rows_of_step(
    n: int, batch_size: int, seed: int, step: int, order: Order = shuffled
) -> list[int]:
    """The examples of one step: a stretch of the endless sequence of shuffled epochs.

    It depends on nothing but the arguments, so a resumed run goes on with the same examples.
    """
    first, stop = (step - 1) * batch_size, step * batch_size
    epochs = range(first // n, (stop - 1) // n + 1)
    orders = {epoch: order(n, seed, epoch) for epoch in epochs}
    return [orders[i // n][i % n] for i in range(first, stop)]
