"""What lies in the folder of a base model, looked at before anything large is read or built.

Only JSON and safetensors are opened, never a pickle, and no code that a folder brings is run. What
the folder says about its size is compared with the headers of its weight files first, so that a
small file cannot ask for a large memory.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import BadCheckpoint, Unavailable
from ..core.files import parse_json
from .building import BUILDING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
MOST_LAYERS = 1000  # the largest published models have fewer than 200


@dataclass(frozen=True)
class Weights:
    """The weight files of a folder.

    Attributes:
        files: one, or the shards that the index names.
        shapes: of every tensor in them, by its name.
    """

    files: tuple[Path, ...]
    shapes: dict[str, tuple[int, ...]]

    @property
    def sha256(self) -> str:
        """Of the file; of several, of their digests in order."""
        digests = []
        for file in self.files:
            with open(file, "rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def __str__(self) -> str:
        others = len(self.files) - 1
        return self.files[0].name + (f" and {others} more" if others else "")


def read_weights(folder: Path) -> Weights:
    """The weight files of a base, with the shapes of what they hold.

    Raises:
        Unavailable: there are none.
        BadCheckpoint: they are pickles, damaged, or hold an adapter.
    """
    _refuse_adapter(folder)
    files = _weight_files(folder)
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        shapes |= _shapes(file)
    return Weights(files, shapes)


def read_config(folder: Path) -> "PreTrainedConfig":
    """The configuration in a folder.

    Raises:
        Unavailable: there is none.
        BadCheckpoint: transformers cannot read it, or it describes no possible model.
    """
    if not (folder / CONFIG).is_file():
        raise Unavailable(
            f"The folder {str(folder)!r} holds no {CONFIG}. Give a folder that "
            "model.save_pretrained wrote."
        )
    try:
        with BUILDING:
            from transformers import AutoConfig

            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # whatever a damaged or foreign file makes transformers raise
        raise BadCheckpoint(
            f"{CONFIG} in {str(folder)!r} cannot be read by transformers ({error}). Give a folder "
            "that model.save_pretrained wrote; one that needs code of its own is not run."
        ) from error
    layers = getattr(config, "num_hidden_layers", 0) or 0
    if not (isinstance(layers, int) and 0 <= layers <= MOST_LAYERS):
        raise BadCheckpoint(
            f"{CONFIG} in {str(folder)!r} asks for {layers!r} layers; a number up to "
            f"{MOST_LAYERS:,} is possible. Copy the file again."
        )
    return config


def check_size(config: Any, model_class: Any, weights: Weights, folder: Path) -> None:
    """Refuse a configuration of a model that is far larger than what the weight files hold.

    Raises:
        BadCheckpoint: most of the model would have to start at random.
    """
    import torch

    if getattr(config, "quantization_config", None) is not None:
        return  # the file holds several numbers in one
    with torch.device("meta"):
        model = model_class.from_config(config, trust_remote_code=False)
    needed = sum(parameter.numel() for parameter in model.base_model.parameters())
    held = sum(math.prod(shape) for shape in weights.shapes.values())
    if needed > 2 * held:
        raise BadCheckpoint(
            f"{CONFIG} in {str(folder)!r} describes a {config.model_type} model of {needed:,} "
            f"numbers, and {weights} holds {held:,}: weights of another architecture or size. "
            "Give a folder whose two files belong together."
        )


def _weight_files(folder: Path) -> tuple[Path, ...]:
    if (folder / WHOLE).is_file():
        return (folder / WHOLE,)
    if (folder / INDEX).is_file():
        return _shards(folder)
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise BadCheckpoint(
            f"The folder {str(folder)!r} holds its weights only as {', '.join(pickles)}: a pickle, "
            "which can run any code when it is opened. Only safetensors are read. Convert it where "
            "you trust it: AutoModel.from_pretrained(folder).save_pretrained(new_folder)."
        )
    raise Unavailable(
        f"The folder {str(folder)!r} holds no {WHOLE} and no {INDEX}. Give a folder that "
        "model.save_pretrained wrote."
    )


def _shards(folder: Path) -> tuple[Path, ...]:
    """The files that the index names: these and no others are loaded."""
    what = f"{INDEX} in {str(folder)!r}"
    places = parse_json((folder / INDEX).read_bytes(), what).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise BadCheckpoint(f"{what} names no files of weights. Copy it again.")
    for name in places.values():
        if not (
            isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name
        ):
            raise BadCheckpoint(
                f"{what} names {name!r}. Only safetensors files in the folder itself are read, "
                "because any other file could run code or lie elsewhere. Copy the folder again."
            )
        if not (folder / name).is_file():
            raise BadCheckpoint(f"{what} names {name!r}, which is not there. Copy it as well.")
    return tuple(folder / name for name in sorted(set(places.values())))


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Name → shape of the tensors in a file, of which the header alone is read."""
    from safetensors import SafetensorError, safe_open

    from ..core.delta import is_planted

    try:
        with safe_open(file, framework="pt") as tensors:
            shapes = {n: tuple(tensors.get_slice(n).get_shape()) for n in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(
            f"The weight file {str(file)!r} is truncated or no safetensors file ({error}). Fetch "
            "it again."
        ) from error
    for name in shapes:
        if is_planted(name):
            raise BadCheckpoint(
                f"{file.name} in {str(file.parent)!r} holds {name!r}: it was saved by "
                "model.save_pretrained while a method was attached, and a plain model has no "
                "place for that. Save what is attached with pftlab.save(model, folder), and "
                "the base after pftlab.detach(model) or pftlab.merge(model)."
            )
        if name.startswith("base_model.model.") or ".base_layer." in name:
            raise BadCheckpoint(
                f"{file.name} in {str(file.parent)!r} holds {name!r}: it was saved from a "
                "model of Hugging Face PEFT. Save the base after merge_and_unload(), or load "
                "the base and its adapter apart."
            )
    return shapes


def _refuse_adapter(folder: Path) -> None:
    """Refuse a folder with an adapter in it: transformers would load both, as another model."""
    found = [name for name in ADAPTERS if (folder / name).exists()]
    if not found:
        return
    if (folder / CONFIG).is_file():
        raise BadCheckpoint(
            f"The folder {str(folder)!r} holds a base and an adapter ({found[0]}). Move the "
            "adapter's files into a folder of their own: load_base(this folder), then "
            "pftlab.load(model, the other one)."
        )
    raise BadCheckpoint(
        f"The folder {str(folder)!r} holds an adapter ({found[0]}) and no base. Load the base that "
        "it was trained on, then pftlab.load(model, this folder)."
    )
