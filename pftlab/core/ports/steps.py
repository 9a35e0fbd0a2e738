"""The port of the steps: what a method does while it is trained, beside being trained.

A hidden state passes its site by itself. A step of training passes here only if the loop says so:
a loop that does not call a method's callbacks trains another method under its name, AdaLoRA that
never prunes, a FISH mask that is random. So whoever calls them announces it (`announced`), and a
model with a method that acts in training refuses a training forward pass elsewhere.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import Refused


class StepCallbacks:
    """What a method may do during training; a loop calls these, by default they do nothing."""

    def before_training(
        self, model: nn.Module, batches: Callable[[], Iterator[dict[str, Tensor]]], total_steps: int
    ) -> None:
        """Called once before the first step; `batches()` yields training batches."""

    def parameter_groups(self, model: nn.Module, lr: float) -> list[dict[str, Any]]:
        """Parameters for the optimiser; by default one group of all that are trainable."""
        return [{"params": [p for p in model.parameters() if p.requires_grad], "lr": lr}]

    def before_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        """Called before the forward pass of each step; steps count from 1."""

    def extra_loss(self, model: nn.Module) -> Tensor | None:
        """A term to add to the task's loss in training (never in evaluation)."""
        return None

    def after_backward(self, model: nn.Module, step: int, total_steps: int) -> None:
        """Called when gradients are complete, before clipping and the optimiser's step."""

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        """Called after the optimiser's step; steps count from 1."""


CALLBACKS = tuple(name for name in vars(StepCallbacks) if not name.startswith("_"))


def own_callbacks(method: type[StepCallbacks]) -> tuple[str, ...]:
    """Names of the callbacks that the class of a method gives a meaning of its own."""
    return tuple(n for n in CALLBACKS if getattr(method, n) is not getattr(StepCallbacks, n))


@contextmanager
def announced(model: nn.Module) -> Iterator[None]:
    """Inside, the loop calls the callbacks of what is attached to `model`, each in its place."""
    record: Any = model.pftlab
    before, record.announced = record.announced, True
    try:
        yield
    finally:
        record.announced = before


def guard(model: nn.Module) -> RemovableHandle:
    """From now on `model` refuses a training forward pass whose loop has not been announced."""
    return model.register_forward_pre_hook(_refuse_unannounced)


def _refuse_unannounced(model: nn.Module, args: tuple) -> None:
    record: Any = model.pftlab
    if record.announced or not model.training or not torch.is_grad_enabled():
        return
    for method in record.acting.values():
        if missed := own_callbacks(type(method)):
            raise Refused(
                f"{method.title} acts in the steps of training ({', '.join(missed)}), and this "
                "loop does not call it: another method would be trained under its name. Use "
                "pftlab.train; in place of transformers' Trainer use pftlab.LifecycleTrainer; in "
                "a loop of your own call what pftlab.training.Lifecycle lists. For a forward pass "
                "that is no training: model.eval(), or torch.no_grad()."
            )
