"""How long `import pftlab` and a first model take, against importing torch.

python benchmarks/import_time.py     medians of fresh interpreters
"""

import statistics
import subprocess
import sys

REPEATS = 7
TIMED = "{1}; import time; t = time.perf_counter(); {0}; print(time.perf_counter() - t)"
MODEL = "pftlab.load_base('tiny-encoder', num_labels=2)"
# What a model imports besides: so that loading is timed, and not importing.
CLASSES = "import pftlab; from transformers import AutoTokenizer, BertForSequenceClassification"


def seconds(statement: str, before: str = "pass") -> float:
    """Median seconds of a statement in a fresh interpreter, after another one."""
    command = [sys.executable, "-c", TIMED.format(statement, before)]
    outputs = [
        subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(REPEATS)
    ]
    return statistics.median(float(output.stdout) for output in outputs)


if __name__ == "__main__":
    for module in ("pftlab", "torch", "transformers"):
        print(f"import {module:31} {1000 * seconds(f'import {module}'):7.0f} ms", flush=True)
    milliseconds = 1000 * seconds(MODEL, CLASSES)
    print(f"load_base('tiny-encoder'), imported   {milliseconds:7.0f} ms", flush=True)
