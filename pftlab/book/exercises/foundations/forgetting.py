"""Exercises of the chapter book/foundations/forgetting.ipynb."""

import math
from typing import Any

import torch
from torch.nn import functional as F

from ..compare import compare, measure, normal, number, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _perplexity(answer: Any, g: Any) -> None:
    before, after = math.exp(3.0), math.exp(3.5)
    measure(
        answer,
        after / before,
        [
            (0.5, "That is the rise in nats. How many times larger is the perplexity?"),
            (after - before, "The difference of the perplexities; asked is their ratio."),
            (3.5 / 3.0, "The ratio of the losses. The perplexity is e to the loss."),
            (2**0.5, "Nats belong to e, not to 2."),
            (before / after, "Upside down: the perplexity has grown."),
        ],
        "e to the loss after, divided by e to the loss before.",
        within=0.005,
    )


def _toy(answer: Any, g: Any) -> None:
    phi = math.radians(120)
    a, b = torch.tensor([1.0, 0.0]).double(), torch.tensor([math.cos(phi), math.sin(phi)]).double()
    w = a - (a @ b + 1) * b
    right = (w @ a - 1).square().item()
    measure(
        answer,
        right,
        [
            (right**0.5, "That is the error; the loss is its square."),
            ((1.5 * 0.5) ** 2, "The cosine of 120° is negative."),
            ((1 + math.cos(phi)) ** 2, "The step has this length; how much of it is along a?"),
            (math.cos(phi) ** 2, "That is the overlap alone. How far do the weights move?"),
            (0.0, "The two inputs are not at right angles."),
        ],
        "(1 + cos φ)² cos² φ.",
    )


def _texts(g: Any) -> tuple[Any, ...]:
    before, after = normal(g, 7, 5), normal(g, 7, 5)
    return before, after, torch.randint(5, (7,), generator=g)


def _rise(answer: Any, g: Any) -> None:
    before, after, ids = _texts(g)
    loss = [F.cross_entropy(logits[:-1], ids[1:]).item() for logits in (before, after)]
    same = [F.cross_entropy(logits, ids).item() for logits in (before, after)]
    total = [F.cross_entropy(x[:-1], ids[1:], reduction="sum").item() for x in (before, after)]
    measure(
        number(answer(before, after, ids), "The rise"),
        loss[1] - loss[0],
        [
            (same[1] - same[0], "The logits of a token predict the next one: shift by one."),
            (loss[0] - loss[1], "The sign: positive says that something was lost."),
            (total[1] - total[0], "That is the sum; divide by the number of predicted tokens."),
            (loss[1], "That is the loss after. Take the loss before away."),
            ((loss[1] - loss[0]) / math.log(2), "These are bits; nats are asked."),
        ],
        "Cross-entropy of logits[:-1] with ids[1:], after minus before.",
    )


def _rise_zero(answer: Any, g: Any) -> None:
    before, _, ids = _texts(g)
    if abs(number(answer(before, before.clone(), ids), "The rise")) > 1e-12:
        raise Wrong("The same logits before and after: nothing was forgotten.")


def _walk_shape(answer: Any, g: Any) -> None:
    tensor(answer(normal(g, 4, 3), normal(g, 4, 3), 0.3), (4, 3), "The weights")


def _walk(answer: Any, g: Any) -> None:
    old, new = normal(g, 4, 3), normal(g, 4, 3)
    compare(
        answer(old, new, 0.25),
        old + 0.25 * (new - old),
        [
            (new + 0.25 * (old - new), "From the other end: κ = 1 is the trained model."),
            (0.25 * (new - old), "That is the part of the change; add the old weights."),
            (0.25 * new, "The old weights are missing."),
            (old + 0.25 * new, "Scale the change, new minus old, and not the new weights."),
            ((old + new) / 2, "That is the middle, whatever κ is."),
        ],
        "Old weights, plus κ times the change.",
    )


def _front(answer: Any, g: Any) -> None:
    learned = [0.60, 0.72, 0.70, 0.75, 0.75]
    forgotten = [0.00, 0.10, 0.20, 0.50, 0.90]
    given = answer(learned, forgotten)
    if not isinstance(given, list | tuple | set):
        raise Wrong("Return a list of the numbers of the runs.")
    messages = {
        (0, 1): "Run 3 has learned more than all before it, so none beats it in both.",
        (0, 1, 2, 3): "Run 1 has learned more than run 2 and forgotten less.",
        (0, 1, 3, 4): "Run 3 has learned as much as run 4 and forgotten less.",
        (3,): "A run that has learned less, and forgotten less, is not beaten.",
        (3, 4): "The best score alone is one axis.",
    }
    if sorted(given) != [0, 1, 3]:
        raise Wrong(
            messages.get(
                tuple(sorted(given)),
                "Leave out a run if another one is at least as good on both axes, and better on "
                "one.",
            )
        )


def _front_all(answer: Any, g: Any) -> None:
    if sorted(answer([0.5, 0.6], [0.3, 0.3])) != [1]:
        raise Wrong("Of two that forget the same, the one that learns more is left.")


def _name(number: int) -> str:
    return f"foundations.forgetting.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Nats and perplexity", "short", 5, 1,
        "A loss on plain text rises from 3.0 to 3.5 nats a token. By which factor does the "
        "perplexity grow?",
        "factor = ...\n",
        ("The perplexity is the exponential of the loss.",),
        (Stage("the factor", 2, _perplexity),),
    ),
    Exercise(
        _name(2), "Two lessons at 120°", "short", 10, 1,
        "In the toy, let the angle between the two inputs be 120°. What is the loss of the first "
        "lesson, $(w^\\top a - 1)^2$, when the second has been learned?",
        "loss = ...\n",
        ("The cosine of 120° is −1/2.", "Where does $w$ end?"),
        (Stage("the loss", 2, _toy),),
    ),
    Exercise(
        _name(3), "Measure it", "code", 15, 2,
        "`before` and `after` are a decoder's logits for one text, each of the shape "
        "(tokens, vocabulary), and `ids` (tokens,) is the text. Return what was forgotten, in nats "
        "a token.",
        "def rise(before, after, ids):\n    raise NotImplementedError\n",
        ("Which token do the logits of token 3 predict?", "Equation 1."),
        (Stage("nothing changed", 1, _rise_zero), Stage("the rise", 3, _rise)),
    ),
    Exercise(
        _name(4), "Walk back", "code", 5, 1,
        "Return the weights at $\\kappa$ on the line from `old` to `new`.",
        "def walk_back(old, new, kappa):\n    raise NotImplementedError\n",
        ("Equation 2.",),
        (Stage("the shape", 1, _walk_shape), Stage("the weights", 1, _walk)),
    ),
    Exercise(
        _name(5), "The upper left edge", "code", 20, 2,
        "`learned` and `forgotten` are lists with a number for each run. Return the numbers of the "
        "runs, counted from 0, that no other run beats: one that is at least as good on both axes, "
        "and better on one.",
        "def front(learned, forgotten):\n    raise NotImplementedError\n",
        ("Go through all pairs.", "Equal on one axis and better on the other beats."),
        (Stage("ties", 1, _front_all), Stage("the edge", 3, _front)),
    ),
    Exercise(
        _name(6), "Diagnose", "open", 20, 2,
        "Four runs report what they forgot: (a) exactly 0.000, with full fine-tuning; (b) −0.4; "
        "(c) 0.3 with four seeds and 9.1 with the fifth; (d) 0.3, the same to the last digit for "
        "three rates. Name a likely mistake or accident for each, and the line of output that "
        "would show it.",
        "", ("The table of what goes wrong has three of them.",), (),
    ),
    Exercise(
        _name(7), "Read", "open", 10, 2,
        "Take the table of SmolLM2. Which of these may be printed? (a) Full fine-tuning forgets "
        "less than LoRA. (b) At these rates LoRA on query and value forgot more than full "
        "fine-tuning at 5e-5, on every seed. (c) LoRA on all maps forgets less because it has more "
        "parameters. (d) Prompt tuning forgets 2.2 nats.",
        "", ("Which of them say at which rate, and which claim a cause?",), (),
    ),
    Exercise(
        _name(8), "Hold the old answers", "open", 45, 3,
        "Let the loss have a second term: the distance between the word predictions of the adapted "
        "body and those of the base, on the task's own texts, which need no labels. Train with "
        "three weights of the term and three seeds. Draw the runs into the plane, beside those "
        "that were walked back. Which of the two ways is nearer to the upper left corner?",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Why can a high score hide what was forgotten?",
        (
            Option("the score is of the validation split, and the test split is harder",
                   "Neither split asks what the model was pretrained for."),
            Option("it asks about the new task alone", "What is not asked is not seen.",
                   right=True),
            Option("it is rounded to a tenth of a point, and forgetting is far smaller",
                   "Runs that score alike can be nats apart."),
        ),
    ),
    Question(
        "In the toy, nothing is forgotten at 90° because",
        (
            Option("the second lesson is learned more slowly there, so that the weights stay",
                   "It is learned just as fast."),
            Option("the old answer and the new one happen to agree at that angle",
                   "They agree at 180°."),
            Option("the weights move where the first input has no part", "Steps go along b.",
                   right=True),
        ),
    ),
    Question(
        "A LoRA has forgotten 0.5 nats. After it is switched off, the loss on old texts is",
        (
            Option("that of the base", "Bit for bit: its weights never moved.", right=True),
            Option("lower than before, by the share that it has learned",
                   "What it learned is in A and B, and these are off."),
            Option("still half a nat above that of the base",
                   "That holds for full fine-tuning, which has no other copy."),
        ),
    ),
    Question(
        "In the plane, at the common rate of 1e-3, full fine-tuning forgets most. So",
        (
            Option("full fine-tuning should not be used where old abilities count",
                   "At its own best rate it forgets little, and learns."),
            Option("one rate for all compares rates",
                   "Each method needs its own; compare the curves.", right=True),
            Option("the number of trained parameters decides what is forgotten",
                   "At the rates of SmolLM2's table the order is the other way round."),
        ),
    ),
    Question(
        "A random change as long as the trained one forgets less. This shows that",
        (
            Option("training has found shared directions", "Length alone is not the cause.",
                   right=True),
            Option("random changes of the weights are a good way to regularise a model",
                   "They were not trained to do anything."),
            Option("the length of the change plays no part in forgetting",
                   "Walking back shortens the change, and less is forgotten."),
        ),
    ),
)  # fmt: skip
