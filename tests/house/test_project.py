"""The project as a whole: no traces of elsewhere, a table of contents that fits, honest files."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".py", ".md", ".ipynb", ".yml", ".toml", ".txt", ".cff", ".css", ".js", ".cfg", ".svg", ""}
PICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve"}


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


LOOKS_ITSELF = ROOT / "tools" / "notebooks" / "checks.py"  # for such paths, in outputs


def test_no_machine_paths_in_any_file() -> None:
    pattern = re.compile(r"/(?:root|home/\w+|work|farm)/[\w.]")
    for path in tracked():
        looked_at = path.suffix in TEXT and not {"vendor", "tests"} & set(path.parts)
        if looked_at and path != LOOKS_ITSELF:
            found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{path.relative_to(ROOT)}: {found.group()!r}"


def test_no_pickles_are_loaded() -> None:
    """Copying a model by way of a pickle that never leaves memory is part of the contract."""
    for path in {*(ROOT / "pftlab").rglob("*.py")} - {ROOT / "pftlab" / "testing" / "checks.py"}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & PICKLERS, where
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in PICKLERS, where
            elif isinstance(node, ast.Call):
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert given.get("allow_pickle") in (None, "False"), where
                if ast.unparse(node.func) == "torch.load":
                    assert given.get("weights_only") == "True", where


def test_table_of_contents_lists_every_page() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = {toc["root"]}
    made = {"book/appendix/ledger"}  # by the build; so are the pages of a pattern
    for group in [toc, *toc.get("parts", [])]:
        listed |= {chapter["file"] for chapter in group.get("chapters", [])}
    pages = {
        str(path.relative_to(ROOT).with_suffix(""))
        for suffix in ("*.md", "*.ipynb")
        for path in (ROOT / "book").rglob(suffix)
        if ".ipynb_checkpoints" not in path.parts
        and "_static" not in path.parts
        and path.parent != ROOT / "book/methods"  # written by the build, listed by a pattern
        and path.name != "README.md"  # of the folder, for who opens it in JupyterLab
    }
    assert listed == pages | made


def test_a_chapter_shows_the_code_of_a_method_of_its_part() -> None:
    """Under the name of the method's file; a chapter that compares several shows those of several."""
    from pftlab import METHODS

    homes = {cls.__module__ for cls in METHODS.values()}
    for family in ("adapter", "prompt", "low_rank", "sparse", "others"):
        for page in (ROOT / "book" / family).glob("*.ipynb"):
            shown = set(
                re.findall(rf"\"lib[a-z-]*:(pftlab\.{family}\.\w+)", page.read_text("utf-8"))
            )
            if page.stem != "index" and f"pftlab.{family}.{page.stem}" not in homes:
                assert len(shown) > 1, f"{family}/{page.stem}: no method of this name, and {shown}"


def test_no_file_is_large() -> None:
    for path in tracked():
        limit = 20e6 if {"weights", "vendor"} & set(path.parts) else 1.5e6
        assert path.stat().st_size < limit, path


@pytest.mark.parametrize("name", ["LICENSE", "LICENSE-TEXT", "CITATION.cff", "CHANGELOG.md"])
def test_papers_of_the_house_are_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 200


def test_requirements_pin_exactly() -> None:
    for name in ("requirements.txt", "tests/requirements.txt", "tests/requirements-models.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                assert re.match(r"[\w.\-]+==[\w.]+( ; .*)?$", line), line


def test_what_builds_the_package_is_pinned_with_the_rest() -> None:
    """It is installed without isolation, here and on Binder: into what requirements.txt made."""
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.\-]+)==([\w.]+)", pins, re.MULTILINE))
    for needed in tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]:
        requirement = Requirement(needed)
        assert requirement.name in pinned, needed
        assert pinned[requirement.name] in requirement.specifier, needed
