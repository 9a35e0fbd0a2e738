"""`python tools/notebooks …`: run the tool from this checkout, with this checkout's package."""

import sys
from importlib import import_module
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path[:0] = [str(TOOLS.parent), str(TOOLS)]
    sys.exit(import_module("notebooks.command").main())
