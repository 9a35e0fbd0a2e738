"""The book's figures as files, for slides."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

from ...core.errors import Unavailable
from ...core.files import check_writable

DRAWN = re.compile(r'<img\b[^>]*\bsrc="([\w./-]+\.svg)"[^>]*\balt="([^"]*)"')


def figures(out: str | Path, book: str | Path = "book") -> list[Path]:
    """Copy all figures of the book below `out`, with a list of what each shows; return their paths.

    Drawings are SVG, figures that a chapter made are as it stored them. The list, figures.md, has
    the alternative text of each: what to say about it.

    Raises:
        Unavailable: there is no book, or `out` cannot be written.
    """
    book, out = Path(book), check_writable(out)
    written, lines = [], ["# Figures (CC BY 4.0: name the book)", ""]
    for chapter in sorted(book.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in chapter.parts:
            continue
        place = out / chapter.relative_to(book).with_suffix("")
        for name, data, says in _of(chapter):
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            written.append(target)
            lines += [f"* `{target.relative_to(out).as_posix()}`: {says}"]
    if not written:
        raise Unavailable(f"There are no figures in {book}. Give --book, a copy of the book.")
    (out / "figures.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written


def _of(chapter: Path) -> Iterator[tuple[str, bytes, str]]:
    """(file name, content, what it shows) of each figure of a chapter."""
    for cell in json.loads(chapter.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            for source, says in DRAWN.findall("".join(cell["source"])):
                yield Path(source).name, (chapter.parent / source).read_bytes(), says
        says = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if says and "image/svg+xml" in data:
                yield f"{cell['id']}.svg", "".join(data["image/svg+xml"]).encode(), says
            elif says and "image/png" in data:
                yield f"{cell['id']}.png", base64.b64decode("".join(data["image/png"])), says
