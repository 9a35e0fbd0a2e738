"""The scores that tasks report: functions of predictions and references.

Which way is better, between what a score lies and how it is written is known from its name: see
`pftlab.scores`. Where a score has several readings, the library that papers use decides:
scikit-learn, SciPy, sacrebleu and rouge-score, which `pip install "pftlab[metrics]"` brings. Shares
of right answers need no library; spans are counted as by seqeval, which itself can no longer be
installed everywhere.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from itertools import zip_longest
from typing import Any

from ..core.errors import Unavailable

#: A minus behind a letter, a digit or a bracket takes away, and is no sign.
NUMBER = re.compile(r"(?:(?<![\w)])-)?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?", re.ASCII)

Metric = Callable[[Sequence[Any], Sequence[Any]], float]

#: Score → the module that computes it.
LIBRARIES = {
    "f1": "sklearn.metrics",
    "matthews": "sklearn.metrics",
    "pearson": "scipy.stats",
    "spearman": "scipy.stats",
    "bleu": "sacrebleu",
    "rouge_l": "rouge_score.rouge_scorer",
}


def check_libraries(names: Iterable[str]) -> None:
    """Make sure that scores can be computed, before anything is trained for them.

    Raises:
        Unavailable: a library is missing.
    """
    for name in names:
        module = LIBRARIES.get(name, "builtins").partition(".")[0]
        if find_spec(module) is None:
            raise Unavailable(
                f"The score {name!r} is computed by {module}, which is not installed. It comes "
                'with the extra "metrics": pip install "pftlab[metrics]".'
            )


def _library(name: str) -> Any:
    check_libraries([name])
    return import_module(LIBRARIES[name])


def accuracy(predictions: Sequence[int], references: Sequence[int]) -> float:
    """The share of equal pairs."""
    return sum(p == r for p, r in zip(predictions, references, strict=True)) / len(references)


def f1(predictions: Sequence[int], references: Sequence[int]) -> float:
    """F1 of class 1 against the rest: 2 TP / (2 TP + FP + FN), and 0 without a true positive."""
    score = _library("f1").f1_score
    return float(score(references, predictions, labels=[1], average="macro", zero_division=0.0))


def matthews(predictions: Sequence[int], references: Sequence[int]) -> float:
    """Matthews correlation, for any number of classes (Gorodkin, 2004, Eq. 8).

    0 when the predictions or the references are all of one class.
    """
    return float(_library("matthews").matthews_corrcoef(references, predictions))


def pearson(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Pearson's correlation; 0 when one side is constant and it is undefined."""
    if _is_constant(predictions) or _is_constant(references):
        return 0.0
    return float(_library("pearson").pearsonr(predictions, references).statistic)


def spearman(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Spearman's correlation: Pearson's of the ranks, equal values sharing their mean rank."""
    if _is_constant(predictions) or _is_constant(references):
        return 0.0
    return float(_library("spearman").spearmanr(predictions, references).statistic)


def _is_constant(values: Sequence[float]) -> bool:
    return len(set(values)) < 2


def token_accuracy(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> float:
    """The share of tokens with the right tag, over all sentences."""
    return accuracy(_chain(predictions), _chain(references))


def span_f1(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """F1 of whole spans in IOB2 tags, over all types: type and both ends must be right.

    As in the CoNLL shared tasks and in seqeval, an I- that continues nothing begins a span.
    """
    hits = found = true = 0
    for p, r in zip(predictions, references, strict=True):
        spans_p, spans_r = spans(p), spans(r)
        hits += len(spans_p & spans_r)
        found += len(spans_p)
        true += len(spans_r)
    return 2 * hits / (found + true) if found + true else 0.0


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Read IOB2 tags as a set of (type, first token, token behind the last)."""
    result = set()
    kind, start = "", 0
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, tag_kind = tag.partition("-")
        if kind and (prefix != "I" or tag_kind != kind):
            result.add((kind, start, i))
            kind = ""
        if prefix != "O" and not kind:
            kind, start = tag_kind, i
    return result


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4 with several references (Papineni et al., 2002), by sacrebleu (Post, 2018).

    Its signature is nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp; divided by 100.
    """
    computer = _library("bleu").BLEU(force=True)  # force: no warning about a space before a stop
    streams = [list(stream) for stream in zip_longest(*references)]  # None: no further reference
    score = computer.corpus_score(list(predictions), streams).score
    return min(1.0, score / 100)  # rounding takes a perfect score above 100


def rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Mean ROUGE-L (Lin, 2004): F1 of the longest common subsequence, with the best reference.

    By rouge-score without stemming. Its tokens are runs of the letters a to z and of digits,
    without case, so a text in another script scores 0.
    """
    scorer = _library("rouge_l").RougeScorer(["rougeL"])
    scores = [
        scorer.score_multi(list(texts), prediction)["rougeL"].fmeasure
        for prediction, texts in zip(predictions, references, strict=True)
    ]
    return float(sum(scores) / len(scores))


def last_number(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The share of texts whose last number is the last number of a reference.

    As arithmetic problems are scored (Cobbe et al., 2021, whose solutions end in "#### 18").
    Commas between digits do not count, nor do zeros behind the point: 1,000.0 is 1000.
    """
    pairs = zip(predictions, references, strict=True)
    return sum(
        (said := number_in(text)) is not None and said in map(number_in, right)
        for text, right in pairs
    ) / len(references)


def number_in(text: str) -> Decimal | None:
    """The last number that a text writes in digits."""
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def _chain(rows: Iterable[Sequence[Any]]) -> list[Any]:
    return [value for row in rows for value in row]


METRICS: dict[str, Metric] = {
    metric.__name__: metric
    for metric in (
        accuracy,
        f1,
        matthews,
        pearson,
        spearman,
        token_accuracy,
        span_f1,
        bleu,
        rouge_l,
        last_number,
    )
}
