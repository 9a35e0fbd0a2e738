"""Exercises of the chapter book/foundations/finetuning.ipynb."""

from typing import Any

import torch
from torch import Tensor

from ..compare import close, measure, normal, number, numbers, tensor, whole
from ..model import Exercise, Option, Question, Stage, Wrong

CARD = 24e9  # bytes
Q = 0.25  # the proposition's q


def _card(answer: Any, g: Any) -> None:
    full, _ = numbers(answer, ("all trained", "head trained"))
    trained = (4 + 4 + 4 + 4) * 1e9  # weight, gradient, two running averages; per billion
    measure(
        full,
        CARD / 2 / trained,
        [
            (CARD / trained, "All trained: half of the card is for activations."),
            (CARD / 2 / 4e9, "All trained: weights are not all that Adam keeps."),
            (CARD / 2 / 12e9, "All trained: gradient and averages are 12 bytes; and the weight?"),
            (CARD / 2 / 16, "All trained: give billions, not single parameters."),
        ],
        "All trained: divide the bytes that are left by the bytes that Adam needs for each.",
    )


def _card_probe(answer: Any, g: Any) -> None:
    _, probe = numbers(answer, ("all trained", "head trained"))
    measure(
        probe,
        CARD / 2 / 4e9,
        [(CARD / 2 / 16e9, "Head trained: what is frozen has no gradient and no averages.")],
        "Head trained: a frozen parameter takes its weight alone.",
    )


def _halves(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("top half", "bottom half"))[which]
        trained = range(7, 13) if which == 0 else range(1, 7)
        right = _cost(12, set(trained)) / (3 * 12)
        name = ("Top half", "Bottom half")[which]
        mistakes = [
            (0.5, f"{name}: the forward pass is not halved."),
            (right * 36 / 12, f"{name}: relative to full fine-tuning, which costs 36 c."),
            ((right * 36 + Q) / 36, f"{name}: the gradient leaves the lowest layer by no door."),
        ]
        if which:
            top = _cost(12, set(range(7, 13))) / 36
            mistakes.append((top, "Bottom half: the gradient has to come down from the head."))
        measure(given, right, mistakes, f"{name}: add forward, weights and travel.", within=2e-3)

    return test


def _cost(layers: int, trained: set[int]) -> float:
    """The proposition, layer by layer from the top."""
    units, lowest = float(layers), min(trained, default=layers + 1)
    for layer in range(layers, 0, -1):
        units += layer in trained
        if layer > lowest:
            units += 1
        elif layer == lowest:
            units += 1 - Q
    return units


def _cost_probe(answer: Any, g: Any) -> None:
    layers = whole(g, 4, 12)
    given = number(answer(layers, [], Q), "The cost of a probe")
    if given > layers:
        raise Wrong("A probe trains no layer: no gradient has to enter any of them.")
    if given < layers:
        raise Wrong("A probe still runs forward through all layers.")


def _cost_full(answer: Any, g: Any) -> None:
    layers = whole(g, 4, 12)
    given = answer(layers, list(range(layers + 1)), Q)
    measure(
        given,
        3 * layers,
        [
            (3 * layers - Q, "With the embeddings trained, the gradient must leave layer 1 too."),
            (3 * layers + 1, "The embeddings, number 0, have no matrix product of their own."),
            (3 * layers + 1 - Q, "Number 0 stands for the embeddings: look at both places."),
        ],
        "All layers and the embeddings: forward, weights and travel are L each.",
    )


def _cost_any(answer: Any, g: Any) -> None:
    layers = whole(g, 6, 12)
    trained = [whole(g, 2, 3), layers - 1]
    low, n = trained[0], len(trained)
    right = _cost(layers, set(trained))
    measure(
        answer(layers, trained, Q),
        right,
        [
            (layers + 2 * n - Q, "The gradient travels through frozen layers above a trained one."),
            (layers + 2 * n, "The gradient also travels through frozen layers, and q is missing."),
            (right + Q, "At the lowest trained layer it need not leave by query, key and value."),
            (layers + n + layers - Q, "Below the lowest trained layer nothing has to travel."),
            (layers + (layers - low), "Where are the gradients of the weights?"),
        ],
        "Count forward, weights and travel apart, and compare with the proposition's proof.",
    )


def _probe_case(g: Any) -> tuple[Tensor, Tensor, float]:
    return normal(g, 20, 5), normal(g, 20, 3), 0.5 + float(torch.rand((), generator=g))


def _probe_shape(answer: Any, g: Any) -> None:
    X, Y, ridge = _probe_case(g)
    given = answer(X, Y, ridge)
    if isinstance(given, Tensor) and tuple(given.shape) == (20, 3):
        raise Wrong("Return the weight, not the predictions.")
    if isinstance(given, Tensor) and tuple(given.shape) == (3, 5):
        raise Wrong("The weight stands on the right of X: (d, k), not its transpose.")
    tensor(given, (5, 3), "The weight")


def _probe_value(answer: Any, g: Any) -> None:
    X, Y, ridge = _probe_case(g)
    given = answer(X, Y, ridge).double()

    def slope(penalty: float, weight: Tensor, fit: float = 1.0) -> Tensor:
        weight = weight.detach().requires_grad_()
        loss = fit * (X @ weight - Y).square().sum() + penalty * weight.square().sum()
        return torch.autograd.grad(loss, weight)[0]

    zero = torch.zeros(5, 3).double()
    if close(slope(ridge, given), zero):
        return
    for gradient, message in (
        (slope(0.0, given), "That is least squares without the penalty: where does ridge go?"),
        (slope(ridge**2, given), "ridge multiplies the squared weight once; you squared it."),
        (slope(ridge, given, 1 / 20), "The sum of squares is asked, not their mean."),
        (slope(-ridge, given), "The penalty has the wrong sign: it rewards large weights."),
        (slope(ridge, -given), "The weight has the wrong sign."),
    ):
        if close(gradient, zero):
            raise Wrong(message)
    raise Wrong("The gradient of the loss is not zero there. Is ridge on the diagonal only?")


def _names(g: Any) -> tuple[int, list[str]]:
    layers = whole(g, 12, 14)  # layer.1 is the beginning of layer.11
    parts = ("attention.query.weight", "ffn.up.bias")
    names = [f"encoder.layer.{i}.{part}" for i in range(layers) for part in parts]
    return layers, ["embeddings.word.weight", *names, "pooler.weight", "classifier.weight"]


def _rates(answer: Any, g: Any) -> tuple[int, list[str], dict[str, float], dict[str, float]]:
    layers, names = _names(g)
    given = answer(names, layers, 0.01, 2.0)
    if not isinstance(given, dict) or set(given) != set(names):
        raise Wrong("Return a dictionary with a rate for each name, and no other keys.")
    right = {}
    for name in names:
        place = name.split(".")
        below = 0 if place[0] in ("pooler", "classifier") else layers
        if place[0] == "encoder":
            below = layers - 1 - int(place[2])  # layers between it and the head
        right[name] = 0.01 * 0.5**below
    return layers, names, {k: number(v, k) for k, v in given.items()}, right


def _rates_ends(answer: Any, g: Any) -> None:
    _, _, given, right = _rates(answer, g)
    low, high = (f"encoder.layer.{i}.ffn.up.bias" for i in (0, 9))
    for head in ("classifier.weight", "pooler.weight"):
        measure(given[head], right[head], [], "The head, pooler included, gets the rate itself.")
    if given[low] > given[high]:
        raise Wrong("The bottom gets more than the top; it is the bottom that should change least.")
    if abs(given[high] - right[high] / 2) < 1e-9:
        raise Wrong("The top layer's rate is not yet divided; the first layer below it is, once.")
    if given["embeddings.word.weight"] > given[low] * 0.99:
        raise Wrong("The embeddings lie one step below layer 0.")


def _rates_all(answer: Any, g: Any) -> None:
    _, names, given, right = _rates(answer, g)
    wrong = [n for n in names if abs(given[n] - right[n]) > 1e-6 * right[n]]
    if not wrong:
        return
    layered = {n.split(".")[2] for n in wrong if n.startswith("encoder")}
    if layered and all(int(number) >= 10 for number in layered):
        raise Wrong("Layers 10 and up are wrong: “layer.1” is also the beginning of “layer.10”.")
    steps = [given[f"encoder.layer.{i}.ffn.up.bias"] for i in (3, 2, 1)]
    if abs((steps[0] - steps[1]) - (steps[1] - steps[2])) < 1e-9:
        raise Wrong("Each layer down divides by decay; yours falls by equal differences.")
    raise Wrong(f"{wrong[0]} should have {right[wrong[0]]:.3g}, and has {given[wrong[0]]:.3g}.")


def _name(number: int) -> str:
    return f"foundations.finetuning.{number}"


EXERCISES = (
    Exercise(
        _name(1), "A 24 GB card", "short", 5, 1,
        "A card has $24 \\cdot 10^9$ bytes; half is kept for activations. How many *billion* "
        "parameters can a model have in 32 bits with Adam, by Equation 3: (i) if all are "
        "trained, (ii) if only a head is, whose size does not matter?",
        "billions = (..., ...)\n",
        ("How many bytes does a trained parameter take, and how many a frozen one?",),
        (Stage("all trained", 1, _card), Stage("the head trained", 1, _card_probe)),
    ),
    Exercise(
        _name(2), "Cheaper halves", "short", 10, 1,
        "A model has 12 layers, with $q = 1/4$, and frozen embeddings. What does a step cost that "
        "trains the top 6 layers, as a share of full fine-tuning? And one that trains layers 1 to "
        "6 only? (To three digits.)",
        "share = (..., ...)\n",
        ("Full fine-tuning costs $3 \\cdot 12\\,c$.",
         "In the second case the gradient starts at the head as well."),
        (Stage("the top half", 1, _halves(0)), Stage("the bottom half", 1, _halves(1))),
    ),
    Exercise(
        _name(3), "The cost of any choice", "code", 15, 2,
        "Write the proposition for any set of layers. `layers` is $L$, `trained` a list of layer "
        "numbers, $1$ at the bottom and $L$ at the top, and $0$ for the embeddings. Return the "
        "cost of a step in units of $c$.",
        "def step_cost(layers, trained, q):\n    raise NotImplementedError\n",
        ("Three sums: forward, gradients of weights, gradients that travel.",
         "What does the lowest trained layer decide?"),
        (
            Stage("a probe costs L", 1, _cost_probe),
            Stage("full fine-tuning costs 3 L", 1, _cost_full),
            Stage("any layers", 2, _cost_any),
        ),
    ),
    Exercise(
        _name(4), "A probe in one line", "code", 15, 2,
        "Features `X` (n, d) are computed once. Return the weight `W` (d, k) that minimises "
        "$\\lVert X W - Y \\rVert_F^2 + \\text{ridge}\\, \\lVert W \\rVert_F^2$ for targets `Y` "
        "(n, k), without a training loop.",
        "def fit_probe(X, Y, ridge):\n    raise NotImplementedError\n",
        ("Set the gradient to zero.", "`torch.linalg.solve(a, b)` solves $a\\,w = b$."),
        (
            Stage("the shape is right", 1, _probe_shape),
            Stage("the gradient is zero there", 3, _probe_value),
        ),
    ),
    Exercise(
        _name(5), "A rate for each layer", "code", 20, 3,
        "Lower layers change less, so give them smaller rates {cite:p}`howard2018universal`. "
        "`names` are parameter names such as `encoder.layer.3.ffn.up.bias`, `embeddings.…`, "
        "`pooler.…` and `classifier.…`; layers count from 0. Pooler, classifier and the top layer "
        "get `rate`, each layer below that of the one above divided by `decay`, and the "
        "embeddings that of layer 0 divided by `decay`. Return {name: rate}.",
        "def layer_rates(names, layers, rate, decay):\n    raise NotImplementedError\n",
        ("`name.split(\".\")` finds the number safely.", "How many layers lie above this one?"),
        (
            Stage("both ends", 1, _rates_ends),
            Stage("every parameter has its rate", 3, _rates_all),
        ),
    ),
    Exercise(
        _name(6), "Features once", "open", 20, 2,
        "Use your `fit_probe` on the features of each layer, computed once. How much faster is an "
        "epoch than one of `LinearProbe`?",
        "", ("`features(model, \"train\")` gives them.",), (),
    ),
    Exercise(
        _name(7), "Frozen embeddings", "open", 10, 2,
        "Train everything but the embeddings: `pft.FrozenBottom(count=0)`. How many parameters "
        "does it train, and what does it lose? Compare seed by seed. Which words of the test "
        "split could full fine-tuning not improve either?",
        "", (), (),
    ),
    Exercise(
        _name(8), "Fair rates", "open", 20, 2,
        "Give full fine-tuning the learning rates $10^{-5}$, $3 \\cdot 10^{-5}$, …, $10^{-2}$ and "
        "draw test accuracy against the rate. Do the same for the probe. Would one common rate "
        "have been a fair comparison?",
        "", (), (),
    ),
    Exercise(
        _name(9), "Which words?", "open", 30, 3,
        "The control with random weights is above chance on some tasks. Why can a network that "
        "knows nothing be above chance? Design a task where it must be at chance.",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Full fine-tuning starts from",
        (
            Option("random weights", "That would be training from scratch."),
            Option("pretrained weights and a random head",
                   "Only the head, and what the file lacked, is new.", right=True),
            Option("pretrained weights and a pretrained head",
                   "The pretrained head predicts words; the task needs another one."),
        ),
    ),
    Question(
        "Freezing half of the parameters, chosen at random over all layers, saves",
        (
            Option("half of the arithmetic of each training step",
                   "The forward pass and the travelling gradient stay, and a matrix product "
                   "cannot skip single weights."),
            Option("memory, and hardly any arithmetic",
                   "Of gradients and optimiser, if the gradients are stored sparsely.", right=True),
            Option("nothing at all", "The optimiser keeps two numbers less for each of them."),
        ),
    ),
    Question(
        "A linear probe on layer 3 reaches 95 %, on layer 6 only 80 %. Then",
        (
            Option("layers 4 to 6 destroyed the information",
                   "Not necessarily. It may be there in a form that no plane can cut."),
            Option("layer 3 has the feature in a more linear form",
                   "A probe measures what is linearly readable, not what is there.", right=True),
            Option("the probe on layer 6 was not trained long enough",
                   "The probe of this chapter is solved exactly."),
        ),
    ),
    Question(
        "Why compare with random weights?",
        (
            Option("To see what comes from the words and the architecture alone",
                   "What is above it came from pretraining.", right=True),
            Option("To see how good the optimiser is", "The probe here has no optimiser."),
            Option("To see what full fine-tuning would reach",
                   "Fine-tuning starts from the pretrained weights."),
        ),
    ),
    Question(
        "Two methods at the same learning rate",
        (
            Option("are compared fairly",
                   "What is good for the head alone can destroy the pretrained weights."),
            Option("may be compared at a rate that suits only one of them",
                   "Give each its own, found in the same way.", right=True),
            Option("learn equally fast",
                   "How far a step goes depends on what is trained as well."),
        ),
    ),
)  # fmt: skip
