"""`python tools/notebooks …`: run the tool from this checkout, with this checkout's package."""

import os
import sys
from importlib import import_module
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1]
CLOSED = 141  # what a shell reports of a program that wrote into a closed pipe

if __name__ == "__main__":
    sys.path[:0] = [str(TOOLS.parent), str(TOOLS)]
    try:
        code = import_module("notebooks.command").main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = CLOSED
    sys.exit(code)
