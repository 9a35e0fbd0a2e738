"""Saving and loading what was trained: a folder of two files.

`adapter_config.json` says what is attached, `adapter_model.safetensors` holds the trained tensors
and no others. Where Hugging Face PEFT has the method, both files are PEFT's: PEFT opens them, and
we open PEFT's. Where it has not, they are ours. Either way the header of the tensor file carries
the exact methods and a fingerprint of the base. Nothing here ever opens a pickle.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from . import peft_format
from .errors import BadCheckpoint, BadValue, PftError
from .files import atomic_write, check_writable
from .method import (
    Method,
    attached,
    detach,
    head_parameters,
    load_trainable_state,
    new_record,
    record_of,
    trainable_state,
)

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
FORMAT = 1


def save(model: nn.Module, folder: str | Path) -> Path:
    """Save what is attached to `model`, and the head, into `folder`.

    Args:
        model: a model with something attached.
        folder: made if need be; the two files in it are replaced one after the other, the tensors
            first, each in one step.

    Returns:
        The folder.

    Raises:
        Refused: nothing is attached.
        Unavailable: the folder cannot be written.
    """
    record = record_of(model)
    folder = check_writable(folder)
    ours = {
        "format": FORMAT,
        "methods": describe(model),
        "head": sorted(record.head),
        "base": fingerprint(model),
    }
    config, tensors = peft_format.write(model) or ({"pftlab": ours}, trainable_state(model))
    tensors = {name: tensor.to("cpu").contiguous() for name, tensor in tensors.items()}
    with atomic_write(folder / TENSORS) as path:
        save_file(tensors, path, metadata={"format": "pt", "pftlab": json.dumps(ours)})
    with atomic_write(folder / CONFIG) as path:
        path.write_text(json.dumps(config, indent=2, default=list) + "\n", encoding="utf-8")
    return folder


def load(
    model: nn.Module,
    folder: str | Path,
    methods: Mapping[str, type[Method]],
    name: str | None = None,
    check_base: bool = True,
) -> nn.Module:
    """Attach to `model` what `folder` holds, saved by PFT Lab or by Hugging Face PEFT.

    Args:
        model: the base that it was trained on, with the same head.
        folder: with adapter_config.json and adapter_model.safetensors.
        methods: the registry, name → class.
        name: under which to attach it; the saved name by default.
        check_base: refuse a base whose weights are not those that it was trained on. PEFT's
            files do not say; for them only shapes are checked.

    Raises:
        BadCheckpoint: the folder has no checkpoint, the file is truncated or pickled, or it
            belongs to another model. The model is as it was.
    """
    config, tensors, ours = _open(Path(folder))
    before = attached(model)
    try:
        if ours and check_base and ours["base"] != fingerprint(model, ours["head"]):
            raise BadCheckpoint(
                f"{str(folder)!r} was trained on another base than this {type(model).__name__}: "
                "its weights differ. Load the base that it was trained on, or pass "
                "check_base=False."
            )
        if "peft_type" in config:
            _attach_peft(model, config, tensors, methods, ours, name)
        else:
            _attach_ours(model, tensors, methods, ours, name)
    except BaseException as error:
        for new in attached(model).keys() - before.keys():
            detach(model, new)
        if not before and hasattr(model, "pftlab"):
            del model.pftlab
        if isinstance(error, BadCheckpoint):
            raise
        if isinstance(error, PftError | LookupError | TypeError | ValueError):
            raise BadCheckpoint(f"{str(folder)!r} does not fit this model: {error}") from error
        raise
    return model


def contents(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `save` wrote into `folder`: its header ("methods", "head", "base") and its tensors.

    Raises:
        BadCheckpoint: the folder has no checkpoint that PFT Lab wrote, or a damaged one.
    """
    _, tensors, ours = _open(Path(folder))
    if not ours:
        raise BadCheckpoint(f"{str(folder)!r} was not saved by PFT Lab. Load it and save it again.")
    return ours, tensors


def describe(model: nn.Module) -> dict[str, dict[str, Any]]:
    """The attached methods as data: name → {"method": …, and every hyper-parameter}."""
    return {
        name: {"method": method.name, **asdict(method)}  # type: ignore[call-overload]
        for name, method in attached(model).items()
    }


def build(description: Mapping[str, Any], methods: Mapping[str, type[Method]]) -> Method:
    """The method that `describe` described."""
    values = dict(description)
    cls = methods[values.pop("method")]
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@torch.no_grad()
def fingerprint(model: nn.Module, head: Collection[str] | None = None) -> str:
    """A hash of the base's weights, head apart: 64 values of each parameter, rounded to bfloat16.

    Rounding makes it the same whether the base was loaded in 32 or in 16 bits. What is attached
    does not change it.

    Args:
        model: with or without something attached.
        head: names of the parameters to leave out; None: the model's own head.
    """
    record = getattr(model, "pftlab", None)
    if head is None:
        head = record.head if record else head_parameters(model)
    originals = record.originals if record else {}
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if name in head or ".pft_" in f".{name}":
            continue
        values = originals.get(name, parameter).detach().flatten()
        step = max(1, values.numel() // 64)
        sample = values[::step][:64].to("cpu", torch.bfloat16)
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(sample.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def _open(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any] | None]:
    if not (folder / CONFIG).is_file():
        raise BadCheckpoint(
            f"{str(folder)!r} has no {CONFIG}. Give the folder that save() or PEFT's "
            "save_pretrained() wrote."
        )
    if not (folder / TENSORS).is_file():
        pickled = [p.name for p in folder.glob("*.bin")]
        also = f" {pickled[0]} is a pickle, which can run any code when opened." if pickled else ""
        raise BadCheckpoint(
            f"{str(folder)!r} has no {TENSORS}.{also} Save it again as safetensors."
        )
    config = _json((folder / CONFIG).read_bytes(), f"{CONFIG} in {str(folder)!r}")
    try:
        with safe_open(folder / TENSORS, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            header = (file.metadata() or {}).get("pftlab")
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(
            f"{TENSORS} in {str(folder)!r} is truncated or no safetensors file ({error}). "
            "Copy it again."
        ) from error
    ours = _json(header, f"The header of {TENSORS} in {str(folder)!r}") if header else None
    if "peft_type" not in config and not ours:
        raise BadCheckpoint(
            f"{CONFIG} in {str(folder)!r} names no method. It is no adapter checkpoint."
        )
    if ours and ours.get("format", FORMAT) > FORMAT:
        raise BadCheckpoint(
            f"{str(folder)!r} was written by a newer PFT Lab (format {ours['format']}, this one "
            f"reads {FORMAT}). Update the package."
        )
    return config, tensors, ours


def _json(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BadCheckpoint(f"{what} is no JSON: {error}. Copy it again.") from error
    if not isinstance(data, dict):
        raise BadCheckpoint(
            f"{what} is a JSON {type(data).__name__}, not an object. Copy it again."
        )
    return data


def _attach_ours(
    model: Any,
    tensors: dict[str, Tensor],
    methods: Mapping[str, type[Method]],
    ours: Any,
    name: str | None,
) -> None:
    described = ours["methods"]
    if name is not None and len(described) > 1:
        raise BadValue(f"The file holds {', '.join(described)}: they keep their names.")
    if attached(model):
        raise BadValue(
            f"{', '.join(attached(model))} is attached already, and these tensors hold all that "
            "was attached. Load into the plain base."
        )
    model.pftlab = new_record(model, ours["head"])
    for saved_name, description in described.items():
        build(description, methods).attach(model, name or saved_name)
        if name:
            tensors = {_renamed(key, saved_name, name): t for key, t in tensors.items()}
    load_trainable_state(model, tensors)


def _renamed(key: str, old: str, new: str) -> str:
    """`key` of a tensor that was saved under one name, for the other."""
    return re.sub(rf"(^|\.)pft_{old}(?=[._])", rf"\1pft_{new}", key)


def _attach_peft(
    model: Any,
    config: dict[str, Any],
    tensors: dict[str, Tensor],
    methods: Mapping[str, type[Method]],
    ours: Any,
    name: str | None,
) -> None:
    if ours:  # our own file in PEFT's form: the header knows the method exactly
        [(saved_name, description)] = ours["methods"].items()
        method, name = build(description, methods), name or saved_name
    else:
        method = peft_format.read(model, config, tensors, methods)
        name = name or method.name
    form: peft_format.PeftFormat = method.peft
    parameters = dict(model.named_parameters())
    head = {
        key.removeprefix(form.head): tensor
        for key, tensor in tensors.items()
        if key.removeprefix(form.head) in parameters
    }
    for key, tensor in head.items():
        if tensor.shape != parameters[key].shape:
            raise BadCheckpoint(
                f"The head {key} has shape {tuple(tensor.shape)} in the file and "
                f"{tuple(parameters[key].shape)} here. Load the base with the same num_labels."
            )
    if not attached(model):  # PEFT may have trained more modules whole than we call the head
        own = ours["head"] if ours else head_parameters(model)
        model.pftlab = new_record(model, {*own, *head})
    elif foreign := sorted(head.keys() - record_of(model).head):
        raise BadCheckpoint(
            f"The file trains {foreign[0]} as a whole, and {', '.join(attached(model))} is "
            "attached already. Load it into the plain base."
        )
    method.attach(model, name)
    form.fit(model, name, config)
    used = form.fill(model, name, method, tensors) | {form.head + key for key in head}
    if rest := sorted(tensors.keys() - used):
        raise BadCheckpoint(
            f"The file holds {rest[0]!r}, for which {method.title} has no place. "
            "Load it with Hugging Face PEFT."
        )
    with torch.no_grad():
        for key, tensor in head.items():
            parameters[key].copy_(tensor)
