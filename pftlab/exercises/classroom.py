r"""Hand out, collect, grade: no server, no account.

`release` writes student copies of chapters. Outputs, folded solutions and the quiz are left out;
the exercises come from the data, each as statement, hints, a cell to write in and a cell that
checks.

`grade` takes from each notebook the cells that the students write in, and nothing else: check
cells in a submission are never run. Each answer runs in a process of its own (`sandbox.py`). The
checks run outside of it, in the grader: they send inputs to the answer and look at what comes
back, which is data and never code. So an answer can say wrong things and cannot judge itself.

What that protects against, on Linux with user namespaces and Landlock, which `pftlab classroom
grade` reports: endless loops, memory, exit(), floods of output, crashes of the interpreter; edited
checks, in the notebook or in the library's memory; forged results; reading or writing the teacher's
files, other submissions and grades; the network; programs left running. Where the system lacks
one of these, the line says so, and that protection is gone.

What it does not protect against: bugs in the kernel; a disk or a processor kept busy for as long
as the time limit; many processes that together take all memory (their number is limited, but not
for root); an answer that looks up a right value in the package, which is there to be read; and, of
course, answers from a neighbour. For the code of strangers, grade in a container as well; the
chapter for teachers has the recipe.
"""

import csv
import hashlib
import html
import io
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.errors import BadValue, Unavailable
from ..core.files import atomic_write, check_writable
from .catalogue import chapters as all_chapters
from .catalogue import checked
from .cells import replaced, section
from .check import AnswerError, Result, TooSlow, examine
from .model import Exercise
from .sandbox import Sandbox

LEFT_OUT = ("exercises", "quiz")  # identifiers of cells written by hand that may hold answers
FOLDED = re.compile(r"<details[^>]*>\s*<summary>\s*Solution.*?</details>\s*", re.DOTALL)
DIRECTIVE = "{solution"  # of sphinx-exercise; such a cell is left out whole
PICTURE = re.compile(r"""(?:src="|\]\()([\w./-]+\.(?:svg|png))["\s)]""")
FIRST_LINE = re.compile(r"#\s*(\w+\.\w+\.\d+)\s*$")
MAGIC = re.compile(r"^\s*[%!].*$", re.MULTILINE)  # of notebooks; not Python
LARGEST = 20 * 2**20  # bytes of a notebook
COLUMN = {"right": "✓", "wrong": "✗", "not written": "–"}


# Hand out


def release(names: Iterable[str], out: str | Path, book: str | Path = "book") -> list[Path]:
    """Write student notebooks `out`/FAMILY/CHAPTER.ipynb and return their paths.

    Raises:
        UnknownName: a chapter has no exercises.
        Unavailable: its notebook is not below `book`.
    """
    written = []
    for name in names:
        own = section(name, quiz=False)
        source = Path(book).joinpath(*name.split(".")).with_suffix(".ipynb")
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
        target = Path(out).joinpath(*name.split(".")).with_suffix(".ipynb")
        _write(target, json.dumps(notebook, indent=1, ensure_ascii=False))
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


# Collect


def answers_in(text: str) -> dict[str, str]:
    """{exercise: source of its answer cells} of a notebook's text.

    A cell is known by its tag, or by its first line, for some programs drop the tags.

    Raises:
        BadValue: the text is not a notebook.
    """
    try:
        found: dict[str, str] = {}
        for cell in json.loads(text)["cells"]:
            source = "".join(cell["source"])
            tags = cell.get("metadata", {}).get("tags", [])
            names = [tag[7:] for tag in tags if tag.startswith("answer:")]
            names += FIRST_LINE.findall(source.partition("\n")[0])
            if cell["cell_type"] == "code" and names:
                found[names[0]] = found.get(names[0], "") + MAGIC.sub("", source) + "\n"
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadValue("This file is not a Jupyter notebook.") from error


def _collect(folder: Path) -> dict[str, str]:
    """{student: text} of all notebooks; an unreadable one has the empty text."""
    found = {}
    for path in sorted(folder.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        student = path.relative_to(folder).with_suffix("").as_posix()
        try:
            large = path.stat().st_size > LARGEST
            found[student] = "" if large else path.read_text("utf-8", "replace")
        except OSError:
            found[student] = ""
    if not found:
        raise Unavailable(f"There are no notebooks in {folder}.")
    return found


def _asked(texts: dict[str, str]) -> list[str]:
    """The chapters that at least half of the readable submissions are about."""
    votes: list[set[str]] = []
    for text in texts.values():
        try:
            votes.append({name.rpartition(".")[0] for name in answers_in(text)})
        except BadValue:
            continue
    return [c for c in all_chapters() if votes and 2 * sum(c in v for v in votes) >= len(votes)]


# Grade


def grade(
    folder: str | Path,
    out: str | Path,
    chapters: Iterable[str] = (),
    seconds: float = 60.0,
    megabytes: int = 2048,
    seed: int | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Grade every notebook below `folder`; write the table `out` and a report per student.

    Args:
        folder: submissions; a student is the path below it without its suffix.
        out: the CSV file; an overview lies beside it (.html), the reports in the folder `out`
            without suffix, and the journal, from which a killed run goes on, in .journal.jsonl.
        chapters: what was handed out; none: the chapters that at least half of the submissions
            are about.
        seconds: for all answers of one submission together; each gets its equal part.
        megabytes: memory that an answer may take on top of what torch itself needs.
        seed: of the checks' inputs, the same for all students; None: drawn for this grading, and
            kept in the journal.
        quiet: no progress bar.

    Raises:
        UnknownName: a chapter has no exercises.
        BadValue: no chapter was given, and the submissions do not tell.
        Unavailable: the system cannot fork (Windows: use WSL or a container), or `folder` has no
            notebooks.
    """
    from tqdm import tqdm

    folder, out = Path(folder), Path(out)
    texts = _collect(folder)
    names = list(chapters) or _asked(texts)
    if not names:
        raise BadValue("The submissions do not tell what was handed out. Give --chapters.")
    asked = [e for name in names for e in checked(name)]
    check_writable(out.parent)
    journal = Journal(out.with_suffix(".journal.jsonl"))
    seed = journal.seed if seed is None else seed
    setting = json.dumps([[e.name for e in asked], seconds, megabytes, seed])
    marks = {s: hashlib.sha256((setting + s + t).encode()).hexdigest() for s, t in texts.items()}
    done = {row["student"]: row for row in journal.rows if marks.get(row["student"]) == row["of"]}
    with Sandbox(megabytes) as sandbox:
        journal.begin(seed, done.values())
        for student in tqdm(texts, desc="grading", unit="submission", disable=quiet or None):
            if student not in done:
                marked = _grade_one(sandbox, texts[student], asked, seconds, seed)
                done[student] = {"student": student, "of": marks[student], **marked}
                journal.add(done[student])
    rows = [done[student] for student in texts]
    for row in rows:
        answers = _answers_or_none(texts[row["student"]])
        _write(out.with_suffix("") / f"{row['student']}.html", report(row, asked, answers))
    _write(out.with_suffix(".html"), overview(rows, asked, out.with_suffix("").name))
    _write(out, table(rows, asked))
    return rows


class Journal:
    """What is graded, a line each, so that a run that was killed goes on.

    Attributes:
        seed: of the checks' inputs; drawn when there is no earlier run.
        rows: of an earlier run; a line that a kill cut off loses only itself.
    """

    def __init__(self, path: Path):
        self.path = path
        self.seed = secrets.randbelow(2**31)
        self.rows: list[dict[str, Any]] = []
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict) and isinstance(found.get("seed"), int):
                self.seed = found["seed"]
            elif isinstance(found, dict) and {"student", "of", "results", "note"} <= found.keys():
                self.rows.append(found)

    def begin(self, seed: int, kept: Iterable[dict[str, Any]]) -> None:
        """Write the head and the rows that still hold."""
        _write(self.path, "".join(json.dumps(line) + "\n" for line in ({"seed": seed}, *kept)))

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _grade_one(
    sandbox: Sandbox, text: str, asked: list[Exercise], seconds: float, seed: int
) -> dict[str, Any]:
    """{"results", "note", "at", "protection"} of one submission."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    try:
        answers = answers_in(text)
    except BadValue as error:
        results, note = [_none(e, str(error)) for e in asked], str(error)
    else:
        each = seconds / len(asked)
        results, note = [_grade_answer(sandbox, answers, e, each, seed) for e in asked], ""
    return {"results": [asdict(r) for r in results], "note": note, "at": at,
            "protection": sandbox.protection}  # fmt: skip


def _grade_answer(
    sandbox: Sandbox, answers: dict[str, str], asked: Exercise, seconds: float, seed: int
) -> Result:
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
    return Result(found.name, found.state, found.points, found.out_of, found.passed,
                  found.message[:1000])  # fmt: skip


def _none(asked: Exercise, message: str, state: str = "error") -> Result:
    return Result(asked.name, state, 0, asked.points, (), message)


def _answers_or_none(text: str) -> dict[str, str]:
    try:
        return answers_in(text)
    except BadValue:
        return {}


# Tell


def table(rows: list[dict[str, Any]], asked: list[Exercise]) -> str:
    """The grades as CSV."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["student", *[e.name for e in asked], "points", "out_of", "note"])
    for row in rows:
        points = [result["points"] for result in row["results"]]
        writer.writerow([_plain(row["student"]), *points, sum(points),
                         sum(e.points for e in asked), row["note"]])  # fmt: skip
    return out.getvalue()


def _plain(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in "=+-@" else name


STYLE = """
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif;
       color: #1b1f24; background: #fff; }
table { border-collapse: collapse; } td, th { padding: .2rem .7rem; text-align: left;
       border-bottom: 1px solid #cfd6dc; } td.n { text-align: right; }
th { vertical-align: bottom; } .wide { overflow-x: auto; }
pre { overflow-x: auto; padding: .6rem; background: #f2f4f6; } .said { font-weight: 600; }
@media (prefers-color-scheme: dark) {
  body { color: #e8eaed; background: #14181c; } pre { background: #22282e; }
  td, th { border-color: #3e464e; } a { color: #7ab8f5; } }
"""


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1>{body}</html>"
    )


def report(row: dict[str, Any], asked: list[Exercise], answers: dict[str, str]) -> str:
    """A student's page: what passed, what failed and why, by the rubric, and the code."""
    parts = []
    for e, result in zip(asked, row["results"], strict=True):
        lines = []
        for number, stage in enumerate(e.stages):
            passed = number < len(result["passed"])
            mark = "✓" if passed else "✗" if number == len(result["passed"]) else "not reached"
            got = stage.points if passed else 0
            lines.append(
                f"<tr><td>{mark}</td><td>{html.escape(stage.title)}</td>"
                f'<td class="n">{got} of {stage.points}</td></tr>'
            )
        code = html.escape(answers.get(e.name, "")).strip()
        parts.append(
            f"<h2>{html.escape(f'{e.name} {e.title}')}: "
            f"{result['points']} of {result['out_of']}</h2><table>{''.join(lines)}</table>"
            f'<p class="said">{html.escape(result["message"] or "All right.")}</p>'
            + (f"<details><summary>Your code</summary><pre>{code}</pre></details>" if code else "")
        )
    points = sum(result["points"] for result in row["results"])
    out_of = sum(e.points for e in asked)
    return _page(f"{row['student']}: {points} of {out_of} points", "".join(parts))


def overview(rows: list[dict[str, Any]], asked: list[Exercise], reports: str) -> str:
    """The teacher's page: every student, and for each exercise what most of them stumbled over."""
    head = "".join(f"<th>{html.escape(e.name).replace('.', '.<wbr>')}</th>" for e in asked)
    lines = []
    for row in rows:
        name = html.escape(row["student"])
        cells = "".join(
            f'<td class="n" title="{html.escape(r["message"])}">{COLUMN.get(r["state"], "!")} '
            f"{r['points']}</td>"
            for r in row["results"]
        )
        total = sum(r["points"] for r in row["results"])
        link = f'<a href="{html.escape(reports)}/{name}.html">{name}</a>'
        lines.append(f'<tr><th>{link}</th>{cells}<td class="n">{total}</td></tr>')
    stumbled = []
    for place, e in enumerate(asked):
        said = [r["message"] for r in (row["results"][place] for row in rows) if r["message"]]
        right = sum(row["results"][place]["state"] == "right" for row in rows)
        most = max(set(said), key=said.count) if said else ""
        times = f" ({said.count(most)} times)" if most else ""
        name = html.escape(f"{e.name} {e.title}")
        stumbled.append(
            f"<tr><th>{name}</th><td>{right} of {len(rows)} right</td>"
            f"<td>{html.escape(most)}{times}</td></tr>"
        )
    return _page(
        f"{len(rows)} submissions",
        f'<div class="wide"><table><tr><th>student</th>{head}<th>points</th></tr>'
        f"{''.join(lines)}</table></div>"
        f"<h2>What was said most often</h2><table>{''.join(stumbled)}</table>",
    )


def _write(path: Path, text: str) -> None:
    check_writable(path.parent)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
