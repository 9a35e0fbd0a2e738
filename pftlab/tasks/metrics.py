"""The scores that tasks report: plain functions of predictions and references.

Every score but the two correlations and Matthews' lies between 0 and 1, and more is better.
Papers print most of them times 100.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Metric = Callable[[Sequence[Any], Sequence[Any]], float]


def accuracy(predictions: Sequence[int], references: Sequence[int]) -> float:
    """The share of equal pairs."""
    return sum(p == r for p, r in zip(predictions, references, strict=True)) / len(references)


def f1(predictions: Sequence[int], references: Sequence[int]) -> float:
    """F1 of class 1 against the rest: 2 TP / (2 TP + FP + FN), and 0 without a true positive."""
    hits = sum(p == r == 1 for p, r in zip(predictions, references, strict=True))
    claimed = sum(p == 1 for p in predictions) + sum(r == 1 for r in references)
    return 2 * hits / claimed if claimed else 0.0


def matthews(predictions: Sequence[int], references: Sequence[int]) -> float:
    """Matthews correlation, for any number of classes (Gorodkin, 2004, Eq. 8).

    0 when the predictions or the references are all of one class.
    """
    n = len(references)
    right = sum(p == r for p, r in zip(predictions, references, strict=True))
    predicted, true = Counter(predictions), Counter(references)
    covariance = right * n - sum(predicted[k] * true[k] for k in true)
    spread = (n * n - sum(v * v for v in predicted.values())) * (
        n * n - sum(v * v for v in true.values())
    )
    return covariance / math.sqrt(spread) if spread else 0.0


def pearson(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Pearson's correlation; 0 when one side is constant and it is undefined."""
    n = len(references)
    mean_p, mean_r = math.fsum(predictions) / n, math.fsum(references) / n
    p = [value - mean_p for value in predictions]
    r = [value - mean_r for value in references]
    spread = math.sqrt(math.fsum(x * x for x in p) * math.fsum(x * x for x in r))
    return math.fsum(x * y for x, y in zip(p, r, strict=True)) / spread if spread else 0.0


def spearman(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Spearman's correlation: Pearson's of the ranks, equal values sharing their mean rank."""
    return pearson(_ranks(predictions), _ranks(references))


def _ranks(values: Sequence[float]) -> list[float]:
    below, count = {}, Counter(values)
    total = 0
    for value in sorted(count):
        below[value] = total
        total += count[value]
    return [below[value] + (count[value] + 1) / 2 for value in values]


def token_accuracy(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> float:
    """The share of tokens with the right tag, over all sentences."""
    return accuracy(_chain(predictions), _chain(references))


def span_f1(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """F1 of whole spans in IOB2 tags, over all types: type and both ends must be right.

    As in the CoNLL shared tasks, an I- that continues nothing begins a span.
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
    """Corpus BLEU-4 with several references (Papineni et al., 2002), unsmoothed.

    Words and punctuation marks are the tokens, so the last digit may differ from other tools.
    """
    matched, proposed = [0] * 4, [0] * 4
    length = closest = 0
    for prediction, texts in zip(predictions, references, strict=True):
        words, options = _words(prediction), [_words(text) for text in texts]
        length += len(words)
        closest += min((abs(len(o) - len(words)), len(o)) for o in options)[1]
        for n in range(4):
            counts = _ngrams(words, n + 1)
            ceiling: Counter[tuple[str, ...]] = Counter()
            for option in options:
                ceiling |= _ngrams(option, n + 1)
            matched[n] += (counts & ceiling).total()
            proposed[n] += counts.total()
    if not all(matched):
        return 0.0
    precision = sum(math.log(m / p) for m, p in zip(matched, proposed, strict=True)) / 4
    return math.exp(precision + min(0.0, 1 - closest / length))


def rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Mean ROUGE-L (Lin, 2004): F1 of the longest common subsequence, with the best reference."""
    total = 0.0
    for prediction, texts in zip(predictions, references, strict=True):
        words = _words(prediction)
        total += max(_subsequence_f1(words, _words(text)) for text in texts)
    return total / len(references)


def _subsequence_f1(a: list[str], b: list[str]) -> float:
    row = [0] * (len(b) + 1)  # row[j]: longest common subsequence of a so far and b[:j]
    for word in a:
        diagonal = 0
        for j, other in enumerate(b):
            above = row[j + 1]
            row[j + 1] = diagonal + 1 if word == other else max(above, row[j])
            diagonal = above
    return 2 * row[-1] / (len(a) + len(b)) if a or b else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


def _ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


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
    )
}
