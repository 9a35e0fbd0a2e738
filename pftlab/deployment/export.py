"""A trained model as a folder that needs no pftlab: transformers opens it, and onnxruntime."""

import copy
from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_tokenizer
from ..core.active import in_use
from ..core.attachment import detach
from ..core.count import count
from ..core.errors import Refused
from ..core.files import atomic_folder, check_empty
from ..core.merge import merge
from ..core.record import attached, check_whole, enabled_record
from ..tasks import Task
from ..training import Forgetting, Run
from .extras import check_extra
from .model_card import card_text
from .onnx import write_onnx

ONNX = "onnx/model.onnx"  # where the hub's own tools look for it


def export(
    model: PreTrainedModel,
    folder: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    task: Task | None = None,
    run: Run | None = None,
    test: Mapping[str, float] | None = None,
    forgetting: Forgetting | None = None,
    onnx: bool = False,
) -> Path:
    """Write the model with what is in use folded into its weights, as plain transformers has it.

    The folder holds config.json (with the names of the labels), model.safetensors, the tokenizer,
    the generation configuration of a model that writes, and README.md: a model card with method,
    data, scores and the licence of the base. `transformers.pipeline(…, model=folder)` opens it.
    `model` stays as it is: what is merged is a copy of it.

    Args:
        model: with something attached and in use.
        folder: new or empty; it is there in the end as a whole, or not at all.
        tokenizer: the base's; loaded if not given.
        task: what it was trained on, for the card.
        run: what `train` returned, for the card.
        test: scores on the test split, for the card.
        forgetting: what `measure_forgetting` found, for the card.
        onnx: write onnx/model.onnx as well, in 32 bits, and compare it with the model in
            onnxruntime. It is one pass without a cache: whole texts in, logits out. Needs
            `pip install "pftlab[onnx]"`.

    Returns:
        The folder.

    Raises:
        Refused: nothing is attached; it cannot be folded into weights; `folder` is not empty; the
            model has no ONNX form, or one that computes something else.
        Unavailable: the folder cannot be written, or packages for ONNX are missing.
    """
    record = enabled_record(model, "Exporting")
    check_whole(model, "Exporting")
    used = list({id(record.head_of(name)): name for name in record.in_use}.values())
    if len(used) != 1:
        reason = "Nothing that is attached is in use"
        if used:
            reason = f"{used[0]!r} and {used[1]!r} have heads of their own, and a model has one"
        raise Refused(
            f"{reason}. Choose what to export: pftlab.use(model, one of "
            f"{', '.join(map(repr, record.methods))})."
        )
    check_empty(folder)
    if onnx:
        check_extra("onnx")
    tokenizer = tokenizer or load_tokenizer(model)
    card = card_text(
        model, count(model), task=task, run=run, test=test, forgetting=forgetting, onnx=onnx
    )
    plain = _merged(model)
    with atomic_folder(folder) as inside:
        plain.save_pretrained(inside)
        tokenizer.save_pretrained(inside)
        (inside / "README.md").write_text(card, encoding="utf-8")
        if onnx:
            write_onnx(plain, tokenizer, inside / ONNX)
    return Path(folder)


def _merged(model: PreTrainedModel) -> PreTrainedModel:
    plain = copy.deepcopy(model)
    for name in attached(plain).keys() - in_use(plain).keys():
        detach(plain, name)
    try:
        merge(plain)
    except Refused as error:
        raise Refused(
            f"This model cannot be exported as a plain one. {error} Save what was trained with "
            "pftlab.save(model, folder), and serve that folder beside its base: pftlab serve."
        ) from error
    return plain.eval()
