"""The one way to a task: by its name, or from your own data."""

from pathlib import Path

from ..core.errors import BadValue, UnknownName
from .bundled import BUNDLED
from .card import TaskCard
from .columns import Columns
from .own import load_own
from .real import REAL
from .source import Source
from .task import Task

TASKS: dict[str, TaskCard] = {card.name: card for card in (*BUNDLED, *REAL)}


def load_task(
    name: str | Path | Source,
    *,
    size: str = "default",
    seed: int = 0,
    data: str | Path | None = None,
    columns: Columns | None = None,
) -> Task:
    """Load a task by its name in `TASKS`, or from data of your own.

        load_task("reviews")
        load_task("path/to/folder")                # train.csv, test.csv, …; or the path of one file
        load_task(frame, columns={"text": "review", "label": "stars"})

    Args:
        name: of a bundled task ("reviews") or of a real one ("sst2"); or the path of a folder or
            of a file (.jsonl, .json, .csv, .tsv, .parquet); or a pandas DataFrame, a
            `datasets.Dataset`, a list of dicts, or a dict of these by split. See `own.load_own`
            for what the columns make of it.
        size: of a bundled task: "tiny", "small", "default" or "large".
        seed: of a bundled task, which is generated from it. Real tasks are always the same.
        data: a folder that holds the real task. Without it, the folder that the environment
            variable PFTLAB_DATA names is looked into, and then the Hugging Face hub.
        columns: of your own data: our name of a column → theirs, where it is not a usual one.

    Raises:
        UnknownName: no such task, size or column.
        BadValue: the data are not as they should be.
        Unavailable: the data are not on this machine and cannot be downloaded.
    """
    is_name = isinstance(name, str | Path)
    card = TASKS.get(str(name)) if is_name else None
    if card is not None:
        if columns:
            raise BadValue(f"columns= was given for {str(name)!r}, whose columns are known.")
        return card.load(size=size, seed=seed, data=None if data is None else Path(data))
    if is_name and not _exists(Path(name)):
        raise UnknownName("task, folder or file", str(name)[:200], TASKS)
    if size != "default" or data is not None:
        raise BadValue(
            "size= and data= are for the tasks that pftlab knows by name. Leave them out, and take "
            "load_task(...).subset(n) for fewer training examples."
        )
    return load_own(name, columns)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a text that is too long for a path, or no path at all
        return False
