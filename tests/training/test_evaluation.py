"""Evaluation: every kind of task, on every kind of model."""

from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny import GPT2, IDS, letters_tokenizer, perturb, tiny
from tokenizers import pre_tokenizers, processors
from training_setup import ARGUMENTS, few, model_with, with_splits
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    T5Config,
    T5ForConditionalGeneration,
)

import pftlab as pft
from pftlab.core.errors import UnknownName
from pftlab.tasks import Task
from pftlab.tasks.metrics import METRICS
from pftlab.training.evaluation import Evaluator
from pftlab.training.generation import Writer, Written


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


def test_padding_on_the_left_changes_nothing_that_is_written() -> None:
    for name in ("gpt2", "llama"):
        model, tokenizer = tiny(name), text_tokenizer()
        model.resize_token_embeddings(len(tokenizer))
        perturb(pft.LoRA(rank=2).attach(model))
        rows = [{"source": "abcde"[:n], "target": "abc"} for n in (1, 5, 2, 4)]
        task = pft.load_task({"train": rows, "validation": rows, "test": rows})
        options: dict[str, Any] = {"max_length": 16, "longest": 8, "limit": None}
        together, alone = (
            Writer(model, task, tokenizer, "test", batch_size=size, **options)() for size in (4, 1)
        )
        assert together == alone and len({w.text for w in alone}) > 1


def bytes_tokenizer() -> Any:
    """A tokenizer with one token for each byte, so that it has blank lines."""
    alphabet = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    return GPT2Tokenizer(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[])


def test_a_blank_line_ends_what_follows_solved_examples(monkeypatch: Any) -> None:
    model, tokenizer = tiny("gpt2"), bytes_tokenizer()
    model.resize_token_embeddings(len(tokenizer))
    rows = [{"source": "a b", "target": "ab"}, {"source": "c", "target": "c"}]
    task = pft.load_task({"train": rows * 4, "validation": rows, "test": rows})
    options: dict[str, Any] = {"tokenizer": tokenizer, "max_length": 12, "max_new_tokens": 6}
    shown = Evaluator(model, task, "test", shots=2, **options)
    plain = Evaluator(model, task, "test", **options)
    newline, a, b, end = 199, *tokenizer("ab")["input_ids"], tokenizer.eos_token_id
    assert tokenizer.decode([newline]) == "\n"
    model.lm_head = torch.nn.Linear(32, len(tokenizer))
    with torch.no_grad():  # it writes nothing but new lines
        model.lm_head.weight.zero_()
        model.lm_head.bias.copy_(torch.eye(len(tokenizer))[newline])
    assert shown.write() == [Written("", 1, ended=True)] * 2  # the prompt's new line counts
    assert plain.write() == [Written("", 6, ended=False)] * 2
    scores = shown()
    assert (scores["tokens"], scores["ended"]) == (1, 1)

    def generate(input_ids: Any, **rest: Any) -> Any:
        said = [[a, newline, newline, end, end], [a, b, newline, b, end]]
        return torch.cat([input_ids, torch.tensor(said)], 1)

    monkeypatch.setattr(model, "generate", generate)  # the end token pads
    long, short = shown.write()  # the shorter prompt is read first
    assert (short, long) == (Written("a", 3, ended=True), Written("ab\nb", 5, ended=True))


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
    lengths = [
        len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
        for text in task.splits["validation"]["target"]
    ]
    assert (after["tokens"], after["ended"]) == (sum(lengths) / 4, 1.0)
    cut = pft.evaluate(model, task, max_new_tokens=3, **options)
    assert cut["tokens"] == sum(min(3, n) for n in lengths) / 4
    assert cut["ended"] == sum(n <= 3 for n in lengths) / 4 < 1
    assert cut["loss"] == after["loss"]


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
        len(Evaluator(model, task, "test", limit=limit, **options).write.prompts)
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
