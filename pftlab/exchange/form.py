"""How Hugging Face PEFT writes one method down: tensors by module, and a configuration.

PEFT names a tensor "base_model.model.<path of the module>.<suffix>" and describes the method in
`adapter_config.json`. For most methods the translation is a table, a `PeftForm`. A method whose
form is no table of modules, such as a soft prompt, has a subclass that overrides `write`, `read`
and `fill`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core.delta import Delta
from ..core.errors import BadCheckpoint
from ..core.method import Method
from ..core.places import Port, Site, is_conv1d
from ..core.planting import child_name
from ..core.sites import sites
from .options import foreign_option

ROOT = "base_model.model."

Parts = list[tuple[Site, Delta]]
Written = tuple[dict[str, Any], dict[str, Tensor]]


@dataclass(frozen=True)
class PeftForm:
    """How PEFT writes a method down.

    Attributes:
        kind: PEFT's `peft_type`.
        tensors: name of the delta's tensor → suffix of its key in the file. What a delta does not
            have, of tensors that depend on the shape, is left out.
        fields: name of the method's field → name in PEFT's configuration.
        options: option of PEFT → the values with which a file can be read; the first is written.
        reads: further options that `read` or `fit` of a subclass look at.
        fused: for a module that PEFT adapts as a whole and we by slices (GPT-2's query, key and
            value), how each tensor of the slices becomes one: "stack" them, set them as "blocks"
            on the diagonal, or lay their "rows" into a vector of what changes nothing.
        neutral: tensor laid out by rows → what changes nothing, of the whole module; else ones.
        per_slice: fields that count once for each slice of such a module.
        per_slice_root: fields that grow with the square root of the number of its slices.
        conv1d: whether PEFT has the method for GPT-2's Conv1D, and computes the same there.
        inputs: PEFT's option that lists the modules whose input is rewritten; the shapes tell.
        columns: tensors that PEFT keeps as a column, or as a row where an input is rewritten.
        head: what stands before a path in the model in the keys of the head's tensors; None if
            PEFT trains no head with the method.
        trains: whether it holds the parameters of the base that the method trains.
        needs: hyper-parameters with which alone the method is PEFT's.
        made_by_network: whether PEFT trains a network and its file holds what that has made.
        differs: where the file is PEFT's and yet the two models cannot be compared, and why: by
            the model's type and PEFT's task type ("gpt2 SEQ_CLS"), or "" for everywhere.
        variants: hyper-parameters with which PEFT stores or computes something else; the tests
            of parity try each.
    """

    kind: str
    tensors: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    fused: Mapping[str, str] = field(default_factory=dict)
    neutral: Mapping[str, Callable[[nn.Module], Tensor]] = field(default_factory=dict)
    per_slice: tuple[str, ...] = ()
    per_slice_root: tuple[str, ...] = ()
    conv1d: bool = True
    inputs: str = ""
    columns: tuple[str, ...] = ()
    head: str | None = ROOT
    trains: bool = False
    needs: Mapping[str, Any] = field(default_factory=dict)
    made_by_network: bool = False
    differs: Mapping[str, str] = field(default_factory=dict)
    variants: tuple[Mapping[str, Any], ...] = ({},)

    def foreign_option(self, config: Mapping[str, Any]) -> str | None:
        """The first option in PEFT's configuration that this form cannot express."""
        read = {*self.fields.values(), *self.reads}
        return foreign_option(self.kind, config, read, self.options)

    def lacks(self, model: nn.Module, method: Method) -> str:
        """What PEFT does on `model` that is not this method, as a clause; "" where it is."""
        if not self.conv1d and any(is_conv1d(site.host) for site in method.sites(model)):
            return f"computes something else than {method.title} on a Conv1D"
        return ""

    def write(self, model: nn.Module, name: str, method: Method) -> Written | None:
        """What is attached as `name`, as (configuration, tensors by their keys).

        None where PEFT cannot express it: a rank for each module, say. The configuration holds
        what `fields` and `options` do not say.
        """
        tensors: dict[str, Tensor] = {}
        hosts = _by_host(model, name, method)
        slices = {len(parts) for parts in hosts.values()}
        if (slices != {1} and not self.fused) or (len(slices) > 1 and self.per_slice):
            return None
        for path, parts in hosts.items():
            is_input = parts[0][0].place.port is Port.INPUT
            for ours, suffix in self._of(parts).items():
                tensor = self._join(ours, parts)
                if ours in self.columns:
                    tensor = tensor[None, :] if is_input else tensor[:, None]
                tensors[f"{ROOT}{path}.{suffix}"] = tensor
        config: dict[str, Any] = {"target_modules": sorted(hosts)}
        for ours in self.per_slice:
            config[self.fields[ours]] = max(slices) * getattr(method, ours)
        for ours in self.per_slice_root:
            config[self.fields[ours]] = max(slices) ** 0.5 * getattr(method, ours)
        if self.inputs:
            config[self.inputs] = sorted(
                p for p, h in hosts.items() if h[0][0].place.port is Port.INPUT
            )
        if any(is_conv1d(parts[0][0].host) for parts in hosts.values()):
            config["fan_in_fan_out"] = True
        return config, tensors

    def read(
        self,
        cls: type[Method],
        model: nn.Module,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Method:
        """The method of class `cls` that PEFT's file describes, for `model`.

        Raises:
            BadCheckpoint: the file holds no tensors of it, or they fit no sites of the model.
        """
        paths = {path for path, _, _ in self._keys(tensors)}
        if not paths:
            raise BadCheckpoint(f"The file holds no tensor of {self.kind}. It is not complete.")
        rows = {path for path, _, key in self._keys(tensors) if tensors[key].shape[0] == 1}
        at, layers = where(model, paths, rows if self.inputs else set())
        values = {ours: config[theirs] for ours, theirs in self.fields.items() if theirs in config}
        method: Method = cls(**values, at=at, layers=layers)  # type: ignore[call-arg]
        if extra := {site.path for site in method.sites(model)} - paths:
            raise BadCheckpoint(
                f"{cls.__name__} at {', '.join(at)} acts on {min(extra)} as well, which the file "
                "leaves out. Load it with Hugging Face PEFT."
            )
        return method

    def fit(self, model: nn.Module, name: str, config: Mapping[str, Any]) -> None:
        """Let what is attached as `name` take on the shapes that the data decided; see Delta.fit.

        `fill` follows.
        """

    @torch.no_grad()
    def fill(
        self, model: nn.Module, name: str, method: Method, tensors: Mapping[str, Tensor]
    ) -> set[str]:
        """Copy PEFT's tensors into what is attached as `name`; return the keys that were used.

        Raises:
            BadCheckpoint: a tensor is missing or has another shape.
        """
        by_place = {(path, ours): key for path, ours, key in self._keys(tensors)}
        used: set[str] = set()
        for path, parts in _by_host(model, name, method).items():
            for ours in self._of(parts):
                if (path, ours) not in by_place:
                    raise BadCheckpoint(f"The file has no {ours} for {path}. It is not complete.")
                key = by_place[path, ours]
                joined = self._join(ours, parts)
                if joined.numel() != tensors[key].numel():
                    raise BadCheckpoint(
                        f"{path}: {ours} has shape {tuple(tensors[key].shape)} in the file and "
                        f"{tuple(joined.shape)} here. It was trained on another model."
                    )
                for index, (_, delta) in enumerate(parts):
                    part = self._slice(ours, parts, index, tensors[key])
                    delta.unpack({ours: part.reshape(delta.pack()[ours].shape)})
                used.add(key)
        return used

    def _of(self, parts: Parts) -> dict[str, str]:
        """Those of `tensors` that the deltas `parts` of one module have."""
        return {ours: suffix for ours, suffix in self.tensors.items() if hasattr(parts[0][1], ours)}

    def _keys(self, tensors: Mapping[str, Tensor]) -> list[tuple[str, str, str]]:
        """(path of the module, name of the delta's tensor, key) of every tensor of this form."""
        return [
            (key.removeprefix(ROOT).removesuffix(f".{suffix}"), ours, key)
            for key in tensors
            for ours, suffix in self.tensors.items()
            if key.startswith(ROOT) and key.endswith(f".{suffix}")
        ]

    def _join(self, ours: str, parts: Parts) -> Tensor:
        """The tensor `ours` of the slices of one module, as one."""
        tensors = [delta.pack()[ours] for _, delta in parts]
        site = parts[0][0]
        if site.slice.is_whole:
            return tensors[0]
        how, width = self.fused[ours], site.slice.total
        if how == "stack":
            return torch.cat(tensors)
        if how == "rows":
            joined = tensors[0].new_ones(width)
            if ours in self.neutral:
                joined.copy_(self.neutral[ours](site.host))
            for (each, _), tensor in zip(parts, tensors, strict=True):
                joined[_rows(each, width)] = tensor
            return joined
        joined = tensors[0].new_zeros(width, sum(t.shape[1] for t in tensors))
        start = 0
        for (each, _), tensor in zip(parts, tensors, strict=True):
            joined[_rows(each, width), start : start + tensor.shape[1]] = tensor
            start += tensor.shape[1]
        return joined

    def _slice(self, ours: str, parts: Parts, index: int, joined: Tensor) -> Tensor:
        """What `_join` made of slice number `index`."""
        site, delta = parts[index]
        if site.slice.is_whole:
            return joined
        how, rows = self.fused[ours], _rows(site, site.slice.total)
        if how == "rows":
            return joined.flatten()[rows]
        size = delta.get_parameter(ours).shape[0 if how == "stack" else 1]
        part = slice(index * size, (index + 1) * size)
        return joined[part] if how == "stack" else joined[rows][:, part]


def _by_host(model: nn.Module, name: str, method: Method) -> dict[str, Parts]:
    """Path of a host → the deltas attached there as `name`, with their sites; several if sliced."""
    hosts: dict[str, Parts] = {}
    for site in method.sites(model):
        delta = getattr(site.host, child_name(site, name))
        hosts.setdefault(site.path, []).append((site, delta))
    return hosts


def _rows(site: Site, width: int) -> Tensor:
    """Which rows of the fused module of `width` outputs belong to the slice `site`."""
    return site.slice.of(torch.arange(width))


def where(
    model: nn.Module, paths: set[str], inputs: set[str]
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """(site names, layers) that cover exactly the modules `paths`.

    Raises:
        BadCheckpoint: a module is no site of this model, or the modules differ by layer.
    """
    whole = [
        site
        for site in sites(model)
        if site.place.port is Port.OUTPUT and not site.place.x and site.slice.is_whole
    ]
    if unknown := sorted(paths - {site.path for site in whole}):
        raise BadCheckpoint(
            f"The checkpoint adapts {unknown[0]!r}, which is no site of this "
            f"{type(model).__name__}. It was trained on another model, or on a module that has no "
            "name in the field."
        )
    wanted: dict[str, set[int | None]] = {}
    for site in whole:
        if site.path in paths:
            name = f"{site.name}.input" if site.path in inputs else site.name
            wanted.setdefault(name, set()).add(site.layer)
    at = tuple(wanted)
    layers = {layer for found in wanted.values() for layer in found if layer is not None}
    everywhere = {site.layer for site in whole if site.layer is not None}
    chosen = None if layers == everywhere else tuple(sorted(layers))
    covered = {(site.path, site.place.port is Port.INPUT) for site in sites(model, at, chosen)}
    if covered != {(path, path in inputs) for path in paths}:
        raise BadCheckpoint(
            "The checkpoint adapts different modules in different layers, which one method with "
            "one list of sites cannot express. Load it with Hugging Face PEFT."
        )
    return at, chosen
