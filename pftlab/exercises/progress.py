"""A learner's own progress: one small file, which never leaves the machine."""

import html
import json
import os
from pathlib import Path
from typing import Any

from ..core.errors import PftError
from ..core.files import atomic_write


def record() -> Path:
    """The file: $PFTLAB_PROGRESS, or ~/.pftlab/progress.json."""
    return Path(os.environ.get("PFTLAB_PROGRESS", Path.home() / ".pftlab" / "progress.json"))


def load_progress() -> dict[str, dict[str, Any]]:
    """{exercise: {"points", "out_of", "tries"}}; empty when there is none or it is unreadable."""
    try:
        found = json.loads(record().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(result: Any) -> None:
    """Keep the best score. A check must not fail because a disk is full or read-only."""
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
        return "\n".join(
            f"{name:26} {points:2}/{out_of:<2} {stars:4} {title}"
            for name, title, stars, points, out_of, _ in self.rows()
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
