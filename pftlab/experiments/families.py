"""Every method of the book on one small task under one protocol: the runs behind the families' pages.

    python -m pftlab.experiments.families

does what is not yet done in book/results/families.jsonl: 100 steps on the task `reviews`, with the
book's smallest encoder, three seeds, and a learning rate found by the same small search for each
method. Beside the families run the baselines: full fine-tuning, the linear probe, and full
fine-tuning from random weights, which shows what comes from the pretraining.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.method import Method
from ..registry import METHODS
from .grid import Grid
from .results import load_results
from .summary import Summary, summarise

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results" / "families.jsonl"
BASELINES = ("linear_probe", "full")
PROTOCOL: dict[str, Any] = {
    "base": "tiny-encoder",
    "task": "reviews",
    "seeds": (0, 1, 2),
    "steps": 100,
    "batch_size": 16,
    "max_length": 64,
    "search": True,
    "factors": (1.0, 3.0, 10.0),  # upwards, for rates suited to large models are small ones here
}
#: Where the default is meant for models that are many times wider, or for longer training.
SETTINGS: dict[str, dict[str, Any]] = {
    **{key: {"bottleneck": 16} for key in ("houlsby", "pfeiffer", "residual", "parallel")},
    "adapter_drop": {"bottleneck": 16},
    "mad_x": {"bottleneck": 32},
    **{key: {"length": 10} for key in ("prompt_tuning", "p_tuning", "multitask_prompt_tuning")},
    "prefix_tuning": {"length": 10, "hidden": 64},
    "p_tuning_v2": {"length": 10},
    "qlora": {"rank": 8},
    "galore": {"interval": 50},
    "fish_mask": {"samples": 256},
    "lt_sft": {"full_learning_rate": 5e-4},
    "mam": {"length": 10, "hidden": 64, "bottleneck": 16},
    "unipelt": {"bottleneck": 16, "hidden": 64},
    "fourierft": {"frequencies": 500},
}
#: Not by itself: it combines adapters that were trained for other tasks. Its family's page does.
APART = ("adapter_fusion",)


def small(name: str) -> Method:
    """The method `name` as the pages of the families run it."""
    return METHODS[name](**SETTINGS.get(name, {}))


def members(family: str) -> list[str]:
    """The names of the methods of `family`, in the order of the registry."""
    return [name for name, method in METHODS.items() if method.family == family]


def grids(names: tuple[str, ...] = ()) -> list[Grid]:
    """The grid over the baselines and all families but fine-tuning, and the control.

    Args:
        names: of methods; () takes all.
    """
    families = [n for n in METHODS if METHODS[n].family != "finetune" and n not in APART]
    every = tuple(small(name) for name in names or (*BASELINES, *families))
    command = "python -m pftlab.experiments.families"
    main = Grid(**PROTOCOL, methods=every, command=command)
    control = replace(main, methods=(small("full"),), pretrained=False)
    return [main, control]


def family_rows(family: str, path: str | Path = RESULTS) -> tuple[list[Summary], Summary]:
    """The family's methods and the baselines, fewest parameters first; and the control.

    Raises:
        Unavailable: there are no results at `path`.
    """
    names = {*members(family), *BASELINES}
    rows = [row for row in summarise(load_results(path)) if row.method in names]
    base = PROTOCOL["base"]
    (control,) = (row for row in rows if row.base != base)
    return [row for row in rows if row.base == base], control


def main() -> None:
    """Do the runs that are missing."""
    parser = argparse.ArgumentParser(prog="python -m pftlab.experiments.families")
    parser.add_argument("names", nargs="*", metavar="METHOD", help="only these; default all")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="a .jsonl file")
    given = parser.parse_args()
    for grid in grids(tuple(given.names)):
        grid.run(given.out, workers=given.workers)


if __name__ == "__main__":
    main()
