"""What attached methods do in the steps of a training loop, in the places where they do it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from ..core.errors import Refused
from ..core.ports.steps import announced, own_callbacks
from ..core.record import enabled_record, record_of

Batches = Callable[[], Iterator[dict[str, Tensor]]]


class Lifecycle:
    """The callbacks of all methods attached to a model, for a loop of training.

    Entering the block announces the loop; a method that acts in training refuses others. A loop
    of one's own calls everything that is called here:

        with Lifecycle(model, total_steps=100) as methods:
            methods.before_training(batches)
            optimiser = torch.optim.AdamW(methods.parameter_groups(lr=1e-3))
            model.train()
            for step in range(1, 101):
                methods.before_step(step)
                loss = methods.with_extra_loss(model(**next_batch()).loss)
                loss.backward()
                methods.after_backward(step)  # then clip, if you do
                optimiser.step()
                optimiser.zero_grad()
                methods.after_step(step)

    Args:
        model: with something attached.
        total_steps: optimiser steps of the whole run, by which schedules go.

    Raises:
        Refused: nothing is attached or in use, or it is disabled or merged.
    """

    def __init__(self, model: nn.Module, total_steps: int):
        if not enabled_record(model, "Training").in_use:
            raise Refused(
                "Nothing that is attached is in use, so nothing would be trained. Choose by "
                "pftlab.use(model, name)."
            )
        self.model, self.total_steps = model, total_steps
        self._open = ExitStack()

    @property
    def methods(self) -> list[Any]:
        """Those in use, in the order of attachment."""
        return list(record_of(self.model).acting.values())

    @property
    def last_counts(self) -> bool:
        """Whether a method's result is its last state, not its best; see `Method`."""
        return any(method.last_counts for method in self.methods)

    def __enter__(self) -> "Lifecycle":
        self._open.enter_context(announced(self.model))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def before_training(self, batches: Batches) -> None:
        """Let methods look at the data, before the optimiser is made.

        Args:
            batches: makes an iterator over the training data, in batches with labels on the
                model's device; called as often as a method wants to see them.

        Raises:
            Refused: the model would be trained without gradients, see `check_checkpointing`.
        """
        check_checkpointing(self.model)
        for method in self.methods:
            method.before_training(self.model, batches, self.total_steps)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """The groups of all methods together; every trainable parameter is in exactly one.

        A parameter belongs to the first method that speaks for it. A method that overrides
        `parameter_groups` comes before those that do not, and what nobody speaks for (the head,
        perhaps) is trained at `lr`.

        Args:
            lr: the run's peak learning rate.
        """
        everything = [p for p in self.model.parameters() if p.requires_grad]
        wishes = [
            group
            for method in self.methods
            if "parameter_groups" in own_callbacks(type(method))
            for group in method.parameter_groups(self.model, lr)
        ]
        taken: set[int] = set()
        groups = []
        for group in [*wishes, {"params": everything}]:
            mine = [p for p in group["params"] if id(p) not in taken]
            taken |= {id(p) for p in mine}
            if mine:
                groups.append({"lr": lr, **group, "params": mine})
        return groups

    def before_step(self, step: int) -> None:
        """Before the forward pass of a step; steps count from 1."""
        for method in self.methods:
            method.before_step(self.model, step, self.total_steps)

    def with_extra_loss(self, loss: Tensor, parts: int = 1) -> Tensor:
        """The loss of a batch and what methods add to it.

        Args:
            loss: of the task.
            parts: by which a step divides the gradients of its batches, if `loss` is so already.
        """
        for method in self.methods:
            if (extra := method.extra_loss(self.model)) is not None:
                loss = loss + extra / parts
        return loss

    def after_backward(self, step: int) -> None:
        """When the gradients of a step are complete, before they are clipped."""
        for method in self.methods:
            method.after_backward(self.model, step, self.total_steps)

    def after_step(self, step: int) -> None:
        """After the optimiser's step."""
        for method in self.methods:
            method.after_step(self.model, step, self.total_steps)


def check_checkpointing(model: Any) -> None:
    """Refuse reentrant gradient checkpointing over inputs that need no gradient.

    That older kind gives no gradient to anything within a layer whose input needs none, as behind
    frozen embeddings: the head alone would be trained, and nobody told.

    Raises:
        Refused: the model does so.
    """
    ways = [getattr(module, "_gradient_checkpointing_func", None) for module in model.modules()]
    reentrant = any(getattr(way, "keywords", {}).get("use_reentrant") for way in ways)
    # transformers 5 calls enable_input_require_grads with it, of the model or of a part of it
    asked = any(getattr(module, "_require_grads_hooks", None) for module in model.modules())
    if asked or not reentrant:
        return
    if not any(p.requires_grad for p in model.get_input_embeddings().parameters()):
        raise Refused(
            "Reentrant gradient checkpointing gives no gradient behind frozen embeddings. Use the "
            'other kind, model.gradient_checkpointing_enable({"use_reentrant": False}), or call '
            "model.enable_input_require_grads() before training."
        )
