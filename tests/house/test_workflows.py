"""The workflows say what the README says, with actions that cannot change under us."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(path: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_there_is_one_for_the_tests_and_one_for_the_pages() -> None:
    assert [path.stem for path in WORKFLOWS] == ["pages", "tests"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit(path: Path) -> None:
    lines = re.findall(r"uses: .*", path.read_text(encoding="utf-8"))
    assert len(lines) == sum("uses" in step for step in steps(path))
    for line in lines:
        assert re.fullmatch(r"uses: actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_exists_and_may_do_little(path: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for step in steps(path):
        words = step.get("run", "make env").split()
        if words[0] == "make":
            assert words[1] in targets
        else:
            assert words[0] == "cp" or (ROOT / words[1]).is_file()
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= (180 if name == "full" else 60)
        assert "permissions" not in job or job.get("environment", {}).get("name") == "github-pages"


def test_the_pages_are_built_and_published_from_what_was_tested() -> None:
    pages, tests = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in WORKFLOWS)
    # "on" is a truth value in YAML 1.1
    assert pages[True]["workflow_run"]["workflows"] == [tests["name"]]
    runs = [step.get("run") for step in pages["jobs"]["build"]["steps"]]
    assert "make book" in runs
    assert "make test" in [step.get("run") for step in tests["jobs"]["test"]["steps"]]
    assert "PFTLAB_REPOSITORY" in pages["jobs"]["build"]["env"]
    uploads = [s for s in pages["jobs"]["build"]["steps"] if "upload" in s.get("uses", "")]
    assert uploads[0]["with"]["path"] == "_build/html"
