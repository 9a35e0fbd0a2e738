"""The page that a reader finds beside the notebooks in JupyterLab."""

import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]


def test_every_link_of_the_folders_readme_leads_to_a_file() -> None:
    text = (ROOT / "book" / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 10
    for link in links:
        assert (ROOT / "book" / link).is_file(), link


def test_the_readme_explains_what_jupyterlab_shows_as_it_is_written() -> None:
    said = (ROOT / "book" / "README.md").read_text(encoding="utf-8")
    marks = set()
    for path in (ROOT / "book").rglob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                text = re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL)
                marks |= set(re.findall(r"(?<!`)\{[a-z]+:?[a-z]*\}(?=`)", text))
                marks |= set(re.findall(r"^:::+(\{[^}]+\})", text, re.MULTILINE))
    assert len(marks) >= 3
    assert {mark for mark in marks if mark not in said} == set()
