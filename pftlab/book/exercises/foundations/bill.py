"""Exercises of the chapter book/foundations/bill.ipynb."""

from typing import Any

import torch

from ..compare import compare, measure, number, numbers, whole
from ..model import Exercise, Option, Question, Stage, Wrong


def _full(answer: Any, g: Any) -> None:
    given = numbers(answer, ("full", "LoRA"))[0]
    measure(
        given,
        16 * 1.3,
        [
            (4 * 1.3, "Full: the weights in 16 bits and their gradients are there; what more?"),
            (12 * 1.3, "Full: the copy in 32 bits is missing."),
            (8 * 1.3, "Full: that is all in 16 bits, and small steps would be lost."),
            (16 * 1.3e9, "Full: give GB, of 10⁹ bytes."),
        ],
        "Full: Equation 3 for each parameter.",
    )


def _lora(answer: Any, g: Any) -> None:
    given = numbers(answer, ("full", "LoRA"))[1]
    measure(
        given,
        2 * 1.3 + 16 * 0.005,
        [
            (16 * 0.005, "LoRA: the frozen weights are held as well."),
            (4 * 1.3 + 16 * 0.005, "LoRA: what is frozen needs no copy in 32 bits."),
            (2 * 1.3 + 4 * 0.005, "LoRA: the new numbers are trained, with all that this takes."),
            (2 * 1.3, "LoRA: and what it trains?"),
        ],
        "LoRA: two bytes for what is frozen, Equation 3 for what is trained.",
    )


def _cross(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        found = numbers(answer, ("width 768", "width 4096"))[which]
        width, heads = ((768, 12), (4096, 32))[which]
        name = f"Width {width}"
        measure(
            found,
            6 * width / heads,
            [
                (18 * width / heads, f"{name}: three tensors have the size of the scores."),
                (16 * width / (3 * heads), f"{name}: with dropout there are two masks more."),
                (6 * width, f"{name}: divide by the number of heads."),
                (6 * heads, f"{name}: which of the two is the width?"),
            ],
            f"{name}: set both terms of Equation 2 equal and solve for n.",
        )

    return test


def _setting(g: Any) -> tuple[int, int, int, int]:
    head = whole(g, 8, 16)
    return whole(g, 2, 7), whole(g, 4, 7) * head, head, whole(g, 10, 60)


def _kept(answer: Any, g: Any, layers: int, d: int, head: int, n: int) -> None:
    each = 18 * d + 3 * n * d / head
    measure(
        answer(layers, d, head, n, True),
        n * layers * each,
        [
            (layers * each, "That is one token; a text has n of them."),
            (n * each, "That is one layer."),
            (n * layers * (18 * d + n * d / head), "Scores are there three times with dropout."),
            (n * layers * (each - 2 * d), "Two masks behind the sub-layers are missing."),
            (n * layers * (18 * d + 3 * n), "Each head has scores of its own."),
            (4 * n * layers * each, "Those are bytes; asked are numbers."),
        ],
        "Equation 2 for n tokens, and numbers in place of bytes.",
    )


def _kept_with(answer: Any, g: Any) -> None:
    _kept(answer, g, *_setting(g))


def _kept_without(answer: Any, g: Any) -> None:
    layers, d, head, n = _setting(g)
    measure(
        answer(layers, d, head, n, False),
        16 * n * layers * d,
        [
            (n * layers * (18 * d + 3 * n * d / head), "Without dropout there are no masks."),
            (n * layers * (16 * d + n * d / head), "The fused kernel keeps no scores."),
            (18 * n * layers * d, "Those two masks go as well, when nothing is dropped."),
        ],
        "The table has a line for it.",
    )


def _distance(layers: int, kappa: float) -> int:
    every = [k for k in range(1, layers + 1) if layers % k == 0]
    held = {kappa * k + layers / k: k for k in reversed(every)}  # of two, the smaller
    return held[min(held)]


def _chain(answer: Any, g: Any) -> None:
    for root in (4, 5, 6):
        measure(
            answer(root * root, 1.0),
            root,
            [
                (1, "For κ = 1 the inputs that are kept count as much as a layer does."),
                (root * root, "Then the whole network is kept when it is computed again."),
            ],
            "For κ = 1 and L a square, the best distance is its root.",
            what="The distance",
        )


def _transformer(answer: Any, g: Any) -> None:
    for layers, kappa in ((12, 24.0), (30, 4.0), (48, 0.5), (7, 0.2)):
        measure(
            answer(layers, kappa),
            _distance(layers, kappa),
            [
                (round((layers / kappa) ** 0.5), "The distance must divide the number of layers."),
                (round(layers**0.5), "κ decides as well: how much does a layer keep?"),
            ],
            "Try every divisor of L and take the one for which Equation 4 is least.",
            what="The distance",
        )


def _shares(g: Any) -> tuple[torch.Tensor, float]:
    weights = 0.1 * torch.randn(400, generator=g)
    return weights, 2e-4


def _reference(weights: torch.Tensor, step: float) -> float:
    rounded = weights.bfloat16()
    return ((rounded + step) != rounded).double().mean().item()


def _moved(answer: Any, g: Any) -> None:
    weights, step = _shares(g)
    right = _reference(weights, step)
    rounded = weights.bfloat16()
    measure(
        answer(weights, step),
        right,
        [
            (1.0, "In 32 bits all of them move. Round the weights first."),
            (1 - right, "That is the share that stands still."),
            (right * len(weights), "That is a number of weights; asked is a share."),
            (((weights + step).bfloat16() != rounded).double().mean().item(),
             "Add to the rounded weights: what was rounded away does not come back."),
        ],
        "Round to bfloat16, add the step in bfloat16, and compare.",
    )  # fmt: skip


def _moved_all(answer: Any, g: Any) -> None:
    weights, _ = _shares(g)
    measure(answer(weights, 1.0), 1.0, [], "A step as large as the weights moves all of them.")


def _phases(g: Any) -> tuple[int, list[int], list[int]]:
    kept = [whole(g, 1, 9) for _ in range(5)]
    return whole(g, 10, 20), kept, [whole(g, 1, 9) for _ in range(5)]


def _highest(base: int, kept: list[int], gradients: list[int]) -> int:
    """In every layer on the way down: the kept of it and below, the gradients of it and above."""
    walked = range(len(kept))
    return base + max(sum(kept[: i + 1]) + sum(gradients[i:]) for i in walked)


def _ends(answer: Any, g: Any) -> None:
    base, kept, gradients = 100, [5, 5, 5], [0, 0, 0]
    if answer(base, kept, gradients) == 100:
        raise Wrong("What is kept is there as well, when the backward pass begins.")
    measure(answer(base, kept, gradients), 115, [], "Without gradients the peak is at the turn.")


def _peak(answer: Any, g: Any) -> None:
    cases = [_phases(g) for _ in range(12)]
    rows = []
    for base, kept, gradients in cases:
        held = other = early = upwards = base + sum(kept)
        for k, new in zip(reversed(kept), reversed(gradients), strict=True):
            held += new - k
            early = max(early, held)
        for k, new in zip(kept, gradients, strict=True):
            upwards = max(upwards, other + new)
            other += new - k
        ends = base + max(sum(kept), sum(gradients))
        every = base + sum(kept) + sum(gradients)
        rows.append((_highest(base, kept, gradients), every, ends, early, upwards))
    right, every, ends, early, upwards = torch.tensor(rows, dtype=torch.float64).T
    compare(
        torch.tensor([number(answer(*case), "The peak") for case in cases]).double(),
        right,
        [
            (every, "That is the sum: not all of it is there at one moment."),
            (ends, "Those are both ends of the pass; the peak may lie between them."),
            (early, "A layer's gradient is made while what the layer kept is still there."),
            (upwards, "The backward pass begins at the top layer."),
        ],
        "Walk down the layers: add a gradient, look, then free what the layer kept.",
    )


def _name(number: int) -> str:
    return f"foundations.bill.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Two bills", "short", 5, 1,
        "A model has 1.3 billion parameters. How many GB ($10^9$ bytes) do weights, copies, "
        "gradients and moments take in mixed precision, by Equation 3: (i) if all are trained, "
        "(ii) with a LoRA of 5 million new numbers on frozen weights in 16 bits?",
        "gigabytes = (..., ...)\n",
        ("What is trained needs everything, what is frozen its weight.",),
        (Stage("full fine-tuning", 1, _full), Stage("LoRA", 1, _lora)),
    ),
    Exercise(
        _name(2), "When does the square win?", "short", 10, 2,
        "At which length is the second term of Equation 2 as large as the first, so that longer "
        "texts pay more for it: (i) for a width of 768 with 12 heads, (ii) for 4,096 with 32 "
        "heads?",
        "tokens = (..., ...)\n",
        ("Set $18 = 3\\,n / d_\\text{head}$.", "What is the width of one head?"),
        (Stage("the smaller model", 1, _cross(0)), Stage("the larger one", 1, _cross(1))),
    ),
    Exercise(
        _name(3), "What one text keeps", "code", 10, 1,
        "Return how many numbers the layers keep for one text of `n` tokens, with dropout or "
        "without it (then attention is fused).",
        "def kept(layers, d, d_head, n, dropout):\n    raise NotImplementedError\n",
        ("The table above Equation 2 has both lines.",),
        (Stage("with dropout", 2, _kept_with), Stage("without it", 1, _kept_without)),
    ),
    Exercise(
        _name(4), "The best distance", "code", 15, 2,
        "Return the distance $k$ between checkpoints, a divisor of `layers`, for which Equation 4 "
        "is least. `kappa` is what a layer keeps, in inputs.",
        "def distance(layers, kappa):\n    raise NotImplementedError\n",
        ("Which numbers divide `layers`?", "`min` takes a `key`."),
        (Stage("a chain", 1, _chain), Stage("any κ", 2, _transformer)),
    ),
    Exercise(
        _name(5), "Steps that arrive", "code", 10, 2,
        "`weights` is a tensor in 32 bits. Round it to bfloat16 and add the number `step` to "
        "each entry, in bfloat16. Return the share of entries that move.",
        "def moved(weights, step):\n    raise NotImplementedError\n",
        ("`weights.bfloat16()` rounds.", "What is the sum compared with?"),
        (Stage("small steps", 2, _moved), Stage("large steps", 1, _moved_all)),
    ),
    Exercise(
        _name(6), "The peak", "code", 20, 3,
        "When the backward pass begins, `base` bytes and everything in `kept` are there, a number "
        "for each layer, the bottom first. The pass goes from the top down: at each layer its "
        "gradient comes (`gradients`, in the same order), and then what that layer kept goes. "
        "Return the largest number of bytes that are there at one moment.",
        "def peak(base, kept, gradients):\n    raise NotImplementedError\n",
        ("One loop, two numbers: what is held now, and the most so far.",
         "When do you look, before a layer's own tensors go or after?"),
        (Stage("frozen weights", 1, _ends), Stage("any gradients", 3, _peak)),
    ),
    Exercise(
        _name(7), "Diagnose", "open", 20, 2,
        "Four runs on one card. (a) fails at the first optimiser step, not in the first forward "
        "pass. (b) fails after a thousand steps. (c) fits, and its loss hardly moves at a rate of "
        "$10^{-5}$ in 16 bits. (d) uses LoRA and needs nine tenths of what full fine-tuning "
        "needs. Which part of the bill do you look at in each case, and what do you change first?",
        "", ("Equation 1 has four terms.",), (),
    ),
    Exercise(
        _name(8), "Read", "open", 10, 2,
        "Take the stored rows of the H100. Which of these may be printed? (a) LoRA is 1.6 times "
        "as fast as full fine-tuning. (b) On one H100, with moments in 16 bits, a step of LoRA on "
        "Llama 3.1 8B took less time than one of full fine-tuning. (c) The bill of full "
        "fine-tuning is the sum of its four parts. (d) AdamW takes a tenth of the step.",
        "", ("Which of them were measured, and which are causes without an intervention?",), (),
    ),
    Exercise(
        _name(9), "A fifth way", "open", 30, 3,
        "Add a bar to the figure of four ways: train all weights in mixed precision on several "
        "cards of 24 GB. The gradients, the moments and the copy in 32 bits are divided among the "
        "cards; weights and what is kept are on each of them. How many cards does it take, with "
        "checkpointing? Which part then limits the number of texts?",
        "", ("Divide two of the four columns by the number of cards.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Full fine-tuning in mixed precision, with a copy in 32 bits, saves",
        (
            Option("half of the bytes that the parameters take, copies included",
                   "The copy eats up what the weights and gradients save."),
            Option("bytes of what is kept", "The states stay at 16 bytes a parameter.", right=True),
            Option("the two moments of Adam", "They stay, in 32 bits."),
        ),
    ),
    Question(
        "LoRA needs two thirds of the arithmetic of full fine-tuning because",
        (
            Option("its matrices are thin",
                   "Their products hardly count; the base's own are the bill."),
            Option("only a third of all layers take part in its backward pass",
                   "The gradient passes through all of them."),
            Option("it computes no gradients of the frozen weights",
                   "Forward pass and passing the gradient on are left.", right=True),
        ),
    ),
    Question(
        "In the figure of eight ways, checkpointing leaves as they were",
        (
            Option("weights, gradients and moments", "It changes what is kept, and nothing else.",
                   right=True),
            Option("the data kept for the backward pass", "Nearly all of it is gone."),
            Option("weights and what is kept, but not the moments of the optimiser",
                   "The moments do not know how the gradient was computed."),
        ),
    ),
    Question(
        "Texts become twice as long, the number of tokens in a batch stays. What is kept",
        (
            Option("stays as it was, so long as a fused kernel computes the attention",
                   "Then it grows with the tokens alone.", right=True),
            Option("doubles in any case, because attention compares each with each",
                   "It compares them; a fused kernel does not keep the comparison."),
            Option("halves", "The number of tokens is the same."),
        ),
    ),
    Question(
        "The four parts add up to 78 GB, and the card never held more than 65. Why?",
        (
            Option("the allocator of the card rounds sizes down",
                   "It rounds up, if at all."),
            Option("moments are only made when the first epoch ends",
                   "They are there from the first step of the optimiser."),
            Option("gradients come one by one while what is kept goes, layer by layer",
                   "So both are never there in full.", right=True),
        ),
    ),
)  # fmt: skip
