"""Gradual unfreezing: the layers are opened one after the other, from the top.

Howard and Ruder (2018), Universal Language Model Fine-tuning for Text Classification,
https://arxiv.org/abs/1801.06146, Section 3.3. In an encoder-decoder model both stacks open alike;
the gradient of the encoder then passes through the whole decoder.

The top layer holds the least general knowledge, so that it is adapted first, and the general
knowledge below is not washed away by the first steps.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from ..core import BadValue, Method
from ..core.limits import Whole
from ..facts import FACTS
from .layers import from_the_top


@dataclass(frozen=True)
class GradualUnfreezing(Method):
    """Full fine-tuning that begins at the top: one layer more in each phase, embeddings last.

    While a step runs, what is still closed asks for no gradient: the backward pass ends at the
    lowest open layer, and AdamW, its weight decay included, leaves the rest alone.

    Args:
        phase_steps: optimiser steps of each phase; the paper takes one epoch. The last phase, in
            which everything is trained, has the steps that are left. None: phases of equal length.
        start: how many layers are open in the first phase.
    """

    facts = FACTS["gradual_unfreezing"]

    phase_steps: Whole | None = None
    start: Whole = 1

    def trains(self, model: nn.Module) -> Iterable[str]:
        check_start(model, self.start)
        return [name for group in from_the_top(model) for name in group]

    def before_training(
        self, model: nn.Module, batches: Callable[[], Iterator[dict[str, Tensor]]], total_steps: int
    ) -> None:
        # An error in the middle of a step of a run before this one has left layers closed.
        ask(model, from_the_top(model), True)

    def before_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        groups = from_the_top(model)
        ask(model, groups[open_groups(self, len(groups), step, total_steps) :], False)

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        # Between steps the flags say what is trained in all, whenever the run is stopped.
        ask(model, from_the_top(model), True)


def check_start(model: nn.Module, start: int) -> None:
    """Refuse to begin with more open layers than there are."""
    if start > (there := len(from_the_top(model))):
        raise BadValue(
            f"start={start}: this {type(model).__name__} has {there - 1} layers and the "
            f"embeddings, so that at most {there} are open in the first phase."
        )


def ask(model: nn.Module, groups: list[list[str]], gradient: bool) -> None:
    """Let the parameters of these layers ask for a gradient, or not."""
    for group in groups:
        for name in group:
            model.get_parameter(name).requires_grad_(gradient)


def open_groups(
    method: GradualUnfreezing,
    groups: int,
    step: int,
    total_steps: int,
) -> int:
    """How many of `groups` layers, from the top, are trained in a step (from 1)."""
    phases = groups - method.start + 1
    if method.phase_steps is None:
        return method.start + (step - 1) * phases // total_steps
    return min(groups, method.start + (step - 1) // method.phase_steps)
