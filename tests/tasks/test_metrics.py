"""Metrics against scikit-learn, SciPy, and numbers worked out by hand or by other tools."""

import random

import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from pftlab.tasks import metrics

SOME = random.Random(0)
TRUE = [SOME.randrange(3) for _ in range(60)]
GUESSED = [t if SOME.random() < 0.6 else SOME.randrange(3) for t in TRUE]
BINARY_TRUE, BINARY_GUESSED = [t % 2 for t in TRUE], [g % 2 for g in GUESSED]
SCORES = [SOME.gauss(0, 1) for _ in range(40)]
RATINGS = [round(2 * s + SOME.gauss(0, 1)) for s in SCORES]  # with ties


def test_classification_metrics_are_those_of_scikit_learn():
    assert metrics.accuracy(GUESSED, TRUE) == sklearn_metrics.accuracy_score(TRUE, GUESSED)
    assert metrics.f1(BINARY_GUESSED, BINARY_TRUE) == pytest.approx(
        sklearn_metrics.f1_score(BINARY_TRUE, BINARY_GUESSED)
    )
    for guessed, true in ((GUESSED, TRUE), (BINARY_GUESSED, BINARY_TRUE)):
        assert metrics.matthews(guessed, true) == pytest.approx(
            sklearn_metrics.matthews_corrcoef(true, guessed)
        )


def test_correlations_are_those_of_scipy():
    assert metrics.pearson(SCORES, RATINGS) == pytest.approx(
        stats.pearsonr(SCORES, RATINGS).statistic
    )
    assert metrics.spearman(SCORES, RATINGS) == pytest.approx(
        stats.spearmanr(SCORES, RATINGS).statistic
    )


def test_degenerate_predictions_score_zero():
    assert metrics.f1([0, 0], [0, 1]) == 0
    assert metrics.matthews([1, 1, 1], [0, 1, 0]) == 0
    assert metrics.pearson([2.0, 2.0], [1.0, 3.0]) == 0
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


def test_bleu_is_that_of_sacrebleu():
    # sacrebleu 2.5 corpus_bleu(…, tokenize="none", smooth_method="none") / 100
    assert metrics.bleu(TEXTS, REFERENCES) == pytest.approx(0.6767423741377583, abs=1e-12)
    assert metrics.bleu([r[1] for r in REFERENCES], REFERENCES) == 1


def test_rouge_l_is_that_of_rouge_score():
    bare = [text.replace(" .", "") for text in TEXTS]
    references = [[text.replace(" .", "") for text in texts] for texts in REFERENCES]
    # rouge_score 0.1 rougeL, best reference, mean
    assert metrics.rouge_l(bare, references) == pytest.approx(0.8118686868686869)


def test_the_table_names_every_metric():
    assert all(METRIC.__name__ == name for name, METRIC in metrics.METRICS.items())
    assert {"accuracy", "matthews", "span_f1", "bleu"} <= metrics.METRICS.keys()
