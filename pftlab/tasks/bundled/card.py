"""A task that the book generates: sizes, noise, and the rule that test words are new words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import UnknownName
from ..card import TaskCard
from ..columns import Row
from ..draw import Draw
from ..metrics import Metric
from ..rows import as_datasets
from ..task import Task

SIZES = {"tiny": 64, "small": 256, "default": 1_000, "large": 8_000}  # training rows
VALIDATION, TEST = 500, 1_000
NOISE = 0.03
INPUTS = ("text", "text_a", "text_b", "tokens", "source")


@dataclass(frozen=True, kw_only=True)
class BundledTask(TaskCard):
    """A task generated from a seed, the same on every platform, without a download.

    The content words of the test split never occur in the training split, so only a model that
    has met them elsewhere can know what they mean. The validation split shares the words of the
    training split. Of the training labels a known share is wrong; the others are all right, so
    that the best reachable score on the test split is 1.

    Attributes:
        compose: makes the i-th row of a split from its words; i decides label and form, so that
            both are balanced.
        spoil: makes the labels of some training rows wrong, in place.
        scores: the metrics, the main one first.
        train_words: the content words of training and validation.
        test_words: the content words of the test split.
        version: of the generator: changes whenever its output does.
        noise: share of wrong training labels.
        best_score: the best reachable value of the main metric on the test split.
    """

    compose: Callable[[Draw, int, bool], Row]
    spoil: Callable[[Draw, list[Row], float], None]
    scores: tuple[Metric, ...]
    train_words: tuple[str, ...]
    test_words: tuple[str, ...]
    version: int
    noise: float = NOISE
    best_score: float = 1.0

    def load(self, *, size: str, seed: int, data: Path | None) -> Task:
        """Generate the task; `data` is for real tasks and not looked at."""
        if size not in SIZES:
            raise UnknownName("size", size, SIZES)
        seen: set[str] = set()
        splits = {
            "train": self.rows("train", SIZES[size], seed, seen),
            "validation": self.rows("validation", VALIDATION, seed, seen),
            "test": self.rows("test", TEST, seed, seen),
        }
        self.spoil(self._draw("noise", seed), splits["train"], self.noise)
        return Task(
            name=self.name,
            kind=self.kind,
            labels=self.labels,
            metrics={metric.__name__: metric for metric in self.scores},
            splits=as_datasets(splits),
            source=f"generated, version {self.version}, size {size}, seed {seed}",
            licence=self.licence,
            citation=self.citation,
            notes=("The test split uses content words that the training split never shows.",),
            noise=self.noise,
            best_score=self.best_score,
            instruction=self.told,
        )

    def _draw(self, *purpose: str | int) -> Draw:
        return Draw(self.name, self.version, *purpose)

    def rows(self, split: str, n: int, seed: int, seen: set[str]) -> list[Row]:
        """Compose `n` rows, none of whose inputs is in `seen`, and shuffle them; without noise."""
        draw = self._draw(split, seed)
        rows = []
        for i in range(n):
            while True:
                row = self.compose(draw, i, split == "test")
                inputs = repr([row[column] for column in INPUTS if column in row])
                if inputs not in seen:
                    break
            seen.add(inputs)
            rows.append(row)
        return draw.shuffled(rows)


def flip_labels(draw: Draw, rows: list[Row], share: float) -> None:
    """Give a share of the rows the other of two labels, as many of one class as of the other."""
    for label in (0, 1):
        mine = [row for row in rows if row["label"] == label]
        for row in draw.sample(mine, round(share * len(mine))):
            row["label"] = 1 - label
