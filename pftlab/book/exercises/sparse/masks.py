"""Exercises of the chapter book/sparse/masks.ipynb."""

from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong

WEIGHTS, DENSITY = 200e6, 0.002


def _gradient(answer: Any, g: Any) -> None:
    given, _ = numbers(answer, ("gradients", "moments"))
    measure(
        given,
        4 * WEIGHTS / 1e6,
        [
            (4 * WEIGHTS * DENSITY / 1e6, "Gradients: they are computed for whole matrices."),
            (WEIGHTS / 1e6, "Gradients: four bytes each."),
            (4 * WEIGHTS, "Gradients: that is in bytes."),
        ],
        "Gradients: one number of four bytes for each weight of the base.",
    )


def _moments(answer: Any, g: Any) -> None:
    _, given = numbers(answer, ("gradients", "moments"))
    measure(
        given,
        8 * WEIGHTS * DENSITY / 1e6,
        [
            (8 * WEIGHTS / 1e6, "Moments: the optimiser holds them for the chosen weights alone."),
            (4 * WEIGHTS * DENSITY / 1e6, "Moments: AdamW keeps two for each weight."),
            (8 * WEIGHTS * DENSITY, "Moments: that is in bytes."),
        ],
        "Moments: two numbers of four bytes for each weight that is trained.",
    )


def _masks(g: Any, shares: tuple[float, ...]) -> list[Tensor]:
    return [normal(g, 4, 5) < share for share in shares]


def _overlap(answer: Any, g: Any) -> None:
    a = [torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 0, 0]).bool()]
    b = [torch.tensor([1, 0, 1, 1]).bool(), torch.tensor([1, 1, 0]).bool()]
    measure(
        answer(a, b),
        2 / 3,
        [
            (2 / 5, "Divide by the places of the first mask, not by those of the second."),
            (2 / 6, "That divides by the places of either; the places of the first are meant."),
            (3 / 4, "A mean over tensors. Count the places of all tensors together."),
            (2.0, "That is how many both have; a share is asked."),
            (2 / 7, "That divides by the number of all weights."),
        ],
        "Places that both masks have, over places of the first.",
        what="The overlap",
    )


def _overlap_ends(answer: Any, g: Any) -> None:
    mask = _masks(g, (0.0, 0.5))
    measure(answer(mask, mask), 1.0, [], "A mask shares all of itself with itself.")
    other = [~part for part in mask]
    measure(answer(mask, other), 0.0, [], "A mask shares nothing with its opposite.")


def _control_counts(answer: Any, g: Any) -> None:
    masks = _masks(g, (-0.5, 0.5, 0.0))
    found = answer(masks, [normal(g, 4, 5) for _ in masks])
    if not isinstance(found, list) or len(found) != len(masks):
        raise Wrong("Return a list with a mask for each tensor.")
    asked, given = ([int(m.sum()) for m in each] for each in (masks, found))
    if sum(asked) != sum(given):
        raise Wrong("As many places as the masks have, in all.")
    if asked != given:
        raise Wrong("As many places in each tensor as its own mask has there.")


def _control(answer: Any, g: Any) -> None:
    masks = _masks(g, (-0.5, 0.5, 0.0))
    scores = [normal(g, 4, 5) for _ in masks]
    found = [mask.bool() for mask in answer(masks, scores)]
    if any(tuple(f.shape) != (4, 5) for f in found):
        raise Wrong("Each mask has the shape of its tensor.")
    if all(bool((f == m).all()) for f, m in zip(found, masks, strict=True)):
        raise Wrong("Those are the masks that were given. Take the places from the scores.")
    for score, f in zip(scores, found, strict=True):
        if bool(f.any()) and not bool(f.all()) and float(score[f].min()) < float(score[~f].max()):
            low = float(score[f].max()) <= float(score[~f].min())
            raise Wrong("Those are the lowest scores." if low else
                        "In each tensor the places with its highest scores.")  # fmt: skip


def _apart(answer: Any, g: Any) -> None:
    start = normal(g, 6)
    first = torch.tensor([4, 0]), normal(g, 2)
    second = torch.tensor([1, 5]), normal(g, 2)
    right, written = start.clone(), start.clone()
    for places, values in (first, second):
        right[places] += values
        written[places] = values
    one = start.clone()
    one[first[0]] += first[1]
    found = tensor(answer(start.clone(), first, second), (6,), "The weights")
    compare(
        found,
        right,
        [
            (written, "The values are changes: add them to the weights that are there."),
            (one, "Both differences are meant."),
            (right - start, "That is the change alone; it starts from the base."),
        ],
        "To the weight at each place add the value that belongs to it.",
    )


def _meeting(answer: Any, g: Any) -> None:
    start, values = normal(g, 4), normal(g, 4)
    first, second = (torch.tensor([2, 0]), values[:2]), (torch.tensor([3, 2]), values[2:])
    right, last, mean = (start.clone() for _ in range(3))
    for places, change in (first, second):
        right[places] += change
        last[places] = start[places] + change
    mean.copy_(right)
    mean[2] = start[2] + (values[0] + values[3]) / 2
    compare(
        answer(start.clone(), first, second),
        right,
        [
            (last, "Where both have a place, both values count, and not the last alone."),
            (mean, "Where both have a place the values are added, not averaged."),
        ],
        "A place that both have gets both values.",
    )


_causes = causes((1, 3, 4, 2), (
    "(a): what pulls on a weight whose gradient is zero?",
    "(b): what does an optimiser do that was given other tensors than those in the model?",
    "(c): over what were the highest scores taken?",
    "(d): what cancels in a batch, and not in a single text?",
))  # fmt: skip
_printed = sentences((1, 0, 1, 0), (
    "(i): the interval at 5 % leaves zero out, and the sentence stays with these runs.",
    "(ii): an interval that holds zero is no proof of zero.",
    "(iii): what does an interval that holds zero allow one to say, and what a rate at the edge?",
    "(iv): was the difference of the two differences computed, seed by seed?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"sparse.masks.{number}"


EXERCISES = (
    Exercise(
        _name(1), "What a step holds", "short", 5, 1,
        "A mask trains 0.2 % of 200 million weights, everything in four bytes. How many MB "
        "($10^6$ bytes) are the gradients, and how many are AdamW's moments?",
        "held = (..., ...)\n",
        ("For which weights is a gradient computed?", "Two moments for each trained number."),
        (Stage("the gradients", 1, _gradient), Stage("the moments", 1, _moments)),
    ),
    Exercise(
        _name(2), "How alike two masks are", "code", 10, 1,
        "`a` and `b` are lists of boolean tensors, one for each parameter of a model. Return the "
        "share of the places of `a` that `b` has as well, over all parameters together.",
        "def shared(a, b):\n    raise NotImplementedError\n",
        ("Two counts, each over all tensors.",),
        (Stage("the ends", 1, _overlap_ends), Stage("the share", 2, _overlap)),
    ),
    Exercise(
        _name(3), "The control", "code", 20, 2,
        "`masks` is a list of boolean tensors, `scores` a list of tensors of the same shapes with "
        "random numbers. Return a list of masks that have as many places in each tensor as "
        "`masks` has there, at the highest scores of that tensor.",
        "def control(masks, scores):\n    raise NotImplementedError\n",
        ("One tensor at a time.", "`topk` of the flattened scores, and `view_as`."),
        (Stage("the numbers", 2, _control_counts), Stage("the places", 2, _control)),
    ),
    Exercise(
        _name(4), "Two differences at once", "code", 10, 1,
        "`first` and `second` are sparse differences, a pair of places and values each, both "
        "one-dimensional. `start` (n,) holds the weights of the base. Return the weights with both "
        "differences added.",
        "def with_both(start, first, second):\n    raise NotImplementedError\n",
        ("What if both have a place?",),
        (Stage("apart", 1, _apart), Stage("where they meet", 1, _meeting)),
    ),
    Exercise(
        _name(5), "Diagnose", "short", 15, 2,
        "Four masks of 0.5 %, each broken in another way. (a) After training all weights differ "
        "from the base, most of them by the same factor. (b) The score is that of a linear probe, "
        "and no weight of the base differs. (c) Every tensor has exactly 0.5 % of its entries in "
        "the mask, layer norms as well. (d) With batches of 32 the score chooses other weights "
        "than with single texts, though the texts are the same. The causes: **1** weight decay on "
        "all weights; **2** gradients averaged before they are squared; **3** an optimiser made "
        "before the method was attached; **4** the highest scores taken tensor by tensor. Which "
        "cause has which run?",
        "causes = (..., ..., ..., ...)  # of a, b, c, d\n",
        ("Ask of each run what could leave this trace.",),
        (Stage("the causes", 4, _causes),),
    ),
    Exercise(
        _name(6), "Read", "short", 15, 2,
        "A table of another network, with ten paired seeds, has a score's mask minus a random "
        "one, in points. At 0.5 % of the weights it is +0.4 ± 1.1, and the highest rate of the "
        "grid was chosen. At 5 % it is +2.6 ± 0.9, and at 30 % +1.4 ± 1.6. Which "
        "sentences may be printed? (i) At 5 % the score's mask did better in these runs. "
        "(ii) At 0.5 % the choice makes no difference. "
        "(iii) At 0.5 % these runs cannot tell, and a higher rate was not tried. (iv) The gain "
        "is larger at 5 % than at 30 %, since at 30 % the interval holds zero. Give 1 or 0 for "
        "each.",
        "printed = (..., ..., ..., ...)  # of i, ii, iii, iv\n",
        ("What was paired, and what was not?",),
        (Stage("the sentences", 4, _printed),),
    ),
    Exercise(
        _name(7), "A score of your own", "open", 45, 3,
        "Score a weight by $|\\theta_0 \\, \\partial \\mathcal{L} / \\partial \\theta|$, averaged "
        "over texts. Add it to the table of the small network, with its own shuffled control. "
        "Does it find weights, or tensors?",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "In the toy, the squared gradient misses all five weights when other inputs are loud. Why?",
        (
            Option("it measures how sensitive the output is", "Loud inputs make any weight count, "
                   "changed or not.", right=True),
            Option("it sees too few of the examples to tell the weights apart",
                   "It sees all 400, and finds five of five in the other world."),
            Option("its gradients cancel over the examples of a batch",
                   "They are squared one by one, so that they cannot."),
        ),
    ),
    Question(
        "Look at the picture of four masks. Which lies least in the embeddings?",
        (
            Option("the random one, since most words are rare", "More than half of it lies there."),
            Option("movement", "Two weights in a hundred.", right=True),
            Option("the largest weights", "They lie there more than any other."),
        ),
    ),
    Question(
        "A mask and its shuffled control score alike. What did the score find?",
        (
            Option("tensors", "How many weights each tensor got is all that they share.",
                   right=True),
            Option("nothing, for any random mask would have done as well as it did",
                   "A random mask has other numbers in each tensor; compare with that, too."),
            Option("the right weights", "Then other weights of the tensor would do worse."),
        ),
    ),
    Question(
        "The same texts and another random head give FISH",
        (
            Option("the same mask, because the base is the same",
                   "The gradients pass through the head."),
            Option("a mask as different as two random ones", "They share far more than that."),
            Option("a mask that is different for the most part", "They share less than half.",
                   right=True),
        ),
    ),
    Question(
        "Gradients are multiplied by a mask, and AdamW has its usual weight decay. Then",
        (
            Option("only the chosen weights change, more slowly than without decay",
                   "Decay does not ask for a gradient."),
            Option("every weight changes", "It is pulled towards zero.", right=True),
            Option("PyTorch refuses the step, for the moments are zero", "No error is raised."),
        ),
    ),
)  # fmt: skip
