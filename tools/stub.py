"""Write every method into `pftlab/__init__.pyi`, from the rows of `pftlab/facts.py`.

    python tools/stub.py

The stub is what `import pftlab` reads to find a name, and what editors and type checkers read to
know its type.
"""

from pathlib import Path

from pftlab.facts import FACTS

STUB = Path(__file__).resolve().parents[1] / "pftlab" / "__init__.pyi"
METHODS = "# The methods, written by tools/stub.py\n"


def written() -> str:
    """The stub as it should be: what stands above the methods is written by hand."""
    head, marker, _ = STUB.read_text(encoding="utf-8").partition(METHODS)
    places = sorted(row.place.split(":") for row in FACTS.values())
    return head + marker + "".join(f"from .{module} import {c} as {c}\n" for module, c in places)


if __name__ == "__main__":
    STUB.write_text(written(), encoding="utf-8")
