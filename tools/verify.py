"""Run everything that keeps the project right: what `make test` and the continuous integration do.

    python tools/verify.py               all stages
    python tools/verify.py lint types    some of them
    python tools/verify.py quick         what a contributor runs often

Run it with the Python of the environment: `.venv/bin/python`. Stages run one after the other, and a
failure does not stop the later ones. The last line counts what passed and what failed: a test is
one, and so is a tool that checks the whole (ruff, mypy, the build of the book).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
SCRIPTS = Path(PYTHON).parent
# The same on every machine: one thread for each process, no network.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONHASHSEED": "0",
}
WORKERS = ["-n", str(max(2, min(os.cpu_count() or 2, 8)))]
PYTEST = [PYTHON, "-m", "pytest"]

# stage → commands; a command of pytest is counted test by test
STAGES: dict[str, list[list[str]]] = {
    "lint": [
        [PYTHON, "-m", "ruff", "check", "."],
        [PYTHON, "-m", "ruff", "format", "--check", "pftlab", "tests", "tools", "benchmarks"],
    ],
    "types": [[PYTHON, "-m", "mypy"]],
    "tests": [[*PYTEST, "tests", *WORKERS, "--dist", "worksteal", "-m", "not site"]],
    "notebooks": [
        [PYTHON, "tools/notebooks.py", "check", "book"],
        [
            *(*PYTEST, "book", "--nbval", "--nbval-current-env", "--nbval-cell-timeout", "300"),
            *("--nbval-sanitize-with", "book/sanitize.cfg", *WORKERS, "--dist", "loadfile"),
        ],
    ],
    "book": [
        [
            *(str(SCRIPTS / "jupyter-book"), "build", "."),
            *("-W", "-n", "--keep-going", "--all", "-q"),
        ]
    ],
    "site": [[*PYTEST, "tests/house", "-m", "site", *WORKERS, "--dist", "loadfile"]],
}
QUICK = ("lint", "types", "tests")
WIDTH = 78


@dataclass
class Outcome:
    """What one stage came to."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0


def main() -> int:
    """Run the stages named on the command line, or all; return the exit code."""
    names = sys.argv[1:] or list(STAGES)
    names = list(QUICK) if names == ["quick"] else names
    if unknown := [name for name in names if name not in STAGES]:
        print(f"verify: no stage {unknown[0]!r}. Choose from: {', '.join(STAGES)}, quick.")
        return 2
    if "tests" in names and "PFTLAB_DATA" not in os.environ:
        print("PFTLAB_DATA names no folder: tests on real data sets are left out.")
    outcomes: dict[str, Outcome] = {}
    try:
        for name in names:
            print(f"\n== {name} ".ljust(WIDTH, "="), flush=True)
            outcomes[name] = run(name)
    except KeyboardInterrupt:
        print("\nverify: stopped.")
        return 130
    return summarise(outcomes)


def run(stage: str) -> Outcome:
    """Run the commands of a stage."""
    if stage == "book":
        shutil.rmtree(ROOT / "_build", ignore_errors=True)
    outcome, start = Outcome(), time.monotonic()
    for command in STAGES[stage]:
        environment = {**os.environ, **ENVIRONMENT}
        if command[:3] == PYTEST:
            count_tests(command, environment, outcome)
        elif subprocess.run(command, cwd=ROOT, env=environment).returncode:
            outcome.failed += 1
        else:
            outcome.passed += 1
    outcome.seconds = time.monotonic() - start
    print(f"-- {stage}: {outcome.seconds:.0f} s", flush=True)
    return outcome


def count_tests(command: list[str], environment: dict[str, str], outcome: Outcome) -> None:
    """Run pytest and add its counts; a crash without a report is one failure."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code = subprocess.run(
            [*command, f"--junitxml={report}"], cwd=ROOT, env=environment
        ).returncode
        suites = list(xml.parse(report).getroot().iter("testsuite")) if report.is_file() else []
    counted = {
        key: sum(int(suite.get(key, 0)) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    }
    failed = counted["failures"] + counted["errors"]
    outcome.passed += max(0, counted["tests"] - failed - counted["skipped"])
    outcome.skipped += counted["skipped"]
    outcome.failed += failed or int(code != 0)


def summarise(outcomes: dict[str, Outcome]) -> int:
    """Print a line for each stage, when there are several, and the sum; return the exit code."""
    if len(outcomes) > 1:
        print("\n== summary ".ljust(WIDTH, "="))
        for name, one in outcomes.items():
            print(
                f"{name:10} {one.passed:5} passed {one.failed:4} failed {one.skipped:4} skipped "
                f"{one.seconds:6.0f} s{'   FAILED' if one.failed else ''}"
            )
    failed = sum(one.failed for one in outcomes.values())
    passed = sum(one.passed for one in outcomes.values())
    skipped = sum(one.skipped for one in outcomes.values())
    seconds = sum(one.seconds for one in outcomes.values())
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped in {seconds:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
