"""Exercises of the chapter book/low_rank/lora.ipynb. Shapes as there: A (r, d_in), B (d_out, r)."""

from typing import Any

import torch
from torch import Tensor

from ..compare import close, compare, normal, numbers, pair, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _square(answer: Any, g: Any) -> None:
    c, _ = numbers(answer, ("square", "wide"))
    if abs(c - 1) < 1e-6:
        raise Wrong("At r = d there are two full matrices: twice as many parameters.")
    if abs(c * (1 + 1) - 1) > 1e-6:
        raise Wrong("Square matrix: put r = c d into r (d_in + d_out) = d_in d_out.")


def _wide(answer: Any, g: Any) -> None:
    _, c = numbers(answer, ("square", "wide"))
    if abs(c - 2) < 1e-6:
        raise Wrong("That would be half of d_out. Do not carry the rule of the square over.")
    if abs(c * (1 + 4) - 4) > 1e-6:
        raise Wrong("Wide matrix: d_in + d_out is 5 d, and d_in d_out is 4 d².")


def _hand(answer: Any, g: Any) -> None:
    try:
        given = torch.as_tensor(answer, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong("Give the matrix as two rows: [[., .], [., .]].") from None
    tensor(given, (2, 2), "The change")
    A, B = torch.tensor([[1.0, 0.0]]).double(), torch.zeros(2, 1).double().requires_grad_()
    G = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()
    (G * (B @ A)).sum().backward()  # a loss whose gradient at W is G
    right = -0.1 * B.grad @ A  # type: ignore[operator]
    compare(
        given,
        right,
        [
            (-right, "The sign: gradient descent goes against the gradient."),
            (-0.1 * G, "That is the step of full fine-tuning. What does A let through?"),
            (10 * right, "Where is the learning rate 0.1?"),
        ],
        "First find the new B = -η s G Aᵀ, then multiply: B A.",
    )


def _draw(g: Any) -> tuple[Tensor, ...]:
    return normal(g, 3, 5, 6), normal(g, 3, 5, 4), normal(g, 2, 6), normal(g, 4, 2)


def _forward_shape(answer: Any, g: Any) -> None:
    x, h, A, B = _draw(g)
    tensor(answer(x, h, A, B, 5.0), (3, 5, 4), "The output")


def _forward_start(answer: Any, g: Any) -> None:
    x, h, A, B = _draw(g)
    if not close(answer(x, h, A, torch.zeros_like(B), 5.0), h):
        raise Wrong("With B = 0 the output should equal h. Is h added, once, and unscaled?")


def _forward_value(answer: Any, g: Any) -> None:
    x, h, A, B = _draw(g)
    given = answer(x, h, A, B, 5.0)
    change = torch.einsum("bti,ri,or->bto", x, A, B)
    compare(
        given,
        h + 2.5 * change,
        [
            (h + change, "The scale is missing."),
            (h + 5.0 * change, "The scale is α / r, and you used α."),
            (h + 5.0 / 2**0.5 * change, "The scale is α / r here, not α / √r."),
            (h - 2.5 * change, "The update is added, and you subtracted it."),
            (h, "The output is h: A and B have no effect."),
        ],
        "The start is right, but the update is not s B A x. Write the shapes beside each product.",
    )


def _gradient_case(g: Any) -> tuple[Tensor, Tensor, Tensor, float, Tensor, Tensor]:
    G, s = normal(g, 4, 6), 0.5
    A, B = normal(g, 2, 6).requires_grad_(), normal(g, 4, 2).requires_grad_()
    grad_A, grad_B = torch.autograd.grad((G * (s * B @ A)).sum(), (A, B))
    return G, A.detach(), B.detach(), s, grad_A, grad_B


def _gradient_shapes(answer: Any, g: Any) -> None:
    G, A, B, s, *_ = _gradient_case(g)
    given = pair(answer(G, A, B, s), "(gradient of A, gradient of B)")
    if given[0].shape == B.shape and given[1].shape == A.shape:
        raise Wrong("The two gradients are exchanged: that of A comes first.")
    tensor(given[0], (2, 6), "The gradient of A")
    tensor(given[1], (4, 2), "The gradient of B")


def _gradient_values(answer: Any, g: Any) -> None:
    G, A, B, s, grad_A, grad_B = _gradient_case(g)
    given_A, given_B = answer(G, A, B, s)
    if close(given_A * s, grad_A) and close(given_B * s, grad_B):
        raise Wrong("Both gradients lack the scale s.")
    if close(given_A, -grad_A) and close(given_B, -grad_B):
        raise Wrong("That is the direction of descent. The gradient itself has the other sign.")
    compare(
        given_B,
        grad_B,
        [(grad_B * s, "The gradient of B has the scale twice.")],
        "The gradient of B differs from automatic differentiation: hold A fixed, W = W0 + s B A.",
    )
    compare(
        given_A,
        grad_A,
        [(torch.zeros_like(A), "The gradient of A is zero only while B is. Here B is not.")],
        "B is right; the gradient of A differs from automatic differentiation.",
    )


def _merge_shape(answer: Any, g: Any) -> None:
    W, A, B = normal(g, 4, 6), normal(g, 2, 6), normal(g, 4, 2)
    tensor(answer(W, A, B, 5.0), (4, 6), "The merged weight")


def _merge_value(answer: Any, g: Any) -> None:
    W, A, B, x = normal(g, 4, 6), normal(g, 2, 6), normal(g, 4, 2), normal(g, 7, 6)
    given = answer(W, A, B, 5.0)
    plain, update = x @ W.T, (x @ A.T) @ B.T
    compare(
        x @ given.T,
        plain + 2.5 * update,
        [
            (plain, "The merged weight still acts like W: nothing was added."),
            (2.5 * update, "Only the update is left. Where is W?"),
            (plain + update, "The merged weight forgot the scale α / r."),
            (plain + 5 * update, "The merged weight is scaled by α; divide by the rank."),
            (plain - 2.5 * update, "This unmerges: the update was subtracted."),
        ],
        "x @ merged.T should equal what LoRA computed unmerged, and does not.",
    )


def _factors(answer: Any, g: Any) -> tuple[Tensor, Tensor, Tensor]:
    D = normal(g, 5, 7)
    return D, *pair(answer(D, 2, 0.5), "(A, B)")


def _factor_shapes(answer: Any, g: Any) -> None:
    _, A, B = _factors(answer, g)
    for factor in (A, B):
        if not isinstance(factor, Tensor) or factor.ndim != 2:
            raise Wrong("A and B should be matrices.")
    if tuple(A.shape) == (5, 2) and tuple(B.shape) == (2, 7):
        raise Wrong("A and B are exchanged: A comes first and reads the input.")
    if A.shape[0] == 5:
        raise Wrong("All singular values were kept: the factors have rank 5, and 2 was asked.")
    tensor(A, (2, 7), "A")
    tensor(B, (5, 2), "B")


def _factor_distance(answer: Any, g: Any) -> None:
    D, A, B = _factors(answer, g)
    values = torch.linalg.svdvals(D)
    bound = values[2:].norm()
    if (D - 0.5 * B @ A).norm() <= bound + 1e-6:
        return
    if (D - B @ A).norm() <= bound + 1e-6:
        raise Wrong("B A is as near to D as can be, but LoRA adds s B A. Where does s go?")
    if (D - 2 * B @ A).norm() <= bound + 1e-6:
        raise Wrong("You multiplied by s where the scale has to be undone.")
    size = (0.5 * B @ A).norm()
    if abs(size - values[-2:].norm()) < 1e-6:
        raise Wrong("You kept the smallest singular values; the largest carry most of D.")
    if (D - 0.5 * B @ A).norm() < values.norm():
        raise Wrong(
            "Nearer than nothing, but not the best of rank 2. Compare with the proposition."
        )
    raise Wrong("s B A is no nearer to D than zero is. Are the singular values used once?")


def _name(number: int) -> str:
    return f"low_rank.lora.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Break-even", "short", 5, 1,
        "At which rank has LoRA as many parameters as the matrix? Give $r / d$ for "
        "$d_\\text{in} = d_\\text{out} = d$, then for $d_\\text{in} = d$, $d_\\text{out} = 4d$.",
        "break_even = (..., ...)\n",
        ("Write down both numbers of parameters.", "Set them equal and divide by d²."),
        (Stage("the square matrix", 1, _square), Stage("the wide matrix", 1, _wide)),
    ),
    Exercise(
        _name(2), "One step by hand", "short", 10, 1,
        "Let $r = 1$, $s = 1$, $A = (1 \\;\\; 0)$, $B = 0$ and "
        "$G = \\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}$. What is $\\Delta W = BA$ after "
        "one step of gradient descent with $\\eta = 0.1$? Give its two rows.",
        "change = ...\n",
        ("Only B moves in the first step: why?", "Equation 2 gives the gradient of B."),
        (Stage("the change of W", 2, _hand),),
    ),
    Exercise(
        _name(3), "The forward pass", "code", 10, 1,
        "Write Equation 1 for a batch: `x` (..., d_in), `h` (..., d_out), `A` (r, d_in), `B` "
        "(d_out, r); `h` is the frozen map's output. Read the rank from `A`.",
        "def lora_output(x, h, A, B, alpha):\n    raise NotImplementedError\n",
        ("Which product of x and A has shape (..., r)?", "The rank is A's number of rows."),
        (
            Stage("the shape is right", 1, _forward_shape),
            Stage("B = 0 starts at the base model", 1, _forward_start),
            Stage("the update is right", 2, _forward_value),
        ),
    ),
    Exercise(
        _name(4), "Derive the gradients", "code", 15, 2,
        "`G` (d_out, d_in) is the gradient of the loss with respect to $W = W_0 + s B A$. Return "
        "the gradients of `A` and of `B`, in this order, without automatic differentiation.",
        "def gradients(G, A, B, s):\n    raise NotImplementedError\n",
        ("Which products have the shapes of A and of B?", "Write one entry of W as a sum over r."),
        (
            Stage("the shapes are right", 1, _gradient_shapes),
            Stage("both agree with automatic differentiation", 3, _gradient_values),
        ),
    ),
    Exercise(
        _name(5), "Merge", "code", 10, 2,
        "Return the weight (d_out, d_in) that makes LoRA superfluous. `W` must stay as it is.",
        "def merged(W, A, B, alpha):\n    raise NotImplementedError\n",
        ("Collect everything that multiplies x.", "Mind the order of the product."),
        (
            Stage("the shape is right", 1, _merge_shape),
            Stage("merged and unmerged agree", 3, _merge_value),
        ),
    ),
    Exercise(
        _name(6), "The best that LoRA can do", "code", 25, 3,
        "You know the change `D` (d_out, d_in) that a task wants. Return `A` and `B` such that "
        "$s B A$ is as near to it as any matrix of this rank. (This is how methods initialise "
        "LoRA from a known gradient or from the weight itself.)",
        "def best_factors(D, rank, s):\n    raise NotImplementedError\n",
        ("Read the proof of the proposition.", "torch.linalg.svd(D, full_matrices=False)"),
        (
            Stage("the shapes are right", 1, _factor_shapes),
            Stage("no matrix of this rank is nearer", 4, _factor_distance),
        ),
    ),
    Exercise(
        _name(7), "Which matrices?", "open", 15, 2,
        "Adapt one kind of matrix at rank 16, then two kinds at rank 8, then four kinds at rank "
        "4: the same number of parameters. Give each its own learning rate. Which is best on this "
        "task? Compare the differences seed by seed with their spread before you "
        "answer. Does the paper's Table 5 agree?",
        "", ("`LoRA(rank=4, at=(…))`; `pft.sites(model)` lists the places.",), (),
    ),
    Exercise(
        _name(8), "Rank-stabilised", "open", 10, 2,
        "Write a `RankStabilised` delta that scales by $\\alpha / \\sqrt{r}$, and a method that "
        "plants it. Checks (a) and (c) must still hold. At which rank does it begin to matter?",
        "", ("Only `self.scale` differs from `LowRank`.",), (),
    ),
    Exercise(
        _name(9), "Start from the other side", "open", 10, 2,
        "Start with $A = 0$ and a random $B$. Is the start still the base model? Derive the "
        "counterpart of Equation 3, then train both at several rates. Which of the two starts "
        "bears the larger rate?",
        "", ("Which of the two gradients in Equation 2 is zero now?",), (),
    ),
    Exercise(
        _name(10), "How fast, really?", "open", 20, 2,
        "Time 20 training steps of full fine-tuning and of LoRA on your machine. Compare with "
        "the count of multiplications in the maths section. What else takes time?",
        "",
        ("`run.examples_per_second` tells. The count is about the matrices only: attention "
         "scores, normalisations, the optimiser and Python itself are not in it.",),
        (),
    ),
    Exercise(
        _name(11), "Find a task that needs rank", "open", 60, 3,
        "Fine-tune a base fully on 200 texts of `reviews`, and again on the same texts with their "
        "labels shuffled: the same steps, rate and seed, in both cases until the training loss is "
        "low. Take the change of the query matrix of the last layer, and say which rank holds 90 % "
        "of its squared norm. Is it higher with shuffled labels, over three seeds? Then train LoRA "
        "at several ranks on both: from which rank on does it reach the same training loss? Do the "
        "two ways of asking what rank a task needs agree?",
        "",
        ("The section on the change of full fine-tuning computes the share that a rank holds.",
         "`pft.load_task` takes rows as well: `{\"train\": [{\"text\": …, \"label\": …}, …], …}`, "
         "with all three splits."),
        (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "LoRA trains 0.1 % of the parameters. Training memory falls to",
        (
            Option("0.1 %", "The frozen weights must be in memory, and so must the activations."),
            Option("half: of weights, gradients and moments two are gone",
                   "There is no fixed factor. It depends on batch, length, model and "
                   "precision."),
            Option("somewhat more than the weights and activations",
                   "Gradients and optimiser states of the frozen weights are gone; the rest "
                   "stays.", right=True),
        ),
    ),
    Question(
        "At the start B is zero and A is random. In the first step",
        (
            Option("neither of the two gets a gradient, and both in the second",
                   "So it would be if both were zero, and it would stay so."),
            Option("the model is the base, and only B gets a gradient",
                   "A random A gives B its gradient. The roles could be exchanged; Hayou, Ghosh "
                   "and Yu (2024) find this start better on average, since it bears larger rates.",
                   right=True),
            Option("the model is the base, and only A gets a gradient",
                   "It is the gradient of A that is zero: it has B as a factor."),
        ),
    ),
    Question(
        "Doubling both α and r",
        (
            Option("doubles the scale of the update", "The scale is α / r, which stays."),
            Option("keeps the scale and doubles the parameters",
                   "The parameters grow with r, the scale is a ratio.", right=True),
            Option("keeps the function that is learned",
                   "More rank is more freedom: other functions come into reach."),
        ),
    ),
    Question(
        "After merging, the model",
        (
            Option("is a little slower than the base",
                   "It has the same modules and shapes as the base."),
            Option("can never be made the base again, even with the adapter's file",
                   "With the file one can subtract the product, up to rounding."),
            Option("costs what the base costs",
                   "A and B are inside the weight now. Keep their file all the same.", right=True),
        ),
    ),
    Question(
        "The target change has singular values 3, 2, 1. The best distance at rank 2 is",
        (
            Option("√5", "That would be what is left at rank 1, from 2² + 1²."),
            Option("1", "The square root of 1²: what is cut off.", right=True),
            Option("0", "For that the third value would have to be zero."),
        ),
    ),
)  # fmt: skip
