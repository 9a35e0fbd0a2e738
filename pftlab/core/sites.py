"""Finding the sites of a model: the places of its architecture, in every layer.

A *site* is one such place in one model: the query projection of layer 3, the feed-forward
sub-layer of layer 0.
"""

import re
from collections.abc import Iterable

from torch import nn

from .architectures import ARCHITECTURES, Architecture, architecture
from .errors import BadValue, Refused, UnknownName
from .places import Place, Port, Site, base_prefix, config_of, is_linear, widths


def sites(
    model: nn.Module, at: Iterable[str] | None = None, layers: Iterable[int] | None = None
) -> list[Site]:
    """The sites of `model`, ordered by name as given, then from the first layer up.

    Args:
        model: a transformers model of a supported architecture.
        at: names of sites; a linear map's input is its name with ".input" behind it, such as
            "ffn.down.input". None: every site that the model has.
        layers: numbers of the layers to keep, from 0. None: all.

    Raises:
        UnknownName: the architecture or one of the names is not known.
        BadValue: a layer does not exist.
        Refused: layers are chosen, and all have the same modules.
    """
    known = architecture(model)
    if layers is not None:
        _check_layers_differ(model)
    modules = dict(getattr(model, "base_model", model).named_modules())
    found: list[Site] = []
    for name in known.places if at is None else at:
        here = _of_name(model, modules, known, name)
        if not here and at is not None:
            have = [n for n in known.places if _of_name(model, modules, known, n)]
            reason = _why_missing(known, name)
            raise UnknownName(f"site in a {type(model).__name__}", name, have, reason)
        found += here
    if layers is not None:
        there = {site.layer for site in found if site.layer is not None}
        if missing := sorted(set(layers) - there):
            raise BadValue(
                f"There is no layer {missing[0]}: these sites are in layers "
                f"{min(there, default=0)} to {max(there, default=0)}. Count layers from 0."
            )
        found = [site for site in found if site.layer is None or site.layer in set(layers)]
    return found


def depth(model: nn.Module) -> int:
    """How many layers `model` has; of an encoder-decoder model, the deeper of its stacks.

    Raises:
        Refused: all layers have the same modules.
    """
    _check_layers_differ(model)
    return 1 + max(site.layer or 0 for site in sites(model, ("block",)))


def _check_layers_differ(model: nn.Module) -> None:
    if architecture(model).shares_layers:
        raise Refused(
            f"All layers of this {type(model).__name__} are computed with the same weights: what "
            "is done to one is done to all, and none can be chosen. Leave `layers` out, or use a "
            "method that treats all layers alike."
        )


def _of_name(
    model: nn.Module, modules: dict[str, nn.Module], known: Architecture, name: str
) -> list[Site]:
    stem, is_input = name.removesuffix(".input"), name.endswith(".input")
    places = known.places.get(stem, ())
    return [
        site for place in places for site in _matches(model, modules, known, name, place, is_input)
    ]


def _matches(
    model: nn.Module,
    modules: dict[str, nn.Module],
    known: Architecture,
    name: str,
    place: Place,
    is_input: bool,
) -> list[Site]:
    pattern = re.compile(re.escape(place.path).replace(r"\*", r"(\d+)"))
    config, prefix = config_of(model), base_prefix(model)
    found = []
    for path, host in modules.items():
        if not (match := pattern.fullmatch(path)):
            continue
        numbers = match.groups()
        d_in, d_out = widths(host) or (config.hidden_size, config.hidden_size)
        here = place._replace(x=_in_layer(place.x, numbers))
        if is_input:
            if place.slice is not None or not is_linear(host):
                continue
            here, d_out = place._replace(port=Port.INPUT, x=""), d_in
        elif place.x:
            d_in = config.hidden_size  # what the other module reads is no inner width
        if place.slice is not None:
            d_out = _width_of_slice(name, place, path, d_out, config)
        stack = path.split(".")[0] if getattr(config, "is_encoder_decoder", False) else None
        layer = int(numbers[0]) if numbers and not known.shares_layers else None
        full = f"{prefix}{path}" if path else prefix.rstrip(".")
        found.append(Site(name, layer, stack, full, host, here, d_in, d_out, config, model))
    return found


def _in_layer(path: str, numbers: tuple[str, ...]) -> str:
    """`path` with these numbers in the place of its stars."""
    for number in numbers:
        path = path.replace("*", number, 1)
    return path


def _width_of_slice(name: str, place: Place, path: str, d_out: int, config: object) -> int:
    """How many outputs of the fused projection at `path` are this site's."""
    assert place.slice is not None
    ours = place.slice(config)
    if ours.total != d_out:
        raise BadValue(
            f"The table of architectures cuts {path} into {ours.groups} times {ours.sizes} to find "
            f"{name}, and it has {d_out} outputs. Mend the slices of its entry."
        )
    return ours.width


def _why_missing(known: Architecture, name: str) -> str:
    """Why a model does not have the site `name`, in a sentence; "": no model has one."""
    stem = name.removesuffix(".input")
    if stem in known.missing:
        return known.missing[stem]
    if name.endswith(".input") and stem in known.places:
        if any(place.slice is not None for place in known.places[stem]):
            return f"{stem} is a slice of a fused projection, whose slices read one input."
        return f"{stem} is no linear map, and only these have an input to adapt."
    if not any(stem in other.places for other in ARCHITECTURES.values()):
        return ""
    if stem.startswith("cross_attention"):
        return "It is no encoder-decoder model, and has no cross-attention."
    if stem == "ffn.gate":
        return "Its feed-forward network has no gate."
    if stem in ("attention.query_norm", "attention.key_norm"):
        return "It does not normalise queries and keys."
    if stem == "ffn.gate_up":
        return "Its gate is no part of a fused projection."
    if stem == "attention.query_key_value":
        return "It has three projections, not a fused one: name them apart."
    return ""


def with_cross_attention(model: nn.Module, at: Iterable[str]) -> tuple[str, ...]:
    """`at`, and for each site of self-attention its twin in cross-attention, where there is one."""
    known = architecture(model)
    modules = dict(getattr(model, "base_model", model).named_modules())
    twins = [f"cross_{name}" for name in at if name.startswith("attention")]
    there = [twin for twin in twins if _of_name(model, modules, known, twin)]
    return tuple(dict.fromkeys((*at, *there)))
