"""Fine-tuning in one call: load a base, attach a method, train it, score the test split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..bases import load_base, load_tokenizer, random_weights
from ..core.method import Method
from ..tasks import Task, load_task
from .evaluation import Evaluator
from .forgetting import Forgetting, measure_forgetting
from .loop import train
from .run import Run


@dataclass
class FineTuned:
    """What `fine_tune` leaves.

    Attributes:
        model: with the method attached, as its best evaluation was.
        run: the record of the training, with the scores on the validation split.
        test: scores on the test split; empty if it was not asked for, or training was interrupted.
        forgetting: what the base lost; None if it was not asked for, training was interrupted, or
            the weights were random.
        pairs: prediction and reference of each text of the test split, if it was scored.
    """

    model: PreTrainedModel
    run: Run
    test: dict[str, float]
    forgetting: Forgetting | None = None
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


def fine_tune(
    base: str | Path,
    method: Method,
    task: str | Task,
    *,
    seed: int = 0,
    pretrained: bool = True,
    test: bool = True,
    forgetting: bool = False,
    begin: Callable[[PreTrainedModel], object] | None = None,
    max_length: int = 128,
    **arguments: Any,
) -> FineTuned:
    """Load `base` with the head that the task needs, attach `method`, train, and test.

    Everything that is drawn at random is drawn with `seed`: the head, the method's parameters, the
    order of the examples and dropout. The same call gives the same result.

    Args:
        base: for `load_base`: a name, a hub id or a folder.
        method: with its hyper-parameters.
        task: or its name, for `load_task`.
        seed: of all that is random.
        pretrained: False: the same architecture with random weights.
        test: score the test split in the end.
        forgetting: measure what the base lost; some seconds. See `measure_forgetting`.
        begin: called with the model when the method is attached, before training.
        max_length: in tokens, in training and in the test.
        **arguments: of `train`: steps, batch_size, lr, folder, …

    Raises:
        What `load_base`, `load_task`, `attach`, `evaluate` and `train` raise; a test split that
        does not fit is refused before training.
    """
    task = load_task(task) if isinstance(task, str) else task
    model = load_base(base, num_labels=task.num_labels, task=task.model_task, seed=seed)
    if not pretrained:
        model = random_weights(model, seed)
    method.attach(model, seed=seed)
    if begin is not None:
        begin(model)
    tokenizer = arguments.pop("tokenizer", None) or load_tokenizer(model)
    options: dict[str, Any] = {"tokenizer": tokenizer, "max_length": max_length}
    # now, and not after training, it is found out whether the test split fits
    score = Evaluator(model, task, "test", **options) if test else None
    run = train(model, task, seed=seed, **options, **arguments)
    done = FineTuned(model, run, {})
    if score and not run.interrupted:
        done.test, done.pairs = score(), score.pairs
    if forgetting and not run.interrupted:
        done.forgetting = measure_forgetting(model, **options)
    return done
