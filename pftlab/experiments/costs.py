"""What every method trains, stores and keeps in memory, counted on models of well-known sizes.

    python -m pftlab.experiments.costs

attaches every method of the registry, with each of some hyper-parameters, to models without
weights, and writes what it finds into book/results/costs.json. Nothing here knows a method: a new
one appears in the file, and in the figure that reads it, when the command has run again.

All layers of these models are alike, so models cut down to two, three and four layers tell what
each further layer adds. Where the three lie on no line, the whole model is counted.
"""

import argparse
import json
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from functools import cache, lru_cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..core import Method, WeightDelta, detach, is_linear, trainable_state
from ..core.count import count
from ..core.errors import PftError
from ..core.files import atomic_write
from ..core.sites import sites
from ..registry import METHODS
from .results import COSTS, load_costs
from .sizes import SIZES, blank

MODELS = (
    "bert-base", "bert-large", "roberta-large", "gpt2", "gpt2-xl", "llama-7b", "llama-13b",
    "llama-3.1-8b", "mistral-7b", "llama-3.1-70b", "gpt3",
)  # fmt: skip
CUT = (2, 3, 4)  # layers
TEXT = 16  # tokens
MOST = 64  # sets of hyper-parameters of one method
ATTENTION = tuple(f"attention.{word}" for word in ("query", "key", "value", "output"))
LINEAR = (*ATTENTION, "ffn.gate", "ffn.up", "ffn.down")
_POWERS = [2**k for k in range(11)]
# hyper-parameter, whatever method has it → its values to choose from; more important ones first
CHOICES: dict[str, list[Any]] = {
    "start_rank": [8, 12, 16, 24, 32, 64, 128],
    "bottleneck": _POWERS[2:10],
    "length": [1, 5, 10, 20, 50, 100, 200],
    "hidden": [None],
    "at": [list(ATTENTION[:3:2]), list(ATTENTION), list(LINEAR)],
    "rank": _POWERS[:9],
    "count": [1, 2, 3, 4, 6, 8, 12],
    "block": [4, 8, 16, 32, 64],
    "frequencies": [50, 100, 200, 500, 1000, 2000, 5000, 10000],
    "dimension": [100, 200, 500, 1000, 2000, 5000, 10000],
    "density": [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05],
}
LABELS = {
    "at": "Sites",
    "start_rank": "Rank at the start",
    "count": "Layers",
    "hidden": "Its network",
}


class Cost(NamedTuple):
    """What training with one method, set in one way, costs on one model.

    Attributes:
        trainable: parameters that are trained.
        added: real numbers that the method adds to the model, random or trained.
        other: bytes of what else it adds: whole numbers, packed weights.
        stored: numbers in a checkpoint.
        packable: entries of the layers' frozen matrices, which may be kept in four bits.
        token: numbers that a forward pass keeps for the backward pass, for each token.
        text: the same for each text, however long it is.
        step: the same for each step, however many texts it has.
    """

    trainable: int
    added: int
    other: int
    stored: int
    packable: int
    token: int
    text: int
    step: int


def controls(method: type[Method]) -> dict[str, list[Any]]:
    """The hyper-parameters of `method` that are worth choosing, with their values; see `CHOICES`.

    The method's own value is among them.
    """
    defaults: dict[str, Any] = {spec.name: spec.default for spec in fields(method)}  # type: ignore[arg-type]
    found: dict[str, list[Any]] = {}
    for name, values in CHOICES.items():
        own = defaults.get(name)
        if name not in defaults or (own is None and name != "hidden"):
            continue
        if isinstance(own, tuple):
            own = list(own)
            if not set(own) <= set(LINEAR):
                continue
        every = values if own in values else [*values, own]
        if all(isinstance(value, int | float) for value in every):
            every = sorted(every)
        if math.prod(map(len, found.values())) * len(every) <= MOST and len(every) > 1:
            found[name] = every
    return dict(sorted(found.items(), key=lambda control: control[0] == "at"))


def settings(method: type[Method]) -> list[dict[str, Any]]:
    """Every choice of `controls(method)`; the last control runs fastest."""
    chosen = controls(method)
    return [dict(zip(chosen, values, strict=True)) for values in product(*chosen.values())]


def build(name: str, method: type[Method], chosen: dict[str, Any]) -> Method:
    """The method as chosen, at those of the sites that the model `name` has.

    Raises:
        PftError: it does not go with this model.
    """
    if "at" in chosen:
        have = {site.name for site in sites(_model(name, layers=1))}
        chosen = chosen | {"at": tuple(place for place in chosen["at"] if place in have)}
    return method(**chosen)


def cost(name: str, method: Method) -> Cost:
    """Count what `method` costs on the model `name`.

    Args:
        name: as for `pftlab.experiments.sizes.blank`.
        method: with its hyper-parameters.

    Raises:
        PftError: it does not go with this model.
    """
    layers = _model(name).config.num_hidden_layers
    try:
        two, three, four = (_counted(name, method, depth) for depth in CUT)
    except PftError:  # some need more layers than these
        return _counted(name, method, layers)
    if any(a + c != 2 * b for a, b, c in zip(two, three, four, strict=True)):
        return _counted(name, method, layers)
    return Cost(*(b + (layers - CUT[1]) * (c - b) for b, c in zip(three, four, strict=True)))


@lru_cache(maxsize=8)  # one model for many methods
def _model(name: str, layers: int | None = None) -> Any:
    model = blank(name, layers=layers)
    model.config.pad_token_id = None  # some look for padding, which shapes alone do not tell
    return model


def _counted(name: str, method: Method, layers: int) -> Cost:
    model = _model(name, layers=layers)
    before = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    with torch.device("meta"):  # what is planted takes no memory either
        method.attach(model)
    try:
        return _cost(model, before)
    finally:
        detach(model)


def _cost(model: nn.Module, before: set[int]) -> Cost:
    """The cost of what is attached to `model`, whose own tensors have the ids `before`."""
    every = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    new = [tensor for key, tensor in every.items() if key not in before]
    one, long, two = (_kept(model, *size) for size in ((1, TEXT), (1, 2 * TEXT), (2, TEXT)))
    token = (long - one) // TEXT
    text = two - one - token * TEXT
    return Cost(
        trainable=count(model).trainable,
        added=sum(tensor.numel() for tensor in new if tensor.is_floating_point()),
        other=sum(tensor.nbytes for tensor in new if not tensor.is_floating_point()),
        stored=sum(tensor.numel() for tensor in trainable_state(model).values()),
        packable=_packable(model),
        token=token,
        text=text,
        step=one - text - token * TEXT,
    )


def _packable(model: nn.Module) -> int:
    """Entries of the layers' frozen matrices; none where a method rewrites weights."""
    blocks = [site.host for site in sites(model, ("block",))]
    frozen = 0
    for module in (module for block in blocks for module in block.modules()):
        if any(isinstance(child, WeightDelta) for child in module.children()):
            return 0
        weight = getattr(module, "weight", None)
        if is_linear(module) and isinstance(weight, Tensor) and not weight.requires_grad:
            frozen += weight.numel()
    return frozen


def _kept(model: nn.Module, texts: int, tokens: int) -> int:
    """Numbers that a forward pass over `texts` texts of `tokens` tokens keeps, without dropout.

    Without the output layer; attention is counted as a fused kernel does it, which keeps what
    it reads and what it returns.
    """
    there = {tensor.untyped_storage()._cdata for tensor in model.parameters()}
    there |= {tensor.untyped_storage()._cdata for tensor in model.buffers()}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in there:  # views of one storage count once
            kept[storage._cdata] = (storage, storage.nbytes() // tensor.element_size())
        return tensor

    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    words = torch.zeros(texts, tokens, dtype=torch.long, device="meta")
    with _fused_attention(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model.base_model(input_ids=words)  # type: ignore[operator]
    return sum(numbers for _, numbers in kept.values())


class _Fused(torch.autograd.Function):
    """What a fused attention kernel keeps; only for counting."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        context.save_for_backward(query, key, value, output)
        return output


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Shapes without values choose no kernel by themselves."""

    def attend(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **more: Any) -> Tensor:
        return _Fused.apply(query, key, value)

    with (
        patch("torch.nn.functional.scaled_dot_product_attention", attend),
        patch("torch.is_autocast_enabled", lambda *device: False),
    ):
        yield


def of_method(name: str, method: str) -> list[list[int]] | str:
    """The costs of a method on a model, for each of `settings`; or why it does not go with it.

    A choice that is refused, such as blocks that do not divide a width, has an empty row.
    """
    rows: list[list[int]] = []
    reason = ""
    for chosen in settings(METHODS[method]):
        try:
            rows.append(list(cost(name, build(name, METHODS[method], chosen))))
        except PftError as error:
            rows.append([])
            reason = str(error)
    return rows if any(rows) else reason


def described(method: str) -> dict[str, Any]:
    """What the figure must know of a method."""
    own = METHODS[method]()
    chosen = controls(METHODS[method])
    defaults = {key: getattr(own, key) for key in chosen}
    return {
        "name": method,
        "title": own.title,
        "family": own.family,
        "controls": [
            {
                "name": key,
                "label": LABELS.get(key, key.replace("_", " ").capitalize()),
                "values": values,
                "words": [_words(key, value) for value in values],
            }
            for key, values in chosen.items()
        ],
        "defaults": {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()},
    }


def _words(name: str, value: Any) -> str:
    """How a value of a hyper-parameter is written."""
    if name == "at":
        short = ", ".join(place.removeprefix("attention.") for place in value)
        return {ATTENTION: "all of attention", LINEAR: "every linear map"}.get(tuple(value), short)
    if name == "hidden":
        return "none" if value is None else f"{value}, while training"
    return f"{value:,}"


def main() -> None:
    """Count what is not yet in the file."""
    parser = argparse.ArgumentParser(prog="python -m pftlab.experiments.costs")
    parser.add_argument("names", nargs="*", metavar="METHOD", help="these anew; default: missing")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--out", type=Path, default=COSTS)
    given = parser.parse_args()
    stored = load_costs(given.out)["costs"] if given.out.exists() else {}
    costs: dict[str, Any] = {name: dict(stored.get(name, {})) for name in MODELS}
    wanted = [
        (name, method)
        for name in MODELS
        for method in METHODS
        if method in given.names or (not given.names and method not in costs[name])
    ]
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        found = pool.map(of_method, *zip(*wanted, strict=True)) if wanted else []
        for (name, method), rows in zip(wanted, tqdm(found, total=len(wanted)), strict=True):
            costs[name][method] = rows
            _write(given.out, costs)
    _write(given.out, costs)


@cache
def _total(name: str) -> int:
    return count(blank(name)).total


def _write(path: Path, costs: dict[str, Any]) -> None:
    models = {name: {"source": SIZES[name].source, "total": _total(name)} for name in costs}
    ordered = {
        name: {method: rows[method] for method in METHODS if method in rows}
        for name, rows in costs.items()
    }
    lines = [f'{{"models": {json.dumps(models)},']
    lines.append(f'"methods": {json.dumps([described(name) for name in METHODS])},')
    lines.append('"costs": {')
    blocks = []
    for name, rows in ordered.items():
        inner = ",\n".join(
            f"{json.dumps(method)}: {json.dumps(each, separators=(',', ':'))}"
            for method, each in rows.items()
        )
        blocks.append(f"{json.dumps(name)}: {{\n{inner}\n}}")
    lines.append(",\n".join(blocks) + "}}\n")
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
