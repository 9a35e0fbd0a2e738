"""Run everything that keeps the project right: what `make test` and the continuous integration do.

    python tools/verify.py               all stages
    python tools/verify.py lint types    some of them
    python tools/verify.py quick         what a contributor runs often
    python tools/verify.py full          all stages, and nothing left out of them

Two things grow with the book and are left out but in "full", which runs every week and before a
release: what is marked `full` (most of the contract, and what is alike on all pages), and notebooks
that were made from files none of which has changed since.

Run it with the Python of the environment: `.venv/bin/python`. Stages run one after the other, but
for two that keep one core busy each, and a failure does not stop the later ones. The last line
counts what passed and what failed: a test is one, and so is a tool that checks the whole (ruff,
mypy, the build of the book).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

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
    # this checkout, and the tools in it, wherever the package was installed from
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tools")]),
}
WORKERS = ["-n", str(max(2, min(os.cpu_count() or 2, 8)))]
PYTEST = [PYTHON, "-m", "pytest"]
HANGS_AFTER = "1200"  # seconds by the clock; budgets are in processor time

STAGES = ("lint", "types", "book", "tests", "notebooks", "site")
SIDE_BY_SIDE = ("types", "book")  # one process each
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
    full = sys.argv[1:] == ["full"]
    names = list(STAGES) if full else sys.argv[1:] or list(STAGES)
    names = list(QUICK) if names == ["quick"] else names
    if unknown := [name for name in names if name not in STAGES]:
        print(f"verify: no stage {unknown[0]!r}. Choose from: {', '.join(STAGES)}, quick, full.")
        return 2
    if "tests" in names and "PFTLAB_DATA" not in os.environ:
        print("PFTLAB_DATA names no folder: tests on real data sets are left out.")
    outcomes: dict[str, Outcome] = {}
    began = time.monotonic()
    try:
        for name in names:
            if name in SIDE_BY_SIDE and set(SIDE_BY_SIDE) <= set(names):
                if name not in outcomes:
                    outcomes |= side_by_side(full)
                continue
            outcomes[name] = run(name, full)
    except KeyboardInterrupt:
        print("\nverify: stopped.")
        return 130
    return summarise(outcomes, time.monotonic() - began)


def side_by_side(full: bool) -> dict[str, Outcome]:
    """Run two stages at a time; what they print comes when it is complete."""

    def captured(name: str) -> Outcome:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
            outcome = run(name, full, log)
            log.seek(0)
            print(log.read(), end="", flush=True)
        return outcome

    with ThreadPoolExecutor() as pool:
        return dict(zip(SIDE_BY_SIDE, pool.map(captured, SIDE_BY_SIDE), strict=True))


def commands(stage: str, full: bool) -> list[list[str]]:
    """What a stage runs, one after the other; a command of pytest is counted test by test."""
    if stage == "lint":
        formatted = ["pftlab", "tests", "tools", "benchmarks"]
        return [
            [PYTHON, "-m", "ruff", "check", "."],
            [PYTHON, "-m", "ruff", "format", "--check", *formatted],
        ]
    if stage == "types":
        return [[PYTHON, "-m", "mypy"]]
    if stage == "tests":
        chosen = "not site" if full else "not site and not full"
        return [[*PYTEST, "tests", *WORKERS, "--dist", "worksteal", "-m", chosen]]
    if stage == "notebooks":
        return [[PYTHON, "tools/notebooks", "check", "book"], *nbval(full)]
    if stage == "book":
        shutil.rmtree(ROOT / "_build", ignore_errors=True)
        build = [str(SCRIPTS / "jupyter-book"), "build", "."]
        return [[*build, "-W", "-n", "--keep-going", "--all", "-q"]]
    chosen = "site" if full else "site and not full"
    return [[*PYTEST, "tests/house", "-m", chosen, *WORKERS, "--dist", "worksteal"]]


def nbval(full: bool) -> list[list[str]]:
    """The command that runs notebooks anew and compares their outputs; none if none is due."""
    due = ["book"]
    if not full:
        listing = subprocess.run(
            [PYTHON, "tools/notebooks", "touched", "book"],
            cwd=ROOT, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        due = listing.stdout.split("\n")[:-1] if listing.stdout.strip() else []
        print(f"{len(due)} notebooks were made from files that are others now.", flush=True)
    compare = ["-p", "notebooks.nbval_rules", "--nbval", "--nbval-current-env"]
    limits = ["--nbval-cell-timeout", HANGS_AFTER, "--timeout", HANGS_AFTER]
    rules = ["--nbval-sanitize-with", "book/sanitize.cfg"]
    return (
        [[*PYTEST, *due, *compare, *limits, *rules, *WORKERS, "--dist", "loadfile"]] if due else []
    )


def run(stage: str, full: bool, log: IO[str] | None = None) -> Outcome:
    """Run the commands of a stage; what they print goes into `log`, or to the terminal."""
    outcome, start = Outcome(), time.monotonic()
    print(f"\n== {stage} ".ljust(WIDTH, "="), file=log, flush=True)
    for command in commands(stage, full):
        environment = {**os.environ, **ENVIRONMENT}
        if command[:3] == PYTEST:
            count_tests(command, environment, outcome)
        elif subprocess.run(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log and subprocess.STDOUT
        ).returncode:
            outcome.failed += 1
        else:
            outcome.passed += 1
    outcome.seconds = time.monotonic() - start
    print(f"-- {stage}: {outcome.seconds:.0f} s", file=log, flush=True)
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


def summarise(outcomes: dict[str, Outcome], seconds: float) -> int:
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
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped in {seconds:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
