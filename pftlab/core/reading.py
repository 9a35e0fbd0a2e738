"""Which parameters a network reads without calling the module that holds them.

A change of a weight is shown to the module that holds it, while that module computes. A network
that takes the weight out of its module (`self.embeddings.weight`) would go on with the old one, in
silence, unless the table of architectures names who reads it there. Whether it does is a property
of its class and configuration, so that a model without values tells.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from .architectures import ARCHITECTURES
from .errors import Refused
from .places import base_prefix, config_of
from .seeding import seeded

_KNOWN: dict[tuple[type, str], frozenset[str]] = {}


def check_read(model: Any, names: Iterable[str]) -> None:
    """Refuse to change parameters of which the network would not see the change.

    Raises:
        Refused: one of `names` is read while none of its modules is running.
    """
    if blind := sorted(read_elsewhere(model).intersection(names)):
        raise Refused(
            f"A {type(model).__name__} reads {blind[0]} without calling the module that holds it, "
            "and would not see a change of it. Choose other parameters, or another method."
        )


def read_elsewhere(model: Any) -> frozenset[str]:
    """Names of the base's parameters that a pass reads while none of their readers is running.

    That is the module that holds them, or the one that the table of architectures names. What
    comes behind an operation that a model without values cannot do is not seen.
    """
    key = type(model), repr(model.config)
    if key not in _KNOWN:
        _KNOWN[key] = _watched(type(model), copy.deepcopy(model.config))
    return _KNOWN[key]


def _watched(kind: type, config: Any) -> frozenset[str]:
    config._attn_implementation = "eager"
    words = torch.zeros(1, 2, dtype=torch.long, device="meta")
    inputs = {"input_ids": words}
    if getattr(config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = words
    found: set[str] = set()
    with suppress(Exception), seeded(0), torch.no_grad():  # whatever a class of one's own raises
        with torch.device("meta"):
            # in 16 bits, without which experts are not multiplied on this device
            empty = kind(config).to(torch.bfloat16).eval()
        with _Watch(empty, found):
            empty(**inputs)
    return frozenset(found)


def reader_of(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The module that is called where the parameters at `path` are read, and the way to it."""
    table = ARCHITECTURES.get(config_of(model).model_type)
    for inner, reader in table.readers.items() if table else ():
        if path == base_prefix(model) + inner:
            return model.get_submodule(base_prefix(model) + reader), inner[len(reader) + 1 :]
    return model.get_submodule(path), ""


class _Watch(TorchFunctionMode):
    """Sees every operation, and which modules are running meanwhile."""

    def __init__(self, model: nn.Module, found: set[str]) -> None:
        super().__init__()
        self.found = found
        self.running: Counter[nn.Module] = Counter()
        self.names = {id(p): n for n, p in model.named_parameters()}
        self.readers: dict[int, list[nn.Module]] = {}
        for path, module in model.named_modules():
            for parameter in module.parameters(recurse=False):
                reader, _ = reader_of(model, path)
                self.readers.setdefault(id(parameter), []).append(reader)
            module.register_forward_pre_hook(partial(self._count, 1))
            module.register_forward_hook(partial(self._count, -1))

    def _count(self, by: int, module: nn.Module, *given: Any) -> None:
        self.running[module] += by

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func in (Tensor.__contains__, Tensor.__bool__):  # is padding among the words, and such
            return False
        result = func(*args, **(kwargs or {}))
        if any(isinstance(each, Tensor) for each in tree_leaves(result)):  # not a type or a shape
            for each in tree_leaves((args, kwargs)):
                readers = self.readers.get(id(each), ())
                if readers and not any(self.running[module] for module in readers):
                    self.found.add(self.names[id(each)])
        return result
