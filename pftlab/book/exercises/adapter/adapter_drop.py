"""Exercises of the chapter book/adapter/adapter_drop.ipynb."""

from statistics import fmean, stdev
from typing import Any

import torch

from ..choices import causes, sentences
from ..compare import compare, measure, normal, number, numbers, tensor, whole
from ..model import Exercise, Option, Question, Stage, Wrong

LAYERS, DROPPED, TASKS = 24, 8, 6


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("layers", "percent saved", "times as fast"))[which]
        alone, own = TASKS * LAYERS, TASKS * (LAYERS - DROPPED)
        shared = own + DROPPED
        step = LAYERS + LAYERS - DROPPED
        if which == 0:
            known: list[tuple[float, str]] = [
                (own, "Layers: somebody must compute the shared ones, too."),
                (alone, "Layers: those are the tasks one by one."),
                (TASKS * DROPPED + LAYERS - DROPPED, "Layers: the lowest ones are shared."),
            ]
            measure(given, shared, known, "Layers: the shared ones once, the others once a task.")
        elif which == 1:
            saved = 100 * (1 - shared / alone)
            known = [
                (100 * shared / alone, "Percent: that is what is left."),
                (100 * (alone / shared - 1), "Percent: that is the gain in speed."),
                (saved / 100, "Percent, not a share."),
                (100 * DROPPED / LAYERS, "Percent: that would be with endless tasks."),
            ]
            measure(given, saved, known, "Percent: of the layers of the tasks one by one.", 1e-2)
        else:
            known = [
                (step / (2 * LAYERS), "Times: that is the share of the time that is left."),
                (LAYERS / (LAYERS - DROPPED), "Times: the forward pass is still whole."),
                (3 * LAYERS / step, "Times: against all adapters, not full fine-tuning."),
                (1 - step / (2 * LAYERS), "Times: that is the share of the time saved."),
            ]
            measure(given, 2 * LAYERS / step, known, "Times: put both steps in layers.", 2e-3)

    return test


def _cut(share: float) -> Any:
    def test(answer: Any, g: Any) -> None:
        W, A = normal(g, 4, 4, 4), normal(g, 4, 4, 4)
        blocks = [lambda h, m=m: torch.tanh(h @ m) for m in W]
        adapters = [lambda h, m=m: h @ m for m in A]
        h, n = normal(g, 3, 4), round(4 * share)

        def run(acts: Any, skip: bool = True, before: bool = False) -> Any:
            z = h
            for layer, (block, adapter) in enumerate(zip(blocks, adapters, strict=True)):
                if before and acts(layer):
                    z = z + adapter(z)
                z = block(z)
                if acts(layer) and not before:
                    z = z + adapter(z) if skip else adapter(z)
            return z

        upper = h
        for block, adapter in list(zip(blocks, adapters, strict=True))[n:]:
            upper = block(upper)
            upper = upper + adapter(upper)
        known = [
            (run(lambda layer: layer > n), "Layer n itself keeps its adapter."),
            (run(lambda layer: layer < n), "You kept the lower adapters, and dropped the upper."),
            (run(lambda layer: layer >= n, skip=False), "An adapter adds to what it reads."),
            (run(lambda layer: layer >= n, before=True), "The adapter stands behind its block."),
            (run(lambda layer: True), "Nothing was dropped."),
            (upper, "The adapters go, and the blocks stay: all of them are computed."),
        ]
        found = tensor(answer(h, W, A, n), (3, 4), "The state at the top")
        compare(
            found, run(lambda layer: layer >= n), known, "Write out Equation 1, layer by layer."
        )

    return test


def _present(below: bool) -> Any:
    def test(answer: Any, g: Any) -> None:
        highest = 2 * whole(g, 1, 3) + 1  # odd: else two of the mistakes agree
        layer = whole(g, 1, highest - 1) if below else highest + whole(g, 1, 3)
        right = (min(layer, highest) + 1) / (highest + 1)
        known = [
            (1 - right, "That is how often it is dropped."),
            (layer / (highest + 1), "At n equal to its own number the adapter is still there."),
            ((layer + 1) / highest, "From 0 to `highest` there are highest + 1 numbers."),
            (layer / highest, "From 0 to `highest` there are highest + 1 numbers."),
            ((layer + 1) / (highest + 1), "Above the highest n an adapter is never dropped: 1."),
        ]
        measure(answer(layer, highest), right, known, "Count the n at which the adapter acts.")

    return test


def _half(values: list[float]) -> float:
    return 2.776 * stdev(values) / 5**0.5


def _seeds(mean: float, spread: float) -> list[float]:
    values = [mean - spread, mean - spread / 2, mean, mean + spread / 2, mean + spread]
    assert abs(fmean(values) - mean) < 1e-9
    return values


def _many(kind: str) -> Any:
    tables = {
        "clear": ([(0.1, 0.2), (-0.2, 0.3), (-3.0, 0.5), (-6.0, 0.5)], 2),
        "wide": ([(0.1, 0.2), (-0.3, 4.0), (-3.0, 0.5)], 1),
        "gap": ([(-0.1, 0.2), (-4.0, 0.3), (-0.1, 0.2)], 1),
        "none": ([(-5.0, 0.2), (-6.0, 0.3)], 0),
    }
    words = {
        "wide": "A mean near zero with a wide interval: what may the loss be?",
        "gap": "If n layers are too many, stop: a larger n that is fine by luck does not count.",
        "none": "If even one layer costs too much, the answer is 0.",
    }

    def test(answer: Any, g: Any) -> None:
        table, right = tables[kind]
        apart = [_seeds(mean, spread) for mean, spread in table]
        given = number(answer(apart, 1.0), "How many layers")
        if given == right:
            return
        if given == right - 1:
            raise Wrong("The first entry of `apart` is of n = 1.")
        raise Wrong(words.get(kind, "Compare the lower end of each interval with -allowed."))

    return test


_causes = causes((2, 4, 1, 3), (
    "a: equal to the last digit. Can the model have changed?",
    "b: the gradient goes all the way down. What asks it to?",
    "c: what must two tasks have in common below n?",
    "d: which cuts has the set ever seen?",
))  # fmt: skip

_printed = sentences((0, 1, 0, 1), (
    "i: an interval that holds zero does not say that nothing was lost.",
    "ii: the interval lies on one side of zero, and base and cut are named.",
    "iii: each difference is to a set's own start. Were the two sets compared with one another?",
    "iv: this sentence says what the numbers leave open. Do they?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"adapter.adapter_drop.{number}"


EXERCISES = (
    Exercise(
        _name(1), "One trunk", "short", 10, 1,
        "A model has 24 layers, and six tasks read the same text. The lowest eight layers have no "
        "adapters. (i) How many layers are computed with one trunk? (ii) How many percent of the "
        "time are saved, against the tasks one by one with adapters everywhere? (iii) How many "
        "times as fast is a step of training, against adapters everywhere? Use Equations 2 and 3.",
        "counts = (..., ..., ...)\n",
        ("Which layers are computed once, and which once a task?",
         "The forward pass of a step is always whole."),
        (Stage("layers", 1, _count(0)), Stage("percent saved", 1, _count(1)),
         Stage("times as fast", 1, _count(2))),
    ),
    Exercise(
        _name(2), "Cut at n", "code", 10, 1,
        "The cell has `block(h, i)`, what layer i makes of the state `h`, and `adapter(h, i)`, "
        "what its adapter adds to the block's output. Return the state at the top of `len(W)` "
        "layers, without the adapters of the lowest n. `h` (tokens, d); `W` and `A` (layers, d, "
        "d).",
        "def run(h, W, A, n):\n"
        "    def block(h, i):\n        return torch.tanh(h @ W[i])\n\n"
        "    def adapter(h, i):\n        return h @ A[i]\n\n"
        "    raise NotImplementedError\n",
        ("Equation 1.", "Layers are counted from 0."),
        (Stage("nothing dropped", 1, _cut(0)), Stage("half of it dropped", 1, _cut(0.5)),
         Stage("everything dropped", 1, _cut(1))),
    ),
    Exercise(
        _name(3), "How often is it there?", "code", 10, 2,
        "n is drawn from 0 to `highest`, both included, with equal chance. In which share of the "
        "steps does the adapter of layer `layer` act, counted from 0 at the bottom?",
        "def present(layer, highest):\n    raise NotImplementedError\n",
        ("At which n is layer 2 still there?", "And a layer above the highest n?"),
        (Stage("a lower layer", 1, _present(True)), Stage("above the highest n", 1,
         _present(False))),
    ),
    Exercise(
        _name(4), "How many can go?", "code", 20, 2,
        "`apart` is a list: its first entry holds, for five paired seeds, the accuracy at n = 1 "
        "less that with all adapters, in points; the next is of n = 2, and so on. Return the "
        "largest n such that for it, and for every smaller one, the 95 % interval rules out a loss "
        "of more than `allowed` points; 0 if there is none. `half` gives half the width of an "
        "interval.",
        "def how_many(apart, allowed):\n"
        "    def half(values):\n"
        "        mean = sum(values) / 5\n"
        "        squares = sum((v - mean) ** 2 for v in values)\n"
        "        return 2.776 * (squares / 4) ** 0.5 / 5 ** 0.5\n\n"
        "    raise NotImplementedError\n",
        ("The lower end of the interval is the mean less its half-width.",
         "Stop at the first n that fails."),
        (Stage("a clear case", 1, _many("clear")), Stage("a wide interval", 1, _many("wide")),
         Stage("a gap", 1, _many("gap")), Stage("none", 1, _many("none"))),
    ),
    Exercise(
        _name(5), "Diagnose", "short", 10, 2,
        "Four things went wrong. (a) The accuracy is the same for every n, to the last digit. (b) "
        "A step with adapters from layer 8 up costs as much as one with all of them. (c) A trunk "
        "written by hand gives task B other answers than B has alone. (d) A set that is called "
        "robust is good at n = 1 and guesses at n = 4. Causes: (1) B's lower layers were "
        "fine-tuned; (2) the adapters were skipped in training mode only; (3) in training "
        "`highest` was 1; (4) the layer norms of all layers are trained. Give the cause of each, a "
        "to d.",
        "causes = (..., ..., ..., ...)\n",
        ("What does each cause change, and when?",),
        (Stage("each has its cause", 2, _causes),),
    ),
    Exercise(
        _name(6), "Read", "short", 10, 2,
        "Base A, five paired seeds, cut at 4 less all adapters of the same set: +0.4 ± 1.1 for the "
        "robust set, -6.0 ± 2.5 for the standard one. Which may be printed? (i) On base A the cut "
        "costs the robust set nothing. (ii) On base A the cut cost the standard set accuracy, on "
        "average. (iii) Cut at 4, the robust set is better than the standard one. (iv) Which set "
        "is better with all its adapters, these numbers do not say. Give 1 or 0 for i to iv.",
        "printed = (..., ..., ..., ...)\n",
        ("What is each difference taken to?",),
        (Stage("what may be printed", 2, _printed),),
    ),
    Exercise(
        _name(7), "Extend", "open", 30, 3,
        "The lower adapters go because the trunk needs them gone. Accuracy may see it otherwise: "
        "write a method that drops the adapters of a random *set* of layers in each step. Is it "
        "told apart from the robust set of this page, when both are cut from the bottom, over five "
        "paired seeds? And when both are cut from the top? What does it save in training?",
        "", ("`before_step` is where the switches are set.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "One task, the lower five of twelve layers without adapters. What gets a fifth cheaper?",
        (
            Option("inference, because fewer layers are computed", "All layers are computed."),
            Option("training, since the backward pass ends at the lowest adapter",
                   "Below it no gradient is needed.", right=True),
            Option("neither of the two", "The backward pass ends earlier."),
        ),
    ),
    Question(
        "After robust training, what does the lowest adapter of the toy hold?",
        (
            Option("only what no other layer can do, as it is away most often while they learn",
                   "The rest moved to the top.", right=True),
            Option("a quarter of everything, like each of the other three layers",
                   "That is training without drops."),
            Option("nothing at all", "What no other can do stays."),
        ),
    ),
    Question(
        "The time falls to 0.8 of what it was. By how much did the speed rise?",
        (
            Option("by 20 %", "That is the time saved."),
            Option("by 25 %", "1 / 0.8 is 1.25.", right=True),
            Option("by 80 %", "0.8 is what is left of the time."),
        ),
    ),
    Question(
        "Eight users send eight different texts, each for another task. A shared trunk saves",
        (
            Option("the lower layers of seven of the eight, as in Equation 3",
                   "Equation 3 is for one input."),
            Option("less than with one text, but something",
                   "Different texts have different states from the first layer on."),
            Option("nothing", "No two of the passes have a layer in common.", right=True),
        ),
    ),
    Question(
        "In the figure, the dashed line at n = 4 is",
        (
            Option("a set trained with adapters in the top two layers alone",
                   "A specialised set knows one n.", right=True),
            Option("the standard set, cut after training", "That is the dotted line."),
            Option("a set that has seen every n", "That is the robust set."),
        ),
    ),
)  # fmt: skip
