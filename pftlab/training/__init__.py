"""Training and evaluation: one loop for every method and every task.

    run = train(model, task, steps=200)                 # or all in one call: fine_tune(…)
    done = fine_tune_many("minilm", method, task, [(0, 1e-3), (1, 1e-3)])   # runs in one pass
    evaluate(model, task, "test", shots=4)              # scores, here with solved examples
    predict(model, ["a fine film"])                     # answers to new texts
    answers(model, task, n=3)                           # before and after training, side by side
    measure_forgetting(model)                           # what the base lost of plain English

In loops of others: `LifecycleTrainer` for transformers' Trainer, `Lifecycle` for one's own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluation import evaluate
    from .fine_tuning import FineTuned, fine_tune
    from .forgetting import Forgetting, measure_forgetting
    from .lifecycle import Lifecycle
    from .loop import train
    from .many import fine_tune_many
    from .prediction import Prediction, predict
    from .run import Run
    from .side_by_side import Answers, answers
    from .trainer import LifecycleTrainer

_WHERE = {
    "Answers": "side_by_side",
    "answers": "side_by_side",
    "evaluate": "evaluation",
    "FineTuned": "fine_tuning",
    "fine_tune": "fine_tuning",
    "fine_tune_many": "many",
    "Forgetting": "forgetting",
    "measure_forgetting": "forgetting",
    "Prediction": "prediction",
    "predict": "prediction",
    "train": "loop",
    "Lifecycle": "lifecycle",
    "Run": "run",
    "LifecycleTrainer": "trainer",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Answers",
    "FineTuned",
    "Forgetting",
    "Lifecycle",
    "LifecycleTrainer",
    "Prediction",
    "Run",
    "answers",
    "evaluate",
    "fine_tune",
    "fine_tune_many",
    "measure_forgetting",
    "predict",
    "train",
]
