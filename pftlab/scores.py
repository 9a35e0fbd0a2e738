"""The scores by name: which way is better, between what they lie, and how they are written.

Whoever compares two scores, draws an axis of them or prints one reads it here, so that a loss is
never taken for an accuracy. Nothing is imported for it, as for `facts`.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """What is known of a score.

    Attributes:
        title: as a sentence and an axis name it.
        higher_is_better: otherwise lower is.
        low: the lowest value that there can be.
        high: the highest value that there can be.
        times: what a value is multiplied by when it is written; papers write shares times 100.
        unit: behind a written value.
        decimals: of a written value.
    """

    title: str
    higher_is_better: bool = True
    low: float = -math.inf
    high: float = math.inf
    times: float = 1.0
    unit: str = ""
    decimals: int = 3

    @property
    def axis(self) -> str:
        """The label of an axis."""
        if self.unit:
            return f"{self.title}, {self.unit}"
        return self.title if self.times == 1 else f"{self.title} × {self.times:g}"

    @property
    def best(self) -> str:
        """What the best value is called."""
        return "highest" if self.higher_is_better else "lowest"

    @property
    def worst(self) -> str:
        """What the worst value is called."""
        return "lowest" if self.higher_is_better else "highest"

    def worth(self, value: float) -> float:
        """A number that is higher for a better value; what is not a number is the worst."""
        if math.isnan(value):
            return -math.inf
        return value if self.higher_is_better else -value

    def number(self, value: float) -> str:
        """A value, or a distance between two, without its unit: 0.8391 → "83.9"."""
        return f"{self.times * value:.{self.decimals}f}"

    def written(self, value: float) -> str:
        """A value with its unit: 0.8391 → "83.9 %"."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def apart(self, distance: float) -> str:
        """A distance between two values: 0.012 → "1.2 points"; of a loss "0.012"."""
        return f"{self.number(abs(distance))}{' points' if self.times == 100 else ''}"

    def within(self, low: float, high: float) -> tuple[float, float]:
        """The part of `low` … `high` in which values can be: where an axis or an interval ends."""
        return max(low, self.low), min(high, self.high)

    def reach(self, mean: float, half: float | None) -> tuple[float, float]:
        """From where to where an interval goes; `half` of its width is None for a single run."""
        return self.within(mean - (half or 0.0), mean + (half or 0.0))


def _share(title: str, **more: bool) -> Score:
    return Score(title, low=0.0, high=1.0, times=100.0, unit="%", decimals=1, **more)


def _correlation(title: str) -> Score:
    return Score(title, low=-1.0, high=1.0, times=100.0, decimals=1)


def _rate(title: str) -> Score:
    """Errors for each thing that there is; there can be more errors than things."""
    return Score(title, False, low=0.0, times=100.0, unit="%", decimals=1)


SCORES: dict[str, Score] = {
    "accuracy": _share("accuracy"),
    "f1": _share("F1"),
    "token_accuracy": _share("token accuracy"),
    "span_f1": _share("span F1"),
    "slot_accuracy": _share("slot accuracy"),
    "slot_error_rate": _rate("slot error rate"),
    "missing": _share("missing slots", higher_is_better=False),
    "wrong": _share("wrong slots", higher_is_better=False),
    "invented": _rate("invented slots"),
    "matthews": _correlation("Matthews correlation"),
    "pearson": _correlation("Pearson correlation"),
    "spearman": _correlation("Spearman correlation"),
    "bleu": Score("BLEU", low=0.0, high=1.0, times=100.0, decimals=1),
    "rouge_l": Score("ROUGE-L", low=0.0, high=1.0, times=100.0, decimals=1),
    "last_number": _share("right last numbers"),
    "loss": Score("loss", False, low=0.0),
    "validation_loss": Score("validation loss", False, low=0.0),
    "perplexity": Score("perplexity", False, low=1.0, decimals=2),
    "lm_loss": Score("language-model loss", False, low=0.0),
    "masked_lm_loss": Score("masked-language-model loss", False, low=0.0),
    "span_loss": Score("loss of spans taken out", False, low=0.0),
    "drift": Score("drift of hidden states", False, low=0.0, high=2.0),
    "tokens": Score("tokens written", low=0.0, decimals=1),  # more or fewer: neither is better
    "ended": _share("texts ended by the model"),
}


def score_of(name: str) -> Score:
    """What is known of a score; of one's own, which is not among `SCORES`, that more is better."""
    return SCORES.get(name) or Score(name.replace("_", " "))
