"""Several tasks at once over the layers that they share (Rücklé et al., 2021, Section 3.3).

Adapters that leave out the first n layers leave these layers to the frozen base, which is the same
for every task. For one input they are computed once.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import nn

from ..core import BadValue, Refused, config_of, is_planted, planted
from ..core.sites import sites


class SharedTrunk:
    """Answers for several tasks on the same input, with the first n layers computed once.

    Args:
        models: name of a task → its model: the same base, with its own adapters in the upper
            layers and its own head. They may share memory or not.
        n: how many layers, from the bottom, are shared. No adapter may act in them: train with
            `layers` in the upper part, or `drop(model, n)`.

    Raises:
        BadValue: something acts in the shared layers of a model, or they differ, or n does not
            leave a layer of its own to each task.
        Refused: in an encoder-decoder model the decoder reads what differs from task to task.
    """

    def __init__(self, models: Mapping[str, nn.Module], n: int):
        if not models:
            raise BadValue("There are no models. Give a mapping from task to model.")
        self.models, self.n = dict(models), n
        first = next(iter(self.models.values()))
        for name, model in self.models.items():
            if config_of(model).is_encoder_decoder:
                raise Refused(
                    f"{name!r} is an encoder-decoder model: its decoder reads an encoder that "
                    "differs from task to task."
                )
            self._check(name, model, first)

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """The output of each task's model for `inputs`, without gradients and without a cache."""
        trunk: list[Any] = []
        outputs: dict[str, Any] = {}
        for name, model in self.models.items():
            given = dict(inputs)
            if "use_cache" in signature(model.base_model.forward).parameters:  # type: ignore[union-attr]
                given["use_cache"] = False  # of the layers that are skipped it would hold nothing
            lower = [site.host for site in sites(model, ("block",))[: self.n]]
            with torch.no_grad():
                if not trunk:
                    keep = lower[-1].register_forward_hook(lambda m, a, out: trunk.append(out))
                    try:
                        outputs[name] = model(**given)
                    finally:
                        keep.remove()
                    continue
                try:
                    for block in lower:  # an attribute of the instance hides the class's forward
                        block.forward = lambda *args, **kwargs: trunk[0]
                    outputs[name] = model(**given)
                finally:
                    for block in lower:
                        vars(block).pop("forward", None)
        return outputs

    def _check(self, name: str, model: nn.Module, first: nn.Module) -> None:
        blocks = [site.path for site in sites(model, ("block",))]
        if not 1 <= self.n < len(blocks):
            raise BadValue(
                f"n={self.n}: {name!r} has {len(blocks)} layers, of which 1 to {len(blocks) - 1} "
                "can be shared."
            )
        for path, _, _, delta in planted(model):
            own = any(f"{path}.".startswith(f"{block}.") for block in blocks[self.n :])
            if delta.active and not own:
                raise BadValue(
                    f"{delta.method_name!r} acts at {path or 'the model'} in {name!r}, among what "
                    f"is shared. Attach it to layers from {self.n} up, or drop it there."
                )
        theirs, ours = dict(first.named_parameters()), dict(model.named_parameters())
        for parameter in ours:  # in the order of the network: embeddings first
            if parameter.startswith(f"{blocks[self.n]}."):
                break
            if is_planted(parameter):
                continue
            mine, other = ours[parameter], theirs.get(parameter)
            if other is None or not (other is mine or torch.equal(other, mine)):
                raise BadValue(
                    f"{parameter} differs in {name!r} from the first model: the tasks have no "
                    "common trunk. Adapt copies of one base, and freeze what is shared."
                )
