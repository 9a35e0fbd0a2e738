"""Multitask Prompt Tuning Enables Parameter-Efficient Transfer Learning.

Wang, Panda, Karlinsky, Feris, Sun and Kim (2023), https://arxiv.org/abs/2303.02861. The losses
that distil the shared prompt from a teacher for each source task (Section 3.2) are not here: the
prompt is learned from the tasks' own labels, as in Hugging Face PEFT.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import BadValue, Site, planted
from ..core.limits import Whole
from ..facts import FACTS
from .prompt_tuning import PromptTuning, first_vectors
from .soft_prompt import SoftPrompt


class MultitaskPrompt(SoftPrompt):
    """P ∘ W_k with W_k = u_k v_kᵀ: one prompt for all tasks, rescaled for each (Eq. 1).

    P (n, d), u_k (n, rank), v_k (rank, d). The vectors of each task are parameters of their own:
    an optimiser leaves those of a task alone that a step did not see.

    Attributes:
        chosen: the task whose prompt is used, or one for each row of the batch; None: the mean of
            all W_k.
    """

    chosen: int | tuple[int, ...] | None = None

    def __init__(self, vectors: Tensor, method: "MultitaskPromptTuning"):
        super().__init__(vectors, method.position)
        (n, d), rank = vectors.shape, method.rank
        self.u = nn.ParameterList(
            1 + method.std * torch.randn(n, rank) for _ in range(method.tasks)
        )
        self.v = nn.ParameterList(
            1 / rank + method.std * torch.randn(rank, d) for _ in range(method.tasks)
        )

    def vectors(self) -> Tensor:
        tasks = range(len(self.u)) if self.chosen is None else self.chosen
        if isinstance(tasks, int):
            return self.P * (self.u[tasks] @ self.v[tasks])
        scales = torch.stack([self.u[k] @ self.v[k] for k in tasks])  # (B, n, d)
        return self.P * (scales.mean(0) if self.chosen is None else scales)

    def forward(self, embedded: Tensor) -> Tensor:
        if isinstance(self.chosen, tuple) and len(self.chosen) != len(embedded):
            raise BadValue(
                f"{len(self.chosen)} tasks are chosen for {len(embedded)} rows. Choose one for "
                "each row, or a single one for all."
            )
        return self.vectors().expand(len(embedded), -1, -1)


@dataclass(frozen=True)
class MultitaskPromptTuning(PromptTuning):
    """One prompt that several tasks share, rescaled by a matrix of rank one for each.

    First it is trained on source tasks: `choose_task`, train on that task, choose the next. Then
    `transfer` starts the prompt of a target task, with `tasks=1`, from what was learned.

    Args:
        tasks: how many tasks share the prompt.
        rank: of each task's matrix (paper: 1).
        std: deviation of the first u and v around the matrix of ones, with which every task
            starts at the shared prompt.
    """

    facts = FACTS["multitask_prompt_tuning"]

    tasks: Whole = 1
    rank: Whole = 1
    std: float = 0.02

    def delta(self, site: Site) -> MultitaskPrompt:
        return MultitaskPrompt(first_vectors(site, self), self)


def choose_task(model: nn.Module, task: int | Sequence[int] | None) -> None:
    """Use a task's prompt from now on, in training and after it.

    Args:
        model: with MultitaskPromptTuning attached.
        task: number of the task from 0; one for each row of the batch; None: the mean of all.

    Raises:
        BadValue: there is no such task, or no prompt.
    """
    prompt = _multitask_prompt(model)
    chosen = task if isinstance(task, int) or task is None else tuple(int(k) for k in task)
    for k in (chosen,) if isinstance(chosen, int) else chosen or ():
        if not 0 <= k < len(prompt.u):
            raise BadValue(f"There is no task {k}: the prompt has {len(prompt.u)}, from 0.")
    prompt.chosen = chosen


@torch.no_grad()
def transfer(source: nn.Module, target: nn.Module, start: str | int = "average") -> None:
    """Start a target task's prompt from what source tasks have learned (Section 3.3).

    Args:
        source: with the trained prompt of several tasks.
        target: with MultitaskPromptTuning(tasks=1) of the same length and rank attached.
        start: of the target's u and v: "average" of the source tasks', those of one task by its
            number, or "shared": the prompt alone, with u and v as they are.

    Raises:
        BadValue: a model carries no such prompt, the shapes differ, or `start` is unknown.
    """
    theirs, ours = _multitask_prompt(source), _multitask_prompt(target)
    if len(ours.u) != 1:
        raise BadValue(f"The target's prompt has {len(ours.u)} tasks. Attach one with tasks=1.")
    if (theirs.P.shape, theirs.u[0].shape) != (ours.P.shape, ours.u[0].shape):
        raise BadValue("The prompts differ in length, width or rank. Attach one of the same shape.")
    known = isinstance(start, int) and 0 <= start < len(theirs.u)
    if not known and start not in ("average", "shared"):
        raise BadValue(
            f'start={start!r}: choose "average", "shared" or a task from 0 to {len(theirs.u) - 1}.'
        )
    ours.P.copy_(theirs.P)
    for mine, its in ((ours.u, theirs.u), (ours.v, theirs.v)):
        if isinstance(start, int):
            mine[0].copy_(its[start])
        elif start == "average":
            mine[0].copy_(torch.stack(list(its)).mean(0))


def _multitask_prompt(model: nn.Module) -> MultitaskPrompt:
    found = [delta for *_, delta in planted(model) if isinstance(delta, MultitaskPrompt)]
    if len(found) != 1:
        raise BadValue(
            f"{len(found)} such prompts are attached. Attach MultitaskPromptTuning once."
        )
    return found[0]
