"""A learner's own progress: one small file, which never leaves the machine."""

import html
import json
import os
import sys
from pathlib import Path
from typing import Any

from ...core.errors import PftError
from ...core.files import atomic_write
from .stream import printable_here


def record() -> Path:
    """The file: $PFTLAB_PROGRESS, or ~/.pftlab/progress.json."""
    return Path(os.environ.get("PFTLAB_PROGRESS", Path.home() / ".pftlab" / "progress.json"))


def load_progress() -> dict[str, dict[str, int]]:
    """{exercise: {"points", "out_of", "tries"}}; empty when there is none.

    A damaged file is put aside, as progress.json.damaged, with a word; what can be read of it
    counts.
    """
    path = record()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        text = ""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    whole = found if isinstance(found, dict) else {}
    kept = {name: row for name, row in whole.items() if _is_row(row)}
    if kept != found:
        _put_aside(path)
    return kept


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and all(
        type(row.get(key)) is int and 0 <= row[key] < 10**9 for key in ("points", "out_of", "tries")
    )


def _put_aside(path: Path) -> None:
    aside = path.with_name(f"{path.name}.damaged")
    try:
        os.replace(path, aside)
    except OSError:
        return
    print(f"{path} is damaged. It was put aside as {aside.name}.", file=sys.stderr)


def remember(result: Any) -> None:
    """Keep the best score. A check must not fail because a disk is full or a file is damaged."""
    if result.state == "not written":
        return
    known = load_progress()
    before = known.get(result.name, {"points": 0, "tries": 0})
    known[result.name] = {
        "points": max(before["points"], result.points),
        "out_of": result.out_of,
        "tries": before["tries"] + 1,
    }
    try:
        with atomic_write(record()) as path:
            path.write_text(json.dumps(known, indent=1), encoding="utf-8")
    except (OSError, PftError):
        pass


class Progress:
    """What is done and what is left; as the last line of a notebook cell it shows as a table."""

    def rows(self) -> list[tuple[str, str, str, int, int, int]]:
        """(name, title, stars, points, out of, tries) of every exercise."""
        from .catalogue import chapters, checked

        known = load_progress()
        return [
            (e.name, e.title, "★" * e.stars, known.get(e.name, {}).get("points", 0), e.points,
             known.get(e.name, {}).get("tries", 0))
            for chapter in chapters()
            for e in checked(chapter)
        ]  # fmt: skip

    def __repr__(self) -> str:
        return printable_here(
            "\n".join(
                f"{name:26} {points:2}/{out_of:<2} {stars:4} {title}"
                for name, title, stars, points, out_of, _ in self.rows()
            )
        )

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><td>{name}</td><td>{html.escape(title)}</td><td>{stars}</td>"
            f"<td>{points} / {out_of}</td><td>{tries}</td></tr>"
            for name, title, stars, points, out_of, tries in self.rows()
        )
        return (
            "<table><tr><th>exercise</th><th>title</th><th>stars</th><th>points</th>"
            f"<th>tries</th></tr>{body}</table>"
        )
