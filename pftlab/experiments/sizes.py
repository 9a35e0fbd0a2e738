"""Models of well-known sizes, without weights or with random ones: on any machine, offline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bases import BASES
from ..bases.find import find_base
from ..bases.folder import read_config
from ..core.errors import BadCheckpoint, BadValue, Unavailable, UnknownName


@dataclass(frozen=True)
class Size:
    """The dimensions of a published model.

    Attributes:
        model_type: transformers' name of the architecture.
        settings: what differs from the architecture's default configuration.
        source: where the dimensions are published.
    """

    model_type: str
    settings: dict[str, Any]
    source: str


def _encoder(kind: str, layers: int, width: int, heads: int, words: int, source: str,
             **others: Any) -> Size:  # fmt: skip
    settings = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "vocab_size": words,
    }
    return Size(kind, settings | others, source)


def _gpt2(layers: int, width: int, heads: int, source: str, **others: Any) -> Size:
    return Size("gpt2", {"n_embd": width, "n_layer": layers, "n_head": heads} | others, source)


def _t5(layers: int, width: int, heads: int, inner: int) -> Size:
    settings = {
        "d_model": width,
        "d_ff": inner,
        "num_layers": layers,
        "num_heads": heads,
        "d_kv": 64,
        "vocab_size": 32128,
    }
    return Size("t5", settings, _RAFFEL)


def _opt(layers: int, width: int, heads: int) -> Size:
    settings = {
        "hidden_size": width,
        "word_embed_proj_dim": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "ffn_dim": 4 * width,
        "vocab_size": 50272,
    }
    return Size("opt", settings, "Zhang et al. (2022), https://arxiv.org/abs/2205.01068, Table 1")


def _llama(kind: str, layers: int, width: int, heads: int, key_heads: int, inner: int, words: int,
           source: str, **others: Any) -> Size:  # fmt: skip
    settings = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "num_key_value_heads": key_heads,
        "vocab_size": words,
    }
    return Size(kind, settings | others, source)


_DEVLIN = "Devlin et al. (2019), https://arxiv.org/abs/1810.04805, Section 3"
_LIU = "Liu et al. (2019), https://arxiv.org/abs/1907.11692, Table 9"
_RADFORD = "Radford et al. (2019), Language Models are Unsupervised Multitask Learners, Table 2"
_RAFFEL = "Raffel et al. (2020), https://arxiv.org/abs/1910.10683, Section 3.7"
_TOUVRON = "Touvron et al. (2023), https://arxiv.org/abs/2302.13971, Table 2"
_GRATTAFIORI = "Grattafiori et al. (2024), https://arxiv.org/abs/2407.21783, Table 3"
_META = "Meta (2024), https://huggingface.co/meta-llama/Llama-3.2-1B, model card and config.json"
_ALLAL = "Allal et al. (2025), https://arxiv.org/abs/2502.02737, and the config.json of the weights"
_ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1}

# Vocabulary sizes are those of the released weights, which pad some of them.
SIZES: dict[str, Size] = {
    "bert-base": _encoder("bert", 12, 768, 12, 30522, _DEVLIN),
    "bert-large": _encoder("bert", 24, 1024, 16, 30522, _DEVLIN),
    "roberta-base": _encoder("roberta", 12, 768, 12, 50265, _LIU, **_ROBERTA),
    "roberta-large": _encoder("roberta", 24, 1024, 16, 50265, _LIU, **_ROBERTA),
    "distilbert-base": Size(
        "distilbert",
        {"n_layers": 6, "dim": 768, "n_heads": 12, "hidden_dim": 3072, "vocab_size": 30522},
        "Sanh et al. (2019), https://arxiv.org/abs/1910.01108, Section 3",
    ),
    "electra-base": _encoder(
        "electra", 12, 768, 12, 30522,
        "Clark et al. (2020), https://arxiv.org/abs/2003.10555, Table 6", embedding_size=768,
    ),
    "gpt2": _gpt2(12, 768, 12, _RADFORD),
    "gpt2-medium": _gpt2(24, 1024, 16, _RADFORD),
    "gpt2-large": _gpt2(36, 1280, 20, _RADFORD),
    "gpt2-xl": _gpt2(48, 1600, 25, _RADFORD),
    "gpt3": _gpt2(
        96, 12288, 96, "Brown et al. (2020), https://arxiv.org/abs/2005.14165, Table 2.1",
        n_positions=2048,
    ),
    "opt-125m": _opt(12, 768, 12),
    "opt-1.3b": _opt(24, 2048, 32),
    "pythia-1.4b": Size(
        "gpt_neox",
        {
            "hidden_size": 2048,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 8192,
            "vocab_size": 50304,
        },
        "Biderman et al. (2023), https://arxiv.org/abs/2304.01373, Table 1",
    ),
    "t5-small": _t5(6, 512, 8, 2048),
    "t5-base": _t5(12, 768, 12, 3072),
    "t5-large": _t5(24, 1024, 16, 4096),
    "llama-7b": _llama("llama", 32, 4096, 32, 32, 11008, 32000, _TOUVRON),
    "llama-13b": _llama("llama", 40, 5120, 40, 40, 13824, 32000, _TOUVRON),
    "llama-65b": _llama("llama", 80, 8192, 64, 64, 22016, 32000, _TOUVRON),
    "llama-3.2-1b": _llama(
        "llama", 16, 2048, 32, 8, 8192, 128256, _META, tie_word_embeddings=True
    ),
    "smollm2-135m": _llama(
        "llama", 30, 576, 9, 3, 1536, 49152, _ALLAL, tie_word_embeddings=True
    ),
    "llama-3.1-8b": _llama("llama", 32, 4096, 32, 8, 14336, 128256, _GRATTAFIORI),
    "llama-3.1-70b": _llama("llama", 80, 8192, 64, 8, 28672, 128256, _GRATTAFIORI),
    "mistral-7b": _llama(
        "mistral", 32, 4096, 32, 8, 14336, 32000,
        "Jiang et al. (2023), https://arxiv.org/abs/2310.06825, Table 1",
    ),
    "qwen2-7b": _llama(
        "qwen2", 28, 3584, 28, 4, 18944, 152064,
        "Yang et al. (2024), https://arxiv.org/abs/2407.10671, Table 1",
    ),
}  # fmt: skip


def blank(name: str, num_labels: int | None = None, layers: int | None = None) -> Any:
    """A model of a known size on the meta device: shapes without values, so it takes no memory.

    Args:
        name: in `SIZES`, a config.json, a folder with one, or a base of the book.
        num_labels: give it a classification head.
        layers: cut it down, or stretch it, to so many; None: as it is.

    Raises:
        UnknownName: the name is neither a size nor a file.
        BadValue: the file is no configuration that transformers knows.
    """
    return _made(name, num_labels, layers, "meta", "float32")


def drawn(name: str, num_labels: int | None, layers: int | None, device: str, dtype: str) -> Any:
    """A model of a known size with random weights, which are drawn on `device` itself.

    Args:
        name: as of `blank`, and the same errors.
        num_labels: as of `blank`.
        layers: as of `blank`.
        device: such as "cuda".
        dtype: of the weights, such as "bfloat16".
    """
    return _made(name, num_labels, layers, device, dtype)


def _made(name: str, num_labels: int | None, layers: int | None, device: str, dtype: str) -> Any:
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
    )

    if num_labels is not None and num_labels < 1:
        raise BadValue(f"num_labels={num_labels}: a head has at least 1 output.")
    if name in SIZES:
        config = AutoConfig.for_model(SIZES[name].model_type, **SIZES[name].settings)
    else:
        try:
            config = read_config(_folder(name))
        except BadCheckpoint as error:
            raise BadValue(f"{error} Or give one of {', '.join(SIZES)}.") from error
    if layers is not None:
        config.num_hidden_layers = layers
    if num_labels is not None:
        config.num_labels = num_labels
        kind: Any = AutoModelForSequenceClassification
    elif getattr(config, "is_encoder_decoder", False):
        kind = AutoModelForSeq2SeqLM
    elif type(config) in AutoModelForMaskedLM._model_mapping:
        kind = AutoModelForMaskedLM
    else:
        kind = AutoModelForCausalLM
    try:
        with torch.device(device):
            return kind.from_config(config, trust_remote_code=False, dtype=getattr(torch, dtype))
    except Exception as error:  # whatever an impossible configuration makes transformers raise
        raise BadValue(
            f"transformers makes no {kind.__name__.removeprefix('Auto')} of this configuration of "
            f"the type {config.model_type!r} ({error}). Give the configuration of a text model."
        ) from error


def _folder(name: str) -> Path:
    path = Path(name)
    if path.name == "config.json" and path.is_file():
        return path.parent
    if (path / "config.json").is_file():
        return path
    if name not in BASES:
        raise UnknownName("model size, config.json or base", name, (*SIZES, *BASES))
    try:
        return find_base(name).folder
    except Unavailable as error:
        raise UnknownName("model size", name, SIZES) from error
