"""How long a class takes to grade, and whether everybody is there with their own points.

    python benchmarks/class_of_students.py [--students 200]

Every tenth student hands in something that hurts: a loop, a crash, a flood, a broken file. The rest
hand in the answers of the chapter on LoRA, right or half right. Beside the table it prints the
time, and the time of a second run, which has nothing new to grade.

Found on a busy machine of two cores, bubblewrap 0.8: 339 s for 200 submissions, 4 s for the second
run, 560 MiB, everybody as expected. Most of the time is the import of torch, once for each student.
"""

import argparse
import csv
import json
import resource
import runpy
import tempfile
import time
from pathlib import Path

from pftlab.book.classroom import grade, release

ROOT = Path(__file__).resolve().parents[1]
CHAPTER, NAME = "low_rank.lora", "low_rank.lora.3"
HEAD = "def lora_output(x, h, A, B, alpha):\n    "
HURTS = (
    "while True: pass",
    "import os; os._exit(0)",
    "print('x' * 10**8)",
    "return bytearray(1 << 40)",
)


def notebooks(count: int) -> dict[str, tuple[str, int]]:
    """{student: (notebook, points)}"""
    answers = runpy.run_path(str(ROOT / "tests/book/exercises/low_rank/lora.py"))["ANSWERS"]
    right = {name: code for name, (code, _) in answers.items()}
    with tempfile.TemporaryDirectory() as out:
        sheet = release([CHAPTER], out, ROOT / "book")[0].read_text("utf-8")
    made = {}
    for number in range(count):
        notebook, mine, points = json.loads(sheet), dict(right), 21
        if number % 10 == 9:
            mine[NAME], points = HEAD + HURTS[number // 10 % len(HURTS)], 17
        elif number % 2:
            del mine[NAME]
            points = 17
        for cell in notebook["cells"]:
            for tag in cell["metadata"].get("tags", []):
                name = tag.removeprefix("answer:")
                if name in mine and name != tag:
                    cell["source"] = f"# {name}\n{mine[name]}"
        text = json.dumps(notebook)
        if number % 50 == 49:
            text, points = text[: len(text) // 2], 0
        made[f"student {number:03}"] = (text, points)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=200)
    count = parser.parse_args().students
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place, "in"), Path(place, "grades.csv")
        folder.mkdir()
        students = notebooks(count)
        for student, (text, _) in students.items():
            (folder / f"{student}.ipynb").write_text(text)
        for run in ("first", "second"):
            begun = time.monotonic()
            grades = grade(folder, out, [CHAPTER])
            print(f"{run} run: {time.monotonic() - begun:.0f} s for {len(grades.rows)} submissions")
        rows = {row["student"]: int(row["points"]) for row in csv.DictReader(out.open())}
        others = {
            s: (rows.get(s), most) for s, (_, most) in students.items() if rows.get(s) != most
        }
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"graded otherwise than expected: {others or 'nobody'}")
        print(f"memory of the grader: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
