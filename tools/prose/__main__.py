"""`python tools/prose [PAGE …]`: what is wrong with the prose of pages, or of the whole book.

The same rules run in `make test`, in tests/book/test_prose.py.
"""

import sys
from importlib import import_module
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path[:0] = [str(TOOLS.parent), str(TOOLS)]
    prose = import_module("prose")
    chosen = [Path(name).resolve() for name in sys.argv[1:]] or prose.pages()
    problems = [problem for path in chosen for problem in prose.check(path)]
    print("\n".join(problems) or f"{len(chosen)} pages are in order", flush=True)
    sys.exit(1 if problems else 0)
