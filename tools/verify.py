"""Run everything that keeps the project right: what `make test` and the continuous integration do.

    python tools/verify.py            all stages
    python tools/verify.py lint unit  some of them
    python tools/verify.py quick      what a contributor runs often

Stages run one after the other; a failure does not stop the later ones. The last line counts them.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
OFFLINE = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONHASHSEED": "0",
}
BUILD = ["-m", "jupyter_book", "build", ".", "-W", "-n", "--keep-going", "--all", "-q"]
STAGES: dict[str, list[list[str]]] = {
    "lint": [
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "pftlab", "tests", "tools", "benchmarks"],
    ],
    "types": [["-m", "mypy"]],
    "unit": [["-m", "pytest", "tests", "-n", "2", "--dist", "worksteal", "-m", "not site"]],
    "notebooks": [
        ["tools/notebooks.py", "check", "book"],
        [
            *("-m", "pytest", "book", "--nbval", "--nbval-current-env"),
            *("--nbval-sanitize-with", "book/sanitize.cfg", "--nbval-cell-timeout", "120"),
            *("-n", "2", "--dist", "loadfile"),
        ],
    ],
    "book": [BUILD],
    "site": [["-m", "pytest", "tests", "-m", "site"]],
}
QUICK = ("lint", "types", "unit")


def main() -> int:
    """Run the stages named on the command line, or all; return the exit code."""
    names = sys.argv[1:] or list(STAGES)
    names = list(QUICK) if names == ["quick"] else names
    if unknown := [name for name in names if name not in STAGES]:
        print(f"verify: no stage {unknown[0]!r}. Choose from: {', '.join(STAGES)}, quick.")
        return 2
    environment = {**os.environ, **OFFLINE}
    data = ROOT.parent / "shared" / "data" / "tasks"
    if "PFTLAB_DATA" not in environment and data.is_dir():
        environment["PFTLAB_DATA"] = str(data)
    if "PFTLAB_DATA" not in environment:
        print("PFTLAB_DATA is not set: tests on real data sets are left out.")
    outcome: dict[str, tuple[bool, float]] = {}
    for name in names:
        print(f"\n=== {name} " + "=" * (70 - len(name)), flush=True)
        if name == "book":
            shutil.rmtree(ROOT / "_build", ignore_errors=True)
        start = time.monotonic()
        codes = [
            subprocess.run([PYTHON, *step], cwd=ROOT, env=environment).returncode
            for step in STAGES[name]
        ]
        outcome[name] = (not any(codes), time.monotonic() - start)
    print("\n=== summary " + "=" * 63)
    for name, (passed, seconds) in outcome.items():
        print(f"{name:10} {'passed' if passed else 'FAILED'} {seconds:7.0f} s")
    failed = sum(not passed for passed, _ in outcome.values())
    print(f"\nstages: {len(outcome) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
