"""Gradual unfreezing: the layers are opened one after the other, from the top.

Howard and Ruder (2018), Universal Language Model Fine-tuning for Text Classification,
https://arxiv.org/abs/1801.06146, Section 3.3
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from ..core import BadValue, Method
from ..facts import FACTS
from .layers import from_the_top


@dataclass(frozen=True)
class GradualUnfreezing(Method):
    """Full fine-tuning that begins at the top: one layer more in each phase, embeddings last.

    The top layer holds the least general knowledge, so that it is adapted first, and the general
    knowledge below is not washed away by the first steps. While a step runs, what is still closed
    asks for no gradient: the backward pass ends at the lowest open layer, and AdamW, its weight
    decay included, leaves the rest alone. (In an encoder-decoder model both stacks open alike.
    The gradient of the encoder then passes through the whole decoder.)

    Args:
        phase_steps: optimiser steps of each phase; the paper takes one epoch. The last phase, in
            which everything is trained, has the steps that are left. None: phases of equal length.
        start: how many layers are open in the first phase.
    """

    facts = FACTS["gradual_unfreezing"]

    phase_steps: int | None = None
    start: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.phase_steps is not None and self.phase_steps < 1:
            raise BadValue(
                f"phase_steps={self.phase_steps}: a phase has at least 1 step; None makes all "
                "phases equally long."
            )
        if self.start < 1:
            raise BadValue(f"start={self.start}: at least 1 layer is open from the first step.")

    def trains(self, model: nn.Module) -> Iterable[str]:
        groups = from_the_top(model)
        if self.start > len(groups):
            raise BadValue(
                f"start={self.start}: this {type(model).__name__} has {len(groups) - 1} layers and "
                f"the embeddings, so that at most {len(groups)} are open in the first phase."
            )
        return [name for group in groups for name in group]

    def open_groups(self, groups: int, step: int, total_steps: int) -> int:
        """How many of `groups` layers, from the top, are trained in a step (from 1)."""
        phases = groups - self.start + 1
        if self.phase_steps is None:
            return self.start + (step - 1) * phases // total_steps
        return min(groups, self.start + (step - 1) // self.phase_steps)

    def before_training(
        self, model: nn.Module, batches: Callable[[], Iterator[dict[str, Tensor]]], total_steps: int
    ) -> None:
        # An error in the middle of a step of a run before this one has left layers closed.
        self._ask(model, from_the_top(model), True)

    def before_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        groups = from_the_top(model)
        self._ask(model, groups[self.open_groups(len(groups), step, total_steps) :], False)

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        # Between steps the flags say what is trained in all, whenever the run is stopped.
        self._ask(model, from_the_top(model), True)

    def _ask(self, model: nn.Module, groups: list[list[str]], gradient: bool) -> None:
        for group in groups:
            for name in group:
                model.get_parameter(name).requires_grad_(gradient)
