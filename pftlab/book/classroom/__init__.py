"""Hand out, collect, grade: no server, no account.

`release` (`handout.py`) writes student copies of chapters. Outputs, folded solutions and the quiz
are left out; the exercises come from the data, each as statement, hints, a cell to write in and a
cell that checks.

`grade` (`grading.py`) takes from each notebook the cells that the students write in, and nothing
else: check cells in a submission are never run.

    grader ── starts one for each submission ──▶ walls ▶ world ── forks for each answer ──▶ answer
       └──────────────── questions and replies (remote.py, world/messages.py) ─────────────┘

The checks run in the grader: they send inputs to an answer and look at what comes back, which is
data and never code. So an answer can say wrong things and cannot judge itself. The walls
(`walls.py`) are those of bubblewrap, docker or podman, tried by a probe before the first answer;
where none stand, `grade` refuses unless it is told `--unconfined`.

What that protects against: endless loops, memory, exit(), floods of output, crashes of the
interpreter; edited checks, in the notebook or in the library's memory; forged results; reading or
writing the teacher's files, other submissions and grades; sockets of every kind; other processes;
programs left running; looking a right value up in this package.

What it does not protect against: bugs in the kernel or in the tool; a processor kept busy for as
long as the time limit; and answers from a neighbour.
"""

from .grading import Grades, grade
from .handout import release, rubric

__all__ = ["Grades", "grade", "release", "rubric"]
