"""Exercises of the chapter book/comparison/choose.ipynb."""

import math
from typing import Any

from ..compare import measure, number, numbers, whole
from ..model import Exercise, Option, Question, Stage, Wrong

LAYERS, WIDTH, RANK = 24, 1024, 8
BASE = 8e9  # parameters


def _file(answer: Any, g: Any) -> None:
    file, _ = numbers(answer, ("MB", "GB"))
    right = 2 * LAYERS * 2 * RANK * (WIDTH + WIDTH) / 1e6
    mistakes = [
        (right / 2, "LoRA: query and value are two matrices, each with A and B; at 2 bytes each."),
        (2 * right, "LoRA: in 16 bits a number has two bytes."),
        (right / LAYERS, "LoRA: that is one layer."),
        (2 * LAYERS * 2 * WIDTH * WIDTH / 1e6, "LoRA: that is the matrices themselves."),
    ]
    measure(file, right, mistakes, "LoRA: layers × two matrices × r (d + d) × bytes.", 5e-3)


def _all_tasks(answer: Any, g: Any) -> None:
    _, copies = numbers(answer, ("MB", "GB"))
    right = 50 * 2 * BASE / 1e9
    mistakes = [
        (right / 50, "Full: every task has a model of its own."),
        (right / 2, "Full: in 16 bits a parameter has two bytes."),
        (right * 2, "Full: 16 bits are two bytes, not four."),
        (right * 8, "Full: a file holds no gradients and no moments."),
    ]
    measure(copies, right, mistakes, "Full: tasks × parameters × bytes.", 5e-3)


def _fits_weights(answer: Any, g: Any) -> None:
    sixteen, _ = numbers(answer, ("16 bits", "4 bits"))
    mistakes = [
        (12.0, "16 bits: LoRA keeps no gradients and moments of the base."),
        (6.0, "16 bits: two bytes a parameter, and the rest of the card is for what is kept."),
        (1.125, "16 bits: that is full fine-tuning, at 16 bytes a parameter."),
    ]
    measure(sixteen, 9.0, mistakes, "16 bits: (24 − 6) GB by two bytes each.", 5e-3)


def _fits_four(answer: Any, g: Any) -> None:
    _, four = numbers(answer, ("16 bits", "4 bits"))
    mistakes = [
        (9.0, "4 bits: a quarter of the bytes of 16."),
        (18.0, "4 bits: half a byte, not one."),
        (48.0, "4 bits: the 6 GB for activations are still needed."),
    ]
    measure(four, 36.0, mistakes, "4 bits: (24 − 6) GB by half a byte each.", 5e-3)


def _rows(answer: Any, rows: list[tuple[str, float, bool]], *asked: Any) -> list[str]:
    given = answer([list(row) for row in rows], *asked)
    if not isinstance(given, list | tuple) or any(not isinstance(name, str) for name in given):
        raise Wrong("Return a list of names.")
    return list(given)


METHODS = [("a", 30.0, True), ("b", 12.0, False), ("c", 24.0, True), ("d", 8.0, True)]


def _left_fits(answer: Any, g: Any) -> None:
    given = _rows(answer, METHODS, 24.0, False)
    if given == ["a"]:
        raise Wrong("You kept what does not fit.")
    if set(given) == {"b", "d"}:
        raise Wrong("A method that needs as much as there is fits.")
    if set(given) == {"c", "d"}:
        raise Wrong("Nobody asked for merging here.")
    if set(given) != {"b", "c", "d"}:
        raise Wrong("What needs at most the budget is left.")


def _left_sorted(answer: Any, g: Any) -> None:
    given = _rows(answer, METHODS, 24.0, False)
    if given == ["c", "b", "d"]:
        raise Wrong("The cheapest comes first.")
    if given != ["d", "b", "c"]:
        raise Wrong("Sort what is left by its memory.")
    if _rows(answer, METHODS, 24.0, True) != ["d", "c"]:
        raise Wrong("With merging asked for, what cannot be merged is out.")


def _survives(answer: Any, tables: list[dict[str, float]]) -> bool:
    given = answer(tables, "a", "b")
    if not isinstance(given, bool):
        raise Wrong("Return True or False.")
    return given


def _every_table(answer: Any, g: Any) -> None:
    low, high = (0.5, 2.5) if whole(g, 0, 1) else (0.25, 3.0)
    if not _survives(answer, [{"a": 3.0, "b": low}, {"a": high, "b": low}]):
        raise Wrong("a is ahead in every table: that survives.")
    if _survives(answer, [{"a": 3.0, "b": low}, {"a": low, "b": high}]):
        raise Wrong("The second table turns the order round: that does not survive.")
    if _survives(answer, [{"a": low, "b": high}, {"a": 9.0, "b": low}]):
        raise Wrong("The first table has it the other way: one table is enough.")


def _missing(answer: Any, g: Any) -> None:
    if not _survives(answer, [{"a": 3.0, "b": 1.0}, {"a": 3.0}, {"a": 2.0, "b": 1.0}]):
        raise Wrong("A table without one of the two says nothing; leave it out.")
    if _survives(answer, [{"a": 3.0}, {"b": 1.0}]):
        raise Wrong("In no table are both: then nothing was seen, and nothing survives.")
    if _survives(answer, [{"a": 1.0, "b": 1.0}]):
        raise Wrong("Equal is not ahead.")


def _break_even(answer: Any, g: Any) -> None:
    base, adapter = 100.0 * whole(g, 20, 60), 1.0 * whole(g, 1, 9)
    given = number(answer(base, adapter, 1), "One task")
    if abs(given - (base + adapter) / base) < 1e-9:
        return
    mistakes = [
        (adapter / base, "The backbone has to be stored too, once."),
        (base / (base + adapter), "Adapters over full copies, not the other way round."),
        (1.0, "With one task an adapter costs a little more than a full copy."),
    ]
    measure(given, (base + adapter) / base, mistakes, "One backbone and one file, by one copy.")


def _many_tasks(answer: Any, g: Any) -> None:
    base, adapter, tasks = 100.0 * whole(g, 20, 60), 1.0 * whole(g, 1, 9), whole(g, 5, 50)
    right = (base + tasks * adapter) / (tasks * base)
    mistakes = [
        ((base + adapter) / base, "With many tasks the share must fall: count all of them."),
        (tasks * (base + adapter) / (tasks * base), "The backbone is there once for all tasks."),
        ((base + tasks * adapter) / base, "Full copies: one for each task."),
    ]
    measure(answer(base, adapter, tasks), right, mistakes, "Both sides hold all tasks.")
    if not math.isclose(number(answer(base, adapter, tasks)), right):
        raise Wrong("Both sides hold all tasks.")


def _name(number: int) -> str:
    return f"comparison.choose.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Fifty tasks on disk", "short", 10, 1,
        "In 16 bits: (i) how many MB ($10^6$ bytes) is a LoRA of rank 8 on query and value of a "
        "model with 24 layers of width 1,024? (ii) How many GB ($10^9$) are 50 fully fine-tuned "
        "copies of a model with 8 billion parameters?",
        "sizes = (..., ...)\n",
        ("$A$ is $(r, d)$ and $B$ $(d, r)$.", "How many matrices, in how many layers?"),
        (Stage("the file of LoRA", 1, _file), Stage("the copies", 1, _all_tasks)),
    ),
    Exercise(
        _name(2), "How large a model?", "short", 10, 1,
        "A card has 24 GB, and 6 GB go to activations. How many *billion* frozen parameters fit "
        "beside them (i) in 16 bits, (ii) in 4 bits? What LoRA adds is small; leave it out.",
        "billions = (..., ...)\n",
        ("How many bytes has a frozen parameter?",),
        (Stage("16 bits", 1, _fits_weights), Stage("4 bits", 1, _fits_four)),
    ),
    Exercise(
        _name(3), "What a budget leaves", "code", 15, 2,
        "`methods` is a list of [name, GiB in training, can be merged]. Return the names of those "
        "that fit into `budget`, the cheapest first; only those that can be merged if `merged` is "
        "true.",
        "def left(methods, budget, merged):\n    raise NotImplementedError\n",
        ("Filter, then sort.",),
        (Stage("what fits", 2, _left_fits), Stage("order and merging", 2, _left_sorted)),
    ),
    Exercise(
        _name(4), "What survives", "code", 15, 2,
        "`tables` is a list of dictionaries {method: mean score}. Return True if `a` is ahead of "
        "`b` in every table that has both, and there is one; else False.",
        "def survives(tables, a, b):\n    raise NotImplementedError\n",
        ("`all` of nothing is True: is that what you want?",),
        (Stage("every table", 2, _every_table), Stage("missing rows", 2, _missing)),
    ),
    Exercise(
        _name(5), "Storage as a share", "code", 10, 2,
        "A backbone takes `base` bytes and a task's file `adapter` bytes. What share of the bytes "
        "of full copies do one backbone and the files of `tasks` tasks take?",
        "def share(base, adapter, tasks):\n    raise NotImplementedError\n",
        ("The backbone is stored once.",),
        (Stage("one task", 1, _break_even), Stage("many tasks", 2, _many_tasks)),
    ),
    Exercise(
        _name(6), "Diagnose", "open", 15, 2,
        "Four choices went wrong. (a) BitFit for a Llama; (b) QLoRA, so that eight texts in a step "
        "fit into 24 GiB; (c) prompt tuning for tags in a model of 100 million parameters; (d) "
        "200 tasks served from 200 merged copies. Which table or row of this page would have "
        "warned, and what would you take?",
        "", ("One of them is refused, two are counts, one is a paper's claim.",), (),
    ),
    Exercise(
        _name(7), "Read", "open", 10, 2,
        "Take the table of verdicts. Which of these may be printed? (i) On SmolLM2 and SST-2 the "
        "linear probe is worse than LoRA. (ii) Full fine-tuning and LoRA are equivalent. (iii) "
        "BitFit is worse than LoRA. (iv) On SmolLM2 prompt tuning is on par with "
        "LoRA, since the interval holds zero.",
        "", ("Which base?", "How wide is the interval?"), (),
    ),
    Exercise(
        _name(8), "Your own budget", "open", 30, 3,
        "Write down your task, model, memory and number of tasks. Choose two candidates with the "
        "figure, and say *before* you run which difference would decide and how many seeds it "
        "takes ([Fair comparison](../foundations/fair_comparison.ipynb)). Then run them.",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Which part of this page is certain?",
        (
            Option("what is ruled out by memory, files and merging",
                   "These are counts; the rest are measurements and reports.", right=True),
            Option("which method is the most accurate", "Read the column of verdicts."),
            Option("what the papers report", "It was true where they measured it."),
        ),
    ),
    Question(
        "With eight texts in a step even QLoRA does not fit into 24 GiB. What takes the room?",
        (
            Option("the frozen weights of the base, which have to be in 16 bits to be trained",
                   "They take a quarter of that, and are not trained."),
            Option("what is kept for the backward pass", "It grows with the texts.", right=True),
            Option("AdamW's moments", "Of the small matrices: two GiB, however many texts."),
        ),
    ),
    Question(
        "Most verdicts of this page are *cannot tell*. That means",
        (
            Option("the methods are equally good on these bases",
                   "One of these means is twenty points from zero."),
            Option("these runs could not have shown most differences", "It is about the runs.",
                   right=True),
            Option("the runs were wrong", "They are right, and few."),
        ),
    ),
    Question(
        "A thousand tasks on one model of 8 billion parameters. What speaks for a file for each "
        "task, and against a copy?",
        (
            Option("accuracy, which our runs found to be higher with small files",
                   "They found no such thing."),
            Option("bytes", "Terabytes against gigabytes.", right=True),
            Option("training is faster", "Perhaps, but the number of tasks does not change it."),
        ),
    ),
    Question(
        "You have 40 examples, and our stored runs have 1,000 or more. Then",
        (
            Option("the verdicts hold for fewer examples as well",
                   "Nothing on this page shows that they do."),
            Option("no method can be trained", "Forty are enough to try."),
            Option("the tables of this page do not speak of your case",
                   "Look at single chapters, at papers, and at runs of your own.", right=True),
        ),
    ),
)  # fmt: skip
