"""Counting parameters, in one place, so that every table of the book counts alike."""

from dataclasses import dataclass

from torch import nn

from .heads import head_parameters


@dataclass(frozen=True)
class Count:
    """Numbers of parameters (not bytes).

    Attributes:
        trainable: trained by the method, without the head.
        head: trained in the head, which every method needs alike.
        total: all of the model as it stands: base, head and deltas.
    """

    trainable: int
    head: int
    total: int

    @property
    def percent(self) -> float:
        """Trainable parameters, head apart, in percent of the total."""
        return 100 * self.trainable / max(self.total, 1)

    def __str__(self) -> str:
        return (
            f"{self.trainable:,} trainable ({self.percent:.3g} %) "
            f"+ {self.head:,} in the head, of {self.total:,}"
        )


def count(model: nn.Module) -> Count:
    """Count the parameters of `model`; one that modules share counts once.

    Works on models on the meta device too, so that models of any size can be counted.
    """
    record = getattr(model, "pftlab", None)
    head_names = record.head if record else head_parameters(model)
    trainable = head = total = 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if parameter.requires_grad:
            if name in head_names:
                head += parameter.numel()
            else:
                trainable += parameter.numel()
    return Count(trainable, head, total)
