"""Reading and writing the checkpoints of Hugging Face PEFT.

PEFT names a tensor "base_model.model.<path of the module>.<suffix>" and describes the method in
`adapter_config.json`. For most methods the translation is a table, the `PeftFormat` that a method
carries as `peft`; a method with more to say overrides `to_peft` or `from_peft`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from .delta import Delta, planted
from .errors import BadCheckpoint, Refused
from .method import Method, record_of
from .sites import INPUT, OUTPUT, Site, sites

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
        refuses: values of PEFT's configuration that this method does not implement: name →
            the only value that can be read.
    """

    kind: str
    tensors: Mapping[str, str]
    fields: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    refuses: Mapping[str, Any] = field(default_factory=dict)


def task_type(model: nn.Module) -> str:
    """PEFT's word for what `model` is for."""
    name = type(model).__name__
    for ending, word in TASK_TYPES.items():
        if name.endswith(ending):
            return word
    return "FEATURE_EXTRACTION"


def write(model: nn.Module, method: Method) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The attached `method` in PEFT's form, as (configuration, tensors); None if PEFT has none.

    PEFT freezes what it does not know, so a method that trains base parameters of its own beside
    its deltas has no such form.
    """
    form: PeftFormat | None = method.peft
    record = record_of(model)
    if form is None or len(record.methods) != 1 or record.trained_by:
        return None
    translated = method.to_peft(model) if hasattr(method, "to_peft") else _by_table(model, form)
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
        tensors[ROOT + name] = parameters[name].detach()
    if record.head and "target_modules" in config:
        config["modules_to_save"] = _whole_modules(model, record.head)
    return config, tensors


def _by_table(
    model: nn.Module, form: PeftFormat
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    tensors, targets = {}, []
    for path, host, _, delta in planted(model):
        if sum(isinstance(c, Delta) for c in host.children()) > 1 or _is_slice(delta, model):
            return None
        targets.append(path)
        for ours, suffix in form.tensors.items():
            tensors[f"{ROOT}{path}.{suffix}"] = delta.get_parameter(ours).detach()
    return {"target_modules": sorted(set(targets))}, tensors


def _is_slice(delta: Delta, model: nn.Module) -> bool:
    (site, *_) = sites(model, (delta.site_name,))
    return site.place.parts > 1


def read(
    model: nn.Module,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    methods: Mapping[str, type[Method]],
) -> tuple[Method, Callable[[nn.Module, str], None]]:
    """The method that a PEFT checkpoint holds, and a function that fills its tensors in.

    Args:
        model: the base that it will be attached to.
        config: PEFT's adapter_config.json.
        tensors: PEFT's tensors by their names in the file.
        methods: the registry, name → class.

    Raises:
        BadCheckpoint: PEFT's method is not in the registry, uses an option that it does not
            have, or its modules are not in this model.
    """
    kind = config.get("peft_type")
    known = {c.peft.kind: c for c in methods.values() if c.peft is not None}
    if kind not in known:
        raise BadCheckpoint(
            f"This checkpoint holds PEFT's {kind!r}; PFT Lab reads {', '.join(sorted(known))}. "
            "Load it with Hugging Face PEFT."
        )
    cls = known[kind]
    form: PeftFormat = cls.peft
    for option, value in form.refuses.items():
        if config.get(option, value) != value:
            raise BadCheckpoint(
                f"This {kind} checkpoint has {option}={config[option]!r}, which {cls.__name__} "
                f"does not have; it reads {value!r}. Load it with Hugging Face PEFT."
            )
    values = {ours: config[theirs] for ours, theirs in form.fields.items() if theirs in config}
    reader = getattr(cls, "from_peft", _read_by_table)
    method, fill = reader(cls, model, values, config, tensors)
    return method, fill


def _read_by_table(
    cls: type[Method],
    model: nn.Module,
    values: dict[str, Any],
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> tuple[Method, Callable[[nn.Module, str], None]]:
    form: PeftFormat = cls.peft
    by_path: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        for ours, suffix in form.tensors.items():
            if key.startswith(ROOT) and key.endswith("." + suffix):
                path = key.removeprefix(ROOT).removesuffix("." + suffix)
                by_path.setdefault(path, {})[ours] = tensor
    inputs = _input_paths(config, by_path)
    at, layers = where(model, by_path.keys(), inputs)
    if not by_path:
        raise BadCheckpoint(f"The file holds no tensor of {form.kind}. It is not complete.")
    names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    method = cls(**{k: v for k, v in values.items() if k in names}, at=at, layers=layers)

    def fill(model: nn.Module, name: str) -> None:
        for path, _, _, delta in planted(model, name):
            for ours, tensor in by_path[path].items():
                own = delta.get_parameter(ours)
                if own.numel() != tensor.numel():
                    raise BadCheckpoint(
                        f"{path}: {ours} has shape {tuple(tensor.shape)} in the file and "
                        f"{tuple(own.shape)} here. It was trained on another model."
                    )
                with torch.no_grad():
                    own.copy_(tensor.reshape(own.shape))

    return method, fill


def _input_paths(config: Mapping[str, Any], paths: Mapping[str, Any]) -> set[str]:
    """The modules whose input is rewritten: (IA)³ on a feed-forward layer."""
    endings = config.get("feedforward_modules") or ()
    endings = [endings] if isinstance(endings, str) else endings
    return {p for p in paths if any(p == e or p.endswith(e) for e in endings)}


def where(
    model: nn.Module, paths: Any, inputs: set[str]
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """(site names, layers) that cover exactly the modules `paths`.

    Raises:
        BadCheckpoint: a module is no site of this model, or the modules differ by layer.
    """
    linear = [s for s in sites(model) if s.place.port == OUTPUT and s.place.parts == 1 and not s.place.x]
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
