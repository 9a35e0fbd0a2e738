"""The README of an exported model: how it was made, on what, how good it is, on what terms."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import PreTrainedModel

from .. import __version__
from ..bases import BASES
from ..bases.load import TASK_CLASSES
from ..core.active import in_use
from ..core.checkpoint import describe
from ..core.count import Count
from ..core.record import attached
from ..tasks import TASKS, Task
from ..training import Forgetting, Run
from .kinds import Kind, kind_of

UNKNOWN = "not known here: look it up before you pass these weights on"
LIMITS = (
    "What the base cannot do, or does wrongly, this model may do as well. Scores hold for the "
    "texts that they were measured on."
)
READ = {  # metric of forgetting → how its numbers are read
    "lm_loss": "The loss of predicting each token, in nats; more after than before was forgotten.",
    "masked_lm_loss": "The loss of masked tokens, in nats; more after than before was forgotten.",
    "span_loss": "The loss of spans taken out, in nats; more after than before was forgotten.",
    "drift": "One minus the cosine between the last hidden states and those of the base.",
}


def card_text(
    model: PreTrainedModel,
    counted: Count,
    *,
    task: Task | None = None,
    run: Run | None = None,
    test: Mapping[str, float] | None = None,
    forgetting: Forgetting | None = None,
    onnx: bool = False,
) -> str:
    """Write the card of `model` in Markdown, with the hub's data in front.

    Args:
        model: with something attached.
        counted: its parameters.
        task: what it was trained on.
        run: how.
        test: scores on the test split.
        forgetting: what the base lost; None: not measured, and not told.
        onnx: whether there is an ONNX file, too.
    """
    kind, base = kind_of(model), _base(model)
    trained_on = task.name if task else run.arguments.get("task") if run else None
    methods = {name: method for name, method in attached(model).items() if name in in_use(model)}
    titles = " and ".join(method.title for method in methods.values())
    title = f"{base['name']}, adapted by {titles}" + (f" to {trained_on}" if trained_on else "")
    sections = {
        "Use": _use(kind, onnx),
        "Method": _method(model, counted),
        "Base": _table({name: value for name, value in base.items() if name != "hub_id"}),
        "Data": _data(task, trained_on),
        "Training": _training(run),
        "Scores": _scores(run, test, trained_on),
        "What was forgotten": _forgotten(forgetting),
        "Limits": LIMITS,
    }
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items() if text)
    head = ModelCardData(
        model_name=title,
        license=_hub_licence(base["licence"]),
        base_model=base["hub_id"],
        library_name="transformers",
        pipeline_tag=kind.pipeline,
        tags=["pftlab", *sorted({method.name for method in methods.values()})],
        eval_results=_results(kind, trained_on, test),
    )
    return f"""---
{head.to_yaml()}
---

# {title}

What was trained is folded into the weights: this is a plain model of transformers
(`{type(model).__name__}`).

{body}

Written by pftlab {__version__} with torch {torch.__version__} and transformers
{transformers.__version__}.
"""


def _base(model: PreTrainedModel) -> dict[str, Any]:
    """What is known of the base: nothing of the machine that it was loaded on."""
    info = getattr(model, "pftlab_base", None)
    name = info.name if info else str(getattr(model.config, "name_or_path", "")) or "unnamed"
    card = BASES.get(name)
    folder = Path(info.source if info else name)
    hub_id = card.hub_id if card else None if Path(name).exists() else name
    return {
        "name": Path(name).name if Path(name).exists() and not card else name,
        "hub_id": hub_id if hub_id and "/" in hub_id else None,
        "architecture": model.config.model_type,
        "licence": card.licence if card else _licence_in(folder),
        "sha256 of its weights": (info.sha256 if info else None) or "not known",
    }


def _licence_in(folder: Path) -> str:
    """The licence that the card of a base in a folder names."""
    try:
        found = ModelCard.load(folder / "README.md", ignore_metadata_errors=True).data.license
    except (OSError, ValueError):
        return UNKNOWN
    return found if isinstance(found, str) else UNKNOWN


def _hub_licence(licence: str) -> str:
    return "other" if licence == UNKNOWN else licence.lower()


def _use(kind: Kind, onnx: bool) -> str:
    auto = TASK_CLASSES[kind.task]
    lines = (
        ["from transformers import pipeline", "", f'pipe = pipeline("{kind.pipeline}", model=".")']
        if kind.in_transformers
        else [
            f"from transformers import {auto}, AutoTokenizer",
            "",
            f'model = {auto}.from_pretrained(".")',
            'tokenizer = AutoTokenizer.from_pretrained(".")',
        ]
    )
    code = "\n".join(["In this folder:", "", "```python", *lines, "```"])
    if onnx:
        code += (
            "\n\n`onnx/model.onnx` is the same model in 32 bits as one pass without a cache: whole "
            "texts in, logits out."
        )
    return code


def _method(model: PreTrainedModel, counted: Count) -> str:
    rows = []
    for name, described in describe(model, in_use(model)).items():
        method = attached(model)[name]
        values = {key: value for key, value in described.items() if key != "method"}
        paper = f" ({method.paper})" if method.paper else ""
        values_text = json.dumps(values, default=list)
        rows.append(f"* {method.title}{paper}: `{values_text}`")
    return "\n".join([*rows, "", f"Parameters: {counted}."])


def _data(task: Task | None, name: str | None) -> str:
    if task:
        sizes = ", ".join(f"{split} {len(rows):,}" for split, rows in task.splits.items())
        known = {
            "task": f"{task.name} ({task.kind})",
            "source": Path(task.source).name if Path(task.source).exists() else task.source,
            "rows": sizes,
            "labels": ", ".join(task.labels),
            "licence": task.licence or "not stated",
            "citation": task.citation,
            "notes": " ".join(task.notes),
            "fingerprint": task.fingerprint,
        }
    elif name in TASKS:
        card = TASKS[name]
        known = {
            "task": f"{card.name} ({card.kind})",
            "about": card.summary,
            "licence": card.licence or "not stated",
            "citation": card.citation,
        }
    else:
        known = {"task": name or "not recorded"}
    return _table(known)


def _training(run: Run | None) -> str:
    if run is None:
        return ""
    shown = ("steps", "batch_size", "lr", "warmup", "weight_decay", "max_length", "precision",
             "seed")  # fmt: skip
    known = {name: run.arguments[name] for name in shown if name in run.arguments}
    return _table(known | {"seconds": f"{run.seconds:.0f}"})


def _scores(run: Run | None, test: Mapping[str, float] | None, name: str | None) -> str:
    splits = {"validation": run.metrics if run else {}, "test": test or {}}
    rows = [
        f"| {split} | {metric} | {value:.4f} |"
        for split, scores in splits.items()
        for metric, value in scores.items()
    ]
    return "\n".join(["| split | score | value |", "|---|---|---:|", *rows]) if rows else ""


def _forgotten(forgetting: Forgetting | None) -> str:
    if forgetting is None:
        return ""
    how = READ.get(forgetting.metric, "")
    return (
        f"On fixed paragraphs of plain English that no training saw. {how}\n\n"
        "| measured | before | after |\n|---|---:|---:|\n"
        f"| {forgetting.metric} | {forgetting.before:.4f} | {forgetting.after:.4f} |"
    )


def _results(
    kind: Kind, name: str | None, test: Mapping[str, float] | None
) -> list[EvalResult] | None:
    return [
        EvalResult(
            task_type=kind.pipeline,
            dataset_type=name or "unknown",
            dataset_name=name or "unknown",
            dataset_split="test",
            metric_type=metric,
            metric_value=value,
        )
        for metric, value in (test or {}).items()
        if metric != "loss"
    ] or None


def _table(known: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {str(value).replace('|', '/')} |" for name, value in known.items() if value
    ]
    return "\n".join(["| | |", "|---|---|", *rows])
