"""The tiny models on which Hugging Face PEFT is compared with us, and what PEFT must be told of them."""

from typing import Any

from pftlab.testing.models import task

ENCODERS = ("bert", "roberta", "distilbert", "electra")
DECODERS = ("gpt2", "opt", "gpt_neox", "llama", "qwen2")
ALL = (*ENCODERS, "bert-tagging", *DECODERS, "gpt2-classification", "llama-classification", "t5")
#: further architectures, on which two methods are compared always and the others every week
FURTHER = (
    *("modernbert", "deberta_v2", "xlm_roberta", "camembert", "albert"),
    *("mistral", "qwen3", "gemma2", "gemma3", "phi3", "olmo2", "smollm3", "granite"),
    *("qwen3_moe", "mixtral", "bart"),
)
#: where PEFT's prompts work: not on a tagger, whose labels they misplace, nor on a decoder that
#: classifies, whose padding they misread
PROMPTED = (*ENCODERS, *DECODERS, "t5")


def task_type(name: str) -> str:
    """The task of the model `name`, in PEFT's words."""
    words = {
        "seq2seq_lm": "SEQ_2_SEQ_LM",
        "token_classification": "TOKEN_CLS",
        "causal_lm": "CAUSAL_LM",
        "sequence_classification": "SEQ_CLS",
    }
    return words[task(name)]


def shape(name: str) -> dict[str, Any]:
    """What PEFT's prompts do not find out themselves."""
    width = {"electra": 16, "distilbert": 32}.get(name)
    return {"token_dim": width, "num_layers": 2, "num_attention_heads": 4} if width else {}
