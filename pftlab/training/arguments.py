"""The arguments of `train`: completed, checked, and kept with the run that they decide."""

from typing import Any

from transformers import PreTrainedModel

from ..core.checkpoint import describe
from ..core.fingerprint import fingerprint
from ..core.record import attached
from ..tasks import Task
from .checks import check_arguments, check_model


def complete_arguments(
    model: PreTrainedModel,
    task: Task,
    *,
    steps: int,
    lr: float | None,
    evaluate_every: int | None,
    **others: Any,
) -> dict[str, Any]:
    """All that decides the result of a run, as data.

    Raises:
        BadValue: nothing is attached or trainable, an argument cannot be, or the task does not
            fit the model's head.
    """
    check_model(model, task)
    if lr is None:
        lr = min(method.learning_rate for method in attached(model).values())
    if evaluate_every is None:
        evaluate_every = max(1, steps // 4)
    arguments = {"steps": steps, "lr": lr, "evaluate_every": evaluate_every, **others}
    check_arguments(**arguments)
    return arguments | {
        "model": type(model).__name__,
        "base": fingerprint(model),
        "methods": describe(model),
        "task": task.name,
        "data": task.fingerprint,
    }
