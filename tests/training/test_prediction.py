"""What a trained model says of texts: as in evaluation, and by the names of the classes."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from tiny import save_tiny_base

import pftlab as pft
from pftlab.testing.models import perturb
from pftlab.training import Prediction, predict
from pftlab.training.choice import Chooser

TEXTS = ["a fine film .", "dull , and far too long for what it says .", "what a day !"]
read = partial(predict, max_length=60)  # the tiny base has 64 positions


@pytest.fixture(scope="module")
def base(tmp_path_factory: Any) -> str:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


def test_a_classifier_names_the_class_with_probabilities(base: str) -> None:
    model = pft.load_base(base, labels=("bad", "good", "odd"))
    perturb(pft.LoRA(rank=2).attach(model))
    model.train()
    found = read(model, TEXTS, batch_size=2)
    assert model.training
    tokenizer = pft.load_tokenizer(model)
    model.eval()
    for text, prediction in zip(TEXTS, found, strict=True):
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
        expected = dict(zip(("bad", "good", "odd"), logits.softmax(-1).tolist(), strict=True))
        assert prediction.probabilities == pytest.approx(expected, rel=1e-5)
        assert prediction.label == ("bad", "good", "odd")[int(logits.argmax())]
        assert prediction.probability == max(prediction.probabilities.values())


@torch.no_grad()
def test_pairs_and_numbers(base: str) -> None:
    pairs = [("it rains .", "it is wet ."), ("a", "b")]
    model = pft.load_base(base, labels=("no", "yes"))
    tokenizer = pft.load_tokenizer(model)
    for pair, prediction in zip(pairs, read(model, pairs), strict=True):
        logits = model(**tokenizer(*pair, return_tensors="pt")).logits[0]
        assert prediction.probabilities["yes"] == pytest.approx(float(logits.softmax(-1)[1]))
    model = pft.load_base(base, num_labels=1)
    numbers = read(model, TEXTS)
    expected = model(**tokenizer(TEXTS[1], return_tensors="pt")).logits[0, 0]
    assert numbers[1] == pytest.approx(float(expected), rel=1e-5)


def test_a_tagger_gives_every_word_a_tag(base: str) -> None:
    model = pft.load_base(base, labels=("O", "B", "I"), task="token_classification")
    words = [["new", "york", "is", "big"], ["yes"]]
    tags = read(model, words)
    assert [len(row) for row in tags] == [4, 1] and {t for row in tags for t in row} <= {
        "O",
        "B",
        "I",
    }
    assert read(model, [" ".join(row) for row in words]) == tags
    encoded = pft.load_tokenizer(model)([words[0]], is_split_into_words=True, return_tensors="pt")
    best = model(**encoded).logits[0].argmax(-1)
    first = [encoded.word_ids(0).index(i) for i in range(4)]
    assert tags[0] == [("O", "B", "I")[int(best[i])] for i in first]
    with pytest.raises(pft.BadValue, match=r"Text 0 has 40 words, and \d+ of them were read"):
        predict(model, [["word"] * 40], max_length=16)


def test_a_decoder_writes_as_in_evaluation() -> None:
    model = pft.load_base("tiny-decoder")
    task = pft.load_task("data_to_text", size="tiny")
    sources = task.splits["test"]["source"][:3]
    from pftlab.training.generation import Writer

    tokenizer = pft.load_tokenizer(model)
    write = Writer(model, task, tokenizer, "test", max_length=64, longest=8, limit=3)
    expected = [written.text for written in write()]
    found = predict(model, sources, max_length=64, max_new_tokens=8, instruction=task.instruction)
    assert found == expected and any(found)


def test_a_language_model_answers_in_words() -> None:
    """As the scores of the task put in words say; a prediction for each class, in their order."""
    rows = [{"text": text, "label": i % 2} for i, text in enumerate(TEXTS)]
    words, pattern = {"no": "bad", "yes": "good"}, "{text} It is {answer}."
    task = pft.load_task({"train": rows, "validation": rows, "test": rows})
    asked = replace(task, labels=("no", "yes"), instruction="Judge.").in_words(words, pattern)
    for name in ("tiny-decoder", "tiny-encoder"):
        model = pft.load_base(name)
        tokenizer = pft.load_tokenizer(model)
        choose = Chooser(model, asked, tokenizer, "test", max_length=60, limit=None)
        options: dict[str, Any] = {"words": words, "pattern": pattern, "instruction": "Judge."}
        found = read(model, TEXTS, **options)
        for prediction, scores in zip(found, choose.scores(), strict=True):
            expected = scores.softmax(0).tolist()
            assert list(prediction.probabilities) == ["no", "yes"]
            assert list(prediction.probabilities.values()) == pytest.approx(expected, rel=1e-4)
        assert [p.label for p in found] == [("no", "yes")[i] for i in choose()[1]]
        assert len({round(p.probabilities["no"], 6) for p in found}) == 3
    pairs = read(pft.load_base("tiny-decoder"), [("a", "b")], words=words)
    assert pairs[0].label in words and read(model, [], words=words) == []


def test_words_that_cannot_be_answered(base: str) -> None:
    model = pft.load_base("tiny-decoder")
    for options, says in (
        ({"pattern": "{text} {answer}"}, "without words"),
        ({"words": {"a": "x", "b": "x"}}, "a word of its own"),
        ({"words": {"a": "x", "b": "y"}, "pattern": "{text}"}, "where the texts and the answer"),
    ):
        with pytest.raises(pft.BadValue, match=says):
            read(model, TEXTS, **options)
    with pytest.raises(pft.BadValue, match="needs a language model"):
        read(pft.load_base(base, num_labels=2), TEXTS, words={"a": "x", "b": "y"})


def test_what_is_no_list_of_texts_is_refused(base: str) -> None:
    model = pft.load_base(base, num_labels=2)
    assert predict(model, []) == []
    for texts, says in (
        ("one text", r"predict\(model, \[text\]\)"),
        ([3], "list of strings"),
        (["a", ("a", "b")], "list of strings"),
        ([("a", "b", "c")], "list of strings"),
    ):
        with pytest.raises(pft.BadValue, match=says):
            predict(model, texts)
    with pytest.raises(pft.BadValue, match="no head that answers"):
        predict(pft.load_base(base, task="features"), TEXTS)
    with pytest.raises(pft.BadValue, match="one text at a time"):
        predict(pft.load_base("tiny-decoder"), [("a", "b")])
    tagger = pft.load_base(base, 3, task="token_classification")
    with pytest.raises(pft.BadValue, match="list of words"):
        predict(tagger, [[]])


def test_nothing_keeps_a_gradient(base: str) -> None:
    model = pft.FullFineTuning().attach(pft.load_base(base, num_labels=2))
    assert isinstance(read(model, TEXTS)[0], Prediction)
    assert all(p.grad is None for p in model.parameters()) and torch.is_grad_enabled()
