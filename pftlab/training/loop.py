"""The training loop, to be read from top to bottom."""

from math import gcd
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_tokenizer
from ..core.errors import BadValue
from ..core.heads import name_labels
from ..core.interrupt import stop_on_interrupt
from ..core.trained import load_trainable_state, trainable_state
from ..tasks import Task
from .arguments import complete_arguments
from .data import TrainingData
from .evaluation import Evaluator
from .journal import Journal
from .lifecycle import Lifecycle
from .optimiser import Optimiser, schedule
from .processes import Processes
from .randomness import own_randomness, seed_step
from .resume import Saved, names_of, resume_run, save_run
from .run import Run
from .state import RunFolder
from .step import MULTIPLE, Captured, Plain, check_captured

SAVE_SECONDS = 60.0  # between saved states, when evaluations are further apart


def train(
    model: PreTrainedModel,
    task: Task,
    *,
    steps: int = 200,
    batch_size: int = 16,
    lr: float | None = None,
    weight_decay: float = 0.0,
    warmup: float = 0.06,
    max_length: int = 128,
    precision: str = "fp32",
    capture: bool = False,
    accumulate: int = 1,
    pack: bool = False,
    like_lengths: bool = False,
    clip: float = 1.0,
    evaluate_every: int | None = None,
    seed: int = 0,
    tokenizer: PreTrainedTokenizerBase | None = None,
    folder: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Run:
    """Train what is attached to `model` on a task; the model is left as its best evaluation was.

    On one CPU the same arguments give the same result bit for bit, also when the run was killed
    at any moment and started again with its `folder`. Ctrl-C ends it after the current step: the
    state is saved, and the model is left as that step made it. A second Ctrl-C leaves at once.
    Under `accelerate launch` every process takes an equal share of each batch. What is trained in
    16 bits, such as the head of a base that was loaded so, has 32-bit masters (see `Optimiser`).

    Args:
        model: with a method attached; moved to the GPU if there is one.
        task: from `load_task`; trained on its "train" split, evaluated on "validation".
        steps: optimiser steps.
        batch_size: examples in a step, over all processes and accumulated parts together.
        lr: peak learning rate of AdamW; None: the method's own (of several, the smallest).
        weight_decay: of AdamW.
        warmup: share of the steps over which the rate rises from 0; it then falls to 0.
        max_length: in tokens; longer inputs are cut.
        precision: "fp32" or "bf16" (autocast; evaluation stays in the model's own type).
        capture: record the step on the GPU once and replay it, which a small model needs to keep
            a GPU busy. Without dropout the result is the same but for rounding; with it other
            random numbers fall, as batches are padded to fewer lengths. See `training.step`.
        accumulate: parts that a batch is computed in, to save memory.
        pack: put several short examples of a batch into one row of at most `max_length` tokens,
            for a decoder that writes: the same losses with less padding.
        like_lengths: make batches of texts of like length, which leaves less to pad: on a CPU
            about half the time where lengths differ much. Each epoch still has every text once, in
            an order that the seed decides, but it is another order, and a text meets others of
            its length more often than chance would have it.
        clip: largest norm of the gradient; 0 leaves it alone.
        evaluate_every: steps between evaluations; None: a quarter of the steps.
        seed: of the order of the examples and of dropout. What `attach` draws is drawn before.
        tokenizer: the base's; loaded if not given.
        folder: where the state is saved, at each evaluation and every minute; None: nowhere.
        resume: go on with the state in `folder`, if there is one. A finished run is returned at
            once. False begins anew.
        progress: show a progress bar.

    Raises:
        BadValue: nothing is attached or trainable, an argument cannot be, or the task does not
            fit the model's head.
        BadCheckpoint: `folder` holds another run, or a damaged state.
        Unavailable: there is no GPU to record on, or `folder` cannot be written. A disk that is
            full later ends no training: the state saved last stays, and that a newer one is
            missing is said in a warning.
        Refused: another training is using `folder`, or the step cannot be recorded.
    """
    if capture:
        check_captured(model)
        if pack:
            raise BadValue(
                "capture=True needs batches of few shapes, and packed ones have many. Leave "
                "capture or pack out."
            )
    arguments = complete_arguments(
        model, task, steps=steps, batch_size=batch_size, lr=lr, weight_decay=weight_decay,
        warmup=warmup, max_length=max_length, precision=precision, accumulate=accumulate,
        pack=pack, like_lengths=like_lengths, clip=clip, evaluate_every=evaluate_every, seed=seed,
    )  # fmt: skip
    lr, evaluate_every = arguments["lr"], arguments["evaluate_every"]
    processes = Processes()
    device = processes.device
    with RunFolder(folder, writes=processes.first) as place:
        saved = resume_run(place, model, arguments) if resume else Saved(Run(arguments), {}, {})
        run, best = saved.run, saved.best
        if len(task.labels) == model.config.num_labels:
            name_labels(model, task.labels)
        if run.steps == steps:
            return _leave(model, best, run)
        tokenizer = tokenizer or load_tokenizer(model)
        data = TrainingData(
            model, task, tokenizer, max_length, batch_size, accumulate, seed, processes,
            steps=range(run.steps + 1, steps + 1),
            multiple=gcd(MULTIPLE, max_length) if capture else 1, pack=pack,
            like_lengths=like_lengths, progress=progress and processes.first,
        )  # fmt: skip
        validate = Evaluator(
            model, task, tokenizer=tokenizer, max_length=max_length,
            progress=progress and processes.first,
        )  # fmt: skip
        model.to(device)  # type: ignore[arg-type]
        with (
            own_randomness(device, seed),
            stop_on_interrupt() as interrupted,
            Lifecycle(model, steps) as methods,
            Journal(run, steps, task.metric, batch_size, processes, progress) as journal,
        ):
            if not saved.begun:
                place.clear()
                load_trainable_state(model, processes.same(trainable_state(model)))
                methods.before_training(data.batches)
            optimiser = Optimiser(methods.parameter_groups(lr), weight_decay)
            if saved.begun:
                optimiser.load(saved.optimiser, names_of(model))
            plain = Plain(model, methods, bfloat16=precision == "bf16")
            backward = Captured(plain) if capture else plain
            model.train()
            for step in range(run.steps + 1, steps + 1):
                with journal.step():
                    factor = schedule(step, steps, warmup)
                    optimiser.set_rate(factor)
                    seed_step(device, seed, step)  # alike in all processes
                    methods.before_step(step)
                    seed_step(device, seed, step, 1 + processes.index)
                    for batch, share in data.parts(step):  # the shares of a step add up to 1
                        backward(batch, share, journal.saw)
                    processes.add_up(optimiser.gradients)
                    methods.after_backward(step)
                    optimiser.step(clip)
                    methods.after_step(step)

                evaluates = step % evaluate_every == 0 or step == steps
                logs = evaluates or journal.is_due(step)
                stops = processes.agree(interrupted, ask=logs)
                if logs or stops:
                    journal.log(lr * factor)
                if evaluates:
                    improves = journal.score(processes.same_numbers(validate()))
                    if improves or methods.last_counts:
                        run.best = run.history[-1]
                        best = _copy(trainable_state(model))
                run.interrupted = stops and step < steps
                if evaluates or stops or (logs and place.age > SAVE_SECONDS):
                    save_run(place, model, optimiser, best, run)
                if stops:
                    break
    return _leave(model, {} if run.interrupted else best, run)


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}


def _leave(model: PreTrainedModel, best: dict[str, Tensor], run: Run) -> Run:
    """Leave the model as its best evaluation was, if there was one."""
    if best:
        load_trainable_state(model, best)
    model.eval()
    return run
