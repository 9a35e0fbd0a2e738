"""Metrics against each other's definitions, and numbers worked out by hand or by other tools."""

import importlib.util
import random

import pytest

from pftlab.core.errors import Unavailable
from pftlab.tasks import load_task, metrics

SOME = random.Random(0)
TRUE = [SOME.randrange(3) for _ in range(60)]
GUESSED = [t if SOME.random() < 0.6 else SOME.randrange(3) for t in TRUE]


def test_f1_is_that_of_class_1():
    true, guessed = [1, 1, 1, 0, 0, 2], [1, 1, 0, 1, 0, 1]
    assert metrics.accuracy(guessed, true) == pytest.approx(3 / 6)
    assert metrics.f1(guessed, true) == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    hits = sum(t == g == 1 for t, g in zip(TRUE, GUESSED, strict=True))
    claimed = TRUE.count(1) + GUESSED.count(1)
    assert metrics.f1(GUESSED, TRUE) == pytest.approx(2 * hits / claimed)


def test_matthews_by_hand():
    # TP 2, TN 1, FP 1, FN 1: (2·1 − 1·1) / √(3·3·2·2)
    assert metrics.matthews([1, 1, 0, 1, 0], [1, 1, 1, 0, 0]) == pytest.approx(1 / 6)
    assert metrics.matthews(TRUE, TRUE) == pytest.approx(1)


def test_correlations_by_hand():
    assert metrics.pearson([1.0, 2.0, 4.0], [1.0, 2.0, 3.0]) == pytest.approx(0.98198, abs=1e-5)
    # ranks 1, 2, 3 and 1, 2.5, 2.5
    assert metrics.spearman([1.0, 2.0, 9.0], [0.0, 5.0, 5.0]) == pytest.approx(0.75**0.5)
    assert metrics.spearman([1.0, 2.0, 9.0], [1.0, 4.0, 81.0]) == pytest.approx(1)


def test_degenerate_predictions_score_zero():
    assert metrics.f1([0, 0], [0, 1]) == 0
    assert metrics.matthews([1, 1, 1], [0, 1, 0]) == 0
    for correlation in (metrics.pearson, metrics.spearman):
        assert correlation([2.0, 2.0], [1.0, 3.0]) == 0
        assert correlation([1.0, 3.0], [2.0, 2.0]) == 0
        assert correlation([1.0], [2.0]) == 0
    assert metrics.span_f1([["O", "O"]], [["O", "O"]]) == 0
    assert metrics.bleu(["no word in common"], [["something else entirely"]]) == 0
    assert metrics.bleu([""], [["a text"]]) == 0
    assert metrics.rouge_l([""], [["a text"]]) == 0


def test_spans_follow_conll():
    tags = ["B-X", "I-X", "B-X", "I-Y", "O", "I-Y", "B-Y"]
    assert metrics.spans(tags) == {
        ("X", 0, 2),
        ("X", 2, 3),
        ("Y", 3, 4),
        ("Y", 5, 6),
        ("Y", 6, 7),
    }
    assert metrics.spans(["O", "B-X"]) == {("X", 1, 2)}


def test_span_f1_needs_type_and_both_ends():
    true = [["B-X", "I-X", "O", "B-Y"], ["O", "B-X"]]
    guessed = [["B-X", "I-X", "O", "B-X"], ["B-X", "I-X"]]
    assert metrics.span_f1(guessed, true) == pytest.approx(2 * 1 / (3 + 3))
    assert metrics.token_accuracy(guessed, true) == pytest.approx(3 / 6)


TEXTS = [
    "the cat sat on the mat .",
    "a red hat was found at the station by the nurse .",
    "we found a small dog near the river",
]
REFERENCES = [
    ["the cat is sitting on the mat .", "a cat sat on the mat ."],
    [
        "the nurse found a red hat at the station .",
        "a red hat was found by the nurse at the station .",
    ],
    ["a small dog was seen near the river yesterday", "we saw a small dog near the river"],
]


def test_bleu_by_hand():
    assert metrics.bleu([r[1] for r in REFERENCES], REFERENCES) == 1
    # "a b c d e" against "a b c d x": precisions 4/5, 3/4, 2/3, 1/2
    assert metrics.bleu(["a b c d e"], [["a b c d x"]]) == pytest.approx(0.2**0.25)
    # "a b c d e" against "a b c d e f": all right, and too short
    assert metrics.bleu(["a b c d e"], [["a b c d e f"]]) == pytest.approx(2.718281828**-0.2)


def test_bleu_cuts_words_as_13a_does():
    """Hyphens and apostrophes stay inside words; brackets, commas and stops do not."""
    assert metrics.bleu(
        ["a kid-friendly pub, isn't it."], [["a kid-friendly pub , isn't it ."]]
    ) == pytest.approx(1)
    assert metrics.bleu(["a kid-friendly pub here"], [["a kid - friendly pub here"]]) < 0.9


def test_each_text_may_have_references_of_its_own_number():
    references = [["x", "a b c d"], ["e f g h"], ["y", "z", "i j k l"]]
    texts = [row[-1] for row in references]
    assert metrics.bleu(texts, references) == pytest.approx(1)
    assert metrics.rouge_l(texts, references) == pytest.approx(1)


def test_rouge_l_takes_the_best_reference():
    bare = [text.replace(" .", "") for text in TEXTS]
    references = [[text.replace(" .", "") for text in texts] for texts in REFERENCES]
    # rouge_score 0.1 rougeL, best reference, mean
    assert metrics.rouge_l(bare, references) == pytest.approx(0.8118686868686869)


def test_a_missing_library_is_named_before_training(monkeypatch):
    import pftlab as pft

    task = load_task("data_to_text", size="tiny")
    model = pft.LoRA(rank=2).attach(pft.load_base("tiny-decoder"))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        metrics, "find_spec", lambda name: None if name == "sacrebleu" else find(name)
    )
    for call in (pft.train, pft.evaluate):
        with pytest.raises(Unavailable, match=r"'bleu'.*sacrebleu.*pip install .pftlab\[metrics\]"):
            call(model, task, progress=False)
    with pytest.raises(Unavailable, match="sacrebleu"):
        metrics.bleu(["a"], [["a"]])
    metrics.check_libraries(["accuracy", "span_f1", "token_accuracy", "slot_accuracy", "f1"])


def test_the_table_names_every_metric():
    assert all(METRIC.__name__ == name for name, METRIC in metrics.METRICS.items())
    assert {"accuracy", "matthews", "span_f1", "bleu"} <= metrics.METRICS.keys()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She has 3 + 4 = 7.", 7),
        ("#### 1,234,567", 1_234_567),
        ("It costs $2.50, or $3.00", 3),
        ("10-3", 3),
        ("It is -3 degrees", -3),
        ("1, 2,3", 3),
        ("x2", 2),
        ("seven", None),
        ("", None),
        ("\u0663", None),  # a digit of another script
    ],
)
def test_the_last_number(text, number):
    assert metrics.number_in(text) == number
    right = 0.0 if number is None else 1.0
    assert metrics.last_number([text, "8"], [["9", f"so {number}"], ["7"]]) == right / 2
