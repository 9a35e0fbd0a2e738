"""Exercises of the chapter book/sparse/index.ipynb."""

from typing import Any

import torch
from torch import Tensor

from ..compare import close, compare, measure, normal, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong

D = 768
MATRICES = ((D, D),) * 4 + ((4 * D, D), (D, 4 * D))
BIASES = (D,) * 4 + (4 * D, D) + (D, D)  # of the maps, then of the two layer norms
GAINS = (D, D)


def _biases(answer: Any, g: Any) -> None:
    given, _ = numbers(answer, ("biases", "percent"))
    right = sum(BIASES)
    measure(
        given,
        right,
        [
            (right - 2 * D, "Biases: two layer norms have one each."),
            (right + 2 * D, "Biases: the gains of the layer norms are no biases."),
            (right - 3 * D, "Biases: the middle of the feed-forward network is 4 d wide."),
            (12 * right, "Biases: one layer is asked."),
        ],
        "Biases: four maps of the attention, two of the feed-forward network, two layer norms.",
    )


def _percent(answer: Any, g: Any) -> None:
    _, given = numbers(answer, ("biases", "percent"))
    every = sum(a * b for a, b in MATRICES) + sum(BIASES) + sum(GAINS)
    share = sum(BIASES) / every
    measure(
        given,
        100 * share,
        [(share, "Percent: that is the share; a hundred times as much.")],
        "Percent: of all parameters of the layer, weights, biases and gains.",
        within=1e-2,
    )


def _store(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("megabytes", "density"))[which]
        each = 4 + 4  # a number and its place
        if which == 0:
            measure(
                given,
                100e6 * 0.005 * each / 1e6,
                [
                    (2.0, "Megabytes: the places have to be stored as well."),
                    (4e6, "Megabytes: that is in bytes."),
                    (400.0, "Megabytes: only what is trained is stored."),
                ],
                "Megabytes: half a million numbers with their places.",
                within=1e-3,
            )
        else:
            measure(given, 4 / each, [
                (1.0, "Density: with the places the file is twice as large by then."),
                (50.0, "Density: give a share between 0 and 1."),
            ], "Density: eight bytes for each that is kept against four for all.",
                within=1e-3)  # fmt: skip

    return test


def _fisher_case(g: Any) -> tuple[Tensor, Tensor, Tensor]:
    return normal(g, 4, 6), normal(g, 16, 6), torch.randint(0, 4, (16,), generator=g)


def _fisher_shape(answer: Any, g: Any) -> None:
    given = answer(*_fisher_case(g))
    if isinstance(given, Tensor) and tuple(given.shape) == (16, 4, 6):
        raise Wrong("One number for each weight: the mean over the examples is missing.")
    if (tensor(given, (4, 6), "The information") < 0).any():
        raise Wrong("There are squares in the definition: nothing can be negative.")


def _fisher_value(answer: Any, g: Any) -> None:
    W, X, y = _fisher_case(g)

    def gradient(rows: Any, labels: Any) -> Tensor:
        weight = W.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(rows @ weight.T, labels)
        return torch.autograd.grad(loss, weight)[0]

    singles = torch.stack([gradient(X[i : i + 1], y[i : i + 1]) for i in range(16)])
    right = singles.square().mean(0)
    every = torch.zeros(4, 6).double()
    chance = (X @ W.T).softmax(-1)
    for label in range(4):
        guess = torch.full((1,), label)
        each = torch.stack([gradient(X[i : i + 1], guess) for i in range(16)])
        every += (chance[:, label, None, None] * each.square()).mean(0)
    compare(
        answer(W, X, y),
        right,
        [
            (singles.mean(0).square(), "You squared the mean gradient. Square each, then average."),
            (16 * right, "The sum was taken; the definition has a mean."),
            (singles.abs().mean(0), "Absolute values were averaged; squares are asked."),
            (every, "That is the true Fisher information, over the labels that the model would "
             "draw. The empirical one takes the labels of the data."),
            (singles.square().mean(0).sqrt(), "A root too many: the mean of the squares is meant."),
        ],
        "For example n the gradient is (p − onehot(y)) xᵀ. Compare yours for a single example.",
    )  # fmt: skip


def _scores(g: Any, ties: bool = False) -> list[Tensor]:
    scores = [normal(g, 3, 4).abs(), 5 * normal(g, 6).abs(), 0.1 * normal(g, 2, 2, 2).abs()]
    return [score.mul(2).ceil() for score in scores] if ties else scores


def _masks(answer: Any, scores: list[Tensor], keep: int) -> list[Tensor]:
    given = answer(scores, keep)
    if not isinstance(given, list | tuple) or len(given) != len(scores):
        raise Wrong("Return a list with a mask for each tensor.")
    for mask, score in zip(given, scores, strict=True):
        if tensor(mask, tuple(score.shape), "A mask").dtype != torch.bool:
            raise Wrong("A mask should hold True and False.")
    return list(given)


def _mask_shapes(answer: Any, g: Any) -> None:
    _masks(answer, _scores(g), 7)


def _mask_highest(answer: Any, g: Any) -> None:
    scores = _scores(g)
    flat = torch.cat([m.flatten() for m in _masks(answer, scores, 7)])
    every = torch.cat([s.flatten() for s in scores])
    ranked = sorted(range(len(every)), key=lambda i: -float(every[i]))
    chosen = {i for i in range(len(every)) if flat[i]}
    if chosen == set(ranked[:7]):
        return
    if chosen == set(ranked[-7:]):
        raise Wrong("Those are the lowest scores.")
    if chosen == set(ranked[7:]):
        raise Wrong("True means trained: your masks are inverted.")
    if chosen == set(ranked[:8]) or chosen == set(ranked[:6]):
        raise Wrong("One too many or too few: exactly `keep` are asked.")
    if all(mask.any() for mask in _masks(answer, scores, 7)):
        raise Wrong("Every tensor gets a share. All tensors compete, and some get nothing.")
    raise Wrong("The highest scores over all tensors together are asked.")


def _mask_ties(answer: Any, g: Any) -> None:
    for keep in (3, 9):
        found = sum(int(m.sum()) for m in _masks(answer, _scores(g, ties=True), keep))
        if found != keep:
            raise Wrong(f"With equal scores {found} are kept, and {keep} were asked: a threshold "
                        "cannot cut between equals.")  # fmt: skip


def _said_case(g: Any) -> tuple[Tensor, Tensor, Tensor]:
    return normal(g, 9), normal(g, 9), 3 * normal(g, 9, 3)


def _said_shape(answer: Any, g: Any) -> None:
    given = answer(*_said_case(g))
    if isinstance(given, Tensor) and tuple(given.shape) == (3,):
        raise Wrong("Those are the coordinates in the subspace; return the point θ itself.")
    tensor(given, (9,), "The point")


def _said_inside(answer: Any, g: Any) -> None:
    start, goal, raw = _said_case(g)
    move = answer(start, goal, raw) - start
    outside = move - raw @ torch.linalg.lstsq(raw, move[:, None]).solution[:, 0]
    if outside.norm() > 1e-6:
        through_zero = move + start
        solution = torch.linalg.lstsq(raw, through_zero[:, None]).solution[:, 0]
        if (through_zero - raw @ solution).norm() < 1e-6:
            raise Wrong("The subspace goes through θ₀, not through zero: move from θ₀.")
        raise Wrong("The point is not θ₀ plus a combination of the columns.")


def _said_nearest(answer: Any, g: Any) -> None:
    start, goal, raw = _said_case(g)
    given = answer(start, goal, raw)
    if close(raw.T @ (goal - given), torch.zeros(3).double(), 1e-6):
        return
    unit = raw / raw.norm(dim=0)
    for basis, message in (
        (raw, "P Pᵀ projects only if the columns of P are orthonormal, and these are not."),
        (unit, "Columns of length 1 are not yet orthogonal to each other."),
    ):
        if close(given, start + basis @ (basis.T @ (goal - start))):
            raise Wrong(message)
    ortho = torch.linalg.qr(raw).Q
    if close(given, start + ortho @ (ortho.T @ goal)):
        raise Wrong("Project the way from θ₀ to the goal, not the goal.")
    if close(given, start - ortho @ (ortho.T @ (goal - start))):
        raise Wrong("That leads away from the goal.")
    raise Wrong("What is left to the goal should be orthogonal to every column.")


def _name(number: int) -> str:
    return f"sparse.index.{number}"


EXERCISES = (
    Exercise(
        _name(1), "What BitFit trains", "short", 10, 1,
        "A BERT layer of width $d = 768$ has four maps $d \\to d$ in the attention, a feed-forward "
        "network of width $4d$, and two layer norms, all with biases. How many biases has a layer, "
        "and what percentage of its parameters is that?",
        "bitfit = (..., ...)\n",
        ("Sum up in units of $d$.", "The weights are $12 d^2$; layer norms have gains as well."),
        (Stage("the biases", 1, _biases), Stage("the percentage", 1, _percent)),
    ),
    Exercise(
        _name(2), "Storing what changed", "short", 5, 1,
        "A sparse update trains 0.5 % of 100 million weights. The file holds each as a number of 4 "
        "bytes and a place of 4 bytes. How many MB ($10^6$ bytes) is it? And at which density is "
        "it as large as a file with all weights in 4 bytes?",
        "file = (..., ...)\n",
        ("Eight bytes for each weight that changed.",),
        (Stage("the file", 1, _store(0)), Stage("break-even", 1, _store(1))),
    ),
    Exercise(
        _name(3), "Fisher on 16 examples", "code", 20, 2,
        "A linear classifier has the weight `W` (k, d), the inputs are `X` (n, d), the labels `y` "
        "(n,). Return the empirical Fisher information of every weight, (k, d): the mean over the "
        "examples of the *squared* gradient of $\\log p(y_n \\mid x_n)$. No automatic "
        "differentiation is needed.",
        "def fisher(W, X, y):\n    raise NotImplementedError\n",
        ("What is the gradient of the log-likelihood of one example?",
         "(p − onehot)² and x² make an outer product for each example."),
        (
            Stage("the shape is right", 1, _fisher_shape),
            Stage("it agrees with single gradients", 3, _fisher_value),
        ),
    ),
    Exercise(
        _name(4), "The mask", "code", 20, 2,
        "`scores` is a list of tensors, one for each parameter of a model. Return a list of masks "
        "of the same shapes, True at the `keep` highest scores of *all* tensors together, exactly "
        "`keep` even when scores are equal.",
        "def fish_mask(scores, keep):\n    raise NotImplementedError\n",
        ("One long vector, `topk`, and back.", "`torch.Tensor.split` and `view_as` lead back."),
        (
            Stage("a mask for each tensor", 1, _mask_shapes),
            Stage("the highest of all", 2, _mask_highest),
            Stage("exactly as many, even among equals", 1, _mask_ties),
        ),
    ),
    Exercise(
        _name(5), "As near as a subspace allows", "code", 25, 3,
        "SAID trains $\\theta = \\theta_0 + \\Pi z$ with few coordinates $z$ "
        "{cite:p}`aghajanyan2021intrinsic`. `start` is $\\theta_0$ (n,), `goal` the point (n,) "
        "that full fine-tuning would reach, and `raw` (n, d) a random matrix whose columns span "
        "the subspace; they are not orthonormal. Return the point of $\\theta_0 + "
        "\\mathrm{span}(\\text{raw})$ nearest to the goal.",
        "def nearest(start, goal, raw):\n    raise NotImplementedError\n",
        ("Give the subspace an orthonormal basis first.", "`torch.linalg.qr`"),
        (
            Stage("the shape is right", 1, _said_shape),
            Stage("the point is in reach", 1, _said_inside),
            Stage("no point in reach is nearer", 2, _said_nearest),
        ),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "A mask leaves 0.5 % of the weights to train. A training step of PyTorch then takes",
        (
            Option("about 0.5 % of the time", "Nothing of the forward pass is saved."),
            Option("about as long as full fine-tuning",
                   "Gradients of whole matrices are computed, and most of them thrown away. Only "
                   "kernels made for it could compute the chosen entries alone.",
                   right=True),
            Option("twice as long as a step of full fine-tuning",
                   "The mask costs a multiplication, which is little."),
        ),
    ),
    Question(
        "In BERT, the bias of the key projection gets no gradient. Why?",
        (
            Option("It is frozen in all libraries", "It is trained like the others, in vain."),
            Option("It adds the same number to all scores of a query",
                   "And the softmax does not see what all scores have in common.", right=True),
            Option("It is zero at the start", "Others start at zero and learn."),
        ),
    ),
    Question(
        "FISH mask takes the square of the gradient of *each* example, because",
        (
            Option("opposite gradients would cancel in a mean",
                   "The mean gradient of a trained model can be near zero where single ones are "
                   "not.", right=True),
            Option("a batch does not fit into memory", "A mean is added up bit by bit."),
            Option("squares are faster than absolute values", "The time is in the gradients."),
        ),
    ),
    Question(
        "LT-SFT finds its mask by",
        (
            Option("drawing it at random", "That is the baseline."),
            Option("fine-tuning fully once, and looking what moved most",
                   "Then it goes back to the base and trains these alone.", right=True),
            Option("the size of the pretrained weights, largest first in each matrix",
                   "That is pruning by magnitude."),
        ),
    ),
    Question(
        "The intrinsic dimension of a task is",
        (
            Option("the number of weights that must change",
                   "Along a random direction all weights change."),
            Option("how many random directions reach 90 % of the full score",
                   "A property of model and task together.", right=True),
            Option("the rank of the change of a weight matrix, summed over all layers",
                   "A random subspace has no matrices in it."),
        ),
    ),
)  # fmt: skip
