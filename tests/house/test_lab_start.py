"""The page that a reader finds beside the notebooks in JupyterLab."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_link_of_the_folders_readme_leads_to_a_file() -> None:
    text = (ROOT / "book" / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 10
    for link in links:
        assert (ROOT / "book" / link).is_file(), link
