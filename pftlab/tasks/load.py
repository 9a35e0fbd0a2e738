"""The one way to a task: by its name, or from a folder."""

from pathlib import Path

from pftlab.core.errors import UnknownName

from .bundled import BUNDLED
from .card import Card
from .own import load_own
from .real import REAL
from .task import Task

TASKS: dict[str, Card] = {card.name: card for card in (*BUNDLED, *REAL)}


def load_task(
    name: str | Path,
    *,
    size: str = "default",
    seed: int = 0,
    data: str | Path | None = None,
) -> Task:
    """Load a task by its name in `TASKS`, or from a folder of your own.

    Args:
        name: of a bundled task ("reviews"), of a real one ("sst2"), or the path of a folder.
        size: of a bundled task: "tiny", "small", "default" or "large".
        seed: of a bundled task, which is generated from it. Real tasks are always the same.
        data: a folder that holds the real task. Without it, the folder that the environment
            variable PFTLAB_DATA names is looked into, and then the Hugging Face hub.

    Raises:
        UnknownName: no such task, or no such size.
        BadValue: the data are not as they should be.
        Unavailable: the data are not on this machine and cannot be downloaded.
    """
    card = TASKS.get(str(name))
    if card is None:
        if Path(name).is_dir():
            return load_own(Path(name))
        raise UnknownName("task or folder", str(name), TASKS)
    return card.load(size=size, seed=seed, data=None if data is None else Path(data))
