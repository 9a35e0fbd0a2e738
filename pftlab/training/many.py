"""Many runs in one pass: the same method, base and task, with seeds and rates of their own.

    runs = [(seed, lr) for seed in range(5) for lr in (1e-3, 3e-3)]
    for (seed, lr), done in zip(runs, fine_tune_many("minilm", LoRA(), "sst2", runs), strict=True):
        print(seed, lr, done.test)

A small model leaves a GPU idle, and ten of them share what is frozen: see `training.stack`. Each
run has the head, the new parameters and the order of examples of its seed, its own rate, its own
clipping and its own best evaluation, and ends where it would have ended alone. What differs from a
run alone: rounding; and what dropout drops, for all rows of a pass draw from one generator. With
dropout a run is another sample of the same distribution, and the list of runs decides which.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from math import gcd
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_base, load_tokenizer, random_weights
from ..core.errors import BadValue, Refused
from ..core.heads import name_labels
from ..core.interrupt import stop_on_interrupt
from ..core.method import Method
from ..tasks import Task, load_task
from .arguments import complete_arguments
from .data import Batch, TrainingData
from .evaluation import Evaluator
from .fine_tuning import FineTuned
from .forgetting import measure_forgetting_of_runs
from .journal import LOGS
from .lifecycle import Lifecycle
from .memory import PeakMemory
from .optimiser import schedule
from .processes import Processes
from .randomness import own_randomness, seed_step
from .run import Run
from .stack import Stack, check_stackable, share_frozen
from .stacked_adamw import StackedAdamW
from .step import MULTIPLE, Captured, Saw, check_captured

Begin = Callable[[PreTrainedModel], object]
Backward = Callable[[Batch, Tensor, Saw], None]


def fine_tune_many(
    base: str | Path,
    method: Method,
    task: str | Task,
    runs: Sequence[tuple[int, float | None]],
    *,
    pretrained: bool = True,
    test: bool = True,
    forgetting: bool = False,
    begin: Begin | None = None,
    max_length: int = 128,
    tokenizer: PreTrainedTokenizerBase | None = None,
    steps: int = 200,
    batch_size: int = 16,
    weight_decay: float = 0.0,
    warmup: float = 0.06,
    precision: str = "fp32",
    capture: bool = False,
    accumulate: int = 1,
    clip: float = 1.0,
    evaluate_every: int | None = None,
    progress: bool = True,
) -> list[FineTuned]:
    """Do what `fine_tune` does for each of several runs, all of them in one pass.

    Args:
        base: for `load_base`, as in `fine_tune`.
        method: with its hyper-parameters, those of all runs.
        task: or its name.
        runs: (seed, peak learning rate) of each, at least two; None: the method's own rate.
        pretrained: False: random weights, for runs of one seed.
        test: score the test split in the end.
        forgetting: measure what the base lost.
        begin: called with each model when the method is attached, before training.
        max_length: in tokens; the arguments behind it are those of `train`, and alike for all.
        tokenizer: the base's; loaded if not given.
        steps: optimiser steps.
        batch_size: examples in a step of one run.
        weight_decay: of AdamW.
        warmup: share of the steps.
        precision: "fp32" or "bf16".
        capture: record the step on the GPU.
        accumulate: parts that a batch is computed in.
        clip: largest norm of a run's gradient.
        evaluate_every: steps between evaluations.
        progress: show a progress bar.

    Returns:
        What each run leaves, in their order. The models share the tensors that are frozen. The
        seconds of a run are its share of the time that all took; its peak memory is that of all.

    Raises:
        Refused: the runs cannot share a pass, with the reason: do each with `fine_tune`.
        BadValue: fewer than two runs, or what `fine_tune` raises.
        and what else `fine_tune` raises.
    """
    if len(runs) < 2:
        raise BadValue(f"{len(runs)} runs: give at least two, or call fine_tune for one.")
    if not pretrained and len({seed for seed, _ in runs}) > 1:
        raise Refused(
            "Random weights of several seeds are several bases, and the runs of one pass share "
            "one. Train them one by one."
        )
    task = load_task(task) if isinstance(task, str) else task
    models = _models(base, method, task, [seed for seed, _ in runs], pretrained, begin)
    tokenizer = tokenizer or load_tokenizer(models[0])
    options: dict[str, Any] = {"tokenizer": tokenizer, "max_length": max_length}
    training = Together(
        models, task, runs, **options, steps=steps, batch_size=batch_size,
        weight_decay=weight_decay, warmup=warmup, precision=precision, capture=capture,
        accumulate=accumulate, clip=clip, evaluate_every=evaluate_every, progress=progress,
    )  # fmt: skip
    # now, and not after training, it is found out whether the test split fits
    tests = _Scores(models, task, "test", options) if test else None
    stack = training()
    done = [FineTuned(model, run, {}) for model, run in zip(models, training.runs, strict=True)]
    if any(run.interrupted for run in training.runs):
        return done
    if tests:
        scored = tests(stack)
        for each, scores, pairs in zip(done, scored, tests.pairs, strict=True):
            each.test, each.pairs = scores, pairs
    if forgetting:
        for each, lost in zip(done, measure_forgetting_of_runs(stack, **options), strict=True):
            each.forgetting = lost
    return done


class Together:
    """The loop of `train`, for models that differ in seed and rate."""

    def __init__(
        self,
        models: Sequence[PreTrainedModel],
        task: Task,
        runs: Sequence[tuple[int, float | None]],
        *,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        steps: int,
        batch_size: int,
        weight_decay: float,
        warmup: float,
        precision: str,
        capture: bool,
        accumulate: int,
        clip: float,
        evaluate_every: int | None,
        progress: bool,
    ):
        check_stackable(models[0])
        if capture:
            check_captured(models[0])
        self.models, self.task, self.capture, self.progress = models, task, capture, progress
        self.seeds = [seed for seed, _ in runs]
        common = complete_arguments(
            models[0], task, steps=steps, batch_size=batch_size, lr=None,
            weight_decay=weight_decay, warmup=warmup, max_length=max_length, precision=precision,
            accumulate=accumulate, pack=False, like_lengths=False, clip=clip,
            evaluate_every=evaluate_every, seed=self.seeds[0],
        )  # fmt: skip
        self.arguments = common
        self.rates = [common["lr"] if lr is None else lr for _, lr in runs]
        for seed, lr in zip(self.seeds, self.rates, strict=True):
            _check_run(seed, lr)
        self.runs = [
            Run(common | {"seed": seed, "lr": lr, "together": len(runs)})
            for seed, lr in zip(self.seeds, self.rates, strict=True)
        ]
        self.processes = Processes()
        if self.processes.count > 1:
            raise Refused(
                "Several processes divide the batches of one run, and many runs in one pass are "
                "one process's work. Launch one process for each GPU, with runs of its own."
            )
        multiple = gcd(MULTIPLE, max_length) if capture else 1
        self.data = [
            TrainingData(
                model, task, tokenizer, max_length, batch_size, accumulate, seed, self.processes,
                steps=range(1, steps + 1), multiple=multiple, progress=progress,
            )
            for model, seed in zip(models, self.seeds, strict=True)
        ]  # fmt: skip
        self.options: dict[str, Any] = {"tokenizer": tokenizer, "max_length": max_length}

    def __call__(self) -> Stack:
        """Train; the models are left as their best evaluations were, and so is the stack."""
        steps, device = self.arguments["steps"], self.processes.device
        validate = _Scores(self.models, self.task, "validation", self.options)
        for model in self.models:
            model.to(device)  # type: ignore[arg-type]
            share_frozen(self.models[0], model)  # moved, it had become its own again
            if len(self.task.labels) == model.config.num_labels:
                name_labels(model, self.task.labels)
        best: list[dict[str, Tensor]] = [{} for _ in self.models]
        bar = tqdm(total=steps, desc=f"train {len(self.models)} runs", unit="step",
                   disable=not self.progress)  # fmt: skip
        with ExitStack() as open_, stop_on_interrupt() as interrupted, bar:
            stack, optimiser, last_counts = self._begin(open_)
            plain = _StackedPass(stack, self.arguments["precision"] == "bf16")
            backward: Backward = Captured(plain) if self.capture else plain
            losses = torch.zeros(len(stack), device=device)
            memory, every = PeakMemory(device), max(1, steps // LOGS)

            def saw(loss: Tensor) -> None:
                nonlocal losses
                losses += loss.detach()
                memory.sample()

            stack.first.train()
            began = time.perf_counter()
            for step in range(1, steps + 1):
                factor = schedule(step, steps, self.arguments["warmup"])
                optimiser.set_rate(factor)
                seed_step(device, self.seeds[0], step, 1)
                for batch, shares in self._parts(step):
                    backward(batch, shares, saw)
                optimiser.step(self.arguments["clip"])
                for run in self.runs:
                    run.steps = step
                bar.update()
                evaluates = step % self.arguments["evaluate_every"] == 0 or step == steps
                if not (evaluates or step % every == 0 or interrupted.is_set()):
                    continue
                for run, lr, loss in zip(self.runs, self.rates, losses.tolist(), strict=True):
                    run.log(step, loss, lr * factor)
                losses.zero_()
                self._measure(time.perf_counter() - began, memory.peak)
                if evaluates:
                    for k, scores in enumerate(validate(stack)):
                        run = self.runs[k]
                        if run.evaluated(step, scores, self.task.metric) or last_counts:
                            run.best = run.history[-1]
                            best[k] = stack.state(k)
                if interrupted.is_set() and step < steps:
                    for run in self.runs:
                        run.interrupted = True
                    break
                began = time.perf_counter()
        for k, state in enumerate(best):
            if state and not self.runs[k].interrupted:
                stack.load(k, state)
        stack.give()
        for model in self.models:
            model.eval()
        return stack

    def _begin(self, open_: ExitStack) -> tuple[Stack, StackedAdamW, bool]:
        """Let the methods look at the data, stack the models, and try whether that is right."""
        device, steps = self.processes.device, self.arguments["steps"]
        open_.enter_context(own_randomness(device, self.seeds[0]))
        methods = [open_.enter_context(Lifecycle(model, steps)) for model in self.models]
        for k, each in enumerate(methods):
            with own_randomness(device, self.seeds[k]):
                each.before_training(self.data[k].batches)
        stack = Stack(self.models)
        batch, _ = next(iter(self._parts(1)))
        stack.check_alike(batch)
        named: list[dict[Tensor, str]] = [
            {p: name for name, p in model.named_parameters()} for model in self.models
        ]
        groups = [each.parameter_groups(lr) for each, lr in zip(methods, self.rates, strict=True)]
        trained = {name: stack.values[name] for name in stack.trained}
        decay = self.arguments["weight_decay"]
        return stack, StackedAdamW(trained, groups, named, decay), methods[0].last_counts

    def _parts(self, step: int) -> Iterator[tuple[Batch, Tensor]]:
        """The batches of K·B rows of a step, and of each run the share in its loss, (K,)."""
        device = self.processes.device
        for parts in zip(*(data.rows_of_parts(step) for data in self.data), strict=True):
            examples = [
                data.examples[i]
                for data, (rows, _) in zip(self.data, parts, strict=True)
                for i in rows
            ]
            batch = self.data[0].collate(examples)
            shares = torch.tensor([share for _, share in parts])
            yield {name: t.to(device) for name, t in batch.items()}, shares.to(device)

    def _measure(self, seconds: float, peak: int) -> None:
        for run in self.runs:
            run.seconds += seconds / len(self.runs)
            run.measure(self.arguments["batch_size"], peak)


def _check_run(seed: Any, lr: Any) -> None:
    if not isinstance(seed, int) or not 0 < lr < float("inf"):
        raise BadValue(
            f"The run ({seed!r}, {lr!r}) cannot be. Give a whole number as its seed, and a "
            "learning rate greater than 0, or None for the method's own."
        )


class _StackedPass:
    """Forward and backward pass of a batch that holds the rows of all runs."""

    def __init__(self, stack: Stack, bfloat16: bool):
        self.stack, self.bfloat16 = stack, bfloat16

    @property
    def parameters(self) -> list[Tensor]:
        return self.stack.parameters

    def __call__(self, batch: Batch, share: float | Tensor, saw: Saw) -> None:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with torch.autocast(batch["labels"].device.type, torch.bfloat16, self.bfloat16):
            losses = share * self.stack.losses(self.stack(inputs), batch["labels"])
            saw(losses)
        losses.sum().backward()  # no run's loss knows of another run's parameters


class _Scores:
    """The scores of all runs on a split."""

    def __init__(
        self, models: Sequence[PreTrainedModel], task: Task, split: str, options: dict[str, Any]
    ):
        first = Evaluator(models[0], task, split, **options)
        self.evaluators = [first]
        if first.separately:
            self.evaluators += [Evaluator(model, task, split, **options) for model in models[1:]]

    def __call__(self, stack: Stack) -> list[dict[str, float]]:
        first = self.evaluators[0]
        if not first.separately:
            return first.of_runs(stack)
        stack.give()
        return [score() for score in self.evaluators]

    @property
    def pairs(self) -> list[list[tuple[Any, Any]]]:
        """Prediction and reference of each text, run by run, from the last call."""
        first = self.evaluators[0]
        if not first.separately:
            return first.pairs_of_runs
        return [score.pairs for score in self.evaluators]


def _models(
    base: str | Path,
    method: Method,
    task: Task,
    seeds: Sequence[int],
    pretrained: bool,
    begin: Begin | None,
) -> list[PreTrainedModel]:
    """A model for each run, as `fine_tune` makes it, sharing what is frozen."""
    made: dict[int, PreTrainedModel] = {}
    models: list[PreTrainedModel] = []
    for seed in seeds:
        if seed in made:
            model = _copied(made[seed])
        else:
            model = load_base(base, num_labels=task.num_labels, task=task.model_task, seed=seed)
            if not pretrained:
                model = random_weights(model, seed)
            method.attach(model, seed=seed)
            if made:
                share_frozen(models[0], model)
            made[seed] = model
        models.append(model)
    if begin is not None:
        for model in models:
            begin(model)
    return models


def _copied(model: PreTrainedModel) -> PreTrainedModel:
    """A copy with tensors of its own where they are trained, and the same elsewhere."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(p.data, requires_grad=False)
        for p in model.parameters()
        if not p.requires_grad
    }
    return copy.deepcopy(model, memo)
