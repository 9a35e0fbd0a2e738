"""What pyproject.toml cannot say: a wheel carries the book's results too.

Pages read them, and a page may be run where there is no checkout: on Colab, or downloaded. An
editable installation reads them where they lie.
"""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py

RESULTS = Path(__file__).parent / "book" / "results"


class WithResults(build_py):
    """Copies the package, and the results into it."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            copytree(RESULTS, Path(self.build_lib, "pftlab", "stored"), dirs_exist_ok=True)


setup(cmdclass={"build_py": WithResults})
