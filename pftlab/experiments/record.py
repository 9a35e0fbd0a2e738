"""A stored file of one small experiment: what made it, what all runs share, and a row a run.

It is written after every run. An interrupted call goes on from its rows, if source, versions,
device and settings are still the same; otherwise the file would tell of two experiments as of one.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import Refused
from ..core.files import atomic_write, check_writable, parse_json
from .origin import commit, device_name, versions
from .running import now

Row = dict[str, Any]


class Record:
    """What is in the file, and what comes into it.

    Args:
        path: of the file; it may exist.
        command: that makes it anew.
        settings: what all runs share; values of JSON, or tuples of them.

    Raises:
        Refused: the file is of another source, or of other settings.
        BadCheckpoint: it is no JSON.
        Unavailable: its folder cannot be written.
    """

    def __init__(self, path: str | Path, command: str, settings: dict[str, Any]):
        self.path = Path(path)
        asked: dict[str, Any] = json.loads(json.dumps(settings))
        asked |= {"command": command, "commit": commit(), "device": device_name(),
                  "versions": versions()}  # fmt: skip
        check_writable(self.path.parent)
        if not self.path.exists():
            self.data = asked | {"date": now()}
            return
        self.data = parse_json(self.path.read_bytes(), str(path))
        others = [name for name, value in asked.items() if self.data.get(name) != value]
        if others:
            raise Refused(
                f"{str(path)!r} was made with another {', '.join(others)}. Give another file, or "
                "remove this one first."
            )

    def rows(
        self, section: str, asked: Sequence[Row], compute: Callable[[], Iterable[Row]]
    ) -> list[Row]:
        """The rows that begin with `asked`: those of the file, or else those that are computed.

        Args:
            section: key of the file under which they stand.
            asked: for each row what tells it from others, such as its seed.
            compute: what came out, for each; called if one of them is missing.
        """
        there: list[Row] = self.data.setdefault(section, [])
        known = [next((r for r in there if a.items() <= r.items()), None) for a in asked]
        found = [row for row in known if row is not None]
        if len(found) == len(asked):
            return found
        made = [{**a, **came} for a, came in zip(asked, compute(), strict=True)]
        there += [row for row, before in zip(made, known, strict=True) if before is None]
        with atomic_write(self.path) as temporary:
            text = json.dumps(self.data, indent=1, ensure_ascii=False) + "\n"
            temporary.write_text(text, encoding="utf-8")
        return made

    def row(self, section: str, asked: Row, compute: Callable[[], Row]) -> Row:
        """`rows` of one."""
        return self.rows(section, [asked], lambda: [compute()])[0]
