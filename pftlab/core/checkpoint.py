"""Saving and loading what was trained: a folder of two files.

`adapter_config.json` says what is attached, `adapter_model.safetensors` holds the trained tensors
and no others. Both can have the form of another library, which is handed in then (Hugging Face
PEFT's; see pftlab.exchange): that library opens them, and we open its own. Either way the header of
the tensor file carries the exact methods and a fingerprint of the base. Nothing here ever opens a
pickle.
"""

import copy
import json
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .attachment import attach_saved, check_ready, detach
from .errors import BadCheckpoint, BadValue, PftError, Refused
from .files import atomic_write, check_writable
from .fingerprint import describe_base, difference
from .foreign import Foreign, Writable
from .heads import head_parameters, label_names
from .method import Method
from .record import Record, attached, check_whole, enabled_record
from .saved import CONFIG, FORMAT, TENSORS, Saved, open_folder
from .trained import fill_state, planted_state

#: what a file that was damaged or made up can let a method raise
DAMAGED = (
    PftError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)
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
        Refused: nothing is attached, or it is disabled; the model is sharded; several attachments
            have heads of their own, or share base parameters that they train; `folder` is that of
            a base model.
        BadValue: `name` is not attached.
        Unavailable: the folder cannot be written.
    """
    record = enabled_record(model, "Saving")
    check_whole(model, "Saving")
    names = _chosen(record, name)
    _refuse_base_folder(Path(folder))
    folder = check_writable(folder)
    head, trained = _head_values(model, record, names[0]), _trained_by(model, record, names)
    written = None
    if writable and len(names) == 1:
        written = writable.write(model, names[0], head)
    ours = {
        "format": FORMAT,
        "methods": describe(model, names),
        "head": sorted(head),
        "labels": _labels(model, record, names[0]),
        # what to load the base as
        "model": type(model).__name__,
        "outputs": len(label_names(model)),
        "base": describe_base(model, head),
        # The header alone decides, so that a kill between the two files does no harm.
        "foreign": written and written[0],
    }
    if written is None:
        planted = {key: t for each in names for key, t in planted_state(model, each).items()}
        written = {"pftlab": ours}, planted | trained | head
    config, tensors = written
    tensors = {key: tensor.to("cpu").contiguous() for key, tensor in tensors.items()}
    header = json.dumps(ours, default=list, separators=(",", ":"))
    with atomic_write(folder / TENSORS) as path:
        save_file(tensors, path, metadata={"format": "pt", "pftlab": header})
    with atomic_write(folder / CONFIG) as path:
        path.write_text(json.dumps(config, indent=2, default=list) + "\n", encoding="utf-8")
    return folder


def _labels(model: nn.Module, record: Record, name: str) -> tuple[str, ...]:
    """What the outputs of the head of `name` mean; (): nobody has named them."""
    head = record.head_of(name)
    labels = label_names(model) if head is record.shown else head.labels
    return () if labels == tuple(f"LABEL_{i}" for i in range(len(labels))) else labels


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
    if head is record.shown:
        return {n: model.get_parameter(n).detach() for n in sorted(head.names)}
    return dict(head.values)


def _trained_by(model: nn.Module, record: Record, names: list[str]) -> dict[str, Tensor]:
    """The base's own parameters that the attachments `names` train, and no other."""
    held = {}
    for n, value in ((n, value) for n, values in record.values.items() for value in values):
        if not set(value.users) & set(names):
            continue
        if others := sorted(set(value.users) - set(names)):
            raise Refused(
                f"{n} is trained by {names[0]!r} and by {others[0]!r}, so that they cannot be "
                "saved apart. Save all that is attached: save(model, folder)."
            )
        if n in held:
            raise Refused(
                f"Of {n}, {names[0]!r} and {value.users[0]!r} have values of their own, and a "
                "file holds one. Save them one by one, each into a folder of its own: save(model, "
                f"folder, name={names[0]!r})."
            )
        held[n] = model.get_parameter(n).detach() if value.kept is None else value.kept
    return held


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
        BadValue, Refused: nothing can be attached to `model` just now, as with Method.attach.
    """
    check_ready(model)
    saved = open_folder(Path(folder), formats)
    if any(parameter.is_meta for parameter in model.parameters()):
        raise Refused(
            f"This {type(model).__name__} has no values (device 'meta') that could be adapted. "
            "Load the base with load_base or from_pretrained."
        )
    before = attached(model)
    try:
        if saved.header and check_base:
            why = difference(saved.header["base"], model, saved.header["head"])
            if why:
                raise BadCheckpoint(
                    f"{str(folder)!r} was trained on another base than this "
                    f"{type(model).__name__}: {why}. Load the base that it was trained on, or pass "
                    "check_base=False."
                )
        _rehearse(model, saved, methods, name)
        _attach(model, saved, methods, name)
    except BaseException as error:
        for new in attached(model).keys() - before.keys():
            detach(model, new)
        named = isinstance(error, BadCheckpoint) and str(folder) in str(error)
        if named or isinstance(error, torch.OutOfMemoryError):
            raise
        if isinstance(error, DAMAGED):
            raise BadCheckpoint(
                f"{str(folder)!r} does not fit this model: {_said(error)}"
            ) from error
        raise
    return model


def _said(error: BaseException) -> str:
    """What an error says, with its kind where it is none of ours."""
    return str(error) if isinstance(error, PftError) else f"{type(error).__name__}: {error}"


def _rehearse(
    model: nn.Module, saved: Saved, methods: Mapping[str, type[Method]], name: str | None
) -> None:
    """Attach to a copy that has shapes and no values, so that a file's sizes cost no memory.

    What raises here would raise on the model itself, except that a tensor without values ("meta")
    cannot be looked at.
    """
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        try:
            _attach(without_values(model), saved, methods, name)
        except (NotImplementedError, RuntimeError) as error:
            if isinstance(error, PftError) or "meta" not in str(error):
                raise


def without_values(model: nn.Module) -> nn.Module:
    """A copy of `model`, with what is attached, whose tensors are all on the meta device."""
    record = getattr(model, "pftlab", None)
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    if record:
        tensors += [
            *record.originals.values(),
            *(t for h in record.heads for t in h.values.values()),
            *(v.kept for vs in record.values.values() for v in vs if v.kept is not None),
        ]
    memo: dict[int, Any] = {}
    for tensor in tensors:
        empty = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return copy.deepcopy(model, memo)


def _attach(
    model: nn.Module, saved: Saved, methods: Mapping[str, type[Method]], name: str | None
) -> None:
    if saved.foreign:
        _attach_foreign(model, saved, methods, name)
    elif saved.header and saved.header["foreign"]:
        raise BadCheckpoint(
            f"The tensors in {str(saved.folder)!r} have the form of another library, and its "
            "format is none of those that were given. Load it with pftlab.load."
        )
    else:
        _attach_ours(model, saved, methods, name)


def contents(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `save` wrote into `folder`: its header ("methods", "head", "base") and its tensors.

    Raises:
        BadCheckpoint: the folder has no checkpoint that PFT Lab wrote, or a damaged one.
    """
    saved = open_folder(Path(folder), ())
    if not saved.header:
        raise BadCheckpoint(f"{str(folder)!r} was not saved by PFT Lab. Load it and save it again.")
    return saved.header, saved.tensors


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


def _attach_ours(
    model: Any, saved: Saved, methods: Mapping[str, type[Method]], name: str | None
) -> None:
    assert saved.header, "another library's file is attached by the other function"
    tensors, described = saved.tensors, saved.header["methods"]
    if name is not None and len(described) > 1:
        raise BadValue(f"The file holds {', '.join(described)}: they keep their names.")
    built = {}
    for saved_name, description in described.items():
        built[name or saved_name] = build(description, methods)
        if name:
            tensors = {_renamed(key, saved_name, name): t for key, t in tensors.items()}
    head = {n: tensors[n] for n in saved.header["head"]}
    attach_saved(model, built, head, head, saved.header.get("labels", ()))
    trained = [n for n, users in model.pftlab.trained_by.items() if set(users) & built.keys()]
    fill_state(model, {n: t for n, t in tensors.items() if n not in head}, built, trained)


def _renamed(key: str, old: str, new: str) -> str:
    """`key` of a tensor that was saved under one name, for the other."""
    return re.sub(rf"(^|\.)pft_{re.escape(old)}(?=[._])", rf"\1pft_{new}", key)


def _attach_foreign(
    model: Any, saved: Saved, methods: Mapping[str, type[Method]], name: str | None
) -> None:
    assert saved.foreign
    known, own, labels = None, head_parameters(model), ()
    if saved.header:  # our own file in the form of another library: the header knows the method
        [(saved_name, description)] = saved.header["methods"].items()
        known, name = build(description, methods), name or saved_name
        own, labels = saved.header["head"], saved.header.get("labels", ())
    held = saved.foreign.read(model, saved.folder, saved.config, saved.tensors, methods, known)
    name = name or held.name
    # another library may have trained more modules whole than we call the head
    attach_saved(model, {name: held.method}, held.head, {*own, *held.head}, labels)
    held.fill(name)
