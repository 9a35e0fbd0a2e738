"""The book's machinery: what its chapters and their readers use besides the library.

    from pftlab.book import check, quiz

* `exercises`: exercises that answer back, quizzes, and a learner's progress;
* `classroom`: hand out, collect, grade;
* `widgets`: the figures that can be turned;
* `plots`: the figures that stand still, in one style.

The library proper never imports it, and importing the library never touches it.
"""

from .exercises import Progress, check, quiz

__all__ = ["Progress", "check", "quiz"]
