"""What a training run leaves behind, beside the trained model."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Run:
    """The record of one training run.

    Attributes:
        arguments: what decides the result: steps, batch size, learning rate, seed, …
        history: one entry for each logged step, {"step", "loss", "lr"}, and for each evaluation,
            {"step", metric: value, …}.
        best: the evaluation that the model was left with: {"step", metric: value, …}.
        steps: optimiser steps done.
        seconds: spent in training steps, without evaluation.
        examples_per_second: training examples, all processes together.
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
        """Scores on the validation split of the model as it was left."""
        return {name: value for name, value in self.best.items() if name != "step"}

    @property
    def losses(self) -> list[tuple[int, float]]:
        """(step, mean training loss since the entry before)."""
        return [(int(e["step"]), e["loss"]) for e in self.history if "loss" in e]

    def to_dict(self) -> dict[str, Any]:
        """As data for a JSON file; `Run(**data)` reads it back."""
        return asdict(self)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        stopped = ", interrupted" if self.interrupted else ""
        return (
            f"Run({self.steps} steps in {self.seconds:.1f} s, {scores or 'not evaluated'}{stopped})"
        )
