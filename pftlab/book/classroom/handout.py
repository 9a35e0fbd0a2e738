"""Student copies of chapters, and what the points are for."""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.errors import Refused, Unavailable
from ...core.files import atomic_write
from ..exercises.catalogue import checked
from ..exercises.cells import replaced, section

LEFT_OUT = ("exercises", "quiz")  # identifiers of cells written by hand that may hold answers
FOLDED = re.compile(r"<details[^>]*>\s*<summary>\s*Solution.*?</details>\s*", re.DOTALL)
DIRECTIVE = "{solution"  # of sphinx-exercise; such a cell is left out whole
PICTURE = re.compile(r"""(?:src="|\]\()([\w./-]+\.(?:svg|png))["\s)]""")


def release(names: Iterable[str], out: str | Path, book: str | Path = "book") -> list[Path]:
    """Write student notebooks `out`/FAMILY/CHAPTER.ipynb and return their paths.

    Raises:
        UnknownName: a chapter has no exercises.
        Unavailable: its notebook is not below `book`.
        Refused: `out` is in the book, whose chapters would be overwritten.
    """
    book, out = Path(book), Path(out)
    if out.resolve().is_relative_to(book.resolve()):
        raise Refused(f"{out} is in the book {book}: its own chapters would be overwritten. "
                      "Give a folder outside of it as --out.")  # fmt: skip
    written = []
    for name in names:
        own = section(name, quiz=False)
        source = book.joinpath(*name.split(".")).with_suffix(".ipynb")
        try:
            notebook = json.loads(source.read_text(encoding="utf-8"))
        except OSError as error:
            raise Unavailable(
                f"There is no chapter {source}. Run this in a copy of the book, or give --book."
            ) from error
        cells = [c for c in replaced(notebook["cells"], name, own) if c in own or not _hidden(c)]
        for cell in cells:
            text = FOLDED.sub("", "".join(cell["source"]))
            cell["source"] = text.splitlines(keepends=True)
            cell.pop("attachments", None)
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
        notebook["cells"] = cells
        for key in ("pftlab", "widgets"):  # of the chapter's own run
            notebook["metadata"].pop(key, None)
        target = out.joinpath(*name.split(".")).with_suffix(".ipynb")
        with atomic_write(target) as temporary:
            temporary.write_text(json.dumps(notebook, indent=1, ensure_ascii=False), "utf-8")
        _copy_pictures(cells, source.parent, target.parent)
        written.append(target)
    return written


def _hidden(cell: dict[str, Any]) -> bool:
    return cell.get("id") in LEFT_OUT or DIRECTIVE in "".join(cell["source"])


def _copy_pictures(cells: list[dict[str, Any]], source: Path, target: Path) -> None:
    for cell in cells:
        for name in PICTURE.findall("".join(cell["source"])):
            if (source / name).is_file() and ".." not in Path(name).parts:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, target / name)


def rubric(names: Iterable[str]) -> str:
    """A table in Markdown: each exercise, what its check establishes in turn, and the points.

    Raises:
        UnknownName: a chapter has no exercises.
    """
    lines = ["| exercise | level | for | points |", "|---|---|---|---:|"]
    for name in names:
        for e in checked(name):
            lines.append(f"| **{e.name}** {e.title} | {'★' * e.stars} | | **{e.points}** |")
            lines += [f"| | | {stage.title} | {stage.points} |" for stage in e.stages]
    return "\n".join(lines)
