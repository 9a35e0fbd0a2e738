"""Grade a folder of notebooks: a table, an overview, and a page for each student."""

import csv
import hashlib
import inspect
import io
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import BadValue, PftError, Refused, Unavailable
from ...core.files import check_writable
from ..exercises.catalogue import checked, data_of
from ..exercises.check import AnswerError, Outcome, TooSlow, examine
from ..exercises.model import Exercise
from .journal import Journal, fits
from .submissions import Submission, collect, printable

FORMULA = re.compile(r"(^|[;,])(?=[\s\"']*[=+\-@])")
UNCONFINED = (
    "Unconfined: the students' code runs with your rights. It can read, change and send all that "
    "you can."
)


@dataclass(frozen=True)
class Grades:
    """What `grade` did.

    Attributes:
        rows: for each student {"student", "results", "answers", "note", "at"}.
        left_out: (file, why) of everything in the folder that is no submission.
        walls: what confined the answers; "nothing" if unconfined.
        written: the table, the overview, and the folder of reports.
    """

    rows: list[dict[str, Any]]
    left_out: list[tuple[str, str]]
    walls: str
    written: tuple[Path, Path, Path]


def grade(
    folder: str | Path,
    out: str | Path,
    chapters: Iterable[str],
    seconds: float = 60.0,
    megabytes: int = 2048,
    seed: int | None = None,
    quiet: bool = False,
    unconfined: bool = False,
    image: str = "pftlab",
    say: Callable[[str], None] = print,
) -> Grades:
    """Grade every notebook below `folder`; write the table `out` and a report per student.

    Whatever is wrong with one submission is said in its row, and the others are graded.

    Args:
        folder: submissions; a student is the path below it without its suffix.
        out: the table, FILE.csv. Beside it lie an overview, FILE.html, and a folder of reports,
            FILE-reports. None of them replaces what this command did not write.
        chapters: what was handed out.
        seconds: for all answers of one submission together; each gets its equal part.
        megabytes: memory that an answer may take on top of what torch itself needs.
        seed: of the checks' inputs, the same for all students; None: drawn for this grading, and
            kept in the journal.
        quiet: no progress bar.
        unconfined: run the students' code without walls, with the rights of whoever calls this.
        image: of docker or podman, where these are used.
        say: called with what is to be known before the first answer runs.

    Raises:
        UnknownName: a chapter has no exercises.
        BadValue: no chapter, one twice, or limits that no answer can keep.
        Refused: nothing confines the answers and `unconfined` is not given; or `out` would
            overwrite something, or lies among the submissions.
        Unavailable: the system cannot fork (Windows: use WSL or a container), a package is
            missing, or `folder` has no notebooks.
    """
    from tqdm import tqdm

    names = list(chapters)
    asked = _asked(names, seconds, megabytes)
    folder, out = Path(folder), Path(out)
    places = _places(out, folder)
    _check_system()
    handed = collect(folder)

    from . import pages, walls
    from .remote import Sandbox

    with Journal(out) as journal:
        for place in places[:2]:
            journal.may_write(place)
        check_writable(out.parent)
        if unconfined:
            say(UNCONFINED)
            around: walls.Walls = walls.NoWalls()
        else:
            around = walls.found(image, megabytes)
            say(f"Confined by {around.name}, which a probe has tried.")
        seed = journal.seed if seed is None else seed
        sources = [inspect.getsource(data_of(name)) for name in names]
        setting = json.dumps([[e.name for e in asked], seconds, megabytes, seed, sources])
        kept = {row["student"]: row for row in journal.rows if fits(row, asked)}
        journal.begin(seed, kept.values())
        rows = []
        with Sandbox(around, megabytes) as sandbox:
            for each in tqdm(
                handed.submissions, desc="grading", unit="submission", disable=quiet or None
            ):
                known, more = kept.get(each.student), each is not handed.submissions[-1]
                rows.append(_graded(each, known, sandbox, more, asked, seconds, seed, setting))
                if rows[-1] is not known and rows[-1]["of"]:
                    journal.add(rows[-1])
        journal.write(places[0], table(rows, asked))
        for row in rows:
            try:
                journal.write(places[2] / pages.name_of(row["student"]), pages.report(row, asked))
            except Exception as error:
                row["note"] = "; ".join(filter(None, [row["note"], f"no report: {_short(error)}"]))
        grades = Grades(rows, handed.left_out, around.name, places)
        journal.write(places[1], pages.overview(grades, asked))
    return grades


def _asked(names: list[str], seconds: float, megabytes: int) -> list[Exercise]:
    if not names:
        raise BadValue("Say what was handed out: --chapters low_rank.lora")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadValue(f"--chapters has {', '.join(twice)} twice; every point counts once.")
    if not (math.isfinite(seconds) and 1 <= seconds <= 86_400):
        raise BadValue(f"--seconds {seconds:g}: give 1 to 86400, for one submission.")
    if not 64 <= megabytes <= 2**20:
        raise BadValue(f"--megabytes {megabytes}: give 64 to {2**20}, for one answer.")
    return [e for name in names for e in checked(name)]


def _places(out: Path, folder: Path) -> tuple[Path, Path, Path]:
    """Table, overview, and folder of reports."""
    if out.suffix.lower() != ".csv" or out.name == out.suffix:
        raise BadValue(f"--out {printable(str(out))}: the table is a file that ends in .csv.")
    reports = out.with_name(f"{out.stem}-reports")
    for place in (out, reports):
        if place.resolve().is_relative_to(folder.resolve()):
            raise Refused(
                f"{printable(str(place))} would lie among the submissions in "
                f"{printable(str(folder))}. Give a place outside as --out."
            )
    return out, out.with_suffix(".html"), reports


def _check_system() -> None:
    if not hasattr(os, "fork"):
        raise Unavailable("Grading needs Linux or macOS; on Windows use WSL.")
    for package in ("IPython", "nbformat", "jinja2", *["pyseccomp"] * (sys.platform == "linux")):
        try:
            __import__(package)
        except Exception as error:  # the binding raises RuntimeError where its library is missing
            raise Unavailable(
                f"Grading needs {package}, and it cannot be imported ({error}). Install it: "
                "pip install 'pftlab[classroom]'"
            ) from error


def _graded(
    each: Submission, known: dict[str, Any] | None, sandbox: Any, more: bool,
    asked: list[Exercise], seconds: float, seed: int, setting: str,
) -> dict[str, Any]:  # fmt: skip
    """The row of one submission: the known one, if nothing changed since. It raises nothing.

    What may be not the submission's fault has no "of" and is graded again by the next run.
    """
    row = {"student": each.student, "of": "", "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    try:
        data = each.read()
        row["of"] = _mark(setting, each.student, data)
        if known and known["of"] == row["of"]:
            return known
        sandbox.fresh(more)
        answers, notes = sandbox.read(data, asked)
        share = seconds / len(asked)
        results = [_grade_answer(sandbox, answers, e, share, seed) for e in asked]
        return row | _told(results, answers, "; ".join(notes))
    except BadValue as error:
        note = str(error)
    except Exception as error:
        row["of"], note = "", f"could not be graded: {_short(error)}"
    return row | _told([_none(e, note) for e in asked], {}, note)


def _mark(setting: str, student: str, data: bytes) -> str:
    return hashlib.sha256(json.dumps([setting, student]).encode() + data).hexdigest()


def _told(results: list[Outcome], answers: dict[str, str], note: str) -> dict[str, Any]:
    return {"results": [asdict(r) for r in results], "answers": answers, "note": note}


def _short(error: Exception) -> str:
    said = str(error) if isinstance(error, PftError) else f"{type(error).__name__}: {error}"
    return printable(said[:300])


def _grade_answer(
    sandbox: Any, answers: dict[str, str], asked: Exercise, seconds: float, seed: int
) -> Outcome:
    if asked.name not in answers:
        message = f"There is no answer cell: its first line should be “# {asked.name}”."
        return _none(asked, message, "missing")
    try:
        with sandbox.answer(answers[asked.name], asked.defines, seconds) as answer:
            found = examine(asked, answer, seconds, seed)
    except AnswerError as error:
        return _none(asked, str(error))
    except NotImplementedError:
        return _none(asked, "Not written yet.", "not written")
    except TooSlow:
        return _none(asked, "Time was up while the cell ran: an endless loop?", "too slow")
    return Outcome(found.name, found.state, found.points, found.out_of, found.passed,
                  found.message[:1000])  # fmt: skip


def _none(asked: Exercise, message: str, state: str = "error") -> Outcome:
    return Outcome(asked.name, state, 0, asked.points, (), message)


def table(rows: list[dict[str, Any]], asked: list[Exercise]) -> str:
    """The grades as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["student", *[e.name for e in asked], "points", "out_of", "note"])
    for row in rows:
        points = [result["points"] for result in row["results"]]
        writer.writerow([plain(row["student"]), *points, sum(points),
                         sum(e.points for e in asked), plain(row["note"])])  # fmt: skip
    return out.getvalue()


def plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula, wherever its language splits the cells."""
    return FORMULA.sub(r"\1'", printable(text))
