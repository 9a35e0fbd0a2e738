"""What is encoded, when, and which rows each step takes; and data that a model cannot take."""

import math
from typing import Any

import pytest
from training_setup import equal, few, model_with, state_of
from transformers import BertConfig, BertForSequenceClassification

import pftlab as pft
from pftlab.core.errors import BadValue
from pftlab.tasks import encoding
from pftlab.training import data as training_data
from pftlab.training.data import (
    BLOCK,
    Examples,
    LikeLengths,
    TrainingData,
    encode,
    lengths_of,
    mark_of,
    rows_of_step,
    shuffled,
)
from pftlab.training.processes import Processes


def many(n: int) -> pft.Task:
    """A task of `n` training rows with texts of all lengths."""
    rows = [{"text": f"{i} is " + "good " * (i * 7 % 40), "label": i % 2} for i in range(n)]
    return pft.load_task({"train": rows, "validation": rows[:8], "test": rows[:8]})


@pytest.fixture
def model(base: str) -> Any:
    return pft.load_base(base, num_labels=2)


@pytest.fixture
def encoded(monkeypatch: Any) -> list[int]:
    """How many rows each call of the encoder took, as they are made."""
    sizes: list[int] = []

    def count(rows: Any, *args: Any, **options: Any) -> Any:
        sizes.append(len(rows))
        return encoding.encode_rows(rows, *args, **options)

    monkeypatch.setattr(training_data, "encode_rows", count)
    return sizes


def make(model: Any, task: pft.Task, steps: range, **options: Any) -> TrainingData:
    tokenizer = pft.load_tokenizer(model)
    return TrainingData(model, task, tokenizer, 64, 4, 1, 0, Processes(), steps=steps, **options)


def test_only_what_the_steps_take_is_encoded(model: Any, encoded: list[int]) -> None:
    task = many(5_000)
    data = make(model, task, range(1, 6))
    assert encoded == [20]
    for step in range(1, 6):
        list(data.parts(step))
    assert encoded == [20]
    list(make(model, task, range(3, 8)).parts(7))  # a resumed run: 12 of its 20 rows are known
    assert encoded == [20, 8]
    make(model, task, range(1, 10_000))
    assert sum(encoded) == 5_000 and max(encoded) == BLOCK


def test_encoding_by_rows_is_encoding_all(model: Any) -> None:
    task, tokenizer = many(300), pft.load_tokenizer(model)
    whole = task.encode(tokenizer, "train", max_length=64)
    examples = Examples(model, task, tokenizer, "train", 64)
    assert [examples[i] for i in (7, 299, 0)] == [whole[7], whole[299], whole[0]]
    assert encode(model, task, tokenizer, "train", 64) == whole
    assert encode(model, task, tokenizer, "train", 64, limit=5) == whole[:5]


def test_a_further_run_finds_the_texts_encoded(base: str, encoded: list[int]) -> None:
    task, states = many(60), []
    for _ in range(2):
        trained = model_with(pft.LoRA(rank=2), base)
        pft.train(trained, task, steps=3, batch_size=4, max_length=64, progress=False)
        states.append(state_of(trained))
        assert encoded == [12, 8]  # training rows and the validation split, once
    assert states[0].keys() == states[1].keys()
    pft.train(trained, task, steps=3, batch_size=4, max_length=32, progress=False)
    assert encoded == [12, 8, 12, 8]
    pft.train(trained, many(60), steps=3, batch_size=4, max_length=64, progress=False)
    assert encoded == [12, 8, 12, 8, 12, 8]  # another task, though it reads the same


def test_what_was_encoded_with_another_tokenizer_is_not_taken(model: Any) -> None:
    tokenizer, other = pft.load_tokenizer(model), pft.load_tokenizer(model)
    tokenizer("a text", truncation=True, max_length=9)
    assert mark_of(tokenizer) == mark_of(other)
    marks = {mark_of(other)}
    for name, value in (("truncation_side", "left"), ("eos_token", "the"), ("bos_token", "of")):
        setattr(other, name, value)
        marks.add(mark_of(other))
    other.add_tokens(["an unheard-of word"])
    assert len(marks | {mark_of(other)}) == 5


def test_batches_show_every_text_once(model: Any) -> None:
    task = many(2 * BLOCK + 3)
    data = make(model, task, range(1, 2))
    labels = [int(label) for batch in data.batches() for label in batch["labels"]]
    order = shuffled(len(task.splits["train"]), 0, 0)
    assert labels == [i % 2 for i in order]


def test_batches_of_like_length(model: Any) -> None:
    n, size = 203, 4
    lengths = lengths_of(many(n), "train")
    order = LikeLengths(lengths, size)
    steps = [rows_of_step(n, size, 5, step, order) for step in range(1, 1 + n)]  # four epochs
    stream = [row for rows in steps for row in rows]
    for epoch in range(4):
        assert sorted(stream[epoch * n : (epoch + 1) * n]) == list(range(n))
    assert stream[:n] != stream[n : 2 * n]
    again = LikeLengths(lengths, size)  # a resumed run begins in the middle
    assert rows_of_step(n, size, 5, 130, again) == steps[129]

    def padding(rows: list[int]) -> int:
        return sum(max(lengths[i] for i in rows) - lengths[i] for i in rows)

    plain = [rows_of_step(n, size, 5, step) for step in range(1, 1 + n)]
    assert sum(map(padding, steps)) < 0.2 * sum(map(padding, plain))
    longest = [max(lengths[i] for i in rows) for rows in steps]
    assert longest != sorted(longest)  # not from short to long
    data = make(model, many(n), range(1, 9), like_lengths=True)
    assert [len(batch["labels"]) for batch, _ in data.parts(3)] == [size]


def test_lengths_of_all_kinds() -> None:
    for kind, rows, length in (
        ("pairs", {"text_a": "abc", "text_b": "de", "label": 1}, 5),
        ("tagging", {"tokens": ["abc", "d"], "tags": ["O", "X"]}, 4),
        ("generation", {"source": "abc", "target": "defg"}, 7),
    ):
        other = rows | {"label": 0} if kind == "pairs" else rows
        task = pft.load_task({split: [rows, other] for split in ("train", "validation", "test")})
        assert task.kind == kind and lengths_of(task, "test")[0] == length


# What a model cannot take ------------------------------------------------------------------------


def tiny_bert(**options: Any) -> Any:
    config = BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        vocab_size=9_000, num_labels=2, **options,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def test_tokens_beyond_the_table() -> None:
    model, task = model_with(pft.LoRA(rank=2), "tiny-encoder"), few("reviews")
    before, tokenizer = state_of(model), pft.load_tokenizer(model)
    tokenizer.add_tokens(["film", "plot", "the"])
    with pytest.raises(BadValue, match=r"the token '▁?(film|plot|the)'.*resize_token_embeddings"):
        pft.train(model, task, steps=2, tokenizer=tokenizer, progress=False)
    with pytest.raises(BadValue, match="resize_token_embeddings"):
        pft.evaluate(model, task, tokenizer=tokenizer)
    assert equal(state_of(model), before)


def test_positions_that_the_model_does_not_have() -> None:
    task, tokenizer = few("reviews"), pft.load_tokenizer("tiny-encoder")
    tokenizer.model_max_length = int(1e30)  # as many tokenizers of the hub say
    model = pft.LoRA(rank=2).attach(tiny_bert(max_position_embeddings=64))
    for call in (pft.train, pft.evaluate):
        with pytest.raises(BadValue, match="max_length=128 cannot be. This model takes 8 to 64"):
            call(model, task, tokenizer=tokenizer, progress=False)
    pft.train(model, task, steps=1, max_length=64, tokenizer=tokenizer, progress=False)


def test_a_target_that_fills_the_positions_is_written_to_their_end() -> None:
    model = pft.load_base("tiny-decoder")
    tokenizer, most = pft.load_tokenizer(model), model.config.max_position_embeddings
    rows = [{"source": "the " * 20, "target": "the " * (most - 8)}]
    task = pft.load_task({"train": rows, "validation": rows, "test": rows})
    longest = len(tokenizer(rows[0]["target"])["input_ids"])
    assert most - 8 < longest < most - 2  # a prompt of 8 tokens and it have no room together
    assert pft.evaluate(model, task, max_length=most)["bleu"] >= 0


def test_a_model_without_a_tokenizer_does_not_take_the_one_that_lies_around(
    tmp_path: Any, monkeypatch: Any
) -> None:
    pft.load_tokenizer("tiny-encoder").save_pretrained(tmp_path)
    monkeypatch.chdir(tmp_path)
    model = pft.LoRA(rank=2).attach(tiny_bert())
    with pytest.raises(BadValue, match="tokenizer="):
        pft.train(model, few("reviews"), steps=1, progress=False)
    with pytest.raises(BadValue, match="tokenizer="):
        pft.load_tokenizer("")


@pytest.mark.parametrize("base", ["tiny-encoder", "tiny-decoder"])
def test_empty_texts(base: str) -> None:
    """Alone in a batch, as evaluation, which sorts by length, has them; and beside others."""
    rows = [{"text": "" if i < 8 else f"text {i}", "label": i % 2} for i in range(16)]
    task = pft.load_task({"train": rows, "validation": rows, "test": rows[7:9]})
    model = pft.LoRA(rank=2).attach(pft.load_base(base, num_labels=2))
    options: dict[str, Any] = dict(tokenizer=pft.load_tokenizer(base), max_length=16)
    assert pft.evaluate(model, task, "validation", batch_size=4, **options)["loss"] > 0
    alone, beside = (pft.evaluate(model, task, "test", batch_size=b, **options) for b in (1, 2))
    assert alone["loss"] == pytest.approx(beside["loss"])
    run = pft.train(model, task, steps=4, batch_size=2, progress=False, **options)
    assert all(math.isfinite(loss) for _, loss in run.losses)
