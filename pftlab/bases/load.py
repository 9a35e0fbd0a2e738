"""Load a base model by name, hub id or folder, as the plain transformers model that it is.

torch and transformers are imported when a model is asked for, so that a list of the bases costs
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import BadCheckpoint, BadValue, PftError, Unavailable, UnknownName
from .building import BUILDING, quiet
from .cards import BASES, BaseCard
from .find import Found, find_base, plain
from .folder import Weights, check_size, read_config, read_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

TASK_CLASSES = {
    "sequence_classification": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "causal_lm": "AutoModelForCausalLM",
    "seq2seq_lm": "AutoModelForSeq2SeqLM",
    "masked_lm": "AutoModelForMaskedLM",
    "features": "AutoModel",
}
LABELLED = ("sequence_classification", "token_classification")


@dataclass(frozen=True)
class BaseInfo:
    """Where a model came from; `load_base` leaves it on the model as `pftlab_base`.

    Attributes:
        name: what `load_base` was given.
        source: the folder that config, weights and tokenizer were read from.
        origin: where the weights in it came from, alike on every machine; see `Found`. "" after
            `random_weights`.
        sha256: of the weight file (of several shards: of their digests in order); None after
            `random_weights`.
        fresh: names of the parameters that the checkpoint lacks and that therefore started at
            random, such as the classifier or a missing pooler. Methods train them as the head.
        words: rows of the embedding in the checkpoint; None: it has no such table.
    """

    name: str
    source: str
    origin: str
    sha256: str | None
    fresh: frozenset[str]
    words: int | None = None


def load_base(
    name: str | Path,
    num_labels: int | None = None,
    task: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    dtype: "torch.dtype | None" = None,
    seed: int = 0,
) -> "PreTrainedModel":
    """Load a pretrained model with the head that a task needs.

    Args:
        name: a base of the book (`BASES`), a hub id ("owner/name"), or a local folder.
        num_labels: number of classes; 1 makes a regression head. Only for classification.
        task: "sequence_classification", "token_classification", "causal_lm", "seq2seq_lm",
            "masked_lm" or "features". None means sequence classification if `num_labels` is
            given, and the language model of the architecture otherwise.
        labels: names of the classes, in the order of their numbers, in the place of
            `num_labels`. They are kept in the configuration, where `pipeline` finds them.
        dtype: of the parameters, float32 unless given.
        seed: of the parameters that start at random. The caller's random state is not touched.

    Returns:
        The model in evaluation mode on the CPU, with `pftlab_base` set to its `BaseInfo`. Threads
        that load at the same time wait for each other.

    Raises:
        UnknownName: no such base or task.
        BadValue: `num_labels` does not fit the task, or `name` is no text and no path.
        Unavailable: the model is not on this machine and the hub cannot be reached.
        BadCheckpoint: the weights are corrupted, pickled, or of another architecture.
    """
    with BUILDING:
        import torch
        import transformers

        from ..core.heads import name_labels
        from ..core.seeding import seeded

    name = plain(name)
    if task is not None and task not in TASK_CLASSES:
        raise UnknownName("model task", task, TASK_CLASSES)
    found, config, weights = _open(name)
    folder, card = found.folder, BASES.get(name)
    if labels is not None:
        if num_labels not in (None, len(labels)):
            raise BadValue(
                f"num_labels={num_labels}, and {len(labels)} labels are given. Give one of the two."
            )
        num_labels = len(labels)
    task = task or _default_task(config, num_labels)
    if num_labels is not None:
        if task not in LABELLED:
            raise BadValue(
                f"num_labels={num_labels} was given for the task {task!r}, which has no labels. "
                f"Leave it out, or choose the task {' or '.join(LABELLED)}."
            )
        if not isinstance(num_labels, int) or num_labels < 1:
            raise BadValue(
                f"num_labels={num_labels!r} is not a positive whole number. "
                "Give the number of classes, or 1 for regression."
            )
        config.num_labels = num_labels

    with seeded(seed), quiet():
        model_class = getattr(transformers, TASK_CLASSES[task])
        try:
            _give_pad_token(config, card)
            check_size(config, model_class, weights, folder)
            model, loaded = model_class.from_pretrained(
                folder,
                config=config,
                dtype=dtype or torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except PftError:
            raise
        except ValueError as error:
            raise BadValue(
                f"{name!r} is a {config.model_type!r} model, and transformers cannot open it for "
                f"the task {task!r} ({error}). Choose another task or base."
            ) from error
        except Exception as error:  # whatever a damaged folder makes transformers raise
            raise BadCheckpoint(
                f"config.json and {weights} in {str(folder)!r} cannot be made into a model "
                f"({type(error).__name__}: {error}). Fetch the files again."
            ) from error
    mismatched = {
        entry[0] if isinstance(entry, tuple) else entry for entry in loaded["mismatched_keys"]
    }
    fresh = (set(loaded["missing_keys"]) | mismatched) & {n for n, _ in model.named_parameters()}
    _check_fit(model, fresh, mismatched, folder, weights)
    if card is not None and card.pad and model.can_generate():
        model.generation_config.pad_token_id = card.pad[0]
    if labels is not None:
        name_labels(model, labels)
    table = model.get_input_embeddings()
    words = None if table is None else len(table.weight)
    model.pftlab_base = BaseInfo(
        name, str(folder), found.origin, weights.sha256, frozenset(fresh), words
    )
    return model


def fetch(name: str | Path) -> Found:
    """Make sure that a base is on this machine and whole: download or convert it if need be.

    Raises:
        BadValue, UnknownName, Unavailable, BadCheckpoint: as `load_base`.
    """
    found, _, _ = _open(plain(name))
    return found


def _open(name: str) -> "tuple[Found, PreTrainedConfig, Weights]":
    """Where a base is, its configuration and its weight files, as far as they are trusted."""
    found = find_base(name)
    weights = read_weights(found.folder)
    if found.sha256 is not None and weights.sha256 != found.sha256:
        raise BadCheckpoint(
            f"The weight file {str(weights.files[0])!r} of {name!r} is corrupted: its sha256 is "
            f"{weights.sha256}, and it should be {found.sha256}. Remove its folder, and install, "
            "download or convert it again (pftlab fetch does the last two)."
        )
    return found, read_config(found.folder), weights


def load_tokenizer(base: "str | Path | PreTrainedModel") -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a base model: by the names `load_base` takes, or for a loaded model.

    A tokenizer without a padding token (GPT-2) pads with its end-of-text token; one of a base
    with a card pads with what the card says.

    Raises:
        UnknownName, Unavailable, BadCheckpoint: as `load_base`.
        BadValue: the model was built from a configuration, or it is none.
    """
    if isinstance(base, str | Path) or not hasattr(base, "config"):
        name = called = plain(base)
    else:
        info = getattr(base, "pftlab_base", None)
        name = info.source if info else str(base.config.name_or_path)
        called = info.name if info else name
    if not name:  # as a path it would be the current folder, with whatever lies there
        raise BadValue(
            "This model was built from a configuration, so it is not known where its tokenizer is. "
            "Give one, as in train(model, task, tokenizer=…)."
        )
    folder, card = find_base(name).folder, BASES.get(called)
    try:
        with quiet():
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # the tokenizers' own library raises a bare Exception
        raise Unavailable(
            f"The folder {str(folder)!r} holds no tokenizer that transformers can open "
            f"({type(error).__name__}: {error}). Save one there with "
            "tokenizer.save_pretrained(folder)."
        ) from error
    if card is not None and card.pad:
        tokenizer.pad_token = card.pad[1]
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def random_weights(model: "PreTrainedModel", seed: int = 0) -> "PreTrainedModel":
    """Build the same architecture with the same head, from random weights.

    This is the control of every claim about pretraining. The result is a plain model in
    evaluation mode: nothing that was attached to `model` comes along, and `model` stays as it is.
    Its `pftlab_base.fresh` is that of `model`, so that methods train the same head.
    """
    import copy

    with BUILDING:
        from ..core.seeding import seeded

    config = copy.deepcopy(model.config)
    with seeded(seed), BUILDING:
        control = type(model)(config)
    control.to(device=model.device, dtype=model.dtype).eval()  # type: ignore[call-arg]
    info = getattr(model, "pftlab_base", None)
    if info is not None:
        control.pftlab_base = replace(
            info, name=f"{info.name} (random weights)", origin="", sha256=None
        )
    return control


def _default_task(config: "PreTrainedConfig", num_labels: int | None) -> str:
    with BUILDING:
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        )

    if num_labels is not None:
        return "sequence_classification"
    if getattr(config, "is_encoder_decoder", False):
        return "seq2seq_lm"
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "masked_lm"
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal_lm"
    return "features"


def _give_pad_token(config: "PreTrainedConfig", card: BaseCard | None) -> None:
    """Pad as the card says, or with the end-of-text token where there is none, as in GPT-2."""
    if card is not None and card.pad:
        config.pad_token_id = card.pad[0]
    elif getattr(config, "pad_token_id", None) is None:
        end = getattr(config, "eos_token_id", None)
        config.pad_token_id = end[0] if isinstance(end, list) else end


def _check_fit(
    model: "PreTrainedModel", fresh: set[str], mismatched: set[str], folder: Path, weights: Weights
) -> None:
    """Refuse weights of another model: a wrong shape, or little found, below the task head."""
    prefix = model.base_model_prefix
    body = [n for n, _ in model.base_model.named_parameters()]
    if model.base_model is not model:
        body = [f"{prefix}.{n}" for n in body]
    wrong = sorted(mismatched & set(body))
    if wrong:
        raise BadCheckpoint(
            f"{weights} in {str(folder)!r} does not fit its config.json: {wrong[0]} has "
            "another shape. Give a folder whose two files belong together."
        )
    if len(fresh & set(body)) > len(body) / 2:
        raise BadCheckpoint(
            f"{weights} in {str(folder)!r} holds the weights of another architecture than "
            f"its config.json ({model.config.model_type}): most parameters are missing. Give a "
            "folder whose two files belong together."
        )
