"""Exercises of the chapter book/low_rank/lora_fa.ipynb. Shapes: A (r, d_in), B (d_out, r)."""

from typing import Any

import torch

from ..compare import compare, measure, normal, number, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _saved(answer: Any, g: Any) -> None:
    x = torch.empty(8, 128, 512, dtype=torch.float32)
    measure(
        answer,
        4 * x.nbytes / 2**20,
        [
            (8 * x.nbytes / 2**20, "Query and value read the same x, which is kept once."),
            (x.nbytes / 2**20, "That is one layer; there are four."),
            (4 * x.numel() / 2**20, "Numbers, not bytes: each has four."),
            (x.numel() / 2**20, "One layer, and numbers in place of bytes."),
            (4 * 8 * 128 * 8 * 4 / 2**20, "That is z = A x, which both methods keep."),
        ],
        "Layers × texts × tokens × width × 4 bytes, in units of 2^20 bytes.",
    )


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("LoRA", "LoRA-FA"))[which]
        A, B = torch.empty(8, 256), torch.empty(1024, 8)
        if which == 0:
            measure(
                given,
                A.numel() + B.numel(),
                [
                    (256 * 1024, "LoRA: that is the frozen matrix."),
                    (256 + 1024, "LoRA: the rank is missing."),
                ],
                "LoRA: count the entries of A and of B.",
            )
        else:
            measure(
                given,
                B.numel(),
                [
                    (A.numel(), "LoRA-FA: you counted A, and B is trained."),
                    ((A.numel() + B.numel()) / 2, "LoRA-FA: half is true of square matrices only."),
                ],
                "LoRA-FA: count the entries of B alone.",
            )

    return test


def _case(g: Any) -> tuple[Any, ...]:
    x, A = normal(g, 9, 6), normal(g, 2, 6)
    z, B, out = x @ A.T, normal(g, 4, 2).requires_grad_(), normal(g, 9, 4)
    (grad,) = torch.autograd.grad((out * (0.5 * z @ B.T)).sum(), (B,))
    return out, z, grad


def _gradient_shape(answer: Any, g: Any) -> None:
    out, z, _ = _case(g)
    given = answer(out, z, 0.5)
    if isinstance(given, torch.Tensor) and tuple(given.shape) == (2, 4):
        raise Wrong("That is transposed: the gradient has the shape of B, (d_out, r).")
    tensor(given, (4, 2), "The gradient of B")


def _gradient_value(answer: Any, g: Any) -> None:
    out, z, grad = _case(g)
    compare(
        answer(out, z, 0.5),
        grad,
        [
            (grad / 0.5, "The scale s is missing."),
            (grad * 0.5, "The scale s is there twice."),
            (-grad, "The sign: this is the gradient, not the step."),
            (grad / 9, "Sum over the tokens; the mean is in g already, if the loss has one."),
        ],
        "Equation 2: s times the sum of g zᵀ over the tokens.",
    )


def _reach(answer: Any, g: Any) -> None:
    D, A = normal(g, 5, 7), normal(g, 3, 7)
    B = torch.linalg.lstsq(A.T, D.T).solution.T  # the best one, by least squares
    right = (D - B @ A).norm().item()
    singular = torch.linalg.svdvals(D)
    measure(
        number(answer(D, A), "The distance"),
        right,
        [
            (right**2, "That is the squared distance."),
            (singular[3:].norm().item(), "That is LoRA's bound: here A cannot be chosen."),
            ((B @ A).norm().item(), "That is what can be reached; asked is what is left."),
            (D.norm().item(), "That is the distance at B = 0, before any training."),
        ],
        "Equation 3: take from D its projection on the rows of A, and measure what is left.",
    )


def _reach_full(answer: Any, g: Any) -> None:
    D, A = normal(g, 5, 7), normal(g, 7, 7)
    if abs(number(answer(D, A), "The distance")) > 1e-6:
        raise Wrong("With as many rows as columns A misses nothing, so the distance is zero.")


def _state(wide: bool) -> Any:
    def test(answer: Any, g: Any) -> None:
        m, n, r = (6, 10, 2) if wide else (10, 6, 2)
        P, R = torch.empty(6, r), torch.empty(r, 10)
        measure(
            answer(m, n, r),
            P.numel() + 2 * R.numel(),
            [
                (2 * R.numel(), "The projector is missing."),
                (P.numel() + R.numel(), "Adam has two moments of R."),
                (2 * m * n, "Those are Adam's moments of the whole matrix."),
                (10 * r + 2 * 6 * r, "The *smaller* side is projected, whichever it is."),
                (2 * P.numel() + 2 * R.numel(), "P has no moments: it is held once."),
            ],
            "A projector (smaller side, r) and two moments (r, larger side).",
        )  # fmt: skip

    return test


def _name(number: int) -> str:
    return f"low_rank.lora_fa.{number}"


EXERCISES = (
    Exercise(
        _name(1), "The saving in bytes", "short", 5, 1,
        "A model has 4 layers of width 512. Query and value are adapted at rank 8; the batch has 8 "
        "texts of 128 tokens, in 32 bits, without dropout. By how many MiB ($2^{20}$ bytes) does "
        "LoRA-FA keep less than LoRA?",
        "saved = ...\n",
        ("What do query and value read?", "Layers × tokens × width × bytes."),
        (Stage("the bytes", 2, _saved),),
    ),
    Exercise(
        _name(2), "What is trained", "short", 5, 1,
        "The up-projection of a feed-forward network has $d_\\text{in} = 256$ and "
        "$d_\\text{out} = 1024$. How many parameters do LoRA and LoRA-FA train at rank 8?",
        "trained = (..., ...)\n",
        ("Write down the shapes of A and B.",),
        (Stage("LoRA", 1, _count(0)), Stage("LoRA-FA", 1, _count(1))),
    ),
    Exercise(
        _name(3), "A gradient without x", "code", 10, 2,
        "`g` (tokens, d_out) is the gradient of the loss with respect to $h$, `z` (tokens, r) is "
        "$A x$. Return the gradient of $B$, without automatic differentiation.",
        "def gradient_of_B(g, z, s):\n    raise NotImplementedError\n",
        ("Which product has the shape of B?", "Equation 2, third formula."),
        (Stage("the shape", 1, _gradient_shape), Stage("the values", 2, _gradient_value)),
    ),
    Exercise(
        _name(4), "What a frozen A can reach", "code", 15, 2,
        "Return the smallest distance $\\lVert D - B A \\rVert$ (a number) over all $B$, for a "
        "given `D` (d_out, d_in) and `A` (r, d_in).",
        "def distance(D, A):\n    raise NotImplementedError\n",
        ("Equation 3.", "torch.linalg.pinv"),
        (Stage("the distance", 3, _reach), Stage("a square A misses nothing", 1, _reach_full)),
    ),
    Exercise(
        _name(5), "What GaLore's optimiser holds", "code", 10, 2,
        "How many numbers are held for a matrix of $m \\times n$ at rank $r$, the projector "
        "included? $m$ may be larger or smaller than $n$.",
        "def state(m, n, r):\n    raise NotImplementedError\n",
        ("Which side is projected?", "One projector, two moments."),
        (Stage("a wide matrix", 1, _state(True)), Stage("a tall matrix", 1, _state(False))),
    ),
    Exercise(
        _name(6), "Diagnose", "open", 20, 2,
        "Four runs of LoRA-FA went wrong: (a) it needs as much memory as LoRA; (b) only the head "
        "has moved; (c) the training loss stays high at rank 1 and falls at rank 64; (d) the "
        "optimiser was made before the method was attached. What do you measure to tell them "
        "apart, and what do you change?",
        "", ("The table of what goes wrong has three of them.",), (),
    ),
    Exercise(
        _name(7), "Read", "open", 10, 2,
        "Take the stored differences between LoRA-FA and LoRA on the two bases. Which of these may "
        "be printed? (a) LoRA-FA is worse than LoRA. (b) On these runs the mean of LoRA-FA was "
        "lower on both bases. (c) The two are equivalent. (d) Five more seeds could decide it.",
        "", ("An interval that holds zero says neither yes nor no.",), (),
    ),
    Exercise(
        _name(8), "A better frozen A", "open", 30, 3,
        "A random $A$ misses directions. Choose its rows from the data: run some batches, collect "
        "the inputs of each site, and take their first $r$ principal directions. Does Equation 3's "
        "bound fall for the change of a fully fine-tuned copy? Does the accuracy rise, over five "
        "paired seeds?",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Why does LoRA keep x for the backward pass?",
        (
            Option("for the gradient of A", "It is a product with x. Freeze A, and x can go.",
                   right=True),
            Option("for the gradient of B", "That one needs A x only, r numbers a token."),
            Option("for the gradient that goes down to the layer below",
                   "That one needs the weights, and no activations of a linear map."),
        ),
    ),
    Question(
        "In the figure of the bill, compare full fine-tuning with LoRA on all maps. Which of these "
        "three parts is about as long in both bars?",
        (
            Option("AdamW's two moments for what is trained",
                   "No: the base is frozen, and the moments of A, B and the head are a sliver."),
            Option("what is kept for the backward pass",
                   "LoRA trains A, whose gradient needs the same input x as that of W did.",
                   right=True),
            Option("the gradients of what is trained, which the optimiser reads",
                   "No: only those of A, B and the head are left."),
        ),
    ),
    Question(
        "LoRA-FA on query and value saves little because",
        (
            Option("the rank of the two is small in comparison with their width",
                   "A small rank makes the saving larger."),
            Option("their outputs have to be kept for the scores of attention",
                   "They have to be, with both methods; that is not the difference."),
            Option("they share one narrow input", "One x of width d a layer.", right=True),
        ),
    ),
    Question(
        "Dropout on the way to A",
        (
            Option("undoes it: the mask is as wide as x", "And there is one for each map.",
                   right=True),
            Option("does not matter, since masks can be drawn again from the seed",
                   "They could be, but PyTorch keeps them."),
            Option("halves the saving at a dropout of one half",
                   "A mask has an entry for each number, dropped or not."),
        ),
    ),
    Question(
        "GaLore and LoRA-FA differ in that",
        (
            Option("GaLore's change of a weight has low rank and LoRA-FA's has full rank",
                   "The other way round."),
            Option("GaLore saves moments", "And LoRA-FA saves what is kept.", right=True),
            Option("GaLore freezes the base and trains a projector for each of its matrices",
                   "GaLore trains all weights; the projector is computed, not trained."),
        ),
    ),
)  # fmt: skip
