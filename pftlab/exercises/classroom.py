r"""Hand out, collect, grade: no server, no account.

`release` writes student copies of chapters: everything that holds an answer is left out (the
cells `exercises` and `quiz`, and folded solutions elsewhere), and the exercises
come from the data, each as statement, hints,
a cell to write in (tagged "answer:NAME") and a cell that checks. An answer
stands alone: it is run with `torch` and `math`, and without the other cells.

`grade` reads all submissions before it runs the first. From each notebook it takes the cells
tagged "answer:NAME" and nothing else: the check cells in a submission are never run, the
teacher's checks are. Each submission runs in a process of its own, with limits on time, memory,
file size and output, in an empty folder, without network where the system allows. Results are
kept in the teacher's process, and the files are written from there, the table and all reports
once more at the end, so that a submission which overwrote one has changed nothing.

What this protects against: mistakes. Endless loops, memory, exit(), floods of output, files left
about, edited checks. What it does not: someone who sets out to cheat. An answer runs as the user
who grades, in one process with the checks; it can read that user's files, search the memory for
the checks, forge its own result, spoil its own later exercises, start a program that outlives the
time limit, and change the journal that a resumed run trusts. For strangers' code, grade in a
container (a sketch; adapt it to your system):

    docker run --rm --network none --read-only --memory 4g --tmpfs /tmp \
        -v "$PWD/collected:/in:ro" -v "$PWD/grades:/out" IMAGE \
        pftlab classroom grade /in --out /out/grades.csv
"""

import csv
import ctypes
import hashlib
import html
import io
import json
import os
import re
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.errors import BadValue, Unavailable
from ..core.files import atomic_write, check_writable
from .catalogue import chapters, exercises_of
from .check import Result, examine
from .model import Exercise

LEFT_OUT = ("exercises", "quiz")  # identifiers of the cells that hold answers
FOLDED = re.compile(r"<details[^>]*>\s*<summary>\s*Solution.*?</details>\s*", re.DOTALL)
DIRECTIVE = "{solution"  # of sphinx-exercise; such a cell is left out whole
OUTPUT = 1 << 20  # bytes that a submission's result may have
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def release(names: Iterable[str], out: str | Path, book: str | Path = "book") -> list[Path]:
    """Write student notebooks `out`/FAMILY/CHAPTER.ipynb and return their paths.

    Raises:
        UnknownName: a chapter has no exercises.
        Unavailable: its notebook is not below `book`.
    """
    written = []
    for name in names:
        asked = exercises_of(name)
        source = Path(book).joinpath(*name.split(".")).with_suffix(".ipynb")
        try:
            notebook = json.loads(source.read_text(encoding="utf-8"))
        except OSError as error:
            raise Unavailable(
                f"There is no chapter {source}. Run this in a copy of the book, or give --book."
            ) from error
        cells = []
        for cell in notebook["cells"]:
            if cell.get("id") in LEFT_OUT or DIRECTIVE in "".join(cell["source"]):
                continue
            text = FOLDED.sub("", "".join(cell["source"]))
            cell["source"] = text.splitlines(keepends=True)
            cell.pop("attachments", None)
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
            cells.append(cell)
        notebook["cells"] = cells + [c for e in asked for c in _cells(e)]
        target = Path(out).joinpath(*name.split(".")).with_suffix(".ipynb")
        check_writable(target.parent)
        with atomic_write(target) as path:
            path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False), encoding="utf-8")
        written.append(target)
    return written


def _cells(asked: Exercise) -> list[dict[str, Any]]:
    short = asked.name.replace(".", "-").replace("_", "-")
    hints = "".join(
        f"\n\n<details>\n<summary>Hint {number}</summary>\n\n{hint}\n\n</details>"
        for number, hint in enumerate(asked.hints, 1)
    )
    text = (
        f"**{asked.title}** ({'★' * asked.stars}, {asked.minutes} minutes, {asked.points} points)"
        f"\n\n{asked.statement}\n\nWrite it so that it stands alone; `torch` and `math` are there."
        f"{hints}"
    )
    checks = f'from pftlab.exercises import check\n\ncheck("{asked.name}", {asked.defines})'

    def code(kind: str, source: str) -> dict[str, Any]:
        return {
            "cell_type": "code", "id": f"{kind}-{short}", "execution_count": None, "outputs": [],
            "metadata": {"tags": [f"{kind}:{asked.name}"]}, "source": source.splitlines(True),
        }  # fmt: skip

    return [
        {"cell_type": "markdown", "id": f"asked-{short}", "metadata": {},
         "source": text.splitlines(True)},
        code("answer", asked.stub.rstrip()),
        code("check", checks),
    ]  # fmt: skip


def answers_in(text: str) -> dict[str, str]:
    """{exercise: source of its answer cells} of a notebook's text.

    Raises:
        BadValue: the text is not a notebook.
    """
    try:
        found: dict[str, str] = {}
        for cell in json.loads(text)["cells"]:
            for tag in cell.get("metadata", {}).get("tags", []):
                if cell["cell_type"] == "code" and tag.startswith("answer:"):
                    name = tag.removeprefix("answer:")
                    found[name] = found.get(name, "") + "".join(cell["source"]) + "\n"
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadValue("This file is not a Jupyter notebook.") from error


def grade(
    folder: str | Path,
    out: str | Path,
    seconds: float = 60.0,
    megabytes: int = 2048,
    seed: int = 0,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Grade every notebook below `folder`; write the table `out` and a report per student.

    Args:
        folder: submissions; a student is the path below it without its suffix.
        out: the CSV file; reports go to the folder `out` without suffix, the journal beside it.
        seconds: for one whole submission.
        megabytes: memory that a submission may take on top of what torch itself needs.
        seed: of the checks' inputs, so that all students get the same.
        quiet: no progress bar.

    Raises:
        Unavailable: the system cannot fork (Windows: use WSL or a container), or `folder` has no
            notebooks.
    """
    if not hasattr(os, "fork"):
        raise Unavailable("Grading needs Linux or macOS; on Windows use WSL or a container.")
    import torch
    from tqdm import tqdm

    torch.set_num_threads(1)  # a fork keeps only one thread
    folder, out = Path(folder), Path(out)
    paths = [p for p in sorted(folder.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
    texts = {
        p.relative_to(folder).with_suffix("").as_posix(): p.read_text("utf-8", "replace")
        for p in paths
    }
    if not texts:
        raise Unavailable(f"There are no notebooks in {folder}.")
    check_writable(out.parent)
    journal = out.with_suffix(".journal.jsonl")
    asked = [e for chapter in chapters() for e in exercises_of(chapter)]
    handed = {name for text in texts.values() for name in _names(text)}
    asked = [e for e in asked if e.name.rpartition(".")[0] in handed] or asked
    setting = json.dumps([[e.name for e in asked], seconds, megabytes, seed])
    marks = {s: hashlib.sha256((setting + s + t).encode()).hexdigest() for s, t in texts.items()}
    done = {row["student"]: row for row in _read(journal) if marks.get(row["student"]) == row["of"]}
    for student in tqdm(texts, desc="grading", unit="submission", disable=quiet or None):
        if student in done:
            continue
        done[student] = {
            "student": student, "of": marks[student],
            **_grade_one(texts[student], asked, seconds, megabytes, seed),
        }  # fmt: skip
        _write(journal, "".join(json.dumps(row) + "\n" for row in done.values()))
    rows = [done[student] for student in texts]
    reports = out.with_suffix("")
    for row in rows:
        _write(reports / f"{row['student']}.html", _report(row))
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["student", *[e.name for e in asked], "points", "out_of", "note"])
    for row in rows:
        points = [result["points"] for result in row["results"]]
        writer.writerow([row["student"], *points, sum(points), sum(e.points for e in asked),
                         row["note"]])  # fmt: skip
    _write(out, table.getvalue())
    return rows


def _names(text: str) -> set[str]:
    try:
        return {name.rpartition(".")[0] for name in answers_in(text)}
    except BadValue:
        return set()


def _read(journal: Path) -> list[dict[str, Any]]:
    """The rows of an earlier run; a line that a crash cut off loses only itself."""
    rows = []
    try:
        text = journal.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"student", "of", "results", "note"} <= row.keys():
            rows.append(row)
    return rows


def _write(path: Path, text: str) -> None:
    check_writable(path.parent)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _grade_one(
    text: str, asked: list[Exercise], seconds: float, megabytes: int, seed: int
) -> dict[str, Any]:
    """{"results", "note"} of one submission."""
    try:
        answers = answers_in(text)
    except BadValue as error:
        return {"results": [asdict(_none(e, str(error))) for e in asked], "note": str(error)}
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory(prefix="pftlab-grade-") as place:
        child = os.fork()
        if child == 0:
            _child(reader, writer, place, answers, asked, seconds, megabytes, seed)
        os.close(writer)
        lines, note = _listen(reader, time.monotonic() + seconds)
        try:
            os.killpg(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
    results = []
    for e in asked:
        found = lines.get(e.name)
        results.append(found or asdict(_none(e, f"The process ended before this: {note}")))
    return {"results": results, "note": "" if len(lines) == len(asked) else note}


def _none(asked: Exercise, message: str, state: str = "error") -> Result:
    return Result(asked.name, state, 0, asked.points, (), message)


def _listen(reader: int, deadline: float) -> tuple[dict[str, dict[str, Any]], str]:
    """What the child reports until it ends or time is up, and why it stopped."""
    data, note = b"", "your code ended the process"
    while len(data) < OUTPUT:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            note = "time was up"
            break
        part = os.read(reader, 65536)
        if not part:
            break
        data += part
    lines: dict[str, dict[str, Any]] = {}
    for line in data.splitlines():
        try:
            found = json.loads(line)
            lines.setdefault(found["name"], found)
        except (ValueError, KeyError, TypeError):
            continue
    return lines, note


def _child(
    reader: int, writer: int, place: str, answers: dict[str, str], asked: list[Exercise],
    seconds: float, megabytes: int, seed: int,
) -> None:  # fmt: skip
    """Run the answers and report through the pipe; never returns."""
    try:
        os.setsid()
        os.close(reader)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        os.chdir(place)
        _confine(seconds, megabytes)
        each = seconds / (len(asked) + 1)
        for e in asked:
            result = _answer(e, answers, each, seed)
            os.write(writer, json.dumps(asdict(result)).encode() + b"\n")
    finally:
        os._exit(0)


def _answer(asked: Exercise, answers: dict[str, str], seconds: float, seed: int) -> Result:
    import math

    import torch

    if asked.name not in answers:
        return _none(asked, f"The answer cell of {asked.name} is missing.", "missing")
    space: dict[str, Any] = {"__name__": "answer", "torch": torch, "math": math}
    from .check import _limit, _TooSlow

    try:
        with _limit(seconds):
            exec(compile(answers[asked.name], asked.name, "exec"), space)
    except SyntaxError as error:
        return _none(asked, f"Syntax error in line {error.lineno}: {error.msg}")
    except _TooSlow:
        return _none(asked, "Time was up while the cell ran: an endless loop?", "too slow")
    except BaseException as error:
        return _none(asked, f"Your cell raised {type(error).__name__}: {error}"[:500])
    if asked.defines not in space:
        return _none(asked, f"Your cell should define {asked.defines}, and does not. Renamed?")
    try:
        found = examine(asked, space[asked.defines], seconds, seed)
    except BaseException as error:  # exit() inside the function
        return _none(asked, f"Your code raised {type(error).__name__}.")
    return Result(found.name, found.state, found.points, found.out_of, found.passed,
                  found.message[:1000])  # fmt: skip


def _confine(seconds: float, megabytes: int) -> None:
    """Limit what this process may use. Each limit is set where the system has it."""
    import resource

    try:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = now + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (OSError, ValueError):
        pass  # macOS has no limit on memory that works: use a container
    cpu = int(seconds) + 1
    for kind, limit in (("CPU", cpu), ("FSIZE", 10 * 2**20), ("CORE", 0)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (limit, limit))
    try:
        alone = ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
    except (AttributeError, OSError):
        alone = False
    if not alone:

        def refuse(*_: Any, **__: Any) -> Any:
            raise OSError("there is no network while grading")

        socket.socket.connect = refuse  # type: ignore[method-assign]
        socket.getaddrinfo = refuse  # type: ignore[assignment]


def _report(row: dict[str, Any]) -> str:
    parts = []
    for result in row["results"]:
        passed = "".join(f"<li>✓ {html.escape(title)}</li>" for title in result["passed"])
        message = html.escape(result["message"])
        parts.append(
            f"<h2>{html.escape(result['name'])}: {result['points']} of {result['out_of']}</h2>"
            f"<p>{html.escape(result['state'])}</p><ul>{passed}</ul><p>{message}</p>"
        )
    student = html.escape(row["student"])
    points = sum(result["points"] for result in row["results"])
    out_of = sum(result["out_of"] for result in row["results"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{student}</title>'
        f"<h1>{student}: {points} of {out_of} points</h1>{''.join(parts)}</html>"
    )
