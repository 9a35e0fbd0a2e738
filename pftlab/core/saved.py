"""Reading the folder of a checkpoint, and refusing what is damaged, before any model is touched."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from .attachment import NAME
from .errors import BadCheckpoint
from .files import parse_json
from .foreign import Foreign

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
FORMAT = 2
SAFETENSORS = "Save it again as safetensors."  # advice
FINGERPRINT = {"digest", "shapes", "types", "values", "rounded"}


@dataclass(frozen=True)
class Saved:
    """What a folder holds.

    Attributes:
        folder: where.
        tensors: by their keys in the file.
        header: what `save` wrote beside them; None: another library saved them.
        foreign: the format of the tensors; None: ours.
        config: of that format.
    """

    folder: Path
    tensors: dict[str, Tensor]
    header: dict[str, Any] | None
    foreign: Foreign | None
    config: dict[str, Any]


def open_folder(folder: Path, formats: Sequence[Foreign]) -> Saved:
    """Read a checkpoint, of ours or in one of `formats`.

    Our own header says what the tensors are; adapter_config.json is then for other libraries, and
    may be older or missing where a save was interrupted.

    Raises:
        BadCheckpoint: there is none, it is damaged, pickled, or of a newer version.
    """
    config: dict[str, Any] = {}
    if (folder / CONFIG).is_file():
        config = parse_json((folder / CONFIG).read_bytes(), f"{CONFIG} in {str(folder)!r}")
    elif not (folder / TENSORS).is_file():
        raise BadCheckpoint(
            f"{str(folder)!r} has no {CONFIG}. Give the folder that save() or PEFT's "
            "save_pretrained() wrote."
        )
    foreign = _format_of(config, formats)
    if not (foreign or (folder / TENSORS).is_file() or "pftlab" in config or _pickled(folder)):
        raise BadCheckpoint(
            f"{CONFIG} in {str(folder)!r} names no method, and there is no {TENSORS} that would. "
            "Copy the whole folder again, or save the adapter again."
        )
    file, advice = (foreign.FILE, foreign.ADVICE) if foreign else (TENSORS, SAFETENSORS)
    if not (folder / file).is_file():
        pickled = _pickled(folder)
        also = f" {pickled[0]} is a pickle, which can run any code when opened." if pickled else ""
        raise BadCheckpoint(f"{str(folder)!r} has no {file}.{also} {advice}")
    tensors, text = read_tensors(folder / file)
    header = None
    if text:
        header = _checked(parse_json(text, f"The header of {file} in {str(folder)!r}"), folder)
        if header["format"] > 1:
            config = header["foreign"] or {}
            foreign = _format_of(config, formats)
    if not foreign and not header:
        raise BadCheckpoint(
            f"{CONFIG} in {str(folder)!r} names no method. It is no adapter checkpoint."
        )
    return Saved(folder, tensors, header, foreign, config)


def _pickled(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.bin"))


def _format_of(config: dict[str, Any], formats: Sequence[Foreign]) -> Foreign | None:
    return next((each for each in formats if each.recognises(config)), None)


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


def _checked(header: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The header, if it is what `save` writes."""
    version = header.get("format", 1)
    if isinstance(version, int) and version > FORMAT:
        raise BadCheckpoint(
            f"{str(folder)!r} was written by a newer PFT Lab (format {version}, this one "
            f"reads {FORMAT}). Update the package."
        )
    methods, base = header.get("methods"), header.get("base")
    right = {
        "format": type(version) is int and version > 0,
        "methods": isinstance(methods, dict)
        and bool(methods)
        and all(NAME.fullmatch(name) and _is_method(value) for name, value in methods.items()),
        "head": _is_words(header.get("head")),
        "labels": _is_words(header.get("labels", [])),
        "model": isinstance(header.get("model", ""), str),
        "outputs": type(header.get("outputs", 0)) is int,
        "base": isinstance(base, str)
        or (
            isinstance(base, dict) and base.keys() == FINGERPRINT and _is_words(list(base.values()))
        ),
        "foreign": isinstance(header.get("foreign"), dict | None),
    }
    wrong = [name for name, is_right in right.items() if not is_right]
    if wrong:
        raise BadCheckpoint(
            f"The header of {TENSORS} in {str(folder)!r} is damaged: {wrong[0]!r} is not what "
            "save() writes. Copy the file again."
        )
    return {"foreign": None, **header, "format": version}


def _is_method(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("method"), str)


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)
