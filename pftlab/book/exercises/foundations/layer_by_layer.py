"""Exercises of the chapter book/foundations/layer_by_layer.ipynb. Layer 0 is the embeddings."""

from typing import Any

import torch

from ..compare import measure, normal, number, numbers, whole
from ..model import Exercise, Option, Question, Stage, Wrong


def _opens(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("layer 6", "embeddings"))[which]
        name, right = (("Layer 6", 121), ("The embeddings", 241))[which]
        layer = (6, 0)[which]
        measure(
            given,
            right,
            [
                (right - 1, f"{name}: that is the last step before; steps count from 1."),
                (20 * layer + 1, f"{name}: that is the schedule from the bottom."),
                (right - 20, f"{name}: one phase later. The top layer is open in the first one."),
                (right + 20, f"{name}: one phase earlier. How many groups lie above it?"),
                (260 // 12 * (12 - layer) + 1, f"{name}: the embeddings are a group too."),
            ],
            f"{name}: 13 phases of 20 steps each.",
        )

    return test


def _rate(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("layer 4", "embeddings"))[which]
        name, below = (("Layer 4", 2), ("The embeddings", 6))[which]
        right = 2e-3 / 3**below
        measure(
            given,
            right,
            [
                (2e-3 / 3 ** (6 - below), f"{name}: count from the top, not from the bottom."),
                (2e-3 / (3 * below), f"{name}: divide again for each layer, not once."),
                (2e-3 * 3**below, f"{name}: lower layers learn more slowly."),
                (2e-3 / 3 ** (below - 1), f"{name}: one division is missing."),
                (2e-3 / 2.6**below, f"{name}: the divisor here is 3."),
            ],
            f"{name}: Equation 1.",
            within=5e-3,
        )

    return test


def _open(layers: int, steps: int, step: int) -> list[int]:
    groups = layers + 1
    return list(range(layers, layers - 1 - (step - 1) * groups // steps, -1))


def _asked(answer: Any, layers: int, steps: int, step: int) -> list[int]:
    try:
        return [int(each) for each in answer(layers, steps, step)]
    except TypeError:
        raise Wrong("Return a list of layer numbers.") from None


def _first(answer: Any, g: Any) -> None:
    for layers in (2, 4, 7):
        given = _asked(answer, layers, 10 * (layers + 1), 1)
        if given == [0]:
            raise Wrong("That is the schedule from the bottom: layer 0 is the embeddings.")
        if given == []:
            raise Wrong("In the first phase one group is open already.")
        if given != [layers]:
            raise Wrong("At the first step the top layer alone is open.")


def _last(answer: Any, g: Any) -> None:
    for layers in (2, 4, 7):
        given = _asked(answer, layers, 10 * (layers + 1), 10 * (layers + 1))
        if sorted(given) == list(range(1, layers + 1)):
            raise Wrong("At the last step the embeddings, layer 0, are open as well.")
        if sorted(given) != list(range(layers + 1)):
            raise Wrong("At the last step every group is open.")


def _between(answer: Any, g: Any) -> None:
    for _ in range(20):
        layers, steps = whole(g, 2, 8), whole(g, 20, 90)
        step = whole(g, 2, steps - 1)
        given = sorted(_asked(answer, layers, steps, step))
        right = sorted(_open(layers, steps, step))
        if given == right:
            continue
        if len(given) == len(set(given)) == 1:
            raise Wrong("What was opened stays open.")
        raise Wrong("Phases have equal length: divide (step − 1) times the groups by the steps.")


def _share(layers: int, q: float) -> float:
    costs = [layers + 2 * u - q for u in range(1, layers + 1)] + [3 * layers]
    return sum(costs) / (3 * layers * len(costs))


def _cost(answer: Any, g: Any) -> None:
    layers, q = whole(g, 5, 20), 0.25
    full = 3 * layers
    tops = [layers + 2 * u - q for u in range(1, layers + 1)]
    bottoms = [2 * layers + u - 1 for u in range(1, layers + 2)]
    measure(
        answer(layers, q),
        _share(layers, q),
        [
            (sum(tops) / len(tops) / full, "The last phase, with the embeddings, is missing."),
            (sum(bottoms) / len(bottoms) / full, "That is the price from the bottom."),
            (_share(layers, q) * full, "Divide by the cost of full fine-tuning."),
            (_share(layers, 0.0), "q: the gradient need not leave the lowest open layer."),
            (_share(layers, q) * (layers + 1), "The mean over the phases, not the sum."),
        ],
        "Equation 2 for each u, full fine-tuning for the last phase; then the mean.",
    )


def _tensors(g: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    old = [normal(g, 3, 4), normal(g, 5)]
    return old, [tensor + 0.1 * normal(g, *tensor.shape) for tensor in old]


def _still(answer: Any, g: Any) -> None:
    old, _ = _tensors(g)
    if abs(number(answer(old, [t.clone() for t in old]), "The movement")) > 1e-9:
        raise Wrong("What has not changed has not moved: 0.")


def _moved(answer: Any, g: Any) -> None:
    old, new = _tensors(g)
    change = [b - a for a, b in zip(old, new, strict=True)]

    def norm(tensors: list[torch.Tensor]) -> float:
        return sum(t.square().sum().item() for t in tensors) ** 0.5

    each = [(c.norm() / o.norm()).item() for c, o in zip(change, old, strict=True)]
    measure(
        answer(old, new),
        norm(change) / norm(old),
        [
            (norm(change), "Relative to where the layer was."),
            ((norm(change) / norm(old)) ** 2, "Take the root."),
            (sum(each) / 2, "One vector for the layer, not a mean of its tensors."),
            (norm(change) / norm(new), "Relative to the old weights, not to the new ones."),
            (norm(new) / norm(old) - 1, "A change of the length is not the length of the change."),
        ],
        "Length of all changes together, by the length of all old weights together.",
    )


def _name(place: int) -> str:
    return f"foundations.layer_by_layer.{place}"


EXERCISES = (
    Exercise(
        _name(1), "When does it open?", "short", 5, 1,
        "A network of 12 layers is trained from the top for 260 steps in phases of equal length. "
        "At which step, counted from 1, is layer 6 trained for the first time? And the "
        "embeddings?",
        "steps = (..., ...)\n",
        ("How many groups are there, and how long is a phase?",),
        (Stage("layer 6", 1, _opens(0)), Stage("the embeddings", 1, _opens(1))),
    ),
    Exercise(
        _name(2), "Rates by layer", "short", 5, 1,
        "A network of 6 layers, a rate of 0.002 at the top, a divisor of 3. At what rates do layer "
        "4 and the embeddings learn? (To three digits.)",
        "rates = (..., ...)\n",
        ("Equation 1.",),
        (Stage("layer 4", 1, _rate(0)), Stage("the embeddings", 1, _rate(1))),
    ),
    Exercise(
        _name(3), "The schedule", "code", 15, 2,
        "Return the numbers of the layers that are trained in `step` (from 1) of `steps`, from the "
        "top, in phases of equal length. The embeddings are layer 0.",
        "def trained(layers, steps, step):\n    raise NotImplementedError\n",
        ("How many groups are open in the first step, and in the last?",
         "Whole-number division is `//`."),
        (
            Stage("the first step", 1, _first),
            Stage("the last step", 1, _last),
            Stage("all steps between", 2, _between),
        ),
    ),
    Exercise(
        _name(4), "What the order saves", "code", 10, 2,
        "Return the arithmetic of a whole run from the top, in phases of equal length, as a share "
        "of full fine-tuning.",
        "def share(layers, q):\n    raise NotImplementedError\n",
        ("Equation 2, and one phase that it does not cover.",),
        (Stage("the share", 3, _cost),),
    ),
    Exercise(
        _name(5), "How far has it moved?", "code", 10, 2,
        "`old` and `new` are lists of the tensors of one layer, before and after. Return "
        "$\\lVert \\Delta\\theta_\\ell \\rVert / \\lVert \\theta_\\ell \\rVert$, all tensors of "
        "the layer taken as one vector.",
        "def movement(old, new):\n    raise NotImplementedError\n",
        ("Squares add up over tensors; roots do not.",),
        (Stage("nothing moved", 1, _still), Stage("the movement", 2, _moved)),
    ),
    Exercise(
        _name(6), "Diagnose", "open", 20, 2,
        "Four runs went wrong. (a) From the top, the two lowest layers are bit for bit as "
        "pretrained. (b) The embeddings moved by a millionth, with rates by layer on 24 layers. "
        "(c) From the top, the loss jumps at the start of each phase and the moments are zero "
        "there. (d) From the bottom, the run stays at chance until its last phase. What do you "
        "look at, and what do you change?",
        "", ("The table of what goes wrong has all four.",), (),
    ),
    Exercise(
        _name(7), "Read", "open", 10, 2,
        "Take the stored differences. Which of these may be printed? (a) The order does not "
        "matter. (b) On tiny-encoder, after 120 steps, we saw these differences, with these "
        "intervals. (c) From the top is better because it protects the lower layers. (d) A way "
        "whose rate was the highest of the grid might do better at a higher one.",
        "", ("An interval that holds zero says neither yes nor no.",), (),
    ),
    Exercise(
        _name(8), "Chain-thaw", "open", 30, 3,
        "Write the method of {cite:t}`felbo2017deepmoji` as a class of ten lines: the head first, "
        "then *one* layer at a time from the bottom, everything in the last phase. Draw its map "
        "beside the four of this page. What does a step cost by Equation 2?",
        "", ("Start from `FromTheBottom`; which groups does it leave open?",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "ULMFiT opens the layers",
        (
            Option("from the embeddings up, as the data flow", "That is the common slip."),
            Option("from the top", "What it holds is least general.", right=True),
            Option("one at a time, closing each before the next", "That is nearer to chain-thaw."),
        ),
    ),
    Question(
        "In the heat map, from the top, the embeddings stay dark for long because",
        (
            Option("their gradients vanish on the way down through the layers",
                   "They are not computed at all while the embeddings are closed."),
            Option("they are opened in the last phase", "Before that they ask for no gradient.",
                   right=True),
            Option("their rate is the lowest", "That is the fourth map."),
        ),
    ),
    Question(
        "Peak memory of gradual unfreezing is",
        (
            Option("a fifth of full fine-tuning, with five groups",
                   "In the first phase one group is open; in the last all five are."),
            Option("that of the average phase", "A peak is no average."),
            Option("that of full fine-tuning, since all is open in the end",
                   "In the last phase all groups are open.", right=True),
        ),
    ),
    Question(
        "A divisor of 2.6 for a network of thirty layers",
        (
            Option("freezes the bottom in all but name", "2.6 to the power of 30 is over 10¹².",
                   right=True),
            Option("protects the bottom as it did in ULMFiT", "That network had three layers."),
            Option("is harmless, since AdamW divides each gradient by its size",
                   "It does, and is then multiplied by the rate."),
        ),
    ),
    Question(
        "Your texts come from a scanner that confuses letters. The question is as in pretraining. "
        "Which layers would you open first?",
        (
            Option("the top ones, since ULMFiT has shown that they are least general",
                   "There the question was new; here it is the input."),
            Option("the lower ones", "The change is next to them, as in the toy.", right=True),
            Option("none; the head is enough", "It reads states that are wrong already."),
        ),
    ),
)  # fmt: skip
