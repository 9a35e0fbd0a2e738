"""What a training run leaves behind, beside the trained model."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from ..scores import score_of


@dataclass
class Run:
    """The record of one training run.

    Attributes:
        arguments: what decides the result: steps, batch size, learning rate, seed, …
        history: one entry for each logged step, {"step", "loss", "lr"}, and for each evaluation,
            {"step", "validation_loss", metric: value, …}.
        best: the evaluation that the model was left with: {"step", metric: value, …}. An
            interrupted run leaves the model as its last step made it.
        steps: optimiser steps done.
        seconds: spent in training steps, without evaluation.
        examples_per_second: training examples, all processes together, without evaluation.
        peak_memory_bytes: on a GPU the most memory that tensors took; on a CPU by how much the
            process grew, which is coarser.
        interrupted: stopped by Ctrl-C before the last step.
    """

    arguments: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    examples_per_second: float = 0.0
    peak_memory_bytes: int = 0
    interrupted: bool = False

    @property
    def metrics(self) -> dict[str, float]:
        """Scores of the best evaluation on the validation split."""
        return {name: value for name, value in self.best.items() if name != "step"}

    @property
    def losses(self) -> list[tuple[int, float]]:
        """(step, mean training loss since the entry before)."""
        return [(int(e["step"]), e["loss"]) for e in self.history if "loss" in e]

    def log(self, step: int, total: float, lr: float) -> None:
        """Note the loss and the rate of a step; `total` is the sum of losses since the last."""
        since = step - (self.losses[-1][0] if self.losses else 0)
        self.history.append({"step": step, "loss": total / since, "lr": lr})

    def evaluated(self, step: int, scores: dict[str, float], metric: str) -> bool:
        """Note an evaluation; say whether it is the best so far (not a number is the worst)."""
        scores = {"validation_loss" if n == "loss" else n: v for n, v in scores.items()}
        self.history.append({"step": step, **scores})
        best, worth = self.best.get(metric, math.nan), score_of(metric).worth
        return not self.best or worth(scores[metric]) > worth(best) or math.isnan(best)

    def measure(self, batch_size: int, peak_memory_bytes: int) -> None:
        """Note speed and memory so far."""
        self.examples_per_second = self.steps * batch_size / max(self.seconds, 1e-9)
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes)

    def latest(self, metric: str) -> dict[str, str]:
        """The last loss, and the last score if there is one, for the progress bar."""
        seen = {k: f"{v:.4f}" for e in self.history for k, v in e.items() if k in ("loss", metric)}
        return dict(sorted(seen.items(), reverse=True))

    def to_dict(self) -> dict[str, Any]:
        """As data for a JSON file; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Run":
        """The run that `to_dict` wrote.

        Raises:
            ValueError: a value is missing, unknown, or not of its kind.
        """
        try:
            run = cls(**data)
        except TypeError as error:
            raise ValueError(error) from error
        fits = {
            "arguments": isinstance(run.arguments, dict),
            "history": isinstance(run.history, list) and all(map(_is_entry, run.history)),
            "best": run.best == {} or _is_entry(run.best),
            "steps": type(run.steps) is int and run.steps >= 0,
            "seconds": _is_number(run.seconds),
            "examples_per_second": _is_number(run.examples_per_second),
            "peak_memory_bytes": type(run.peak_memory_bytes) is int,
            "interrupted": isinstance(run.interrupted, bool),
        }
        if wrong := [name for name, fit in fits.items() if not fit]:
            raise ValueError(f"the record's {', '.join(wrong)} cannot be")
        return run

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        scores = f"{scores} at step {self.best['step']}" if self.best else "not evaluated"
        stopped = ", interrupted" if self.interrupted else ""
        return f"Run({self.steps} steps in {self.seconds:.1f} s, {scores}{stopped})"


def _is_entry(entry: Any) -> bool:
    """Whether this can be an entry of a history: a step, and numbers by name."""
    return isinstance(entry, dict) and "step" in entry and all(map(_is_number, entry.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
