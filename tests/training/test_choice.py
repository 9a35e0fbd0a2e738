"""Classification in words: which tokens have loss, and which word is taken, worked out by hand."""

from typing import Any

import pytest
import torch
from test_evaluation import bytes_tokenizer, t5_tokenizer
from tiny import tiny

import pftlab as pft
from pftlab.tasks.encoding import word_tokens
from pftlab.tasks.template import template_of
from pftlab.training.choice import Chooser
from pftlab.training.data import encode

PATTERN = "{text} It is {answer}."
ROWS = [{"text": f"the {thing} was {how}", "label": int(how == "lovely")}
        for thing in ("film", "book", "song") for how in ("awful", "lovely")]  # fmt: skip


def sentiment(words: Any = ("bad", "good"), pattern: str | None = PATTERN) -> pft.Task:
    task = pft.load_task({"train": ROWS, "validation": ROWS[:4], "test": ROWS})
    return task.in_words(words, pattern)


def test_a_classification_in_words() -> None:
    task = sentiment({"1": "good", "0": "bad"})
    assert task.kind == "verbalised" and task.words == ("bad", "good")
    assert task.num_labels is None and task.model_task is None
    assert task.rows("test").to_list()[1] == {
        "front": "the film was lovely It is", "behind": ".", "target": "good", "label": 1,
    }  # fmt: skip
    assert task.references("test") == [0, 1] * 3
    assert task.instruction == "Answer with one of these: bad, good."
    assert sorted(target for _, target in task.shots(4)) == ["bad", "bad", "good", "good"]
    pairs = [{"text_a": "a {b}", "text_b": f"c{i}", "label": i % 2} for i in range(40)]
    plain = pft.load_task(pairs).in_words()
    assert plain.rows("train")["front"][0].startswith("a {b} c") and plain.words == ("0", "1")


@pytest.mark.parametrize("pattern", ["{text}", "{answer}", "{text} {answer} {answer}", "{text",
                                     "{text} {answer} {other}", "{text_a} {answer}"])  # fmt: skip
def test_patterns_that_cannot_be(pattern: str) -> None:
    with pytest.raises(pft.BadValue, match="where the texts and the answer stand"):
        sentiment(pattern=pattern)


def test_what_cannot_be_put_in_words() -> None:
    for words in (["good"], ["good", "good"], ["good", ""], {"1": "good"}):
        with pytest.raises(pft.BadValue, match="a word of its own"):
            sentiment(words)
    with pytest.raises(pft.Refused, match="only classes"):
        pft.load_task([{"source": f"a{i}", "target": "b"} for i in range(30)]).in_words()
    with pytest.raises(pft.BadValue, match="needs a language model with a pretrained head"):
        pft.evaluate(pft.load_base("tiny-encoder", num_labels=2), sentiment())
    fresh = pft.load_base("tiny-encoder", task="masked_lm")
    fresh.pftlab_base = fresh.pftlab_base.__class__(
        **vars(fresh.pftlab_base) | {"fresh": frozenset({"cls.predictions.bias"})}
    )
    with pytest.raises(pft.BadValue, match="whose head started at random"):
        pft.evaluate(fresh, sentiment())
    with pytest.raises(pft.BadValue, match="fills in one mask"):
        pft.evaluate(pft.load_base("tiny-encoder"), sentiment(), shots=2)


def test_an_encoder_fills_in_the_mask() -> None:
    model, task = pft.load_base("tiny-encoder"), sentiment()
    tokenizer = pft.load_tokenizer(model)
    bad, good = word_tokens(tokenizer, task.words).values()
    assert tokenizer.convert_ids_to_tokens([bad, good]) == ["▁bad", "▁good"]
    losses, right = [], 0
    for row, example in zip(ROWS, encode(model, task, tokenizer, "test", 32), strict=True):
        text = f"{row['text']} It is {tokenizer.mask_token}."
        inputs = tokenizer(text, return_tensors="pt")
        assert example["input_ids"] == inputs["input_ids"][0].tolist()
        (place,) = [i for i, label in enumerate(example["labels"]) if label != -100]
        assert example["input_ids"][place] == tokenizer.mask_token_id
        assert example["labels"][place] == (bad, good)[row["label"]]
        with torch.no_grad():
            found = model(**inputs).logits[0, place].log_softmax(-1)
        losses.append(-float(found[(bad, good)[row["label"]]]))
        right += int(found[good] > found[bad]) == row["label"]
    scores = pft.evaluate(model, task, "test", max_length=32)
    expected = {"loss": sum(losses) / len(ROWS), "accuracy": right / len(ROWS)}
    assert scores == pytest.approx(expected, abs=1e-5)
    short = encode(model, sentiment(pattern="{text} {answer}" + " and so on" * 3), tokenizer,
                   "test", 9)  # fmt: skip
    assert all(len(e["input_ids"]) <= 9 and sum(i != -100 for i in e["labels"]) == 1 for e in short)


def test_words_and_texts_that_a_mask_cannot_take() -> None:
    model = pft.load_base("tiny-encoder")
    with pytest.raises(pft.BadValue, match="not one token"):
        pft.evaluate(model, sentiment(["bad", "good beyond measure"]), max_length=32)
    rows = [{"text": f"a [MASK] {i}", "label": i % 2} for i in range(40)]
    with pytest.raises(pft.BadValue, match=r"holds \[MASK\] itself"):
        pft.evaluate(model, pft.load_task(rows).in_words(["bad", "good"]), max_length=32)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
@pytest.mark.parametrize("shots", [0, 2])
def test_the_most_probable_word_is_taken(kind: str, shots: int) -> None:
    if kind == "t5" and shots:
        pytest.skip("refused: it reads no solved examples")
    model, tokenizer = tiny(kind), bytes_tokenizer() if kind != "t5" else t5_tokenizer()
    model.resize_token_embeddings(len(tokenizer))
    model.config.max_position_embeddings = 400
    if kind == "gpt2":
        model.transformer.wpe = torch.nn.Embedding(400, 32)
    task = sentiment(["ab", "abcd"])  # one begins the other
    solved = task.shots(shots, 0)
    scores = pft.evaluate(model, task, "test", tokenizer=tokenizer, max_length=64, shots=shots)
    logs, tokens, right = 0.0, 0, 0
    for row, label in zip(task.rows("test"), task.references("test"), strict=True):
        found = []
        for word in task.words:
            if kind == "t5":
                inputs = tokenizer(row["front"], return_tensors="pt")["input_ids"]
                answer = tokenizer(word)["input_ids"]
                with torch.no_grad():
                    logits = model(inputs, labels=torch.tensor([answer])).logits[0]
            else:
                template = template_of(tokenizer, shots=solved)
                prompt = template.prompts([row["front"]], [64])[0]
                closing = [199, 199] if shots else [tokenizer.eos_token_id]
                answer = [*tokenizer(word)["input_ids"], *closing]
                with torch.no_grad():
                    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
            found.append(float(logits.log_softmax(-1)[range(len(answer)), answer].sum()))
            if word == row["target"]:
                tokens += len(answer)
        logs += found[label]
        right += int(found[1] > found[0]) == label
    assert scores == pytest.approx({"loss": -logs / tokens, "accuracy": right / 6}, abs=1e-4)


@pytest.mark.parametrize("base", ["tiny-encoder", "tiny-decoder"])
def test_a_language_model_learns_to_answer(base: str) -> None:
    task = sentiment()
    model = pft.LoRA(rank=4).attach(pft.load_base(base))
    arguments: dict[str, Any] = {"steps": 40, "batch_size": 6, "lr": 1e-2, "max_length": 32}
    run = pft.train(model, task, evaluate_every=40, progress=False, **arguments)
    assert run.metrics["accuracy"] == 1.0
    tokenizer = pft.load_tokenizer(base)
    assert len(Chooser(model, task, tokenizer, "test", max_length=32, limit=3)()[1]) == 3
