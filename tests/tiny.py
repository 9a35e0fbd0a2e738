"""Tiny random models of every architecture, and the hyper-parameters that fit them."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2ForTokenClassification,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
    T5ForSequenceClassification,
    T5ForTokenClassification,
)

VOCABULARY, PAD = 50, 1
SHAPE: dict[str, Any] = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    vocab_size=VOCABULARY,
    max_position_embeddings=40,
    pad_token_id=PAD,
)
IDS: dict[str, Any] = dict(bos_token_id=0, eos_token_id=2, pad_token_id=PAD)
GPT2: dict[str, Any] = dict(
    n_embd=32, n_layer=2, n_head=4, n_inner=48, vocab_size=VOCABULARY, n_positions=40, **IDS
)
LLAMA: dict[str, Any] = dict(**SHAPE, num_key_value_heads=2)
T5: dict[str, Any] = dict(
    d_model=32,
    d_kv=8,
    d_ff=48,
    num_layers=2,
    num_heads=4,
    vocab_size=VOCABULARY,
    decoder_start_token_id=PAD,
    pad_token_id=PAD,
    eos_token_id=2,
)

MODELS: dict[str, Callable[[], Any]] = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SHAPE)),
    "bert-tagging": lambda: BertForTokenClassification(BertConfig(**SHAPE, num_labels=3)),
    "bert-features": lambda: BertModel(BertConfig(**SHAPE), add_pooling_layer=False),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**SHAPE)),
    "roberta-words": lambda: RobertaForMaskedLM(RobertaConfig(**SHAPE)),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(
            dim=32,
            n_layers=2,
            n_heads=4,
            hidden_dim=48,
            vocab_size=VOCABULARY,
            max_position_embeddings=40,
            pad_token_id=PAD,
        )
    ),
    "electra": lambda: ElectraForSequenceClassification(ElectraConfig(embedding_size=16, **SHAPE)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
    "gpt2-classification": lambda: GPT2ForSequenceClassification(GPT2Config(**GPT2)),
    "gpt2-tagging": lambda: GPT2ForTokenClassification(GPT2Config(**GPT2, num_labels=3)),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=48,
            vocab_size=VOCABULARY,
            word_embed_proj_dim=32,
            max_position_embeddings=40,
            **IDS,
        )
    ),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    "llama-classification": lambda: LlamaForSequenceClassification(LlamaConfig(**LLAMA)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**LLAMA)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(**T5)),
    "t5-classification": lambda: T5ForSequenceClassification(T5Config(**T5)),
    "t5-tagging": lambda: T5ForTokenClassification(T5Config(**T5, num_labels=3)),  # an encoder
}
DECODERS = ("gpt2", "opt", "gpt_neox", "llama", "qwen2")


@cache
def _made(name: str) -> Any:
    with torch.random.fork_rng():  # the test that asks first gets the same random numbers
        torch.manual_seed(0)
        model = MODELS[name]().eval()
        with torch.no_grad():  # fresh models have zero biases and unit norms: too regular
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tiny(name: str) -> Any:
    """A tiny model in evaluation mode, the same at every call."""
    return copy.deepcopy(_made(name))


def batch(name: str, size: int = 2, length: int = 7) -> dict[str, torch.Tensor]:
    """Inputs without padding for the model `name`."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (size, length), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if name == "t5-classification":
        ids[:, 3] = 2  # it reads the last end-of-text token
    if name == "t5":
        inputs["decoder_input_ids"] = ids.flip(1)[:, :5]
    return inputs


def padded(name: str, inputs: dict[str, torch.Tensor], left: bool = False) -> dict[str, Any]:
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


def ragged(name: str, left: bool = False) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Two rows of different length as one batch, padded on one side, and each row alone."""
    both = batch(name, size=2, length=7)
    short = both["input_ids"].shape[1] - 2
    alone = [{k: v[row : row + 1] for k, v in both.items()} for row in range(2)]
    for key in ("input_ids", "attention_mask"):
        alone[1][key] = alone[1][key][:, :short]
    pad, none = torch.full((1, 2), PAD), torch.zeros(1, 2, dtype=torch.long)
    ids, mask = alone[1]["input_ids"], alone[1]["attention_mask"]
    together = both | {
        "input_ids": torch.cat(
            [both["input_ids"][:1], torch.cat([pad, ids] if left else [ids, pad], 1)]
        ),
        "attention_mask": torch.cat(
            [both["attention_mask"][:1], torch.cat([none, mask] if left else [mask, none], 1)]
        ),
    }
    if left and name != "opt":  # which finds the positions in the mask
        together["position_ids"] = (together["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return together, alone


def perturb(model: Any, seed: int = 1) -> None:
    """Move every trainable parameter, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


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
