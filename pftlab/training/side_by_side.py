"""What a model answers before and after training, side by side, to be read by a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_tokenizer
from ..core.attachment import disabled
from ..core.errors import BadValue
from ..core.record import attached
from ..tasks import Task
from .evaluation import Evaluator
from .generation import Written

INDENT = 13


@dataclass(frozen=True)
class Answer:
    """One row of a task, answered.

    Attributes:
        source: what was asked.
        references: the texts that count as right.
        before: what the base writes.
        after: what the model with its attachments writes; None: nothing is attached.
    """

    source: str
    references: tuple[str, ...]
    before: Written
    after: Written | None

    def __str__(self) -> str:
        parts = [("source", self.source), ("right", self.references[0])]
        parts.append(("before", _shown(self.before)))
        if self.after is not None:
            parts.append(("after", _shown(self.after)))
        return "\n".join(
            f"  {name:<{INDENT - 2}}{text}".replace("\n", "\n" + " " * INDENT)
            for name, text in parts
        )


class Answers(Sequence[Answer]):
    """Answers in the order of the rows; printed, they stand one below the other."""

    def __init__(self, rows: Sequence[Answer]):
        self.rows = list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        return Answers(self.rows[i]) if isinstance(i, slice) else self.rows[i]

    def __str__(self) -> str:
        return "\n\n".join(f"{i}\n{row}" for i, row in enumerate(self.rows, start=1))

    __repr__ = __str__


def answers(
    model: PreTrainedModel,
    task: Task,
    split: str = "test",
    *,
    n: int = 10,
    shots: int = 0,
    max_length: int = 128,
    max_new_tokens: int | None = None,
    batch_size: int = 64,
    tokenizer: PreTrainedTokenizerBase | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Answers:
    """Let a model answer the first rows of a split, as the base that it was and as it is now.

        print(pft.answers(model, task, n=3))

    Args:
        model: a language model, with something attached or nothing. Its mode is left as it was.
        task: of the kind "generation".
        split: "train", "validation" or "test".
        n: rows.
        shots: solved examples in front of each prompt; see `evaluate`, as of the next ones.
        max_length: in tokens.
        max_new_tokens: that are written at most.
        batch_size: prompts at a time.
        tokenizer: the base's; loaded if not given.
        seed: of the choice of the solved examples.
        progress: show a progress bar.

    Raises:
        UnknownName: no such split.
        BadValue: the task is answered by no text, or an argument cannot be.
    """
    if task.kind != "generation":
        raise BadValue(
            f"{task.name!r} is a task of the kind {task.kind!r}, and nothing is written for it. "
            "Answers side by side are for generation; evaluate() gives the scores."
        )
    evaluator = Evaluator(
        model,
        task,
        split,
        tokenizer=tokenizer or load_tokenizer(model),
        max_length=max_length,
        limit=n,
        batch_size=batch_size,
        shots=shots,
        max_new_tokens=max_new_tokens,
        seed=seed,
    )
    training = model.training
    model.eval()
    try:
        before, after = evaluator.write(progress), None
        if attached(model):
            with disabled(model):
                before, after = evaluator.write(progress), before
    finally:
        model.train(training)
    rows = task.rows(split, n)
    return Answers(
        [
            Answer(source, tuple(references), before[i], after[i] if after else None)
            for i, (source, references) in enumerate(
                zip(rows["source"][:], rows["references"][:], strict=True)
            )
        ]
    )


def _shown(written: Written) -> str:
    return written.text if written.ended else f"{written.text} … (cut, {written.tokens} tokens)"
