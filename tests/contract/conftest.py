"""The matrix of methods and architectures, collected from the outcome of the contract's tests."""

import json
from pathlib import Path
from typing import Any

import pytest

from pftlab import METHODS
from pftlab.testing import MODELS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrix",
        metavar="FILE",
        help="write which method works on which architecture as JSON; '-' prints a table",
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    target = config.getoption("--matrix", default=None)
    if not target:
        return
    stored: dict[str, dict[str, str]] = {}
    if target != "-" and Path(target).is_file():
        stored = json.loads(Path(target).read_text(encoding="utf-8"))
    found: dict[str, dict[str, str]] = {}
    for report in (
        r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])
    ):
        for key, value in report.user_properties:
            if key == "cell" and report.when == "call":
                method, architecture, reason = value
                outcome = f"refused: {reason}" if reason else "works"
                found.setdefault(method, {})[architecture] = outcome
    if target == "-":
        terminalreporter.write_line(table(found))
    else:
        # in the order of the registry; what was not tried this time stays as it was
        rows = {n: stored.get(n, {}) | found.get(n, {}) for n in METHODS}
        found = {n: {m: row[m] for m in MODELS if m in row} for n, row in rows.items()}
        Path(target).write_text(
            json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def table(found: dict[str, dict[str, str]]) -> str:
    """The matrix as Markdown; reasons are numbered below it."""
    architectures = list(dict.fromkeys(a for row in found.values() for a in row))
    reasons: list[str] = []
    lines = [
        "| method | " + " | ".join(architectures) + " |",
        "|---" * (len(architectures) + 1) + "|",
    ]
    for method, row in found.items():
        marks = []
        for architecture in architectures:
            outcome = row.get(architecture, "?")
            if outcome not in ("works", "?"):
                if outcome not in reasons:
                    reasons.append(outcome)
                outcome = f"({reasons.index(outcome) + 1})"
            marks.append(outcome)
        lines.append(f"| {method} | " + " | ".join(marks) + " |")
    return "\n".join([*lines, "", *(f"({i}) {reason}" for i, reason in enumerate(reasons, 1))])
