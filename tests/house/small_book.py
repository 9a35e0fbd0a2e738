"""The book without its pages: a test puts in those that it looks at, and builds it in seconds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = (
    "_config.yml",
    "CITATION.cff",
    "book/references.bib",
    "book/_static",
    "tools/pages",
)


def outline(folder: Path) -> Path:
    """Put into `folder` all that a build needs, with book/index as the only page of the book."""
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            unneeded = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=unneeded)
        else:
            shutil.copyfile(ROOT / name, folder / name)
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    return folder


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build the book in `folder`, warnings being errors."""
    tool = Path(sys.executable).with_name("jupyter-book")
    return subprocess.run(
        [str(tool), "build", str(folder), "-W", "-n", "--keep-going", "-q"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
