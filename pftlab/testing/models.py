"""Tiny random models of every architecture, inputs for them, and what the models are like.

What a check must know of a model, such as whether it writes words from left to right, is read from
the model itself: a new architecture is one entry in `MODELS`.
"""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

VOCABULARY, PAD, END = 50, 1, 2
SHAPE: dict[str, Any] = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    vocab_size=VOCABULARY,
    max_position_embeddings=40,
    pad_token_id=PAD,
)
IDS: dict[str, Any] = dict(bos_token_id=0, eos_token_id=END, pad_token_id=PAD)
DISTILBERT: dict[str, Any] = dict(
    dim=32,
    n_layers=2,
    n_heads=4,
    hidden_dim=48,
    vocab_size=VOCABULARY,
    max_position_embeddings=40,
    pad_token_id=PAD,
)
GPT2: dict[str, Any] = dict(
    n_embd=32, n_layer=2, n_head=4, n_inner=48, vocab_size=VOCABULARY, n_positions=40, **IDS
)
OPT: dict[str, Any] = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    ffn_dim=48,
    vocab_size=VOCABULARY,
    word_embed_proj_dim=32,
    max_position_embeddings=40,
    **IDS,
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
    eos_token_id=END,
)
#: so wide that the last word of the shorter row of `ragged` sees a prompt of three vectors, and no
#: longer would if its padding stood between them
WINDOW = 8
WINDOWED: dict[str, Any] = LLAMA | dict(
    head_dim=16,  # the heads are together wider than the model
    sliding_window=WINDOW,
    layer_types=["sliding_attention", "full_attention"],
)
EXPERTS: dict[str, Any] = LLAMA | dict(
    head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24
)
#: as of version 3: positions count in the attention alone
DEBERTA: dict[str, Any] = SHAPE | dict(
    relative_attention=True,
    pos_att_type=["p2c", "c2p"],
    position_biased_input=False,
    position_buckets=8,
    share_att_key=True,
    norm_rel_ebd="layer_norm",
)
SPECIAL: dict[str, Any] = dict(cls_token_id=0, sep_token_id=END, bos_token_id=0, eos_token_id=END)
BART: dict[str, Any] = dict(
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=2,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    vocab_size=VOCABULARY,
    max_position_embeddings=40,
    scale_embedding=True,
    decoder_start_token_id=END,
    forced_eos_token_id=None,
    **IDS,
)
LABELS: dict[str, Any] = dict(num_labels=3)

MODELS: dict[str, Callable[[], Any]] = {
    "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**SHAPE)),
    "bert-tagging": lambda: hf.BertForTokenClassification(hf.BertConfig(**(SHAPE | LABELS))),
    "bert-features": lambda: hf.BertModel(hf.BertConfig(**SHAPE), add_pooling_layer=False),
    "roberta": lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**SHAPE)),
    "roberta-words": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**SHAPE)),
    "distilbert": lambda: hf.DistilBertForSequenceClassification(hf.DistilBertConfig(**DISTILBERT)),
    "electra": lambda: hf.ElectraForSequenceClassification(
        hf.ElectraConfig(embedding_size=16, **SHAPE)
    ),
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2)),
    "gpt2-classification": lambda: hf.GPT2ForSequenceClassification(hf.GPT2Config(**GPT2)),
    "gpt2-tagging": lambda: hf.GPT2ForTokenClassification(hf.GPT2Config(**(GPT2 | LABELS))),
    "opt": lambda: hf.OPTForCausalLM(hf.OPTConfig(**OPT)),
    "gpt_neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SHAPE)),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA)),
    "llama-classification": lambda: hf.LlamaForSequenceClassification(hf.LlamaConfig(**LLAMA)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**LLAMA, sliding_window=WINDOW)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**LLAMA)),
    "t5": lambda: hf.T5ForConditionalGeneration(hf.T5Config(**T5)),
    "t5-classification": lambda: hf.T5ForSequenceClassification(hf.T5Config(**T5)),
    "t5-tagging": lambda: hf.T5ForTokenClassification(hf.T5Config(**(T5 | LABELS))),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**LLAMA, head_dim=16)),
    "gemma2": lambda: hf.Gemma2ForCausalLM(
        hf.Gemma2Config(**WINDOWED, attn_logit_softcapping=2.0, query_pre_attn_scalar=16)
    ),
    "gemma3": lambda: hf.Gemma3ForCausalLM(
        hf.Gemma3TextConfig(**WINDOWED, query_pre_attn_scalar=16)
    ),
    "phi3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**LLAMA, eos_token_id=END)),
    "modernbert": lambda: hf.ModernBertForSequenceClassification(
        hf.ModernBertConfig(**SHAPE, local_attention=WINDOW, **SPECIAL)
    ),
    "deberta_v2": lambda: hf.DebertaV2ForSequenceClassification(hf.DebertaV2Config(**DEBERTA)),
    "xlm_roberta": lambda: hf.XLMRobertaForSequenceClassification(hf.XLMRobertaConfig(**SHAPE)),
    "camembert": lambda: hf.CamembertForSequenceClassification(hf.CamembertConfig(**SHAPE)),
    "albert": lambda: hf.AlbertForSequenceClassification(
        hf.AlbertConfig(embedding_size=16, **SHAPE)
    ),
    "bart": lambda: hf.BartForConditionalGeneration(hf.BartConfig(**BART)),
    "mt5": lambda: hf.MT5ForConditionalGeneration(hf.MT5Config(**T5)),
    "olmo2": lambda: hf.Olmo2ForCausalLM(hf.Olmo2Config(**LLAMA, eos_token_id=END)),
    "smollm3": lambda: hf.SmolLM3ForCausalLM(
        hf.SmolLM3Config(**LLAMA, bos_token_id=0, eos_token_id=END)
    ),
    "granite": lambda: hf.GraniteForCausalLM(
        hf.GraniteConfig(**LLAMA, embedding_multiplier=2.0, residual_multiplier=0.5)
    ),
    "qwen3_moe": lambda: hf.Qwen3MoeForCausalLM(hf.Qwen3MoeConfig(**EXPERTS)),
    "mixtral": lambda: hf.MixtralForCausalLM(
        hf.MixtralConfig(**LLAMA, num_local_experts=4, sliding_window=WINDOW)
    ),
}
#: unlike one another: a norm behind or in front of the block, fused projections, rotated positions,
#: no biases, gates, shared key heads, an encoder beside a decoder
FEW = ("bert", "gpt2", "llama", "t5")


@cache
def _made(name: str) -> Any:
    with torch.random.fork_rng():  # whoever asks first gets the same random numbers
        torch.manual_seed(0)
        model = MODELS[name]().eval()
        with torch.no_grad():  # fresh models have zero biases and unit norms: too regular
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tiny(name: str) -> Any:
    """The tiny model `name` of `MODELS` in evaluation mode, the same at every call."""
    return copy.deepcopy(_made(name))


def perturb(model: nn.Module, seed: int = 1) -> None:
    """Move every trainable parameter, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


# What a model is like


@cache
def task(name: str) -> str:
    """What the model is for, in the words of `pftlab.load_base`."""
    model = _made(name)
    if model.can_generate():
        return "seq2seq_lm" if model.config.is_encoder_decoder else "causal_lm"
    kinds = {
        "ForSequenceClassification": "sequence_classification",
        "ForTokenClassification": "token_classification",
        "ForMaskedLM": "masked_lm",
    }
    found = [kind for ending, kind in kinds.items() if type(model).__name__.endswith(ending)]
    return found[0] if found else "features"


@cache
def looks_back_only(name: str) -> bool:
    """Whether no word's state depends on the words after it, as in a decoder without encoder."""
    model = _made(name)
    if model.config.is_encoder_decoder:
        return False
    ids = batch(name)["input_ids"]
    changed = torch.cat([ids[:, :-1], 3 + (ids[:, -1:] - 2) % 40], 1)
    with torch.no_grad():
        one, other = (model.base_model(input_ids=i).last_hidden_state for i in (ids, changed))
    return torch.allclose(one[:, :-1], other[:, :-1], atol=1e-5)  # experts add up in any order


@cache
def has_fused_projections(name: str) -> bool:
    """Whether one module computes queries, keys and values."""
    from ..core.sites import sites

    found = sites(_made(name), ("attention.query", "attention.key", "attention.value"))
    return len({id(site.host) for site in found}) < len(found)


@cache
def without_effect(name: str) -> frozenset[str]:
    """Parameters of the base whose gradient is nothing but rounding, such as a key's bias.

    It adds the same to all scores of a query, and the softmax takes it away again. Where positions
    rotate the keys, it does count.
    """
    model = tiny(name)
    output(model, batch(name, size=8)).pow(2).sum().backward()
    return frozenset(
        n
        for n, p in model.named_parameters()
        if p.requires_grad and p.grad is not None and 0 < p.grad.abs().max() < 1e-4
    )


# Inputs and outputs


def output(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Logits, or the last hidden states of a model without a head."""
    result = model(**inputs)
    return result.logits if "logits" in result else result.last_hidden_state


def logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Without gradients on every side: with them PyTorch may choose another attention kernel."""
    with torch.no_grad():
        return output(model, inputs)


def batch(name: str, size: int = 2, length: int = 7) -> dict[str, Tensor]:
    """Inputs without padding for the model `name`."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (size, length), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if _made(name).config.is_encoder_decoder:
        if task(name) == "sequence_classification":
            ids[:, 3] = END  # the model reads the last of these
        if task(name) == "seq2seq_lm":
            inputs["decoder_input_ids"] = ids.flip(1)[:, :5]
    return inputs


def ragged(name: str, left: bool = False) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
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
    if left:
        together["position_ids"] = (together["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return together, alone
