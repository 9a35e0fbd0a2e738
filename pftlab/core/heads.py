"""The head: what a task needs beside the adapted base, trained with every method.

One rule says what it is, however the model was loaded: the task's own layers, which stand outside
the base model and turn its states into answers, whether they start at random or were trained
before; and whatever else `load_base` found missing in the checkpoint, such as a pooler, and had to
start at random. The output layer of a language model is pretrained and part of the base.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .errors import BadValue, UnknownName
from .places import base_prefix


@dataclass
class Head:
    """A head, and the attachments that were trained with it.

    Attributes:
        names: of its parameters in the model.
        users: names of attachments.
        values: of its parameters, in host memory, while another head is in the model.
        labels: what its outputs mean, in their order.
    """

    names: frozenset[str]
    users: list[str] = field(default_factory=list)
    values: dict[str, Tensor] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


def head_parameters(model: nn.Module) -> frozenset[str]:
    """Names of the parameters that are trained as the head of `model`; see above."""
    names = [n for n, _ in model.named_parameters()]
    info = getattr(model, "pftlab_base", None)
    fresh = frozenset(n for n in names if info is not None and n in info.fresh)
    network: Any = model  # of transformers
    if network.get_output_embeddings() is not None or not base_prefix(model):
        return fresh
    return fresh | {n for n in names if not n.startswith(base_prefix(model))}


def chosen_head(model: nn.Module, head: Iterable[str] | None) -> frozenset[str]:
    """The parameters that `head` names, each by its own name or by that of a module around it.

    None: `head_parameters`.

    Raises:
        UnknownName: one of the names is in no parameter's name.
    """
    if head is None:
        return head_parameters(model)
    names = [n for n, _ in model.named_parameters()]
    found: set[str] = set()
    for wanted in [head] if isinstance(head, str) else head:
        here = {n for n in names if f"{n}.".startswith(f"{wanted}.")}
        if not here:
            modules = [path for path, _ in model.named_children()]
            raise UnknownName(f"module or parameter in a {type(model).__name__}", wanted, modules)
        found |= here
    return frozenset(found)


def label_names(model: Any) -> tuple[str, ...]:
    """What the outputs of the model's head mean, in their order; unnamed ones are "LABEL_0", …"""
    names = getattr(model.config, "id2label", None) or {}
    return tuple(str(names[number]) for number in sorted(names))


def name_labels(model: Any, names: Sequence[str]) -> None:
    """Write what the head's outputs mean into the configuration, where `pipeline` finds it.

    Raises:
        BadValue: their number is not that of the outputs, or two have one name.
    """
    if len(names) != model.config.num_labels or len(set(names)) < len(names):
        raise BadValue(
            f"The head of this {type(model).__name__} has {model.config.num_labels} outputs, and "
            f"{len(names)} names were given, {len(set(names))} of them different. Give each "
            "output a name of its own."
        )
    write_labels(model, names)


def write_labels(model: Any, names: Sequence[str]) -> None:
    """As `name_labels`, for names that the model has had before."""
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: number for number, name in enumerate(names)}
