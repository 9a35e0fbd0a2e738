"""Exercises of the chapter book/language_models/serving.ipynb."""

from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, tensor, whole
from ..model import Exercise, Option, Question, Stage


def _merged(answer: Any, g: Any) -> None:
    merged, _ = numbers(answer, ("merged", "beside"))
    measure(merged, 7, [
        (8, "One place has to stay free."),
        (14, "Two bytes a parameter, not one."),
        (3, "Two bytes a parameter, not four."),
    ], "How often does the model go into the memory?")  # fmt: skip


def _beside(answer: Any, g: Any) -> None:
    _, beside = numbers(answer, ("merged", "beside"))
    measure(beside, 2100, [
        (2400, "The backbone has to be there as well."),
        (4200, "The adapters have two bytes a parameter, too."),
        (2250, "Subtract the backbone in bytes, not in parameters."),
    ], "What is left beside one backbone, divided by one adapter?")  # fmt: skip


def _mixed_input(g: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, list[int], float]:
    n, d_in, d_out, r, tasks = 5, 6, 4, 2, 3
    owners = [whole(g, 0, tasks - 1) for _ in range(n)]
    owners[:3] = [2, 0, 1]
    return (normal(g, n, d_in), normal(g, d_out, d_in), normal(g, tasks, r, d_in),
            normal(g, tasks, d_out, r), owners, 2.0)  # fmt: skip


def _mixed_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_mixed_input(g)), (5, 4), "H")


def _mixed_value(answer: Any, g: Any) -> None:
    X, W, A, B, owners, s = _mixed_input(g)
    own = torch.tensor(owners)
    thin = torch.einsum("nor,nri,ni->no", B[own], A[own], X)
    base = X @ W.T
    first = X @ A[own[0]].T @ B[own[0]].T
    compare(answer(X, W, A, B, owners, s), base + s * thin, [
        (base + thin, "The scale s is missing."),
        (s * thin, "The big product is missing: it is the same for all rows."),
        (base, "The adapters do nothing here."),
        (base + s * first, "All rows got the adapter of the first one."),
        (base + s * X @ A.sum(0).T @ B.sum(0).T, "Sums of A and of B mix the tasks."),
        (base + s * sum(X @ a.T @ b.T for a, b in zip(A, B, strict=True)),
         "Each row gets its own adapter, not all of them."),
    ], "Gather A and B by row, then two small products for each row.")  # fmt: skip


def _passes(answer: Any, g: Any) -> None:
    tasks, weights, adapter = whole(g, 2, 9), 1000.0 * whole(g, 5, 9), 10.0 * whole(g, 1, 9)
    apart, _ = numbers(answer(tasks, weights, adapter), ("apart", "mixed"))
    measure(apart, tasks * (weights + adapter), [
        (weights + tasks * adapter, "Each pass reads the backbone anew."),
        (tasks * weights, "The adapters are read as well."),
    ], "One pass for each task: what does each read?")  # fmt: skip


def _passes_mixed(answer: Any, g: Any) -> None:
    tasks, weights, adapter = whole(g, 2, 9), 1000.0 * whole(g, 5, 9), 10.0 * whole(g, 1, 9)
    _, mixed = numbers(answer(tasks, weights, adapter), ("apart", "mixed"))
    measure(mixed, weights + tasks * adapter, [
        (weights + adapter, "Every task has an adapter to be read."),
        (tasks * (weights + adapter), "The mixed pass reads the backbone once."),
        (weights, "In the mixed pass the adapters are read, too."),
    ], "One pass for all: what is shared, and what is not?")  # fmt: skip


def _cache(answer: Any, g: Any) -> None:
    layers, width, length, p = (whole(g, 3, 9), 64 * whole(g, 1, 9), 10 * whole(g, 5, 9),
                                whole(g, 1, 9))  # fmt: skip
    found = answer(layers, width, length, p)
    measure(found, 4 * layers * width * (length + p), [
        (4 * layers * width * length, "The prefix stands in the cache as well."),
        (2 * layers * width * (length + p), "Keys and values, two bytes each."),
        (4 * width * (length + p), "Every layer has a cache."),
        (4 * layers * width * length * p, "The prefix adds positions; it does not multiply them."),
        (8 * layers * width * (length + p), "Sixteen bits are two bytes."),
    ], "Keys and values × layers × positions × width × bytes.", within=1e-9)  # fmt: skip


_causes = causes((2, 4, 1, 3), (
    "(a) The error grows with the number of swaps. What is done at each?",
    "(b) Only the first text after a change is wrong. What was left from before?",
    "(c) Both adapters act at once. When does that happen?",
    "(d) Correct, and slow. What is done for each task anew?",
), of="server")  # fmt: skip

_printed = sentences((1, 0, 0, 1), (
    "(i) Compare the two medians at one task, and their quartiles.",
    "(ii) On which machine was this measured?",
    "(iii) At one task, which of the two is lower?",
    "(iv) Compare the medians at sixteen tasks.",
))  # fmt: skip


def _name(number: int) -> str:
    return f"language_models.serving.{number}"


EXERCISES = (
    Exercise(
        _name(1), "How many fit?", "short", 5, 1,
        "A card has 48 GB. A model has 3 billion parameters, an adapter 10 million, all in 16 "
        "bits. How many tasks fit as merged models, if the room of one more must stay free for an "
        "exchange, and how many as adapters beside one backbone?",
        "answer = (..., ...)\n",
        ("$10^9$ bytes are a GB.", "One merged model is the free place."),
        (Stage("merged", 1, _merged), Stage("beside", 1, _beside)),
    ),
    Exercise(
        _name(2), "A mixed batch", "code", 20, 2,
        "Equation 2. `X` (n, d_in), `W` (d_out, d_in), `A` (tasks, r, d_in), `B` (tasks, d_out, "
        "r); `owners` is the list of each row's task, `s` the scale. Return `H` (n, d_out).",
        "def mixed(X, W, A, B, owners, s):\n    raise NotImplementedError\n",
        ("`A[owners]` has shape (n, r, d_in).", "`torch.einsum`, or a loop over the rows."),
        (Stage("the shape", 1, _mixed_shape), Stage("the values", 3, _mixed_value)),
    ),
    Exercise(
        _name(3), "What is read", "code", 10, 1,
        "A batch holds questions for `tasks` tasks. The backbone has `weights` bytes, an adapter "
        "`adapter`. Return the bytes that are read with a pass for each task (adapters apart), "
        "and with one mixed pass.",
        "def read(tasks, weights, adapter):\n    raise NotImplementedError\n",
        ("What does one pass read at least?",),
        (Stage("a pass for each", 1, _passes), Stage("one mixed pass", 2, _passes_mixed)),
    ),
    Exercise(
        _name(4), "A cache with a prefix", "code", 10, 2,
        "Return the bytes of the cache of one text in 16 bits: `layers`, `width` of keys and of "
        "values, `length` tokens, and a prefix of `p`.",
        "def cache_bytes(layers, width, length, p):\n    raise NotImplementedError\n",
        ("Which positions does a layer keep?",),
        (Stage("the bytes", 3, _cache),),
    ),
    Exercise(
        _name(5), "Diagnose four servers", "short", 15, 2,
        "(a) Answers get a little worse every day, and are right again after a restart. (b) The "
        "first text after a change of task is wrong, later ones are right. (c) French answers "
        "have become polite as well. (d) All answers are right, and sixteen tasks take thirty "
        "times as long as one. Causes: 1 merged without taking the other out; 2 updates are "
        "added and subtracted; 3 merged and unmerged for every task in each batch; 4 the cache "
        "of the old task is used. Give the cause of (a), (b), (c) and (d).",
        "causes = (..., ..., ..., ...)\n",
        ("Use each cause once.",),
        (Stage("each server has its cause", 2, _causes),),
    ),
    Exercise(
        _name(6), "Read the times", "short", 10, 2,
        "Median and quartiles, milliseconds, batches of 16 on one processor thread. One task: "
        "merged 40 (39 to 41), mixed 47 (46 to 49). Sixteen tasks: merged 240 (230 to 251), "
        "mixed 80 (77 to 84). May one print: (i) here, merging is the faster way for one task; "
        "(ii) on a GPU mixing is three times as fast with sixteen tasks; (iii) mixing costs "
        "nothing; (iv) here, mixing takes about a third of merged with sixteen tasks? Give 1 or "
        "0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("A measurement speaks of its machine.",),
        (Stage("what may be printed", 2, _printed),),
    ),
    Exercise(
        _name(7), "Extend: one method, merged and mixed", "open", 60, 3,
        "In one batch half of the rows belong to the busiest task. Merge that one, and give the "
        "others adapters that first take the merged update away: a LoRA of rank 16. Does it "
        "compute the same? Measure with the script of the page when it pays.",
        "", (
            "`pftlab.combine` with a negative weight writes such a difference: `pftlab.save` it.",
            "Merge for good, without `keep`; then load the differences with `check_base=False`, "
            "for the base is another one now.",
        ), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Why can merged models not share a batch?",
        (
            Option("Their tokenizers differ", "All tasks of one backbone have its tokenizer."),
            Option("Each row would need a big matrix of its own",
                   "A batch is cheap because its rows share the matrix.", right=True),
            Option("Merging rounds the weights", "It does, a little, and that is not the reason."),
        ),
    ),
    Question(
        "`unmerge` gives the weights back bit for bit because",
        (
            Option("the old weights were kept", "They cost their bytes a second time.",
                   right=True),
            Option("subtracting the update undoes adding it exactly",
                   "In floating point it does so only nearly."),
            Option("the update is stored in 64 bits", "The weights are rounded all the same."),
        ),
    ),
    Question(
        "A long instruction was read under adapter *a*. May *b* use its cache?",
        (
            Option("Yes, for the text is the same", "Its hidden states are not."),
            Option("Yes, if neither adapter touches the keys of any layer directly",
                   "From the second layer on the inputs differ."),
            Option("No, a cache belongs to the text and to the adapter that it was read under",
                   "The page shows it layer by layer.", right=True),
        ),
    ),
    Question(
        "Look at the figure of times: as tasks become more, the mixed batch",
        (
            Option("rises far less than the other three do", "One pass serves all tasks.",
                   right=True),
            Option("stays below the others everywhere", "Look at the left end."),
            Option("rises as merged does", "Compare the right ends of the two curves."),
        ),
    ),
    Question(
        "Which of these cannot act for single rows of a batch?",
        (
            Option("A prefix", "It is a group of keys and values of its own rows."),
            Option("BitFit", "It changes the base's own parameters, and there is one base.",
                   right=True),
            Option("An adapter behind the feed-forward network", "It rewrites hidden states."),
        ),
    ),
)  # fmt: skip
