"""How a pretrained model came to be: a file that travels with its weights.

`history.json` in the folder of a model holds the runs of the recipe, the first one first, and what
was measured on held-out text afterwards:

    {"runs": [{"tokens_per_step": …, "device": …, "log": [{"step": …, "loss": …}, …], …}],
     "held_out": {"bits_per_byte": …, …}}
"""

import json
from pathlib import Path
from typing import Any

from ..core.errors import BadCheckpoint, Unavailable
from ..core.files import atomic_write

FILE = "history.json"
History = dict[str, Any]


def read_history(folder: str | Path) -> History:
    """Read the history of the model in `folder`.

    Raises:
        Unavailable: there is none.
        BadCheckpoint: it cannot be read.
    """
    path = Path(folder) / FILE
    try:
        history = json.loads(path.read_text(encoding="utf-8"))
        history["runs"][0]["log"]
    except FileNotFoundError as error:
        raise Unavailable(
            f"The folder {str(folder)!r} has no {FILE}. Only the recipe of the book writes one: "
            "python -m pftlab.pretraining."
        ) from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise BadCheckpoint(
            f"{str(path)!r} is not the history of a model ({error!r}). Install or copy it again."
        ) from error
    return history


def write_history(folder: Path, history: History) -> None:
    """Write `history.json`."""
    with atomic_write(folder / FILE) as temporary:
        temporary.write_text(json.dumps(history, indent=1) + "\n", encoding="utf-8")


def own_entries(log: list[dict[str, float]], name: str) -> list[dict[str, float]]:
    """The entries of a run's log that tell of one model, without its name before each key.

    Args:
        log: the history of a run of `pretrain`, of all models that it trains side by side.
        name: of the model, "tiny" or "mini".
    """
    entries = []
    for entry in log:
        common = {key: value for key, value in entry.items() if "/" not in key}
        own = {k.removeprefix(f"{name}/"): v for k, v in entry.items() if k.startswith(f"{name}/")}
        entries.append(common | own)
    return entries


def learning_curve(history: History, key: str) -> tuple[list[float], list[float]]:
    """Join the logs of all runs to one curve.

    Args:
        history: of one model.
        key: what to follow: "loss", "masked_lm", "held_out/bits_per_byte", …

    Returns:
        Millions of positions seen so far, and the values there.
    """
    seen, values, before = [], [], 0.0
    for run in history["runs"]:
        millions = run["tokens_per_step"] / 1e6
        for entry in run["log"]:
            if key in entry:
                seen.append(before + entry["step"] * millions)
                values.append(entry[key])
        before += run["steps"] * millions
    return seen, values
