"""Whatever the encoding of its output, the command line prints: Windows has code pages."""

import json
import os
import subprocess
import sys

import pytest

TRAIN = "--base tiny-encoder --task reviews --size tiny --steps 1 --batch-size 2 --quiet"
COMMANDS = [
    "--help",
    "methods",
    "methods --json",
    "methods ia3",
    "methods p_tuning --json",
    "tasks",
    "tasks --json",
    "bases",
    "bases --json",
    "count --model roberta-base --method ia3",
    "count --model roberta-base --method ia3 --json",
    "count --method lora --help",
    f"train {TRAIN} --method lora --out out",
    f"compare {TRAIN} --methods lora,ia3 --seeds 1 --limit-train 4 --out runs.jsonl",
    f"compare {TRAIN} --methods lora,ia3 --seeds 1 --limit-train 4 --out runs.jsonl --json",
    "classroom --help",
    "classroom rubric low_rank.lora",
    "progress",
    "progress --json",
    "methods nothing-like-this-★",
]
SCRIPT = """
import sys
from pftlab.cli import main
for command in sys.argv[1:]:
    print("\\n$", command.encode("ascii", "replace").decode())
    try:
        code = main(command.split())
    except SystemExit as end:
        code = end.code or 0
    print("\\n=", code)
"""


@pytest.mark.parametrize(
    "encoding", ["cp1252", *(pytest.param(e, marks=pytest.mark.full) for e in ("cp437", "utf-8"))]
)
def test_every_command_prints(tmp_path, encoding):
    environment = os.environ | {
        "PYTHONIOENCODING": encoding,
        "PFTLAB_PROGRESS": str(tmp_path / "p.json"),
    }
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *COMMANDS],
        capture_output=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr.decode("utf-8", "replace")[-1500:]
    printed = run.stdout.decode(encoding).replace("\r\n", "\n")
    parts = dict(part.split("\n", 1) for part in printed.split("\n$ ")[1:])
    for command, text in zip(COMMANDS, parts.values(), strict=True):
        output, code = text.rsplit("\n= ", 1)
        assert int(code) == (2 if "nothing-like-this" in command else 0), command
        if command.endswith("--json"):  # escaped, so that nothing is lost
            data = json.loads(output)
            if command == "methods --json":
                assert any("‖" in json.dumps(row, ensure_ascii=False) for row in data)
    assert ("★" in printed) == (encoding == "utf-8")
