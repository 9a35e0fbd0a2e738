"""The pages that grading writes; what comes from students is escaped by the templates."""

import hashlib
import re
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..exercises.model import Exercise

MARK = {"right": "✓", "wrong": "✗", "not written": "–"}
TEMPLATES = Environment(
    loader=PackageLoader(__package__),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
TEMPLATES.filters["quoted"] = quote


def name_of(student: str) -> str:
    """The file of a student's report: short, plain, and no two alike on any disk."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", student).strip("-")[:40] or "student"
    mark = hashlib.sha256(student.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{readable}-{mark}.html"


def report(row: dict[str, Any], asked: list[Exercise]) -> str:
    """A student's page: what passed, what failed and why, by the rubric, and the code."""
    return TEMPLATES.get_template("report.html").render(
        row=row, pairs=list(zip(asked, row["results"], strict=True)),
        points=_points(row), out_of=sum(e.points for e in asked),
    )  # fmt: skip


def overview(grades: Any, asked: list[Exercise]) -> str:
    """The teacher's page: every student, and for each exercise what most of them stumbled over."""
    stumbled = []
    for place, e in enumerate(asked):
        found = [row["results"][place] for row in grades.rows]
        said = [result["message"] for result in found if result["message"]]
        most = max(dict.fromkeys(said), key=said.count) if said else ""
        right = sum(result["state"] == "right" for result in found)
        stumbled.append({"exercise": e, "right": right, "most": most, "times": said.count(most)})
    return TEMPLATES.get_template("overview.html").render(
        grades=grades, asked=asked, stumbled=stumbled, mark=MARK, name_of=name_of,
        points=_points, reports=grades.written[2].name,
    )  # fmt: skip


def _points(row: dict[str, Any]) -> int:
    return sum(result["points"] for result in row["results"])
