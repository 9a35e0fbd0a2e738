"""Evaluation: every kind of task, on every kind of model."""

from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny import GPT2, IDS, letters_tokenizer
from tokenizers import processors
from training_setup import ARGUMENTS, few, model_with, with_splits
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

import pftlab as pft
from pftlab.core.errors import UnknownName
from pftlab.tasks import Task
from pftlab.tasks.metrics import METRICS
from pftlab.training.evaluation import Evaluator


def test_classification_is_what_one_computes_by_hand(base: str, task: pft.Task) -> None:
    model = model_with(pft.BitFit(), base).train()
    scores = pft.evaluate(model, task, "test", max_length=48)
    assert model.training, "the mode is left as it was"
    tokenizer, rows = pft.load_tokenizer(base), task.splits["test"]
    model.eval()
    losses, right = [], 0
    for row in rows:
        inputs = tokenizer(row["text"], truncation=True, max_length=48, return_tensors="pt")
        with torch.no_grad():
            output = model(**inputs, labels=torch.tensor([row["label"]]))
        losses.append(float(output.loss))
        right += int(output.logits.argmax()) == row["label"]
    assert scores == {
        "loss": pytest.approx(sum(losses) / len(losses), abs=1e-5),
        "accuracy": right / len(rows),
    }


def test_tagging_counts_labels_not_batches(base: str) -> None:
    task = few("tagging", 16)
    model = model_with(pft.BitFit(), base, task.num_labels or 0, "token_classification")
    options: dict[str, Any] = {"max_length": 48}
    together = pft.evaluate(model, task, batch_size=16, **options)
    alone = pft.evaluate(model, task, batch_size=1, **options)
    assert together == pytest.approx(alone, abs=1e-5)
    assert set(together) == {"loss", *task.metrics}
    pft.train(model, task, **ARGUMENTS | {"steps": 60, "lr": 2e-2, "evaluate_every": 60})
    assert pft.evaluate(model, task, "train", **options)["loss"] < together["loss"]


def regression() -> Task:
    words = ["bad"] * 8 + ["good"] * 8
    labels = [0.0] * 8 + [4.0] * 8
    rows = Dataset.from_dict({"text": words, "label": labels})
    splits = {"train": rows, "validation": rows, "test": rows}
    return Task("marks", "regression", (), {"pearson": METRICS["pearson"]}, splits, "ours")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_regression(base: str, precision: str) -> None:
    model = model_with(pft.FullFineTuning(), base, 1, "sequence_classification")
    task = regression()
    arguments = ARGUMENTS | {"steps": 40, "lr": 3e-3, "precision": precision}
    run = pft.train(model, task, **arguments)
    assert run.metrics["pearson"] > 0.95
    # A batch of one has no shape to squeeze.
    scores = pft.evaluate(model, task, batch_size=1, max_length=48)
    assert scores["pearson"] == pytest.approx(run.metrics["pearson"], abs=1e-4)
    with pytest.raises(pft.BadValue, match="head has 2 outputs"):
        pft.evaluate(model_with(pft.BitFit(), base), task, max_length=48)


def text_tokenizer() -> Any:
    """Letters with an end-of-text token, which T5's tokenizer adds by itself."""
    tokenizer = letters_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    tokenizer.add_special_tokens({"eos_token": "[SEP]"})
    return tokenizer


def t5_tokenizer() -> Any:
    tokenizer = text_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", special_tokens=[("[SEP]", tokenizer.eos_token_id)]
    )
    return tokenizer


def writing() -> Task:
    pairs = {"one": "abc", "two": "bca", "three": "cabba", "four": "b"}
    rows = Dataset.from_dict(
        {
            "source": list(pairs),
            "target": list(pairs.values()),
            "references": [[target] for target in pairs.values()],
        }
    )

    def exact(predictions: Any, references: Any) -> float:
        said = [p.replace(" ", "").replace("##", "") for p in predictions]
        return sum(p in r for p, r in zip(said, references, strict=True)) / len(said)

    splits = {"train": rows, "validation": rows, "test": rows}
    return Task("writing", "generation", (), {"exact": exact}, splits, "ours")


def language_model(kind: str) -> tuple[Any, Any]:
    tokenizer = text_tokenizer() if kind == "gpt2" else t5_tokenizer()
    torch.manual_seed(0)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    if kind == "gpt2":
        config = GPT2Config(**GPT2 | IDS | ids | {"vocab_size": len(tokenizer)})
        return GPT2LMHeadModel(config), tokenizer
    shape: dict[str, Any] = dict(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    config = T5Config(
        **shape, **ids, vocab_size=len(tokenizer), decoder_start_token_id=ids["pad_token_id"]
    )
    return T5ForConditionalGeneration(config), tokenizer


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_language_models_learn_to_write(kind: str) -> None:
    model, tokenizer = language_model(kind)
    pft.FullFineTuning().attach(model)
    task = writing()
    options: dict[str, Any] = {"tokenizer": tokenizer, "max_length": 32}
    before = pft.evaluate(model, task, **options)
    arguments = {"steps": 120, "batch_size": 4, "lr": 1e-2, "progress": False}
    run = pft.train(model, task, evaluate_every=120, **arguments, **options)
    after = pft.evaluate(model, task, **options)
    assert before["exact"] < 1.0 == after["exact"] == run.metrics["exact"]
    assert after["loss"] == pytest.approx(run.metrics["validation_loss"], abs=1e-6)
    assert after == pytest.approx(pft.evaluate(model, task, batch_size=1, **options), abs=1e-4)


def test_a_long_source_leaves_room_for_what_is_written() -> None:
    model, tokenizer = language_model("gpt2")  # 40 positions
    task = writing()
    long = Dataset.from_dict(
        {"source": ["a" * 60, "b"], "target": ["ab" * 8, "a"], "references": [["a"], ["a"]]}
    )
    options: dict[str, Any] = {"tokenizer": tokenizer, "max_length": 40}
    pft.evaluate(model, with_splits(task, test=long), "test", **options)


def test_generation_takes_a_part_unless_told_otherwise() -> None:
    model, tokenizer = language_model("gpt2")
    n = 70
    columns = {"source": ["a"] * n, "target": ["b"] * n, "references": [["b"]] * n}
    task = with_splits(writing(), test=Dataset.from_dict(columns))
    options: dict[str, Any] = {"tokenizer": tokenizer, "max_length": 32}
    sizes = [
        len(Evaluator(model, task, "test", limit=limit, **options).prompts)
        for limit in (None, 3, n)
    ]
    assert sizes == [64, 3, 70]


def test_what_cannot_be_evaluated(base: str, task: pft.Task) -> None:
    model = pft.load_base(base, num_labels=2)
    with pytest.raises(UnknownName):
        pft.evaluate(model, task, "exam", max_length=48)
    for arguments in ({"batch_size": 0}, {"limit": 0}):
        with pytest.raises(pft.BadValue, match="at least 1"):
            pft.evaluate(model, task, max_length=48, **arguments)
    with pytest.raises(pft.BadValue, match="is empty"):
        pft.evaluate(model, with_splits(task, test=task.splits["test"].select([])), "test")
    with pytest.raises(pft.BadValue, match="needs a model …ForTokenClassification"):
        pft.evaluate(model, few("tagging", 4), max_length=48)
