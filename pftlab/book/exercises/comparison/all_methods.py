"""Exercises of the chapter book/comparison/all_methods.ipynb."""

import math
from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import measure, normal, number, numbers, pair
from ..model import Exercise, Option, Question, Stage, Wrong

METHODS = 60


def _pairs(answer: Any, g: Any) -> None:
    given, _ = numbers(answer, ("pairs", "by chance"))
    mistakes = [
        (METHODS * METHODS, "Pairs: a method is not compared with itself."),
        (METHODS * (METHODS - 1), "Pairs: a against b and b against a are one comparison."),
        (METHODS - 1, "Pairs: that is all methods against one."),
    ]
    right = METHODS * (METHODS - 1) / 2
    measure(given, right, mistakes, "Pairs: each method with each other one, once.")


def _chance(answer: Any, g: Any) -> None:
    _, given = numbers(answer, ("pairs", "by chance"))
    right = 0.05 * METHODS * (METHODS - 1) / 2
    mistakes = [
        (0.05, "By chance: that is the share. How many are they?"),
        (0.05 * METHODS, "By chance: it is the pairs that are tested, not the methods."),
        (right / 2, "By chance: a difference in either direction would be printed."),
    ]
    measure(given, right, mistakes, "By chance: the level times the number of tests.")


def _kendall(answer: Any, x: Any, y: Any) -> float:
    return number(answer(list(map(float, x)), list(map(float, y))))


def _kendall_ends(answer: Any, g: Any) -> None:
    x = normal(g, 9)
    if abs(_kendall(answer, x, 2 * x + 1) - 1) > 1e-9:
        raise Wrong("Two tables with one order have 1, whatever the scores are.")
    if abs(_kendall(answer, x, -x) + 1) > 1e-9:
        raise Wrong("Two tables in opposite orders have −1.")


def _kendall_between(answer: Any, g: Any) -> None:
    x = normal(g, 8)
    y = x + normal(g, 8)
    signs = [float(torch.sign((x[i] - x[j]) * (y[i] - y[j]))) for i in range(8) for j in range(i)]
    right = sum(signs) / len(signs)
    given = _kendall(answer, x, y)
    pearson = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    mistakes = [(pearson, "Only the order counts, not how far.")]
    measure(given, right, mistakes, "Look at every pair of methods once.", 1e-9)
    tied = _kendall(answer, [1, 2, 3], [5, 5, 6])
    measure(tied, 2 / 3, [(1.0, "A pair with equal scores is a pair: it counts zero.")],
            "A pair with equal scores counts zero.", 1e-9)  # fmt: skip


def _says(answer: Any, intervals: list[tuple[float, float] | None]) -> str:
    given = answer(list(intervals))
    if given not in ("ahead", "behind", "open"):
        raise Wrong('Return "ahead", "behind" or "open".')
    return str(given)


def _every_interval(answer: Any, g: Any) -> None:
    low = float(normal(g, 1).abs()) + 0.1
    ahead, behind, unsettled = (low, low + 1), (-low - 1, -low), (-low, low + 2)
    if _says(answer, [ahead, ahead]) != "ahead":
        raise Wrong("Every interval lies above zero: ahead.")
    if _says(answer, [behind, behind]) != "behind":
        raise Wrong("Every interval lies below zero: behind.")
    if _says(answer, [ahead, unsettled]) != "open":
        raise Wrong("One interval holds zero, though its middle is above: open.")
    if _says(answer, [ahead, behind]) != "open" or _says(answer, [behind, ahead]) != "open":
        raise Wrong("Two tables that disagree leave it open.")


def _not_run(answer: Any, g: Any) -> None:
    if _says(answer, [(0.2, 1.0), None, (0.4, 2.0)]) != "ahead":
        raise Wrong("A table without the method says nothing: leave it out.")
    if _says(answer, [None, None]) != "open" or _says(answer, []) != "open":
        raise Wrong("Where it was never run, nothing was seen: open.")
    if _says(answer, [(0.0, 1.0), (0.5, 1.0)]) != "open":
        raise Wrong("An interval that ends at zero holds it.")


def _moved(answer: Any, g: Any) -> tuple[Any, Any, Tensor, Tensor]:
    shared = normal(g, 6)  # by chance: seeds of one number are no pair here
    first, second = shared - 1, 0.8 * shared + normal(g, 6) - 4
    mean, error = pair(answer(first, second), "the distance and its standard error")
    return mean, error, first, second


def _moved_mean(answer: Any, g: Any) -> None:
    given, _, first, second = _moved(answer, g)
    right = float(second.mean() - first.mean())
    measure(given, right, [(-right, "The distance is the second base minus the first.")],
            "The distance is one mean minus the other.")  # fmt: skip


def _moved_error(answer: Any, g: Any) -> None:
    _, given, first, second = _moved(answer, g)
    n, both = len(first), float(first.var() + second.var())
    right = math.sqrt(both / n)
    spread = math.sqrt(float(first.var(correction=0) + second.var(correction=0)) / n)
    mistakes = [
        (
            float((second - first).std()) / math.sqrt(n),
            "Seed 3 on one base and seed 3 on the other are no pair.",
        ),
        (math.sqrt(both), "The error of a mean falls with the number of seeds."),
        (both / n, "A variance is no deviation: where is the root?"),
        (float(first.std() + second.std()) / math.sqrt(n), "Variances add, deviations do not."),
        (spread, "Divide by S − 1 in the variance."),
    ]
    measure(given, right, mistakes, "The error holds the variance of both means.")


_causes = causes((3, 2, 1, 4), (
    "a: the tables agree on which methods are good, and the number says the opposite.",
    "b: no two runs with other data agree to the last digit.",
    "c: which methods were left, and what had been done to choose them?",
    "d: what changed the number was leaving out two methods.",
), of="case")  # fmt: skip
_printed = sentences((1, 0, 0, 1), (
    "i: is zero in the interval of base one?",
    "ii: what does base two settle, and what base three?",
    "iii: an interval that holds zero also holds other numbers.",
    "iv: look at the lower end of the interval of base two.",
))  # fmt: skip


def _name(number: int) -> str:
    return f"comparison.all_methods.{number}"


EXERCISES = (
    Exercise(
        _name(1), "By chance", "short", 5, 1,
        "Sixty methods are all equally good, and somebody tests each pair of them at the level "
        "0.05, without a correction. How many pairs are that, and how many differences will be "
        "called real, on average?",
        "found = (..., ...)\n",
        ("Each pair once.",),
        (Stage("the pairs", 1, _pairs), Stage("by chance", 1, _chance)),
    ),
    Exercise(
        _name(2), "Kendall's correlation", "code", 15, 2,
        "The page used Spearman's correlation. Kendall's is nearer to its question: it looks at "
        "every pair of methods. A pair counts 1 where the two lists have it in one order, −1 "
        "where in opposite orders, and 0 where one of them has equal scores. Return the mean over "
        "all pairs. `x` and `y` are lists with the scores of the same methods.",
        "def kendall(x, y):\n    raise NotImplementedError\n",
        ("Two loops, the inner one up to the outer.", "What is the sign of a product?"),
        (Stage("the ends", 1, _kendall_ends), Stage("between them", 2, _kendall_between)),
    ),
    Exercise(
        _name(3), "One verdict from several tables", "code", 15, 2,
        "`intervals` has one entry for each table: the (low, high) of a method's difference from "
        "LoRA, or None where it was not run. Return \"ahead\" or \"behind\" if every table that "
        "has the method says so, and there is one; else \"open\".",
        "def survives(intervals):\n    raise NotImplementedError\n",
        ("First leave out what was not run.", "`all` of an empty list is True."),
        (Stage("every interval", 2, _every_interval), Stage("what was not run", 2, _not_run)),
    ),
    Exercise(
        _name(4), "Has a distance moved?", "code", 15, 2,
        "`first` and `second` (S,) hold a method's paired differences from LoRA on two bases, a "
        "number for each seed. Runs on the two bases have nothing in common. Return by how much "
        "the mean difference is larger on the second base, and the standard error of that, from "
        "the seeds alone.",
        "def moved(first, second):\n    raise NotImplementedError\n",
        ("Variances of independent means add.",),
        (Stage("the distance", 1, _moved_mean), Stage("its error", 2, _moved_error)),
    ),
    Exercise(
        _name(5), "Diagnose", "short", 15, 2,
        "Four rank correlations between two tables are not what they seem. (a) It is −0.9, and "
        "yet the same methods look good in both tables. (b) It is 1, and the means agree to the "
        "last digit. (c) It is 0.1 for ten methods, and over all fifty it was 0.8. (d) It is 0.9 "
        "for twelve methods, and 0.1 for ten of them, with no other change. The causes: **1** "
        "only methods of nearly one level were kept; **2** one file under two names; **3** a "
        "score of which less is better; **4** two methods far behind the rest. Which cause has "
        "which case?",
        "causes = (..., ..., ..., ...)  # of a, b, c, d\n",
        ("What would each cause do to the ranks?",),
        (Stage("the causes", 4, _causes),),
    ),
    Exercise(
        _name(6), "Read", "short", 10, 2,
        "A method's paired difference from LoRA, corrected, in points: +0.8 ± 0.5 on base one, "
        "+0.6 ± 1.1 on base two, and its runs on base three failed. Which sentences may be "
        "printed? (i) On base one it is ahead of LoRA in these runs. (ii) It is ahead of LoRA on "
        "two of three bases. (iii) On base two the two are equally good. (iv) On base two it is "
        "behind LoRA by less than one point, if at all. Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)  # of i, ii, iii, iv\n",
        ("Write down both ends of each interval.",),
        (Stage("the sentences", 4, _printed),),
    ),
    Exercise(
        _name(7), "Fill a hole", "open", 45, 3,
        "Choose a row that a table lacks. Write down where you expect it, from the tables that "
        "have it, as an interval of ranks. Then run it, with the command of that table's lines, "
        "a grid file with this method alone and the same protocol. Were you right? Whose error "
        "was it: the ranks', or that of five seeds?",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "A pair of methods is settled on one encoder, and on the other one cannot tell. This is",
        (
            Option("a contradiction between the two encoders",
                   "That would be a pair that is settled both ways."),
            Option("proof that the encoder decides", "The distance may be the same on both."),
            Option("what most pairs of these tables do, and contradicts nothing",
                   "Far fewer survive than are settled.",
                   right=True),
        ),
    ),
    Question(
        "The ranks of two tables correlate at 0.9. Which use does this number allow?",
        (
            Option("to take the first of one table as the first of the other",
                   "Look where the first five of one encoder stand on the other."),
            Option("to expect the lower end of one table low in the other",
                   "It is the coarse order that carries over.", right=True),
            Option("to say that the differences in points are alike in both",
                   "Ranks know no distances."),
        ),
    ),
    Question(
        "Most methods cannot be told from LoRA. Which sentence follows?",
        (
            Option("These runs leave it open which of them is better.", "No more than that.",
                   right=True),
            Option("They all work as well as LoRA.", "The intervals are points wide."),
            Option("LoRA is the best of its kind.", "Nothing was proved in its favour either."),
        ),
    ),
    Question(
        "A table lacks a method whose runs were never finished. What may be said of it there?",
        (
            Option("that it was worse than the rows there",
                   "Rows are lacking for other reasons."),
            Option("what it did on SST-2, if the ranks of the two tables correlate",
                   "A correlation over methods is no result of one of them."),
            Option("nothing", "There is no run.", right=True),
        ),
    ),
    Question(
        "On MRPC the intervals are the narrowest of all, and all hold zero. Why is that no proof "
        "that the methods are equally good?",
        (
            Option("Five seeds are too few for any interval to be believed.",
                   "Elsewhere five seeds settle differences."),
            Option("No method is ahead of random weights.",
                   "LoRA and a model from random weights have one mean there.", right=True),
            Option("Holm's correction makes every interval too narrow.",
                   "A correction makes them wider."),
        ),
    ),
    Question(
        "In the figure of trained parameters, what makes most of the correlation with accuracy?",
        (
            Option("the two ends of the axis: the head alone and whole models",
                   "Between four thousand and a million it is weaker.",
                   right=True),
            Option("the low-rank methods in the middle of the axis",
                   "They have nearly one count, and nearly one height."),
            Option("the size of the head", "The head is not counted, and equal for all."),
        ),
    ),
)  # fmt: skip
