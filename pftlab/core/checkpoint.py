"""Saving and loading what was trained: a folder of two files.

`adapter_config.json` says what is attached, `adapter_model.safetensors` holds the trained tensors
and no others. Both can have the form of another library, which is handed in then (Hugging Face
PEFT's; see pftlab.exchange): that library opens them, and we open its own. Either way the header of
the tensor file carries the exact methods and a fingerprint of the base. Nothing here ever opens a
pickle.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .attachment import attach_saved, detach
from .delta import is_planted
from .errors import BadCheckpoint, BadValue, PftError, Refused
from .files import atomic_write, check_writable
from .foreign import Foreign, Writable
from .heads import head_parameters
from .method import Method
from .record import Record, attached, enabled_record
from .trained import fill_state, planted_state

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
FORMAT = 1
SAFETENSORS = "Save it again as safetensors."  # advice
#: what shows that a folder is that of a model
BASE_FILES = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
)


def save(
    model: nn.Module,
    folder: str | Path,
    writable: Writable | None = None,
    name: str | None = None,
) -> Path:
    """Save what is attached to `model`, and the head that it was trained with, into `folder`.

    Args:
        model: a model with something attached.
        folder: made if need be; the two files in it are replaced one after the other, the tensors
            first, each in one step.
        writable: the form of another library, for what it can express; None: ours.
        name: of the attachment to save; None: all.

    Returns:
        The folder.

    Raises:
        Refused: nothing is attached, or it is disabled; several attachments have heads of their
            own, or share base parameters that they train; `folder` is that of a base model.
        BadValue: `name` is not attached.
        Unavailable: the folder cannot be written.
    """
    record = enabled_record(model, "Saving")
    names = _chosen(record, name)
    _refuse_base_folder(Path(folder))
    folder = check_writable(folder)
    head, trained = _head_values(model, record, names[0]), _trained_by(model, record, names)
    ours = {
        "format": FORMAT,
        "methods": describe(model, names),
        "head": sorted(head),
        "base": fingerprint(model),
    }
    written = None
    if writable and len(names) == 1:
        written = writable.write(model, names[0], head)
    if written is None:
        planted = {key: t for each in names for key, t in planted_state(model, each).items()}
        written = {"pftlab": ours}, planted | trained | head
    config, tensors = written
    tensors = {key: tensor.to("cpu").contiguous() for key, tensor in tensors.items()}
    with atomic_write(folder / TENSORS) as path:
        save_file(tensors, path, metadata={"format": "pt", "pftlab": json.dumps(ours)})
    with atomic_write(folder / CONFIG) as path:
        path.write_text(json.dumps(config, indent=2, default=list) + "\n", encoding="utf-8")
    return folder


def _chosen(record: Record, name: str | None) -> list[str]:
    """The attachments to save together."""
    if name is not None and name not in record.methods:
        raise BadValue(f"{name!r} is not attached. Attached: {', '.join(record.methods)}.")
    if name is not None:
        return [name]
    users = [head.users for head in record.heads if head.users]
    if len(users) > 1:
        raise Refused(
            f"{users[0][0]!r} and {users[1][0]!r} have heads of their own, and a file holds one. "
            "Save them one by one, each into a folder of its own: save(model, folder, "
            f"name={users[0][0]!r})."
        )
    return list(record.methods)


def _head_values(model: nn.Module, record: Record, name: str) -> dict[str, Tensor]:
    """The head that `name` was trained with."""
    head = record.head_of(name)
    if head is record.heads[-1]:
        return {n: model.get_parameter(n).detach() for n in sorted(head.names)}
    return dict(head.values)


def _trained_by(model: nn.Module, record: Record, names: list[str]) -> dict[str, Tensor]:
    """The base's own parameters that the attachments `names` train, and no other."""
    ours = {n: users for n, users in record.trained_by.items() if set(users) & set(names)}
    for n, users in ours.items():
        if others := sorted(set(users) - set(names)):
            raise Refused(
                f"{n} is trained by {names[0]!r} and by {others[0]!r}, so that they cannot be "
                "saved apart. Save all that is attached: save(model, folder)."
            )
    return {n: model.get_parameter(n).detach() for n in ours}


def _refuse_base_folder(folder: Path) -> None:
    for file in BASE_FILES:
        if (folder / file).exists():
            raise Refused(
                f"{str(folder)!r} is the folder of a model ({file} is in it), which would no "
                "longer be loaded as what it is. Save into a folder of its own."
            )


def load(
    model: nn.Module,
    folder: str | Path,
    methods: Mapping[str, type[Method]],
    formats: Sequence[Foreign] = (),
    name: str | None = None,
    check_base: bool = True,
) -> nn.Module:
    """Attach to `model` what `folder` holds, saved by PFT Lab or in one of `formats`.

    Args:
        model: the base that it was trained on, with the same head.
        folder: with adapter_config.json and adapter_model.safetensors.
        methods: the registry, name → class.
        formats: of other libraries, to read as well.
        name: under which to attach it; the saved name by default.
        check_base: refuse a base whose weights are not those that it was trained on. The files of
            other libraries do not say; for them only shapes are checked.

    Raises:
        BadCheckpoint: the folder has no checkpoint, the file is truncated or pickled, or it
            belongs to another model. The model is as it was.
    """
    config = _config(Path(folder))
    foreign = next((each for each in formats if each.recognises(config)), None)
    tensors, ours = _open(Path(folder), foreign)
    before = attached(model)
    try:
        if ours and check_base and ours["base"] != fingerprint(model, ours["head"]):
            raise BadCheckpoint(
                f"{str(folder)!r} was trained on another base than this {type(model).__name__}: "
                "its weights differ. Load the base that it was trained on, or pass "
                "check_base=False."
            )
        if foreign:
            _attach_foreign(model, Path(folder), foreign, config, tensors, methods, ours, name)
        else:
            _attach_ours(model, tensors, methods, ours, name)
    except BaseException as error:
        for new in attached(model).keys() - before.keys():
            detach(model, new)
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
    tensors, ours = _open(Path(folder), None)
    if not ours:
        raise BadCheckpoint(f"{str(folder)!r} was not saved by PFT Lab. Load it and save it again.")
    return ours, tensors


def describe(model: nn.Module, names: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """The attached methods as data: name → {"method": …, and every hyper-parameter}.

    Args:
        model: with something attached.
        names: of the attachments; None: all.
    """
    return {
        name: {"method": method.name, **asdict(method)}  # type: ignore[call-overload]
        for name, method in attached(model).items()
        if names is None or name in names
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
        if name in head or is_planted(name):
            continue
        values = originals.get(name, parameter).detach().flatten()
        step = max(1, values.numel() // 64)
        sample = values[::step][:64].to("cpu", torch.bfloat16)
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(sample.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        raise BadCheckpoint(
            f"{str(folder)!r} has no {CONFIG}. Give the folder that save() or PEFT's "
            "save_pretrained() wrote."
        )
    return _json((folder / CONFIG).read_bytes(), f"{CONFIG} in {str(folder)!r}")


def _open(folder: Path, foreign: Foreign | None) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The tensors, and our header if we wrote them."""
    file, advice = (foreign.FILE, foreign.ADVICE) if foreign else (TENSORS, SAFETENSORS)
    if not (folder / file).is_file():
        pickled = sorted(p.name for p in folder.glob("*.bin"))
        also = f" {pickled[0]} is a pickle, which can run any code when opened." if pickled else ""
        raise BadCheckpoint(f"{str(folder)!r} has no {file}.{also} {advice}")
    tensors, header = read_tensors(folder / file)
    ours = _json(header, f"The header of {file} in {str(folder)!r}") if header else None
    if not foreign and not ours:
        raise BadCheckpoint(
            f"{CONFIG} in {str(folder)!r} names no method. It is no adapter checkpoint."
        )
    if ours and ours.get("format", FORMAT) > FORMAT:
        raise BadCheckpoint(
            f"{str(folder)!r} was written by a newer PFT Lab (format {ours['format']}, this one "
            f"reads {FORMAT}). Update the package."
        )
    return tensors, ours


def read_tensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a safetensors file, and what stands under "pftlab" in its header.

    Raises:
        BadCheckpoint: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, (file.metadata() or {}).get("pftlab")
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(
            f"{path.name} in {str(path.parent)!r} is truncated or no safetensors file ({error}). "
            "Copy it again."
        ) from error


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
    built = {}
    for saved_name, description in described.items():
        built[name or saved_name] = build(description, methods)
        if name:
            tensors = {_renamed(key, saved_name, name): t for key, t in tensors.items()}
    head = {n: tensors[n] for n in ours["head"]}
    attach_saved(model, built, head, ours["head"])
    trained = [n for n, users in model.pftlab.trained_by.items() if set(users) & built.keys()]
    fill_state(model, {n: t for n, t in tensors.items() if n not in head}, built, trained)


def _renamed(key: str, old: str, new: str) -> str:
    """`key` of a tensor that was saved under one name, for the other."""
    return re.sub(rf"(^|\.)pft_{re.escape(old)}(?=[._])", rf"\1pft_{new}", key)


def _attach_foreign(
    model: Any,
    folder: Path,
    foreign: Foreign,
    config: dict[str, Any],
    tensors: dict[str, Tensor],
    methods: Mapping[str, type[Method]],
    ours: Any,
    name: str | None,
) -> None:
    known, own = None, head_parameters(model)
    if ours:  # our own file in the form of another library: the header knows the method exactly
        [(saved_name, description)] = ours["methods"].items()
        known, name, own = build(description, methods), name or saved_name, ours["head"]
    held = foreign.read(model, folder, config, tensors, methods, known)
    name = name or held.name
    # another library may have trained more modules whole than we call the head
    attach_saved(model, {name: held.method}, held.head, {*own, *held.head})
    held.fill(name)
