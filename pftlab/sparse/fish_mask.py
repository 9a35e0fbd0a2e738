"""FISH Mask: Training Neural Networks with Fixed Sparse Masks.

Sung, Nair and Raffel (2021), https://arxiv.org/abs/2111.09839. The authors' code takes the head's
parameters out of the budget; here, as everywhere in this project, the head is counted apart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import BadValue
from ..core.limits import Whole
from ..facts import FACTS
from .mask import RandomMask, entries, keep_highest


@dataclass(frozen=True)
class FishMask(RandomMask):
    """Train the weights with the largest empirical Fisher information.

    Before the first step the Fisher information of every weight is estimated on training
    examples, one example at a time (Eq. 4):

        F̂_θ = 1/N Σ_n (∇_θ log p(y_n | x_n))²

    where log p(y | x) of several labels, the words of a text or their tags, is the sum over them.
    The weights with the highest values, over the whole base together, are trained; the mask then
    stays as it is. Until training begins the mask is random.

    Args:
        density: share of the base's parameters to train; their number is exact (paper: 0.005).
        seed: of the random choice before training begins.
        samples: examples for the estimate (paper: 1024, "a few hundred" are enough).
    """

    facts = FACTS["fish_mask"]

    samples: Whole = 1024

    def before_training(
        self, model: nn.Module, batches: Callable[[], Iterator[dict[str, Tensor]]], total_steps: int
    ) -> None:
        pairs = entries(model, self.attached_as(model))
        count = sum(len(delta.values) for _, delta in pairs)
        keep_highest(pairs, fisher(model, [p for p, _ in pairs], batches(), self.samples), count)


def fisher(
    model: nn.Module, parameters: list[nn.Parameter], batches: Iterator[dict[str, Tensor]], n: int
) -> list[Tensor]:
    """Empirical Fisher information of `parameters` from up to n examples, Eq. 4.

    Returns:
        One tensor for each parameter, of its shape: the mean squared gradient.
    """
    flags = [parameter.requires_grad for parameter in parameters]
    training = model.training
    model.eval()
    total = [torch.zeros_like(parameter) for parameter in parameters]
    seen = 0
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for example in _examples(batches, n):
            seen += 1
            count = labels_of(model, example["labels"])
            if count == 0:
                continue  # p(nothing | x) is 1, whatever the weights
            loss = count * model(**example).loss  # the model's loss is the mean
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for sum_, gradient in zip(total, gradients, strict=True):
                if gradient is not None:
                    sum_ += gradient**2
    finally:
        model.train(training)
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)
    if not seen:
        raise BadValue("There are no examples to estimate the Fisher information from.")
    return [sum_ / seen for sum_ in total]


def labels_of(model: nn.Module, labels: Tensor) -> int:
    """How many labels the model's loss is a mean over.

    Args:
        model: a transformers model.
        labels: (1,) or (1, T) numbers, -100 where there is none; or (1, C) several at once.
    """
    if labels.dim() > 1 and model.can_generate() and not model.config.is_encoder_decoder:  # type: ignore
        labels = labels[:, 1:]  # a decoder predicts no first word
    return int((labels != -100).sum())


def _examples(batches: Iterator[dict[str, Tensor]], n: int) -> Iterator[dict[str, Tensor]]:
    """The first n examples of `batches`, one by one."""
    for batch in batches:
        for i in range(len(next(iter(batch.values())))):
            if n == 0:
                return
            n -= 1
            yield {key: value[i : i + 1] for key, value in batch.items()}
