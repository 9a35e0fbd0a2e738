"""Exercises that answer back.

    from pftlab.book import check

    check("low_rank.lora.3", lora_output)

Where things live, and why:

* **An exercise is data**: `pftlab/book/exercises/<family>/<chapter>.py` mirrors the chapter
  `book/<family>/<chapter>.ipynb` and has `EXERCISES` (statement, stub, minutes, stars, hints and
  checks) and `QUIZ`. It is part of the package, so that a learner who has only installed it can be
  checked. The cells of the chapter are made from it.
* **Solutions and mutants** are in `tests/book/exercises/<family>/<chapter>.py`. Tests are neither
  in the installed package nor among the sources of the site, and `pftlab classroom release` never
  reads them. Leaving them out was preferred to encrypting them: a key has to be kept and handed
  on, and a file that is not there cannot be decrypted. Who clones the whole repository can read
  them; a teacher who wants secret exercises keeps a folder like it privately.
* **A check is a row of stages** from the most basic (shape) to the subtlest. Each stage has
  points. The first stage that fails stops the check and gives its message; the stages before it
  keep their points. Right values are found another way than by the solution (automatic
  differentiation, singular values, an equation that the answer must satisfy) where there is one.
  Who reads a check learns what it asks for, and some of that is an answer: a check that works
  without a network has to know. It does not hold the solution's text.
* **Inputs are drawn anew** at each check, so that remembered values do not pass.
"""

from .catalogue import chapters, exercise, exercises_of, quiz_of
from .check import Outcome, check, examine
from .model import Exercise, Option, Question, Stage, Wrong
from .progress import Progress
from .quiz import quiz

__all__ = [
    "Exercise", "Option", "Outcome", "Progress", "Question", "Stage", "Wrong", "chapters", "check",
    "examine", "exercise", "exercises_of", "quiz", "quiz_of",
]  # fmt: skip
