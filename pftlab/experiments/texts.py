"""The few texts that all runs of a small experiment share."""

from collections.abc import Mapping

from ..tasks import Task, load_task


def few_texts(task: str, counts: Mapping[str, int]) -> Task:
    """A task cut to so many texts of each split (see `Task.subset`); other splits stay whole.

    Raises:
        What `load_task` and `Task.subset` raise.
    """
    cut = load_task(task)
    for split, count in counts.items():
        cut = cut.subset(count, split=split)
    return cut
