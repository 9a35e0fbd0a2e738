"""What can be known to be wrong before training begins is said then."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..core.architectures import architecture
from ..core.errors import BadValue, UnknownName
from ..core.heads import label_names
from ..core.record import attached
from ..tasks import Task
from ..tasks.encoding import IGNORED, Example
from ..tasks.metrics import check_libraries
from ..tasks.task import WRITTEN

HEADS = {
    "classification": "ForSequenceClassification",
    "pairs": "ForSequenceClassification",
    "regression": "ForSequenceClassification",
    "tagging": "ForTokenClassification",
}


def check_arguments(
    *,
    steps: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    warmup: float,
    max_length: int,
    precision: str,
    accumulate: int,
    pack: bool,
    like_lengths: bool,
    clip: float,
    evaluate_every: int,
    seed: int,
) -> None:
    """Refuse arguments of `train` that cannot be; `max_length` is checked with the tokenizer.

    Raises:
        BadValue: the first that cannot be.
    """
    whole = {
        "steps": steps,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "evaluate_every": evaluate_every,
        "max_length": max_length,
    }
    for name, value in whole.items():
        if not isinstance(value, int) or value < 1:
            raise BadValue(f"{name}={value!r}: give a whole number of at least 1.")
    if not isinstance(seed, int):
        raise BadValue(f"seed={seed!r}: give a whole number.")
    if not 0 < lr < float("inf"):
        raise BadValue(f"lr={lr!r}: the learning rate must be greater than 0; try 1e-3.")
    for name, number in {"weight_decay": weight_decay, "clip": clip}.items():
        if not number >= 0:
            raise BadValue(f"{name}={number!r}: give 0, which turns it off, or a positive number.")
    if not 0 <= warmup <= 1:
        raise BadValue(f"warmup={warmup!r}: it is a share of the steps, from 0 to 1.")
    if accumulate > batch_size:
        raise BadValue(
            f"accumulate={accumulate}: some parts of a batch of {batch_size} would be empty. "
            f"Give at most {batch_size}."
        )
    for name, choice in {"pack": pack, "like_lengths": like_lengths}.items():
        if not isinstance(choice, bool):
            raise BadValue(f"{name}={choice!r}: give True or False.")
    if precision not in ("fp32", "bf16"):
        raise BadValue(f'precision={precision!r}: choose "fp32" or "bf16".')


def check_model(model: PreTrainedModel, task: Task) -> None:
    """Refuse a model in which nothing would be trained, and a head that the task cannot use.

    Raises:
        BadValue: nothing is attached or trainable, or the head does not fit.
    """
    if not attached(model):
        raise BadValue(
            "Nothing is attached to this model. Attach a method first, for instance "
            "LoRA().attach(model), or FullFineTuning().attach(model) to train everything."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise BadValue("No parameter of this model is trainable. Attach the method again.")
    check_head(model, task)


def check_head(model: PreTrainedModel, task: Task) -> None:
    """Refuse a model without the head that the task needs, and a task that cannot be scored.

    Raises:
        BadValue: the head is another one.
        Unavailable: the library of a score is not installed.
    """
    check_libraries(task.metrics)
    if task.kind == "generation":
        fits, needed = model.can_generate(), "a language model that generates"
        call = "load_base(name)"
    elif task.kind == "verbalised":
        fits = model.can_generate() or (fills_masks(model) and not _fresh(model))
        needed = "a language model with a pretrained head"
        call = "load_base(name)"
    else:
        classes = type(model).__mro__
        fits = any(cls.__name__.endswith(HEADS[task.kind]) for cls in classes)
        needed = f"a model …{HEADS[task.kind]}"
        call = f"load_base(name, num_labels={task.num_labels}, task={task.model_task!r})"
    if not fits:
        raise BadValue(
            f"{task.name!r} is a task of the kind {task.kind!r}; it needs {needed}, and this is "
            f"a {type(model).__name__}{' whose head started at random' * _fresh(model)}. Load the "
            f"base with {call}."
        )
    named = label_names(model)
    if named != task.labels and set(named) == set(task.labels):
        raise BadValue(
            f"The outputs of this model are {', '.join(named)}, and {task.name!r} numbers its "
            f"labels as {', '.join(task.labels)}. Give both one order: load_base(name, "
            f"labels={task.labels!r}) makes a new head."
        )
    if task.kind == "regression" and model.config.num_labels != 1:
        raise BadValue(
            f"{task.name!r} is a regression, and the model's head has {model.config.num_labels} "
            f"outputs. Load the base with {call}."
        )


def fills_masks(model: PreTrainedModel) -> bool:
    """Whether this is an encoder with a masked language-model head."""
    return any(cls.__name__.endswith("ForMaskedLM") for cls in type(model).__mro__)


def _fresh(model: Any) -> bool:
    """Whether parts of the model were not in its checkpoint, and started at random."""
    info = getattr(model, "pftlab_base", None)
    return bool(info and info.fresh)


def positions(model: PreTrainedModel) -> int | None:
    """How many tokens a text may have: as many as the model has positions, or was made for.

    None: its positions are relative, and there is no such number.
    """
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is None:
        return None
    try:
        return limit - architecture(model).position_offset
    except UnknownName:  # a method may work on an architecture that no table describes
        return limit


def check_tokens(
    model: PreTrainedModel,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    split: str,
    examples: Sequence[Example],
) -> None:
    """Refuse tokens for which the model has no embedding; on a GPU they would end the process.

    Raises:
        BadValue: a token is beyond the table.
    """
    words: Any = model.get_input_embeddings()
    known = words.weight.shape[0]
    columns = ("input_ids", "labels") if task.kind in WRITTEN else ("input_ids",)
    highest = max((max(example[name]) for example in examples for name in columns), default=0)
    if highest >= known:
        token = tokenizer.convert_ids_to_tokens(highest)
        raise BadValue(
            f"The split {split!r} of {task.name!r} has the token {token!r}, whose number is "
            f"{highest}, and the model's table has {known} rows. Give the tokenizer of the model; "
            "or, if tokens were added to it, call model.resize_token_embeddings"
            f"({len(tokenizer)}) before attaching."
        )


def check_labels(
    model: PreTrainedModel, task: Task, split: str, examples: Sequence[Example]
) -> None:
    """Refuse labels that the head has no output for; on a GPU they would end the process.

    Raises:
        BadValue: a label is out of range.
    """
    if task.kind not in ("classification", "pairs", "tagging"):
        return
    known = range(int(model.config.num_labels or 0))
    for example in examples:
        labels = example["labels"] if task.kind == "tagging" else [example["labels"]]
        for label in labels:
            if label not in known and not (task.kind == "tagging" and label == IGNORED):
                raise BadValue(
                    f"The split {split!r} of {task.name!r} has the label {label}, and the model's "
                    f"head knows 0 to {known.stop - 1}. Load the base with "
                    f"num_labels={task.num_labels}, or mend the data."
                )
