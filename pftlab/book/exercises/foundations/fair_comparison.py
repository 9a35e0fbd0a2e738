"""Exercises of the chapter book/foundations/fair_comparison.ipynb."""

import math
from itertools import combinations, product
from statistics import fmean, pstdev, stdev
from typing import Any

from torch import Tensor

from ..compare import measure, normal, number, numbers, pair, whole
from ..model import Exercise, Option, Question, Stage, Wrong

APART = (1.0, 3.0, 5.0)
T2 = 4.303  # Student's t, two degrees of freedom
T9 = 2.262
TEXTS, SHARE = 1000, 0.8
FIRST, SECOND = 35, 25  # texts that one method alone has right


def _mean(answer: Any, g: Any) -> None:
    mean, _ = numbers(answer, ("mean", "half"))
    measure(mean, 3.0, [(9.0, "Mean: that is the sum.")], "Mean: add the differences, divide by 3.")


def _half(answer: Any, g: Any) -> None:
    _, half = numbers(answer, ("mean", "half"))
    error = stdev(APART) / math.sqrt(3)
    mistakes = [
        (1.96 * error, "Half: three seeds have two degrees of freedom; t is 4.303, not 1.96."),
        (T2 * stdev(APART), "Half: that is for one more seed; the mean of three varies less."),
        (T2 * stdev(APART) / 3, "Half: the standard error divides by the root of S."),
        (T2 * pstdev(APART) / math.sqrt(3), "Half: the variance divides by S − 1, not by S."),
        (2 * T2 * error, "Half: that is the whole width."),
    ]
    measure(half, T2 * error, mistakes, "Half: t times the deviation over √S.", within=2e-3)


def _one(answer: Any, g: Any) -> None:
    one, _ = numbers(answer, ("one method", "difference"))
    error = 100 * math.sqrt(SHARE * (1 - SHARE) / TEXTS)
    mistakes = [
        (error, "One method: that is the standard error; the interval takes 1.96 of it."),
        (1.96 * error / 100, "One method: give points, not shares."),
        (196 * math.sqrt(SHARE * (1 - SHARE)), "One method: how many texts are there?"),
        (2 * 1.96 * error, "One method: half of the interval is asked."),
    ]
    measure(one, 1.96 * error, mistakes, "One method: a right answer is a coin of share 0.8.", 5e-3)


def _both(answer: Any, g: Any) -> None:
    one, both = numbers(answer, ("one method", "difference"))
    differ, gap = (FIRST + SECOND) / TEXTS, (FIRST - SECOND) / TEXTS
    error = 196 * math.sqrt((differ - gap**2) / TEXTS)
    mistakes = [
        (math.sqrt(2) * one, "Difference: that takes the two for independent; they share texts."),
        (one, "Difference: only texts on which the two disagree move it."),
        (196 * math.sqrt((gap - gap**2) / TEXTS), "Difference: all 60 disagreements count."),
    ]
    measure(both, error, mistakes, "Difference: Equation 2, for a share of 0.06.", within=5e-3)


def _scores(g: Any) -> tuple[Tensor, Tensor]:
    shared = 3 * normal(g, 10)
    return 80 + shared + normal(g, 10) / 2, 79 + shared + normal(g, 10) / 2


def _paired_mean(answer: Any, g: Any) -> None:
    a, b = _scores(g)
    mean, _ = pair(answer(a, b, T9), "the mean and half of the interval")
    right = float((a - b).mean())
    mistakes = [(-right, "The mean has the wrong sign: a minus b.")]
    measure(mean, right, mistakes, "The mean is that of a − b.")


def _paired_half(answer: Any, g: Any) -> None:
    a, b = _scores(g)
    _, half = pair(answer(a, b, T9), "the mean and half of the interval")
    n, apart = len(a), a - b
    right = T9 * float(apart.std()) / math.sqrt(n)
    unpaired = T9 * math.sqrt(float(a.var() + b.var()) / n)
    mistakes = [
        (unpaired, "That is the unpaired interval: the seeds that both share are still in it."),
        (T9 * float(apart.std(correction=0)) / math.sqrt(n), "Divide by S − 1 in the variance."),
        (T9 * float(apart.std()), "The mean of S differences varies less than one of them."),
        (T9 * float(apart.var()) / n, "A variance is no deviation: where is the root?"),
    ]
    measure(half, right, mistakes, "Half is t times the deviation of a − b over √S.")


P_VALUES = (0.2, 0.001, 0.03, 0.013, 0.012)  # three count: 0.013 is below 0.05 / 3
STEP = (0.03, 0.004, 0.04, 0.9)  # one counts: 0.03 is not


def _holm(p: tuple[float, ...]) -> list[bool]:
    ordered = sorted(p)
    failed = (n for n, least in enumerate(ordered) if least >= 0.05 / (len(p) - n))
    passed = ordered[: next(failed, len(p))]
    return [value in passed for value in p]


def _verdicts(answer: Any, p: tuple[float, ...]) -> list[bool]:
    given = answer(list(p))
    if not isinstance(given, list | tuple) or len(given) != len(p):
        raise Wrong(f"Return a list of {len(p)} truths, one for each p-value.")
    return [bool(each) for each in given]


def _holm_order(answer: Any, g: Any) -> None:
    given, right = _verdicts(answer, P_VALUES), _holm(P_VALUES)
    if given == right:
        return
    if given == [p < 0.05 for p in P_VALUES]:
        raise Wrong("That is no correction: with many methods, some are below 0.05 by chance.")
    if given == [p < 0.05 / len(P_VALUES) for p in P_VALUES]:
        raise Wrong("That divides by the number of all each time; Holm's steps grow milder.")
    if given == sorted(right, reverse=True) or given == sorted(right):
        raise Wrong("The verdicts are in the order of the sorted p-values, not of the given ones.")
    if given == [not each for each in right]:
        raise Wrong("True should say that the difference counts.")
    raise Wrong("Sort, compare the i-th with 0.05 / (k − i + 1), and undo the sorting.")


def _holm_stop(answer: Any, g: Any) -> None:
    given = _verdicts(answer, (0.004, 0.02, 0.021, 0.022))
    if given != [True, False, False, False]:
        raise Wrong("After the first that fails, no further one counts, however mild its step.")
    if _verdicts(answer, STEP) != _holm(STEP):
        raise Wrong("One of four fails at the second step: look at 0.03 against 0.05 / 3.")


def _curve(g: Any) -> list[float]:
    return [50.0 + whole(g, 0, 400) / 10 for _ in range(5)]


def _best_all(answer: Any, g: Any) -> None:
    scores = _curve(g)
    given = number(answer(scores, 5), "The expected best of all five")
    mistakes = [(fmean(scores), "With all rates tried, the best of them is known: the maximum.")]
    if abs(given - max(scores)) > 1e-6 and abs(given - fmean(scores)) > 1e-6:
        raise Wrong("With as many tries as rates, the answer is the maximum.")
    measure(given, max(scores), mistakes, "With as many tries as rates: the maximum.")


def _best_some(answer: Any, g: Any) -> None:
    scores = _curve(g)
    for k in (1, 2, 3):
        right = fmean(max(some) for some in combinations(scores, k))
        top = fmean(sorted(scores)[-k:])
        again = fmean(max(some) for some in product(scores, repeat=k))
        mistakes = [
            (top if k > 1 else max(scores), "Nobody knows beforehand which rates are the best."),
            (max(scores), "That is the best of all rates, and k of them are tried."),
            (again, "The tries are different rates: no rate is drawn twice."),
        ]
        measure(answer(scores, k), right, mistakes, "Average the maximum over all sets of k rates.")


def _name(number: int) -> str:
    return f"foundations.fair_comparison.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Three seeds by hand", "short", 5, 1,
        "Two methods differ by 1, 3 and 5 points with three paired seeds. What is the mean, and "
        "half of its 95 % interval over seeds? Student's $t$ for two degrees of freedom is 4.303. "
        "(To three digits.)",
        "interval = (..., ...)\n",
        ("The differences deviate from their mean by −2, 0 and 2.",
         "Which $S$ is under the root?"),
        (Stage("the mean", 1, _mean), Stage("half of the interval", 1, _half)),
    ),
    Exercise(
        _name(2), "What a text is worth", "short", 10, 1,
        "A test split has 1,000 texts. (i) A method has 80 % right: half of the 95 % interval of "
        "its accuracy, in points? (ii) A second method has 35 texts right that the first has "
        "wrong, and 25 wrong that the first has right: half of the interval of the difference? "
        "Take 1.96 and no seeds. (To three digits.)",
        "points = (..., ...)\n",
        ("An answer is right or wrong: which variance has that?", "Equation 2."),
        (Stage("one method", 1, _one), Stage("the difference", 1, _both)),
    ),
    Exercise(
        _name(3), "The paired interval", "code", 10, 2,
        "`a` and `b` (S,) are the scores of two methods, place by place with one seed; `t` is "
        "Student's for $S - 1$ degrees of freedom. Return the mean difference and half of its "
        "interval over seeds.",
        "def paired(a, b, t):\n    raise NotImplementedError\n",
        ("Subtract first.", "Equation 1."),
        (Stage("the mean", 1, _paired_mean), Stage("half of the interval", 2, _paired_half)),
    ),
    Exercise(
        _name(4), "Holm's steps", "code", 20, 2,
        "`p` is a list of p-values, one for each method that is compared with one. Return a list "
        "of truths in the same order: does the difference count at 5 %, corrected by Holm?",
        "def holm(p):\n    raise NotImplementedError\n",
        ("The smallest must be below $0.05 / k$, the next below $0.05 / (k - 1)$.",
         "What happens after the first that is not?"),
        (Stage("the right ones count", 2, _holm_order), Stage("it stops", 1, _holm_stop)),
    ),
    Exercise(
        _name(5), "The best of k tries", "code", 15, 2,
        "`scores` are a method's validation scores at each rate of a grid. Somebody tries $k$ of "
        "these rates, chosen at random and each at most once, and keeps the best. Return what "
        "they can expect to report.",
        "def expected_best(scores, k):\n    raise NotImplementedError\n",
        ("`itertools.combinations` lists all sets of k.",),
        (Stage("all rates tried", 1, _best_all), Stage("some of them", 3, _best_some)),
    ),
    Exercise(
        _name(6), "Diagnose", "open", 15, 2,
        "Four tables say that A beats B. (a) A was tried at eight rates and B at its paper's one. "
        "(b) Both have three seeds, A's are 0, 1, 2 and B's 3, 4, 5. (c) The rates were chosen by "
        "the test score. (d) One of B's five runs ended at chance and was left out. Which way "
        "does each move the difference, which of them makes the interval too short, and which "
        "can be mended without a new run?",
        "", ("The table of what goes wrong has three of them.",), (),
    ),
    Exercise(
        _name(7), "Read", "open", 10, 2,
        "Paired differences from LoRA, 95 %, points: A +0.4 ± 0.3 (one comparison planned), "
        "B +2.1 ± 5.0, C −5.2 ± 3.2 (the smallest p of 44), D −0.1 ± 0.2. Which of these may be "
        "printed? (i) A is better than LoRA on this base and task. (ii) B is the best of the "
        "four. (iii) C is worse than LoRA. (iv) D is equivalent to LoRA. (v) D differs from LoRA "
        "by less than half a point, if at all.",
        "", ("What does an interval leave out?", "How many were compared?"), (),
    ),
    Exercise(
        _name(8), "How many seeds for your question?", "open", 30, 3,
        "Run `pftlab experiment run seeds` with a method of yours added to a copy of its grid. "
        "What is the deviation of the paired difference from LoRA? How many seeds would show one "
        "point with a power of 80 %, and how many test texts does that need?",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Two methods ran with seeds 0 to 4. When does pairing make the interval shorter?",
        (
            Option("always, since the two have as many seeds",
                   "Pairs whose scores move against each other make it longer."),
            Option("when a lucky seed is lucky for both methods",
                   "Then the shared part leaves the difference.", right=True),
            Option("when the methods have the same mean", "The mean does not enter the width."),
        ),
    ),
    Question(
        "On SmolLM2, what was larger: LoRA against full fine-tuning, or one rate of full "
        "fine-tuning against another?",
        (
            Option("the rates", "And each method alone could have been reported.", right=True),
            Option("the methods", "Look at the three lines of the first cell again."),
            Option("both were zero", "The rates differ by more than a point."),
        ),
    ),
    Question(
        "In the figure of power, which true difference do ten seeds see four times in five?",
        (
            Option("one point", "There the curve of ten is hardly above that of three."),
            Option("about five points", "Where its curve crosses the thin line.", right=True),
            Option("any difference that is not zero, since ten seeds are many",
                   "Read the curve at its left end."),
        ),
    ),
    Question(
        "Of 45 equal methods with three seeds each, the best",
        (
            Option("is the true best, but by little", "They are equal: there is no best."),
            Option("looks better than it is, and falls when it is run again",
                   "It is the maximum of 45 draws.", right=True),
            Option("has a mean that is right, and an interval that is too long",
                   "Its mean is the one that was chosen for being high."),
        ),
    ),
    Question(
        "A difference is −0.1 ± 0.2 points. Then",
        (
            Option("the methods are equal", "Then no interval would be needed."),
            Option("more than 0.3 points is ruled out", "And equality is not shown.", right=True),
            Option("nothing at all has been learned, since zero is inside of the interval",
                   "A short interval around zero says a lot."),
        ),
    ),
)  # fmt: skip
