"""Exercises of the chapter book/comparison/workflow.ipynb."""

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, number, numbers, whole
from ..model import Exercise, Option, Question, Stage, Wrong


def _pairs(answer: Any, g: Any) -> None:
    apart, _ = numbers(answer, ("apart", "both in the test"))
    measure(apart, 32, [
        (16, "A pair is apart in two ways: the first in the test, or the second."),
        (20, "A copy in the test is harmless if its twin is there as well."),
        (40, "Count pairs, not texts that have a twin somewhere."),
    ], "Each text is in the test with probability 1/5, whatever its twin does.")  # fmt: skip


def _pairs_both(answer: Any, g: Any) -> None:
    _, both = numbers(answer, ("apart", "both in the test"))
    measure(both, 4, [
        (20, "That is the number of twins in the test if one were enough."),
        (8, "That counts the texts of these pairs."),
    ], "Two independent events, each of probability 1/5.")  # fmt: skip


_GROUPS = ["a", "b", "a", "c", "b", "d", "c", "a"]
_PARTS = ["train", "train", "test", "test", "train", "test", "test", "validation"]


def _mixed_number(answer: Any, g: Any) -> None:
    number(answer(["a", "b"], ["train", "test"]), "The result")


def _mixed_value(answer: Any, g: Any) -> None:
    order = torch.randperm(8, generator=g).tolist()
    groups, parts = [_GROUPS[i] for i in order], [_PARTS[i] for i in order]
    measure(answer(groups, parts), 1, [
        (3, "Those are the groups with more than one row; they may all be on one side."),
        (4, "That is the number of groups."),
        (2, "A group is counted once, however many parts it is in."),
        (0, "Group a is in three parts here, and it was not found."),
    ], "For each group, collect the set of its parts.")  # fmt: skip


def _doubtful_input(g: Any) -> tuple[Tensor, Tensor]:
    probabilities = torch.rand(12, 3, generator=g, dtype=torch.float64)
    labels = torch.tensor([whole(g, 0, 2) for _ in range(12)])
    return probabilities / probabilities.sum(1, keepdim=True), labels


def _as_tensor(value: Any, length: int) -> Tensor:
    try:
        found = torch.as_tensor(value, dtype=torch.float64).flatten()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong("Return the numbers of the rows, as a list or a tensor.") from None
    if len(found) != length:
        raise Wrong(f"{length} rows were asked for, and {len(found)} came back.")
    return found


def _doubtful_length(answer: Any, g: Any) -> None:
    _as_tensor(answer(*_doubtful_input(g), 4), 4)


def _doubtful_value(answer: Any, g: Any) -> None:
    probabilities, labels = _doubtful_input(g)
    own = probabilities[torch.arange(12), labels]
    order = own.argsort()
    compare(_as_tensor(answer(probabilities, labels, 4), 4), order[:4].double(), [
        (order.flip(0)[:4].double(), "These are the rows of which the model is surest."),
        (order[:4].flip(0).double(), "The most doubtful one comes first."),
        (order[:4].sort().values.double(), "The right rows, in the order of the table."),
        (probabilities.amax(1).argsort()[:4].double(),
         "An unsure model is one thing, a label that it doubts another: look at the own label."),
    ], "Take from each row the probability of its own label, and sort.")  # fmt: skip


def _threshold_input(g: Any) -> tuple[Tensor, Tensor]:
    """12 of 20 texts at least as sure as 0.5, three of them exactly; 9 of these right, 3 others."""
    sure = 0.49 * torch.rand(20, generator=g, dtype=torch.float64)
    sure[:12] += 0.505
    sure[:3] = 0.5
    right = torch.zeros(20, dtype=torch.float64)
    right[:9], right[12:15] = 1, 1
    order = torch.randperm(20, generator=g)
    return sure[order], right[order]


def _threshold_two(answer: Any, g: Any) -> None:
    numbers(answer(*_threshold_input(g), 0.5), ("share", "accuracy"))


def _threshold_share(answer: Any, g: Any) -> None:
    sure, right = _threshold_input(g)
    kept = sure >= 0.5
    share, _ = numbers(answer(sure, right, 0.5), ("share", "accuracy"))
    measure(share, float(kept.double().mean()), [
        (float((sure > 0.5).double().mean()), "A text at the threshold is answered."),
        (float(kept.sum()), "The share of the texts, not their number."),
        (float((~kept).double().mean()), "That is the share that a person reads."),
    ], "How many of all texts reach the threshold?")  # fmt: skip


def _threshold_accuracy(answer: Any, g: Any) -> None:
    sure, right = _threshold_input(g)
    kept = sure >= 0.5
    _, accuracy = numbers(answer(sure, right, 0.5), ("share", "accuracy"))
    measure(accuracy, float(right[kept].mean()), [
        (float((right * kept).mean()), "Divide by the texts that are answered, not by all."),
        (float(right.mean()), "That is the accuracy without a threshold."),
        (float(right[~kept].mean()), "These are the texts that are not answered."),
    ], "Of the answered texts, which share is right?")  # fmt: skip


def _interval(answer: Any, g: Any) -> None:
    half, _ = numbers(answer, ("half-width", "texts"))
    measure(half, 196 * sqrt(0.9 * 0.1 / 144), [
        (1.96 * sqrt(0.9 * 0.1 / 144), "In points, please: a hundred times as much."),
        (100 * sqrt(0.9 * 0.1 / 144), "That is the standard error; 95 % needs 1.96 of them."),
        (196 * sqrt(0.9 * 0.1) / 144, "The root takes in the number of texts as well."),
        (392 * sqrt(0.9 * 0.1 / 144), "That is the whole width."),
    ], "Take the formula of step 8.", within=0.01)  # fmt: skip


def _interval_texts(answer: Any, g: Any) -> None:
    _, texts = numbers(answer, ("half-width", "texts"))
    measure(texts, 576, [
        (288, "Twice as many texts make the interval narrower by the root of two alone."),
        (432, "So many more, and how many in all?"),
    ], "The half-width goes with one over the root of the number.", within=0.01)  # fmt: skip


_causes = causes((4, 1, 3, 2), (
    "(a) Where could the validation text tell its own label?",
    "(b) Something moves, and far too little of it. What is trained?",
    "(c) Training never saw a problem. What is different in the folder?",
    "(d) One cause is left: what does validation cost that is used fifty times?",
))  # fmt: skip

_printed = sentences((0, 1, 0, 1), (
    "(i) Look at the interval of the difference: does it hold zero?",
    "(ii) Is this interval away from zero?",
    "(iii) Was the test split drawn from the rows that the service will see next year?",
    "(iv) Not being able to tell is a result. Does the first line give one?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"comparison.workflow.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Pairs that are torn apart", "short", 10, 1,
        "A table holds 100 pairs of equal texts. Every row goes into the test split with "
        "probability 1/5, independently. How many pairs have one text in the test and the other "
        "outside, on average, and how many are in the test with both?",
        "answer = (..., ...)\n",
        ("Draw the four cases of one pair.",),
        (Stage("apart", 1, _pairs), Stage("both in the test", 1, _pairs_both)),
    ),
    Exercise(
        _name(2), "Is the split clean?", "code", 10, 1,
        "`groups` and `parts` are lists of equal length: the group of each row (a person, an "
        "article) and the part that it is in. Return the number of groups that are in more than "
        "one part.",
        "def torn(groups, parts):\n    raise NotImplementedError\n",
        ("A dictionary from group to the set of its parts.",),
        (Stage("a number", 1, _mixed_number), Stage("the count", 2, _mixed_value)),
    ),
    Exercise(
        _name(3), "Doubtful labels", "code", 15, 2,
        "Given `probabilities` (n, classes) and `labels` (n,), return the numbers of the `count` "
        "rows to whose own label the least probability is given, the most doubtful first.",
        "def doubtful(probabilities, labels, count):\n    raise NotImplementedError\n",
        ("`probabilities[torch.arange(n), labels]`", "`argsort` is ascending."),
        (Stage("so many rows", 1, _doubtful_length), Stage("which rows", 3, _doubtful_value)),
    ),
    Exercise(
        _name(4), "When to say nothing", "code", 10, 2,
        "`sure` (n,) holds the probability of each answer, `right` (n,) is 1 where it is correct. "
        "A text is answered if `sure` is at least `threshold`. Return the share of texts that are "
        "answered, and the accuracy on these.",
        "def answered(sure, right, threshold):\n    raise NotImplementedError\n",
        ("A mask of the answered texts, used twice.",),
        (Stage("two numbers", 1, _threshold_two), Stage("the share", 1, _threshold_share),
         Stage("the accuracy", 2, _threshold_accuracy)),
    ),
    Exercise(
        _name(5), "How sure is a test?", "short", 10, 1,
        "A model is right on 90 % of 144 test texts. What is the half-width of the 95 % interval, "
        "in points, and how many test texts would halve it?",
        "answer = (..., ...)\n",
        ("The formula stands in step 8.", "The number of texts stands under a root."),
        (Stage("the half-width", 1, _interval), Stage("the texts", 1, _interval_texts)),
    ),
    Exercise(
        _name(6), "Diagnose four projects", "short", 15, 2,
        "(a) 99.8 % on validation after 30 steps, complaints from the first day. (b) The loss "
        "creeps down, every strategy ends at the same score, and after training all weights of "
        "the base are still those of the file. (c) 93 % in the notebook, 41 % from the exported "
        "folder. (d) 94 % on validation after fifty tries, 86 % on the test. Causes: 1 the "
        "optimiser got the head alone; 2 validation chose among too many; 3 the folder was opened "
        "with the tokenizer of another base; 4 a file name in the text names the class. Give the "
        "cause of (a), (b), (c) and (d).",
        "causes = (..., ..., ..., ...)\n",
        ("Use each cause once.",),
        (Stage("each project has its cause", 2, _causes),),
    ),
    Exercise(
        _name(7), "Read a report", "short", 10, 2,
        "On validation, five paired seeds, 95 %: LoRA minus everything +1.1 ± 2.3 points; LoRA "
        "minus counting words +21.4 ± 3.0. Test, once: 91.3 ± 4.4. May one print: (i) LoRA is "
        "better than training everything; (ii) LoRA is better than counting words, on these data; "
        "(iii) next year's messages will be sorted with at least 86.9 % accuracy; (iv) the first "
        "comparison cannot tell which is better? Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("Which intervals hold zero?", "An interval speaks of texts like those of the split."),
        (Stage("what may be printed", 2, _printed),),
    ),
    Exercise(
        _name(8), "Extend: which decision helped?", "open", 60, 3,
        "The last training had more steps *and* mended labels. Train the four combinations over "
        "five paired seeds, on `tiny-encoder` and `mini-encoder`, and print the paired intervals "
        "on validation. Then take the nine steps with a table of your own: the capstone.",
        "", ("`fine_tune_many` trains five seeds in one pass.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Why is the split made by a hash of the text, and not at random by row?",
        (
            Option("Hashes spread the labels more evenly over the parts",
                   "They do not look at labels at all."),
            Option("Equal texts always land on one side", "Also when new rows come later.",
                   right=True),
            Option("It keeps the texts secret", "They stand in the files as they are."),
        ),
    ),
    Question(
        "At the start of full fine-tuning, which weights are random?",
        (
            Option("Those of the head", "The file of the base has all others.", right=True),
            Option("All of them: training starts from scratch", "Then there would be no base."),
            Option("Those of the upper half of the layers", "They are in the file, too."),
        ),
    ),
    Question(
        "Look at the figure of the search: the best rate of training everything is",
        (
            Option("higher than LoRA's", "Look for the top of each curve."),
            Option("the same as LoRA's", "Compare where the two curves have their tops."),
            Option("lower than LoRA's", "The curve of everything has its top further left.",
                   right=True),
        ),
    ),
    Question(
        "The model doubts some labels of the *test* split. What do you do before the test?",
        (
            Option("Leave them: the split is closed",
                   "Correcting only what the model doubts raises its score by hand.", right=True),
            Option("Correct those that it doubts most", "Then it chooses its own exam."),
            Option("Take the doubtful rows out of the split",
                   "Easier texts are left, and the score says nothing of the others."),
        ),
    ),
    Question(
        "The test says less than was hoped. What may be done with this test split now?",
        (
            Option("Search the rate again and test once more, for the first test was unlucky",
                   "Whoever tests until it pleases has tuned on it."),
            Option("Report it", "A new attempt needs a new test split.", right=True),
            Option("Put it into the training data and report the validation score",
                   "Validation has been used for decisions."),
        ),
    ),
)  # fmt: skip
