"""Reading and writing the checkpoints of Hugging Face PEFT.

PEFT names a tensor "base_model.model.<path of the module>.<suffix>" and describes the method in
`adapter_config.json`. For most methods the translation is a table, the `PeftFormat` that a method
carries as `peft`; a method with more to say defines `to_peft` and `from_peft`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .delta import Delta, child_name
from .errors import BadCheckpoint, Refused
from .method import Method, record_of
from .sites import INPUT, OUTPUT, Site, is_conv1d, sites

ROOT = "base_model.model."
TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
}


@dataclass(frozen=True)
class PeftFormat:
    """How PEFT writes a method down.

    Attributes:
        kind: PEFT's `peft_type`.
        tensors: name of the delta's tensor → suffix of its key in the file.
        fields: name of the method's field → name in PEFT's configuration.
        constants: what else PEFT's configuration must say.
        refuses: options of PEFT that this method does not have: name → the value that can be read.
        fused: for a module that PEFT adapts as a whole and we by slices (GPT-2's query, key and
            value), how each tensor of the slices becomes one: "stack" them, set them as "blocks"
            on the diagonal, or lay their "rows" into a vector of ones.
        per_slice: fields that count once for each slice of such a module.
        inputs: PEFT's option that lists the modules whose input is rewritten.
        columns: tensors that PEFT keeps as a column, or as a row where an input is rewritten.
        head: what stands before a path in the model in the keys of the head's tensors.
    """

    kind: str
    tensors: Mapping[str, str]
    fields: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    refuses: Mapping[str, Any] = field(default_factory=dict)
    fused: Mapping[str, str] = field(default_factory=dict)
    per_slice: tuple[str, ...] = ()
    inputs: str = ""
    columns: tuple[str, ...] = ()
    head: str = ROOT


def task_type(model: nn.Module) -> str:
    """PEFT's word for what `model` is for."""
    name = type(model).__name__
    for ending, word in TASK_TYPES.items():
        if name.endswith(ending):
            return word
    return "FEATURE_EXTRACTION"


def write(model: nn.Module, method: Method) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The attached `method` in PEFT's form, as (configuration, tensors); None if it has none.

    PEFT freezes what it does not know, so a method that trains base parameters of its own beside
    its deltas has no such form. A method whose form is no table of modules defines `to_peft`.
    """
    form: PeftFormat | None = method.peft
    record = record_of(model)
    if form is None or len(record.methods) != 1 or record.trained_by:
        return None
    to_peft = getattr(method, "to_peft", None)
    translated = to_peft(model) if to_peft else _write_by_table(model, method, form)
    if translated is None:
        return None
    extra, tensors = translated
    config = {
        "peft_type": form.kind,
        "task_type": task_type(model),
        "base_model_name_or_path": getattr(model.config, "_name_or_path", "") or None,
        "inference_mode": True,
        **{theirs: getattr(method, ours) for ours, theirs in form.fields.items()},
        **form.constants,
        **extra,
    }
    parameters = dict(model.named_parameters())
    for name in sorted(record.head):
        tensors[form.head + name] = parameters[name].detach()
    if record.head:
        config["modules_to_save"] = _whole_modules(model, record.head)
    return config, tensors


def _write_by_table(
    model: nn.Module, method: Method, form: PeftFormat
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    tensors: dict[str, Tensor] = {}
    hosts = _by_host(model, method, method.attached_as(model))
    slices = {len(parts) for parts in hosts.values()}
    if (slices != {1} and not form.fused) or (len(slices) > 1 and form.per_slice):
        return None  # PEFT has one rank for all modules
    inputs = []
    for path, parts in hosts.items():
        is_input = parts[0][0].place.port == INPUT
        if is_input:
            inputs.append(path)
        for ours, suffix in form.tensors.items():
            tensor = _join(form, ours, parts)
            if ours in form.columns:
                tensor = tensor[None, :] if is_input else tensor[:, None]
            tensors[f"{ROOT}{path}.{suffix}"] = tensor
    extra: dict[str, Any] = {"target_modules": sorted(hosts)}
    for ours in form.per_slice:
        extra[form.fields[ours]] = max(slices) * getattr(method, ours)
    if form.inputs:
        extra[form.inputs] = sorted(inputs)
    if any(is_conv1d(parts[0][0].host) for parts in hosts.values()):
        extra["fan_in_fan_out"] = True
    return extra, tensors


Parts = list[tuple[Site, Delta]]


def _by_host(model: nn.Module, method: Method, name: str) -> dict[str, Parts]:
    """Path of a host → the method's deltas there, with their sites; more than one if sliced."""
    hosts: dict[str, Parts] = {}
    for site in method.sites(model):
        delta = getattr(site.host, child_name(site, name))
        hosts.setdefault(site.path, []).append((site, delta))
    return hosts


def _rows(site: Site, width: int) -> Tensor:
    """Which rows of the fused module of `width` outputs belong to the slice `site`."""
    blocks = torch.arange(width).unflatten(0, (site.groups, site.place.parts, -1))
    return blocks[:, site.place.part].flatten()


def _join(form: PeftFormat, ours: str, parts: Parts) -> Tensor:
    """The tensor `ours` of the slices of one module, as one."""
    tensors = [delta.get_parameter(ours).detach() for _, delta in parts]
    site = parts[0][0]
    if site.place.parts == 1:
        return tensors[0]
    how, width = form.fused[ours], site.d_out * site.place.parts
    if how == "stack":
        return torch.cat(tensors)
    if how == "rows":
        vector = tensors[0].new_ones(width)
        for (each, _), tensor in zip(parts, tensors, strict=True):
            vector[_rows(each, width)] = tensor
        return vector
    blocks = tensors[0].new_zeros(width, sum(t.shape[1] for t in tensors))
    start = 0
    for (each, _), tensor in zip(parts, tensors, strict=True):
        blocks[_rows(each, width), start : start + tensor.shape[1]] = tensor
        start += tensor.shape[1]
    return blocks


def _split(form: PeftFormat, ours: str, parts: Parts, index: int, joined: Tensor) -> Tensor:
    """What `_join` made of slice number `index`."""
    site, delta = parts[index]
    if site.place.parts == 1:
        return joined
    how, width = form.fused[ours], site.d_out * site.place.parts
    if how == "rows":
        return joined.flatten()[_rows(site, width)]
    size = delta.get_parameter(ours).shape[0 if how == "stack" else 1]
    part = slice(index * size, (index + 1) * size)
    return joined[part] if how == "stack" else joined[_rows(site, width)][:, part]


Fill = Callable[[nn.Module, str], None]


def read(
    model: nn.Module,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    methods: Mapping[str, type[Method]],
    method: Method | None = None,
) -> tuple[Method, Fill]:
    """The method that a PEFT checkpoint holds, and a function that fills its tensors in.

    Args:
        model: the base that it will be attached to.
        config: PEFT's adapter_config.json.
        tensors: PEFT's tensors by their names in the file.
        methods: the registry, name → class.
        method: what the file holds, if that is known: it was written by us.

    Raises:
        BadCheckpoint: PEFT's method is not in the registry, uses an option that it does not
            have, or its modules are not in this model.
    """
    kind = config.get("peft_type")
    known: dict[str, type[Method]] = {}
    for each in methods.values():
        if each.peft is not None:
            known.setdefault(each.peft.kind, each)
    if method is None:
        if kind not in known:
            raise BadCheckpoint(
                f"This checkpoint holds PEFT's {kind!r}; PFT Lab reads {', '.join(sorted(known))}. "
                "Load it with Hugging Face PEFT."
            )
        cls = known[kind]
    else:
        cls = type(method)
    form: PeftFormat = cls.peft
    if method is None:
        for option, value in form.refuses.items():
            if (config.get(option) or value) != value:
                raise BadCheckpoint(
                    f"This {kind} checkpoint has {option}={config[option]!r}, which {cls.__name__} "
                    f"does not have; it reads {value!r}. Load it with Hugging Face PEFT."
                )
    from_peft = getattr(cls, "from_peft", None)
    if from_peft is not None:
        return from_peft(model, config, tensors, method)
    return _read_by_table(cls, model, config, tensors, method)


def _read_by_table(
    cls: type[Method],
    model: nn.Module,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    method: Method | None,
) -> tuple[Method, Fill]:
    form: PeftFormat = cls.peft
    by_path: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        for ours, suffix in form.tensors.items():
            if key.startswith(ROOT) and key.endswith("." + suffix):
                path = key.removeprefix(ROOT).removesuffix("." + suffix)
                by_path.setdefault(path, {})[ours] = tensor
    if not by_path:
        raise BadCheckpoint(f"The file holds no tensor of {form.kind}. It is not complete.")
    if method is None:
        values = {ours: config[theirs] for ours, theirs in form.fields.items() if theirs in config}
        at, layers = where(model, by_path.keys(), _input_paths(form, config, by_path))
        method = cls(**values, at=at, layers=layers)  # type: ignore[call-arg]
    return method, partial(_fill, form, method, by_path)


def _fill(
    form: PeftFormat,
    method: Method,
    by_path: Mapping[str, Mapping[str, Tensor]],
    model: nn.Module,
    name: str,
) -> None:
    for path, parts in _by_host(model, method, name).items():
        for ours in form.tensors:
            if ours not in by_path.get(path, {}):
                raise BadCheckpoint(f"The file has no {ours} for {path}. It is not complete.")
            for index, (_, delta) in enumerate(parts):
                tensor = _split(form, ours, parts, index, by_path[path][ours])
                own = delta.get_parameter(ours)
                if own.numel() != tensor.numel():
                    raise BadCheckpoint(
                        f"{path}: {ours} has shape {tuple(tensor.shape)} in the file and "
                        f"{tuple(own.shape)} here. It was trained on another model."
                    )
                with torch.no_grad():
                    own.copy_(tensor.reshape(own.shape))


def _input_paths(form: PeftFormat, config: Mapping[str, Any], paths: Mapping[str, Any]) -> set[str]:
    """The modules whose input is rewritten: (IA)³ on a feed-forward layer."""
    endings = config.get(form.inputs) or () if form.inputs else ()
    endings = [endings] if isinstance(endings, str) else endings
    return {p for p in paths if any(p == e or p.endswith(e) for e in endings)}


def where(
    model: nn.Module, paths: Iterable[str], inputs: set[str]
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """(site names, layers) that cover exactly the modules `paths`.

    Raises:
        BadCheckpoint: a module is no site of this model, or the modules differ by layer.
    """
    paths = list(paths)
    linear = [
        s for s in sites(model) if s.place == s.place._replace(port=OUTPUT, x="", part=0, parts=1)
    ]
    outputs = {s.path: s for s in linear}
    wanted: dict[str, set[tuple[int | None, str | None]]] = {}
    for path in paths:
        site: Site | None = outputs.get(path)
        if site is None:
            raise BadCheckpoint(
                f"The checkpoint adapts {path!r}, which is no site of this {type(model).__name__}. "
                "It was trained on another model, or on a module that has no name in the field."
            )
        name = f"{site.name}.input" if path in inputs else site.name
        wanted.setdefault(name, set()).add((site.layer, site.stack))
    layers = {layer for places in wanted.values() for layer, _ in places if layer is not None}
    everywhere = {s.layer for s in linear if s.layer is not None}
    chosen = None if layers == everywhere else tuple(sorted(layers))
    at = tuple(wanted)
    covered = {(s.path, s.place.port == INPUT) for s in sites(model, at, chosen)}
    if covered != {(p, p in inputs) for p in paths}:
        raise BadCheckpoint(
            "The checkpoint adapts different modules in different layers, which one method with "
            "one list of sites cannot express. Load it with Hugging Face PEFT."
        )
    return at, chosen


def _whole_modules(model: nn.Module, names: frozenset[str]) -> list[str]:
    """The outermost modules all of whose parameters are in `names`."""
    found: list[str] = []
    for path, module in model.named_modules():
        inner = [f"{path}.{n}" for n, _ in module.named_parameters()]
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if path and inner and not inside and all(n in names for n in inner):
            found.append(path)
    if not found:
        raise Refused("The head consists of single parameters; PEFT saves whole modules only.")
    return found
