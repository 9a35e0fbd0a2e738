"""Models of well-known sizes, without weights: for counting on any machine, offline.

The dimensions are those of the published configurations on the Hugging Face hub.
"""

from pathlib import Path
from typing import Any

from ..core.errors import BadValue, Unavailable, UnknownName

_BERT = {"max_position_embeddings": 512, "vocab_size": 30522}
_ROBERTA = {"max_position_embeddings": 514, "vocab_size": 50265, "type_vocab_size": 1}
_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}


def _gpt2(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {"model_type": "gpt2", "n_embd": width, "n_layer": layers, "n_head": heads}


def _t5(width: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "t5",
        "d_model": width,
        "d_ff": inner,
        "num_layers": layers,
        "num_heads": heads,
        "d_kv": 64,
        "vocab_size": 32128,
    }


def _llama(width: int, layers: int, heads: int, inner: int, kv: int, words: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "num_key_value_heads": kv,
        "vocab_size": words,
    }


SIZES: dict[str, dict[str, Any]] = {
    "bert-base": {"model_type": "bert", **_BERT, **_BASE},
    "bert-large": {"model_type": "bert", **_BERT, **_LARGE},
    "roberta-base": {"model_type": "roberta", **_ROBERTA, **_BASE},
    "roberta-large": {"model_type": "roberta", **_ROBERTA, **_LARGE},
    "gpt2": _gpt2(768, 12, 12),
    "gpt2-medium": _gpt2(1024, 24, 16),
    "gpt2-large": _gpt2(1280, 36, 20),
    "gpt2-xl": _gpt2(1600, 48, 25),
    "gpt3": {**_gpt2(12288, 96, 96), "n_positions": 2048},
    "t5-small": _t5(512, 2048, 6, 8),
    "t5-base": _t5(768, 3072, 12, 12),
    "t5-large": _t5(1024, 4096, 24, 16),
    "llama-7b": _llama(4096, 32, 32, 11008, 32, 32000),
    "llama-13b": _llama(5120, 40, 40, 13824, 40, 32000),
    "llama-65b": _llama(8192, 80, 64, 22016, 64, 32000),
    "llama-3.1-8b": _llama(4096, 32, 32, 14336, 8, 128256),
}


def blank(name: str, num_labels: int | None = None) -> Any:
    """A model of a known size on the meta device: shapes without values, so it takes no memory.

    Args:
        name: in `SIZES`, a config.json, a folder with one, or a base of the book.
        num_labels: give it a classification head.

    Raises:
        UnknownName: the name is neither a size nor a file.
        BadValue: the file is no configuration that transformers knows.
    """
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
    )

    if name in SIZES:
        settings = dict(SIZES[name])
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    else:
        config = AutoConfig.from_pretrained(_folder(name))
    if num_labels is not None:
        if num_labels < 1:
            raise BadValue(f"num_labels={num_labels}: a head has at least 1 output.")
        config.num_labels = num_labels
        kind: Any = AutoModelForSequenceClassification
    elif config.is_encoder_decoder:
        kind = AutoModelForSeq2SeqLM
    elif type(config) in AutoModelForMaskedLM._model_mapping:
        kind = AutoModelForMaskedLM
    else:
        kind = AutoModelForCausalLM
    with torch.device("meta"):
        return kind.from_config(config)


def _folder(name: str) -> Path:
    path = Path(name)
    if path.name == "config.json" and path.is_file():
        return path.parent
    if (path / "config.json").is_file():
        return path
    from ..bases import BASES
    from ..bases.load import _locate

    if name not in BASES:
        raise UnknownName("model size, config.json or base", name, (*SIZES, *BASES))
    try:
        return _locate(name)[0]
    except Unavailable as error:
        raise UnknownName("model size", name, SIZES) from error
