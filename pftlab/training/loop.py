"""The training loop, to be read from top to bottom."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_tokenizer
from ..core.checkpoint import describe, fingerprint
from ..core.errors import BadValue
from ..core.files import check_writable
from ..core.method import Method, attached, load_trainable_state, trainable_state
from ..tasks import Task
from .evaluation import evaluate
from .resume import part, read_state, restore_model, restore_optimiser, save_state
from .run import Run


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

    The same arguments give the same result bit for bit on one CPU, also when the run was killed
    and started again with its `folder`. Ctrl-C ends it after the current step and keeps what was
    done; a second one leaves at once.

    Args:
        model: with a method attached; moved to the GPU if there is one.
        task: from `load_task`; trained on its "train" split, evaluated on "validation".
        steps: optimiser steps.
        batch_size: examples in a step, over all processes and accumulated parts together.
        lr: peak learning rate of AdamW; None: the method's own.
        weight_decay: of AdamW.
        warmup: share of the steps over which the rate rises from 0; it then falls to 0.
        max_length: in tokens; longer inputs are cut.
        precision: "fp32" or "bf16" (autocast).
        accumulate: parts that a batch is computed in, to save memory.
        clip: largest norm of the gradient; 0 leaves it alone.
        evaluate_every: steps between evaluations and between saved states; None: a quarter of the
            steps.
        seed: of the order of the examples and of dropout.
        tokenizer: the base's; loaded if not given.
        folder: where the state is saved; None: nowhere.
        resume: go on with the state in `folder`, if there is one. A finished run is returned.
        progress: show a progress bar.

    Raises:
        BadValue: nothing is attached or trainable, an argument cannot be, or the task's labels do
            not fit the model's head.
        BadCheckpoint: `folder` holds another run.
        Unavailable: `folder` cannot be written.
    """
    methods = list(attached(model).values())
    _check(model, task, methods, steps, batch_size, accumulate, precision)
    lr = min(m.learning_rate for m in methods) if lr is None else lr
    every = max(1, steps // 4) if evaluate_every is None else evaluate_every
    arguments = {
        "methods": describe(model), "base": fingerprint(model), "task": task.name,
        "data": task.fingerprint, "steps": steps, "batch_size": batch_size, "lr": lr,
        "weight_decay": weight_decay, "warmup": warmup, "max_length": max_length,
        "precision": precision, "accumulate": accumulate, "clip": clip,
        "evaluate_every": every, "seed": seed,
    }  # fmt: skip
    tokenizer = tokenizer or load_tokenizer(model)
    run, best, saved = Run(arguments), dict[str, Tensor](), None
    if folder is not None:
        folder = check_writable(folder)
        saved = read_state(folder, arguments) if resume else None
    if saved:
        run = saved[0]
        run.interrupted = False
        restore_model(model, saved[1])
        best = part(saved[1], "best")
        if run.steps == steps:
            return _leave(model, best, run)

    AcceleratorState._reset_state()  # the precision of an earlier run in this process
    accelerator = Accelerator(mixed_precision="no" if precision == "fp32" else precision)
    processes = accelerator.num_processes
    if processes > 1 and batch_size % (processes * accumulate):
        raise BadValue(
            f"batch_size={batch_size} must be a multiple of {processes} processes × "
            f"accumulate={accumulate}, so that all do the same work."
        )
    options: dict[str, Any] = {"max_length": max_length}
    if task.kind == "generation":
        options["encoder_decoder"] = bool(model.config.is_encoder_decoder)
    examples = task.encode(tokenizer, "train", **options)
    _check_labels(model, task, examples)
    collate = task.collate(tokenizer)
    model.to(accelerator.device)

    def batches() -> Iterator[dict[str, Tensor]]:
        """The whole training data in its first order, for methods that look at it beforehand."""
        order = _order(len(examples), seed, 0)
        for i in range(0, len(order), batch_size):
            batch = collate([examples[j] for j in order[i : i + batch_size]])
            yield {k: v.to(accelerator.device) for k, v in batch.items()}

    with _own_randomness(seed), _stop_on_interrupt() as stop:
        if not saved:
            for method in methods:
                method.before_training(model, batches, steps)
        groups = _groups(model, methods, lr)
        optimiser = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
        peaks = [group["lr"] for group in optimiser.param_groups]
        if saved:
            restore_optimiser(optimiser, saved[1])
        parallel = accelerator.prepare_model(model) if processes > 1 else model
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        share = slice(accelerator.process_index, None, processes)
        memory = _Memory(accelerator.device)
        losses = torch.zeros((), device=accelerator.device)
        log_every = max(1, steps // 50)
        main = accelerator.is_main_process
        last_counts = any(method.last_counts for method in methods)
        bar = tqdm(total=steps, initial=run.steps, desc="train", unit="step",
                   disable=not (progress and main))  # fmt: skip
        model.train()
        while run.steps < steps and not stop.is_set():
            start = time.perf_counter()
            step = run.steps + 1
            torch.manual_seed(seed * 1_000_003 + step)  # so that a resumed run drops out alike
            factor = _schedule(step, steps, warmup)
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            for method in methods:
                method.before_step(model, step, steps)
            rows = _rows(len(examples), batch_size, seed, step)
            for k in range(accumulate):
                chunk = [examples[i] for i in rows[k::accumulate][share]]
                batch = {n: v.to(accelerator.device) for n, v in collate(chunk).items()}
                with accelerator.autocast():
                    loss = parallel(**batch).loss * (len(rows[k::accumulate]) / len(rows))
                    losses += loss.detach()
                    if k == 0:
                        extra = (method.extra_loss(model) for method in methods)
                        loss = loss + sum(term for term in extra if term is not None)
                accelerator.backward(loss)
            for method in methods:
                method.after_backward(model, step, steps)
            if clip:
                accelerator.clip_grad_norm_(trained, clip)
            optimiser.step()
            optimiser.zero_grad()
            for method in methods:
                method.after_step(model, step, steps)
            run.steps = step
            evaluates = step % every == 0 or step == steps
            if step % log_every == 0 or evaluates or stop.is_set():
                since = step - max((e["step"] for e in run.history if "loss" in e), default=0)
                mean = float(losses) / since
                losses.zero_()
                run.history.append({"step": step, "loss": mean, "lr": lr * factor})
                bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
            run.seconds += time.perf_counter() - start
            bar.update()
            if evaluates:
                scores = evaluate(model, task, max_length=max_length, tokenizer=tokenizer)
                entry = {"step": step, "validation_loss": scores.pop("loss"), **scores}
                run.history.append(entry)
                if not run.best or last_counts or entry[task.metric] > run.best[task.metric]:
                    run.best = entry
                    best = {n: t.to("cpu", copy=True) for n, t in trainable_state(model).items()}
            if evaluates or stop.is_set():
                _measure(run, batch_size, memory)
                if folder is not None and main:
                    save_state(folder, model, optimiser, best, run)
        bar.close()
        run.interrupted = run.steps < steps
        accelerator.unwrap_model(parallel, keep_fp32_wrapper=False)
    return run if run.interrupted else _leave(model, best, run)


def _leave(model: nn.Module, best: dict[str, Tensor], run: Run) -> Run:
    """Leave the model as its best evaluation was."""
    if best:
        load_trainable_state(model, best)
    model.eval()
    return run


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up to 1, then linear decay; the last step still moves."""
    rising = max(1, round(warmup * steps))
    if step <= rising:
        return step / rising
    return (steps + 1 - step) / (steps + 1 - rising)


@lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(n, generator=generator).tolist()


def _rows(n: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The examples of one step: a stretch of the endless sequence of shuffled epochs."""
    first, stop = (step - 1) * batch_size, step * batch_size
    orders = {epoch: _order(n, seed, epoch) for epoch in range(first // n, (stop - 1) // n + 1)}
    return [orders[i // n][i % n] for i in range(first, stop)]


def _groups(model: nn.Module, methods: list[Method], lr: float) -> list[dict[str, Any]]:
    """The methods' parameter groups; a parameter belongs to the first that speaks for it."""
    taken: set[int] = set()
    groups = []
    # A method without a wish takes every trainable parameter, so it comes last.
    for method in sorted(
        methods, key=lambda m: type(m).parameter_groups is Method.parameter_groups
    ):
        for group in method.parameter_groups(model, lr):
            mine = [p for p in group["params"] if id(p) not in taken]
            taken |= {id(p) for p in mine}
            if mine:
                groups.append({**group, "params": mine})
    return groups


def _check(
    model: PreTrainedModel,
    task: Task,
    methods: list[Method],
    steps: int,
    batch_size: int,
    accumulate: int,
    precision: str,
) -> None:
    if not methods:
        raise BadValue(
            "Nothing is attached to this model. Attach a method first, for instance "
            "LoRA().attach(model), or FullFineTuning().attach(model) to train everything."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise BadValue("No parameter of this model is trainable. Attach the method again.")
    for name, value in {"steps": steps, "batch_size": batch_size, "accumulate": accumulate}.items():
        if value < 1:
            raise BadValue(f"{name}={value}: give a whole number of at least 1.")
    if accumulate > batch_size:
        raise BadValue(f"accumulate={accumulate} parts of a batch of {batch_size} would be empty.")
    if precision not in ("fp32", "bf16"):
        raise BadValue(f'precision={precision!r}: choose "fp32" or "bf16".')
    if len(task.splits["train"]) == 0:
        raise BadValue(f"The training split of {task.name!r} is empty. Give it examples.")


def _check_labels(model: nn.Module, task: Task, examples: list[dict[str, Any]]) -> None:
    if task.kind not in ("classification", "pairs", "tagging"):
        return
    head = model.config.num_labels
    highest = max(
        max(e["labels"]) if isinstance(e["labels"], list) else e["labels"] for e in examples
    )
    if highest >= head:
        raise BadValue(
            f"{task.name!r} has labels up to {highest}, and the model's head knows {head} "
            f"(0 to {head - 1}). Load the base with num_labels={task.num_labels}."
        )


def _measure(run: Run, batch_size: int, memory: "_Memory") -> None:
    run.examples_per_second = run.steps * batch_size / max(run.seconds, 1e-9)
    run.peak_memory_bytes = max(run.peak_memory_bytes, memory.peak())


class _Memory:
    """Peak memory since it was made: exact on a GPU, growth of the process on a CPU."""

    def __init__(self, device: torch.device):
        self.device = device
        self.before = psutil.Process().memory_info().rss
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return max(0, psutil.Process().memory_info().rss - self.before)


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Random numbers of our own inside, the caller's untouched afterwards."""
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread alone
        return
    before = signal.getsignal(signal.SIGINT)

    def handler(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handler)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
