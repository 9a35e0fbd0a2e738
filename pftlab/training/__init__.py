"""Training and evaluation: one loop for every method and every task.

    run = train(model, task, steps=200)                 # or all in one call: fine_tune(…)
    done = fine_tune_many("minilm", method, task, [(0, 1e-3), (1, 1e-3)])   # runs in one pass
    evaluate(model, task, "test", shots=4)              # scores, here with solved examples
    predict(model, ["a fine film"])                     # answers to new texts
    answers(model, task, n=3)                           # before and after training, side by side
    measure_forgetting(model)                           # what the base lost of plain English

In loops of others: `LifecycleTrainer` for transformers' Trainer, `Lifecycle` for one's own.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
