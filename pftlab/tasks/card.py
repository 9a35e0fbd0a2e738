"""What is known of a task without loading it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import Task


@dataclass(frozen=True, kw_only=True)
class TaskCard:
    """The index card of a task in `TASKS`.

    Attributes:
        name: what `load_task` takes.
        summary: one line for tables and help texts.
        kind: "classification", "pairs", "regression", "tagging" or "generation".
        metrics: the names of the scores, the main one first.
        labels: names of classes or tags; empty where there are none, or too many to list here.
        licence: of the data.
        citation: the paper to cite.
        instruction: what a model that follows instructions is told to do; "" where the sources
            say it themselves. None: the summary.
    """

    name: str
    summary: str
    kind: str
    metrics: tuple[str, ...]
    labels: tuple[str, ...] = ()
    licence: str
    citation: str
    instruction: str | None = None

    @property
    def told(self) -> str:
        """The instruction, as a sentence."""
        if self.instruction is not None:
            return self.instruction
        said = self.summary[0].upper() + self.summary[1:]
        return said if said.endswith(("?", ")")) else f"{said}."

    def load(self, *, size: str, seed: int, data: Path | None) -> "Task":
        """Load the task; see `load_task`."""
        raise NotImplementedError
