"""The vendored front-end files are what their locks say, and a change to one is noticed."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("vendor", ROOT / "tools" / "vendor.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

FOLDERS = sorted(tool.FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_files_are_what_the_lock_says(name):
    assert tool.check(ROOT / name) == []


@pytest.mark.parametrize("name", FOLDERS)
def test_each_kind_of_change_is_noticed(name, tmp_path):
    folder = tmp_path / "vendor"
    shutil.copytree(ROOT / name, folder)
    script = next(folder.rglob("*.js"))
    known = script.relative_to(folder).as_posix()
    with script.open("ab") as stream:
        stream.write(b"\n")
    assert tool.check(folder) == [known]
    script.unlink()
    assert tool.check(folder) == [known]
    shutil.copyfile(ROOT / name / known, script)
    (folder / "stray.js").write_text("alert(1)")
    assert tool.check(folder) == ["stray.js"]


@pytest.mark.parametrize("name", FOLDERS)
def test_each_package_has_its_licence_recorded(name):
    licences = (ROOT / name / "LICENCES.txt").read_text(encoding="utf-8").lower()
    for package in tool.FOLDERS[name]:
        project, version = re.fullmatch(r"(?:@[\w-]+/)?([\w-]+)@([\d.]+)", package).groups()
        assert f"{project} {version}" in licences
