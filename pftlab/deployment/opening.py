"""From a folder with what was trained to the model that it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..bases import load_base
from ..core.errors import BadCheckpoint, BadValue
from ..core.saved import Saved, open_folder
from ..exchange import adapterhub, peft
from ..registry import load
from .kinds import KINDS, Kind, kind_of

TASK_TYPES = {word: kind_of(ending) for ending, word in peft.TASK_TYPES.items()}


@dataclass(frozen=True)
class Needs:
    """What a base must be like for a folder to fit.

    Attributes:
        kind: what the model is for.
        outputs: of its head; None: it has none.
        labels: what they mean; (): nobody has named them.
    """

    kind: Kind
    outputs: int | None
    labels: tuple[str, ...]


def needs_of(folder: str | Path, num_labels: int | None = None) -> Needs:
    """What the folder that `pftlab.save` or another library wrote needs.

    Args:
        folder: with adapter_config.json and its tensors.
        num_labels: of its head, where the folder does not say it: PEFT's and old ones do not.

    Raises:
        BadCheckpoint: it is damaged, or does not say what its model is for.
        BadValue: the number of labels is missing, or another one than the folder says.
    """
    saved = open_folder(Path(folder), (peft, adapterhub))
    kind, outputs = _kind(saved), None
    labels = tuple((saved.header or {}).get("labels", ()))
    if kind.task in ("sequence_classification", "token_classification"):
        outputs = (saved.header or {}).get("outputs") or len(labels) or num_labels
        if outputs is None:
            raise BadValue(
                f"{str(folder)!r} does not say how many labels its head has. Give num_labels "
                "(--num-labels)."
            )
        if num_labels not in (None, outputs):
            raise BadValue(
                f"num_labels={num_labels}, and the head in {str(folder)!r} has {outputs} outputs. "
                "Leave it out."
            )
    return Needs(kind, outputs, labels)


def _kind(saved: Saved) -> Kind:
    """What the model of a folder is for: in our header, or in PEFT's word for it."""
    found = (saved.header or {}).get("model")
    if found is not None:
        return kind_of(found)
    if saved.config.get("task_type") in TASK_TYPES:
        return TASK_TYPES[saved.config["task_type"]]
    if saved.config.get("task_type") == "FEATURE_EXTRACTION":
        return KINDS[-1]
    raise BadCheckpoint(
        f"{str(saved.folder)!r} does not say what its model is for. Load it with pftlab.load into "
        "the base that it was trained on, and save it again."
    )


def base_for(base: str, needs: Needs, **options: Any) -> PreTrainedModel:
    """The base with the head that a folder needs; `options` as in `load_base`."""
    labels: Sequence[str] | None = needs.labels or None
    return load_base(base, num_labels=needs.outputs, labels=labels, task=needs.kind.task, **options)


def open_adapted(base: str, folder: str | Path, num_labels: int | None = None) -> PreTrainedModel:
    """`base` with the head that `folder` needs, and with what is in the folder attached.

    Args:
        base: as in `load_base`.
        folder: that `pftlab.save`, `pftlab train`, PEFT or AdapterHub wrote.
        num_labels: see `needs_of`.

    Raises:
        What `needs_of`, `load_base` and `load` raise.
    """
    return load(base_for(base, needs_of(folder, num_labels)), folder)
