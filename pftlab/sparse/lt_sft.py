"""LT-SFT: Composable Sparse Fine-Tuning for Cross-Lingual Transfer.

Ansell, Ponti, Korhonen and Vulić (2022), https://arxiv.org/abs/2110.07560. What differs from the
authors' code: the L1 penalty of their language masks is left out; layer norms are not frozen;
phase 1 has a learning rate of its own, and takes whole batches in the base's type, whatever the
run does to save memory. Load the base in 32 bits: in 16, small moves are rounded away.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from ..core import Delta
from ..core.limits import Density, Whole
from ..core.masters import Masters
from ..core.ports.steps import announced
from ..facts import FACTS
from .mask import RandomMask, entries, keep_highest


@dataclass(frozen=True)
class LTSFT(RandomMask):
    """A lottery ticket: fine-tune everything, keep the weights that moved most, rewind, train them.

    Phase 1 is a full fine-tuning of `full_steps` steps, with dropout, the gradient's norm clipped
    at 1 and a rate that falls in a line to 0, as in the authors' code. The k weights with the
    largest |θ₁ − θ₀| are the mask; every weight goes back to θ₀, and phase 2, the training that
    follows, changes the masked weights alone (Section 3.1). Differences learned on two tasks can
    be added: attach both.

    Args:
        density: share of the base's parameters to keep; their number is exact.
        seed: of the random places before training begins; phase 1 does not depend on it.
        full_steps: steps of phase 1; None: as many as phase 2 has.
        full_learning_rate: of the first step of phase 1.
    """

    facts = FACTS["lt_sft"]

    density: Density = 0.01
    full_steps: Whole | None = None
    full_learning_rate: float = 5e-5

    def before_training(
        self, model: nn.Module, batches: Callable[[], Iterator[dict[str, Tensor]]], total_steps: int
    ) -> None:
        pairs = entries(model, self.attached_as(model))
        count = sum(len(delta.values) for _, delta in pairs)
        steps = total_steps if self.full_steps is None else self.full_steps
        own, base = self.planted_in(model, Delta), [parameter for parameter, _ in pairs]
        moved = full_fine_tuning(model, own, base, batches, steps, self.full_learning_rate)
        keep_highest(pairs, moved, count)


def full_fine_tuning(
    model: nn.Module,
    own: Sequence[Delta],
    base: list[nn.Parameter],
    batches: Callable[[], Iterator[dict[str, Tensor]]],
    steps: int,
    learning_rate: float,
) -> list[Tensor]:
    """|θ₁ − θ₀| of every base parameter after phase 1; the model is as before.

    Args:
        model: with LT-SFT attached.
        own: its deltas, which have no part in this.
        base: the parameters that it may change.
        batches: yields training batches.
        steps: of phase 1.
        learning_rate: of the first of them.
    """
    taken = {id(p) for p in base} | {id(p) for delta in own for p in delta.parameters()}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]  # a head
    trained, training = [*base, *others], model.training
    start = [(p, p.detach().clone(), p.requires_grad) for p in trained]
    masters = Masters(trained)
    moved = [masters[p] for p in trained]
    optimiser = torch.optim.AdamW(moved, lr=learning_rate, weight_decay=0.0)
    try:
        for delta in own:
            delta.active = False
        for parameter in base:
            parameter.requires_grad_(True)
        model.train()
        for done, batch in enumerate(islice(_forever(batches), steps)):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * (1 - done / steps)
            optimiser.zero_grad()
            with announced(model):  # phase 1 is full fine-tuning, whatever else is attached
                loss = model(**batch).loss
            loss.backward()
            masters.take_gradients()
            nn.utils.clip_grad_norm_(moved, 1.0)
            optimiser.step()
            masters.give_values()
        return [(masters[p].detach() - s).abs() for p, s, _ in start[: len(base)]]
    finally:
        model.train(training)
        for delta in own:
            delta.active = True
        with torch.no_grad():
            for parameter, value, flag in start:
                parameter.copy_(value)
                parameter.requires_grad_(flag)
                parameter.grad = None


def _forever(batches: Callable[[], Iterator[dict[str, Tensor]]]) -> Iterator[dict[str, Tensor]]:
    while True:
        yield from batches()
