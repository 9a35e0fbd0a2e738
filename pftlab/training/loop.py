"""The training loop, to be read from top to bottom."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_tokenizer
from ..core.checkpoint import describe, fingerprint
from ..core.files import check_writable
from ..core.interrupt import stop_on_interrupt
from ..core.method import attached, load_trainable_state, trainable_state
from ..tasks import Task
from .checks import check_arguments, check_model
from .data import TrainingData
from .evaluation import Evaluator
from .memory import PeakMemory
from .optimiser import make_optimiser, schedule
from .processes import Processes
from .randomness import own_randomness, seed_step
from .resume import prepare_folder, read_state, restore_model, restore_optimiser, save_state
from .run import Run

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
    accumulate: int = 1,
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
    Under `accelerate launch` every process takes an equal share of each batch.

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
        accumulate: parts that a batch is computed in, to save memory.
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
        Unavailable: `folder` cannot be written.
    """
    methods = list(attached(model).values())
    check_model(model, task)
    lr = min(method.learning_rate for method in methods) if lr is None else lr
    evaluate_every = max(1, steps // 4) if evaluate_every is None else evaluate_every
    arguments: dict[str, Any] = {
        "steps": steps, "batch_size": batch_size, "lr": lr, "weight_decay": weight_decay,
        "warmup": warmup, "max_length": max_length, "precision": precision,
        "accumulate": accumulate, "clip": clip, "evaluate_every": evaluate_every, "seed": seed,
    }  # fmt: skip
    check_arguments(**arguments)
    arguments |= {"model": type(model).__name__, "base": fingerprint(model)}
    arguments |= {"methods": describe(model), "task": task.name, "data": task.fingerprint}
    folder = None if folder is None else check_writable(folder)
    saved = read_state(folder, arguments) if folder and resume else None
    run, best = (saved.run, saved.best) if saved else (Run(arguments), {})
    if saved:
        restore_model(model, saved)
    if run.steps == steps:
        return _leave(model, best, run)

    processes = Processes()
    device = processes.device
    tokenizer = tokenizer or load_tokenizer(model)
    data = TrainingData(model, task, tokenizer, max_length, batch_size, accumulate, seed, processes)
    validate = Evaluator(model, task, tokenizer=tokenizer, max_length=max_length)
    model.to(device)  # type: ignore[arg-type]
    if folder and processes.first:
        prepare_folder(folder, keep_state=saved is not None)

    with own_randomness(device, seed), stop_on_interrupt() as interrupted:
        if not saved:
            load_trainable_state(model, processes.same(trainable_state(model)))
            for method in methods:
                method.before_training(model, data.batches, steps)
        optimiser = make_optimiser(model, methods, lr, weight_decay)
        if saved:
            restore_optimiser(optimiser, model, saved)
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        last_counts = any(method.last_counts for method in methods)
        memory, losses = PeakMemory(device), torch.zeros((), device=device)
        log_every, stopping, saved_at = max(1, steps // 50), False, time.monotonic()
        bar = tqdm(total=steps, initial=run.steps, desc="train", unit="step",
                   disable=not (progress and processes.first))  # fmt: skip
        model.train()
        while run.steps < steps and not stopping:
            began, step = time.perf_counter(), run.steps + 1
            factor = schedule(step, steps, warmup)
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
            seed_step(device, seed, step)  # alike in all processes, and in a run that is resumed
            for method in methods:
                method.before_step(model, step, steps)
            seed_step(device, seed, step, 1 + processes.index)
            for batch, share in data.parts(step):
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                    loss = model(**batch).loss
                    losses += share * loss.detach()
                    memory.sample()  # now, while the activations are there
                    for method in methods:
                        if (extra := method.extra_loss(model)) is not None:
                            loss = loss + extra  # the shares of a step add up to 1
                (share * loss).backward()
            processes.add_up(p.grad for p in trained if p.grad is not None)
            for method in methods:
                method.after_backward(model, step, steps)
            if clip:
                torch.nn.utils.clip_grad_norm_(trained, clip)
            optimiser.step()
            optimiser.zero_grad()
            for method in methods:
                method.after_step(model, step, steps)
            run.steps = step

            # Only now and then is anything read back from the device, which would wait for it.
            evaluates = step % evaluate_every == 0 or step == steps
            logs = evaluates or step % log_every == 0
            stopping = processes.agree(interrupted, ask=logs)
            if logs or stopping:
                processes.add_up([losses])
                run.log(step, float(losses), lr * factor)
                losses.zero_()
            run.seconds += time.perf_counter() - began
            bar.update()
            if evaluates:
                scores = processes.same_numbers(validate())
                if run.evaluated(step, scores, task.metric) or last_counts:
                    run.best = run.history[-1]
                    best = {n: t.to("cpu", copy=True) for n, t in trainable_state(model).items()}
            if logs or stopping:
                run.measure(batch_size, memory.peak)
                bar.set_postfix(run.latest(task.metric), refresh=False)
            due = evaluates or stopping or (logs and time.monotonic() - saved_at > SAVE_SECONDS)
            if folder and due and processes.first:
                run.interrupted = run.steps < steps and stopping
                save_state(folder, model, optimiser, best, run)
                saved_at = time.monotonic()
        bar.close()
    run.interrupted = run.steps < steps
    return _leave(model, {} if run.interrupted else best, run)


def _leave(model: PreTrainedModel, best: dict[str, Tensor], run: Run) -> Run:
    """Leave the model as its best evaluation was, if there was one."""
    if best:
        load_trainable_state(model, best)
    model.eval()
    return run
