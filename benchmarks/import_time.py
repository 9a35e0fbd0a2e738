"""How long `import pftlab` takes, against importing torch: medians of fresh interpreters.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys

REPEATS = 7
TIMED = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    """Median seconds of `import module` in a fresh interpreter."""
    command = [sys.executable, "-c", TIMED.format(module)]
    outputs = [subprocess.run(command, capture_output=True, text=True) for _ in range(REPEATS)]
    return statistics.median(float(output.stdout) for output in outputs)


if __name__ == "__main__":
    for module in ("pftlab", "torch", "transformers"):
        print(f"import {module:13} {1000 * seconds(module):7.0f} ms", flush=True)
