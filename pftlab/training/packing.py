"""Packing: several short examples in one row, so that less of a batch is padding.

    positions   0 1 2 3 4 | 0 1 2 | 0 1 2 3     three examples in a row

Each example begins at position 0, from which transformers knows where one ends, and lets a token
attend to its own example alone. So a packed step has the loss and the gradients that it has in
rows of their own (Krell et al., 2021, Section 3.2.2).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..core import PositionShift, planted
from ..core.errors import BadValue, Refused
from ..core.ports.sequence import OnSequence
from ..core.record import attached
from ..tasks import Task
from ..tasks.encoding import IGNORED, Example
from ..tasks.task import WRITTEN

PROBE = 5  # tokens of each of the two examples that a model is tried on


def check_packing(model: PreTrainedModel, task: Task) -> None:
    """Refuse a model whose examples would see each other, or change, in one row.

    The model is tried: two examples in one row must come out as each alone.

    Raises:
        BadValue: the task has one answer a row, or none that a decoder writes.
        Refused: an architecture or a method that cannot tell the examples of a row apart.
    """
    if task.kind not in WRITTEN or not model.can_generate():
        raise BadValue(
            f"pack=True puts several examples in a row, and {task.name!r}, of the kind "
            f"{task.kind!r}, on a {type(model).__name__} has one answer a row. Leave pack out."
        )
    if model.config.is_encoder_decoder:
        raise Refused(
            f"The decoder of a {type(model).__name__} reads the whole row of its encoder, so "
            "examples in one row would see each other. Leave pack out."
        )
    for name in attached(model):
        for *_, delta in planted(model, name):
            if isinstance(delta, OnSequence) and not isinstance(delta, PositionShift):
                raise Refused(
                    f"{name!r} acts at the beginning or the end of each text, and in a packed row "
                    "only the first and the last have one. Leave pack out."
                )
    if not _keeps_apart(model):
        raise Refused(
            f"In a {type(model).__name__}, examples in one row see each other: it does not tell "
            "them apart by their positions. Leave pack out."
        )


@torch.no_grad()
def _keeps_apart(model: PreTrainedModel) -> bool:
    """Whether two examples in one row come out as each alone."""
    device = next(model.parameters()).device
    ids = torch.arange(2 * PROBE) % model.config.vocab_size
    rows: list[Example] = [{"input_ids": half.tolist()} for half in ids.view(2, PROBE)]
    training = model.training
    model.eval()
    try:
        both, *alone = (
            model(**{name: on(device, value) for name, value in packed(some, 0).items()}).logits
            for some in ([rows], [rows[:1]], [rows[1:]])
        )
    except TypeError:  # a model that takes no positions
        return False
    finally:
        model.train(training)
    apart = torch.cat(alone, 1)
    return bool((both - apart).abs().max() <= 1e-3 * apart.abs().max() + 1e-3 * (apart.std()))


def on(device: torch.device, value: Any) -> Any:
    """A tensor on a device; what is none, as it is."""
    return value.to(device) if isinstance(value, Tensor) else value


def share_rows(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Numbers of examples, row by row: each goes into the first row that has room for it.

    The longest go first (first fit, decreasing), which never takes more than 11 rows for 9.
    """
    rows: list[list[int]] = []
    left: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((r for r, free in enumerate(left) if free >= lengths[i]), len(rows))
        if row == len(rows):
            rows.append([])
            left.append(room)
        rows[row].append(i)
        left[row] -= lengths[i]
    return rows


def packed(rows: Sequence[Sequence[Example]], padding: int) -> dict[str, Any]:
    """Rows of examples as one batch of tensors (rows, longest row).

    What fills a row up has positions of its own from 0, as one more example, and no loss.
    """
    longest = max(sum(len(example["input_ids"]) for example in row) for row in rows)
    columns: dict[str, list[list[int]]] = {"input_ids": [], "position_ids": [], "labels": []}
    for row in rows:
        fill = longest - sum(len(example["input_ids"]) for example in row)
        parts = [*row, {"input_ids": [padding] * fill, "labels": [IGNORED] * fill}]
        for name, column in columns.items():
            column.append([value for part in parts for value in _values(part, name)])
    # with a cache, transformers would not look for examples in a row
    return {name: torch.tensor(column) for name, column in columns.items()} | {"use_cache": False}


def _values(example: Example, name: str) -> Sequence[int]:
    length = len(example["input_ids"])
    if name == "position_ids":
        return range(length)
    return example.get(name, [IGNORED] * length)
