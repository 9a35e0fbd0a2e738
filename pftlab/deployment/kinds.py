"""What a model is for, told by the name of its class, in the words of those who open it."""

from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A kind of model.

    Attributes:
        ending: of the names of its classes.
        task: in the words of `load_base`.
        pipeline: the tag of the Hugging Face hub.
        in_transformers: whether `transformers.pipeline` knows that tag.
    """

    ending: str
    task: str
    pipeline: str
    in_transformers: bool = True


KINDS = (
    Kind("ForSequenceClassification", "sequence_classification", "text-classification"),
    Kind("ForTokenClassification", "token_classification", "token-classification"),
    Kind("ForMaskedLM", "masked_lm", "fill-mask"),
    Kind("ForConditionalGeneration", "seq2seq_lm", "text2text-generation", False),
    Kind("ForCausalLM", "causal_lm", "text-generation"),
    Kind("LMHeadModel", "causal_lm", "text-generation"),
    Kind("", "features", "feature-extraction"),
)


def kind_of(model: Any) -> Kind:
    """The kind of a model, or of the class of this name."""
    name = model if isinstance(model, str) else type(model).__name__
    return next(kind for kind in KINDS if name.endswith(kind.ending))
