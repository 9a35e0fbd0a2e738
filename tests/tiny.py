"""What tests of this repository need beside the tiny models of `pftlab.testing`."""

from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig

from pftlab.testing.models import (
    GPT2,
    IDS,
    LLAMA,
    MODELS,
    PAD,
    SHAPE,
    batch,
    perturb,
    ragged,
    tiny,
)

#: methods that stand for the others where not all are tried: every family and every port is there
REPRESENTATIVES = (
    *("gradual_unfreezing", "houlsby", "pfeiffer", "prompt_tuning", "prefix_tuning"),
    *("lora", "random_mask", "ia3"),
)


def padded(name: str, inputs: dict[str, Tensor], left: bool = False) -> dict[str, Any]:
    """The same inputs with three padding tokens, on the right unless `left`."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    pad, none = torch.full((len(ids), 3), PAD), torch.zeros(len(ids), 3, dtype=mask.dtype)
    join = [pad, ids] if left else [ids, pad]
    out = inputs | {
        "input_ids": torch.cat(join, 1),
        "attention_mask": torch.cat([none, mask] if left else [mask, none], 1),
    }
    if left:
        out["position_ids"] = (out["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return out


def method(name: str) -> Any:
    """The method `name` with hyper-parameters for a tiny model."""
    from pftlab import METHODS

    return METHODS[name](**METHODS[name].tiny)


def letters_tokenizer() -> Any:
    """A tokenizer of single letters, so that a tiny model can read any text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'\"-:;()"
    words = special + list(letters) + [f"##{letter}" for letter in letters]
    inner = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )


def save_tiny_base(folder: Any, positions: int = 64) -> str:
    """Save a tiny BERT with its tokenizer into `folder`, as a base to load by path."""
    from transformers import BertModel

    tokenizer = letters_tokenizer()
    torch.manual_seed(0)
    shape = SHAPE | {"vocab_size": len(tokenizer), "pad_token_id": 0}
    shape["max_position_embeddings"] = positions
    BertModel(BertConfig(**shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


__all__ = [
    "GPT2",
    "IDS",
    "LLAMA",
    "MODELS",
    "SHAPE",
    "batch",
    "letters_tokenizer",
    "method",
    "padded",
    "perturb",
    "ragged",
    "save_tiny_base",
    "tiny",
]
