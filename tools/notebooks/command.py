"""Execute, normalise and check the book's notebooks: the one road from a cell to a page.

    python tools/notebooks sync    book     rewrite the cells made from the package
    python tools/notebooks run     book     execute in a fresh kernel, offline, and store outputs
    python tools/notebooks check   book     fail when a stored notebook cannot be trusted
    python tools/notebooks touched book     name the notebooks made from files that changed since

With `run --touched` those alone are executed. The stored outputs are what the reader sees and what
nbval compares with a new execution; `check` looks for what nbval does not see.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

from .checks import check
from .execution import run
from .form import notebooks, read
from .package import sync
from .record import changed_since


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="notebooks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("sync", "run", "check", "touched"))
    parser.add_argument("paths", nargs="+", metavar="PATH", help="notebooks, or folders of them")
    parser.add_argument("--touched", action="store_true", help="run those alone")
    options = parser.parse_args(arguments)
    found = notebooks(options.paths)
    if options.command == "check":
        problems = [problem for path in found for problem in check(path)]
        print("\n".join(problems) or f"{len(found)} notebooks are in order", flush=True)
        return 1 if problems else 0
    if options.command == "touched":
        print(*touched(found), sep="\n")
        return 0
    for path in found:
        sync(path)
    if options.command == "run":
        for path in touched(found) if options.touched else found:
            run(path)
    return 0


def touched(paths: Iterable[Path]) -> list[Path]:
    """Those of the notebooks that were made from files which are others now."""
    return [path for path in paths if changed_since(read(path))]
