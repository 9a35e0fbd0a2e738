"""What the tests of training share: few data, small models, and the comparison of what they are."""

from dataclasses import replace
from typing import Any

import torch

import pftlab as pft
from pftlab.core.trained import trainable_state

ARGUMENTS: dict[str, Any] = dict(steps=12, batch_size=8, max_length=48, lr=1e-2, progress=False)


def few(name: str, n: int = 64) -> pft.Task:
    """A bundled task with the first `n` rows of each split."""
    task = pft.load_task(name, size="tiny")
    splits = {split: rows.select(range(min(n, len(rows)))) for split, rows in task.splits.items()}
    return replace(task, splits=splits)


def with_splits(task: pft.Task, **rows: Any) -> pft.Task:
    """The task with other rows in some splits."""
    return replace(task, splits={**task.splits, **rows})


def model_with(method: Any, base: str, num_labels: int = 2, task: str | None = None) -> Any:
    return method.attach(pft.load_base(base, num_labels=num_labels, task=task))


def without_dropout(model: Any) -> Any:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def state_of(model: Any) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in trainable_state(model).items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
