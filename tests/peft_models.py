"""The tiny models on which Hugging Face PEFT is compared with us, and what PEFT must be told of them."""

from typing import Any

ENCODERS = ("bert", "roberta", "distilbert", "electra")
DECODERS = ("gpt2", "opt", "gpt_neox", "llama", "qwen2")
ALL = (*ENCODERS, "bert-tagging", *DECODERS, "gpt2-classification", "llama-classification", "t5")
#: where PEFT's prompts work: not on a tagger, whose labels they misplace, nor on a decoder that
#: classifies, whose padding they misread
PROMPTED = (*ENCODERS, *DECODERS, "t5")


def task_type(name: str) -> str:
    """The task of the model `name`, in PEFT's words."""
    if name == "t5":
        return "SEQ_2_SEQ_LM"
    if name.endswith("tagging"):
        return "TOKEN_CLS"
    return "CAUSAL_LM" if name in DECODERS else "SEQ_CLS"


def shape(name: str) -> dict[str, Any]:
    """What PEFT's prompts do not find out themselves."""
    width = {"electra": 16, "distilbert": 32}.get(name)
    return {"token_dim": width, "num_layers": 2, "num_attention_heads": 4} if width else {}
