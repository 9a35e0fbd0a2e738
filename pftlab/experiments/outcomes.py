"""What a run answered to each text of the test split, in a form that fits into a line.

A score is a function of counts that are summed over the texts: an accuracy of right answers, an F1
of hits and misses. With the counts of each text at hand, the score of any other choice of texts is
known, which is what intervals over texts are made of.
"""

import base64
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import BadValue
from ..tasks import Task
from ..tasks.encoding import IGNORED
from ..tasks.metrics import spans

Array = np.ndarray


class Counted(NamedTuple):
    """How a score comes from counts.

    Attributes:
        columns: what is counted in each text.
        score: (…, columns) sums and the number of texts → (…) scores.
    """

    columns: tuple[str, ...]
    score: Callable[[Array, int], Array]


def _ratio(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below != 0)


def _f1(sums: Array, texts: int) -> Array:
    hit, invented, missed, _ = np.moveaxis(sums, -1, 0)
    return _ratio(2 * hit, 2 * hit + invented + missed)


def _matthews(sums: Array, texts: int) -> Array:
    tp, fp, fn, tn = np.moveaxis(sums.astype(float), -1, 0)
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


_TABLE = ("hit", "invented", "missed", "rejected")  # of class 1, of two classes
COUNTED: dict[str, Counted] = {
    "accuracy": Counted(("right",), lambda sums, texts: sums[..., 0] / texts),
    "f1": Counted(_TABLE, _f1),
    "matthews": Counted(_TABLE, _matthews),
    "token_accuracy": Counted(
        ("right", "tokens"), lambda sums, texts: _ratio(sums[..., 0], sums[..., 1])
    ),
    "span_f1": Counted(
        ("hits", "found", "true"),
        lambda sums, texts: _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2]),
    ),
}
#: Of other scores: that of each text alone, whose mean is taken.
MEAN = Counted(("score",), lambda sums, texts: sums[..., 0] / texts)


def outcomes(task: Task, pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """Counts of each text for the task's main score, packed; see `unpack`.

    Args:
        task: whose `metric` is meant.
        pairs: prediction and reference of each text, as `Task.score` takes them.

    Returns:
        {} where the score is made of no sums (correlations, or tables of more than two classes).
    """
    name = task.metric
    if name in ("pearson", "spearman") or (COUNTED.get(name, MEAN).columns is _TABLE and
                                           len(task.labels or task.words) != 2):  # fmt: skip
        return {}
    rows = [_counts(task, name, prediction, reference) for prediction, reference in pairs]
    return pack(COUNTED.get(name, MEAN).columns, np.array(rows, dtype=float))


def _counts(task: Task, name: str, prediction: Any, reference: Any) -> list[float]:
    if name == "accuracy":
        return [prediction == reference]
    if COUNTED.get(name, MEAN).columns is _TABLE:
        pair = (prediction == 1, reference == 1)
        return [pair == kind for kind in ((True, True), (True, False), (False, True), (False,) * 2)]
    if name in ("token_accuracy", "span_f1"):
        seen = [(p, r) for p, r in zip(prediction, reference, strict=True) if r != IGNORED]
        if name == "token_accuracy":
            return [sum(p == r for p, r in seen), len(seen)]
        found, true = (spans([task.labels[n] for n in tags]) for tags in zip(*seen, strict=True))
        return [len(found & true), len(found), len(true)]
    return [task.metrics[name]([prediction], [reference])]


def pack(columns: Sequence[str], counts: Array) -> dict[str, Any]:
    """Counts (texts, columns) as {"columns", "texts", "form", "data"}, which JSON can hold."""
    if counts.max(initial=0) <= 1 and (counts == np.round(counts)).all():
        form, data = "bits", np.packbits(counts.astype(bool))
    elif counts.max(initial=0) < 256 and (counts == np.round(counts)).all():
        form, data = "bytes", counts.astype(np.uint8)
    else:
        form, data = "halves", counts.astype("<f2")
    text = base64.b64encode(zlib.compress(data.tobytes(), 9)).decode()
    return {"columns": list(columns), "texts": len(counts), "form": form, "data": text}


def unpack(packed: dict[str, Any]) -> Array:
    """The counts (texts, columns) that `pack` was given; halves are rounded.

    Raises:
        BadValue: it is damaged.
    """
    try:
        raw = zlib.decompress(base64.b64decode(packed["data"], validate=True))
        shape = (packed["texts"], len(packed["columns"]))
        if packed["form"] == "bits":
            bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=shape[0] * shape[1])
            return bits.reshape(shape).astype(float)
        kinds: dict[str, Any] = {"bytes": np.uint8, "halves": "<f2"}
        return np.frombuffer(raw, kinds[packed["form"]]).reshape(shape).astype(float)
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise BadValue(
            f"What a run answered cannot be read ({error}). Its line is damaged: run it again."
        ) from error


def score_of_counts(metric: str, sums: Array, texts: int) -> Array:
    """Scores (…) from counts summed over `texts` texts (…, columns)."""
    return COUNTED.get(metric, MEAN).score(sums, texts)
