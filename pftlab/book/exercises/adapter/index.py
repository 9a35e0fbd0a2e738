"""Exercises of the chapter book/adapter/index.ipynb."""

from typing import Any

import torch
from torch import Tensor

from ..compare import compare, measure, normal, number, numbers, pair, tensor, whole
from ..model import Exercise, Option, Question, Stage, Wrong


def _entries(*shapes: tuple[int, ...]) -> int:
    return sum(torch.empty(shape, device="meta").numel() for shape in shapes)


def _bottlenecks(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        name = ("Houlsby", "Pfeiffer")[which]
        given = numbers(answer, ("Houlsby", "Pfeiffer"))[which]
        one = _entries((64, 768), (64,), (768, 64), (768,))
        bare = _entries((64, 768), (768, 64))
        many = 12 * (2 - which)
        measure(
            given,
            many * one,
            [
                (many * bare, f"{name}: two weight matrices are there; and their biases?"),
                (one, f"{name}: that is a single adapter."),
                (many * _entries((64, 768), (64,)), f"{name}: there is a way down and a way up."),
                (12 * (1 + which) * one, f"{name}: how many sub-layers of a layer get one?"),
            ],
            f"{name}: count one adapter, weights and biases, and then the adapters.",
        )

    return test


def _phm(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("dense", "Kronecker"))[which]
        if which == 0:
            measure(given, _entries((768, 48)), [], "Dense: one matrix of 48 rows and 768 columns.")
            return
        measure(
            given,
            _entries((4, 4, 4), (4, 192, 1), (4, 1, 12)),
            [
                (_entries((4, 4, 4), (4, 192, 12)), "Kronecker: each second factor has rank 1."),
                (_entries((4, 4), (4, 192, 1), (4, 1, 12)),
                 "Kronecker: there are four first factors."),
                (_entries((4, 4, 4), (192, 1), (1, 12)),
                 "Kronecker: there are four second factors."),
                (_entries((4, 192, 1), (4, 1, 12)), "Kronecker: the first factors are missing."),
                (_entries((4, 4, 4), (4, 768, 1), (4, 1, 48)),
                 "Kronecker: the second factors are four times smaller each way."),
            ],
            "Kronecker: four factors 4 × 4, four columns of 192, four rows of 12.",
        )  # fmt: skip

    return test


def _random_state(module: Any, g: Any) -> None:
    state = {name: normal(g, *value.shape).to(value.dtype)
             for name, value in module.state_dict().items()}  # fmt: skip
    module.load_state_dict(state)


def _bottleneck_shape(answer: Any, g: Any) -> None:
    tensor(answer(8, 3)(normal(g, 2, 5, 8).float()), (2, 5, 8), "The output")


def _bottleneck_size(answer: Any, g: Any) -> None:
    sizes = [tuple(value.shape) for value in answer(8, 3).state_dict().values()]
    count = _entries(*sizes)
    if count == 2 * 8 * 3:
        raise Wrong("Both matrices are there; their biases are not.")
    if count != 2 * 8 * 3 + 3 + 8:
        raise Wrong(f"It has {count} parameters; one way down to 3, one way up to 8, makes 59.")


def _bottleneck_start(answer: Any, g: Any) -> None:
    h = normal(g, 2, 5, 8).float()
    module = answer(8, 3)
    out = module(h)
    if not out.any():
        raise Wrong("The output is zero at the start: nothing of h gets around the adapter.")
    compare(out, h, [], "At the start the output should equal h. What makes the change zero?")
    matrices = [value for value in module.state_dict().values() if value.ndim == 2]
    if not any(value.any() for value in matrices):
        raise Wrong("Both matrices are zero, so are both gradients, for good. One is enough.")


def _bottleneck_change(answer: Any, g: Any) -> None:
    module = answer(8, 3)
    _random_state(module, g)
    h = normal(g, 60, 8).float()
    change = (module(h) - h).double()
    affine = torch.cat([h.double(), torch.ones(60, 1).double()], dim=1)
    fit = affine @ torch.linalg.lstsq(affine, change).solution
    if (change - fit).norm() < 1e-3 * change.norm():
        raise Wrong("The change is linear in h. What stands between the two matrices?")
    values = torch.linalg.svdvals(change - change.mean(0))
    if values[3] > 1e-3 * values[0]:
        raise Wrong("The change has more than 3 directions: does the non-linearity stand between "
                    "the matrices, and h beside them?")  # fmt: skip


def _times(layers: int, dropped: int, forward: float, backward: float) -> float:
    return sum(forward for _ in range(layers)) + sum(backward for _ in range(layers - dropped))


def _speedup_none(answer: Any, g: Any) -> None:
    given = number(answer(whole(g, 4, 12), 0, 1.0, 2.0), "The speed-up")
    if abs(given - 1) > 1e-9:
        raise Wrong("If at most 0 adapters are dropped, nothing changes: the answer is 1.")


def _speedup(answer: Any, g: Any) -> None:
    layers, forward, backward = whole(g, 6, 12), 1.0, 1.5 + whole(g, 0, 4) / 4
    highest = layers - whole(g, 1, 3)
    draws = range(highest + 1)
    each = [_times(layers, n, forward, backward) for n in draws]
    full = _times(layers, 0, forward, backward)
    mean = sum(each) / len(each)
    short = [_times(layers - n, 0, forward, backward) for n in draws]
    open_end = each[:-1]
    measure(
        answer(layers, highest, forward, backward),
        full / mean,
        [
            (mean / full, "That is the share of the time that is left; invert it."),
            (1.0, "Nothing is saved: that is so if the *upper* adapters are dropped."),
            (full / each[-1], "n is drawn anew in each step, and is not always the highest."),
            (full * len(short) / sum(short), "The forward pass still runs through every layer."),
            (full * len(open_end) / sum(open_end), "The highest n can be drawn as well."),
            (sum(full / t for t in each) / len(each),
             "Average the times, not the ratios: many steps take the sum of their times."),
        ],
        "Write down the time of a step for a given n, then the mean over n.",
    )  # fmt: skip


def _kronecker_case(g: Any) -> tuple[Tensor, Tensor, Tensor]:
    return normal(g, 3, 3, 3), normal(g, 3, 4, 2), normal(g, 3, 2, 5)


def _kronecker_shape(answer: Any, g: Any) -> None:
    given = answer(*_kronecker_case(g))
    if isinstance(given, Tensor) and tuple(given.shape) == (3, 12, 15):
        raise Wrong("Add up the n products.")
    tensor(given, (12, 15), "The matrix")


def _kronecker_value(answer: Any, g: Any) -> None:
    A, S, T = _kronecker_case(g)

    def built(order: str, which: slice = slice(None)) -> Tensor:
        blocks = torch.einsum(f"iab,icr,ird->{order}", A[which], S[which], T[which])
        return blocks.reshape(12, 15)

    right = built("acbd")
    compare(
        answer(A, S, T),
        right,
        [
            (built("cadb"), "The factors of the product are exchanged: A comes first."),
            (built("acbd", slice(0, 1)), "Only the first of the n products is there."),
            (right / 3, "The n products are added, not averaged."),
            (torch.einsum("iab,jcr,jrd->acbd", A, S, T).reshape(12, 15),
             "Sum over one i: A and S T belong together in pairs."),
            (torch.einsum("iba,icr,ird->acbd", A, S, T).reshape(12, 15), "A was transposed."),
        ],
        "Entry (a c, b d) is the sum over i of A[i, a, b] (S[i] T[i])[c, d]; yours differs.",
    )  # fmt: skip


def _fusion_case(g: Any) -> tuple[Tensor, ...]:
    return normal(g, 5, 8), normal(g, 3, 5, 8), *(normal(g, 8, 8) / 3 for _ in range(3))


def _fusion_shape(answer: Any, g: Any) -> None:
    fused, weights = pair(answer(*_fusion_case(g)), "(fused, weights)")
    tensor(fused, (5, 8), "What is fused")
    tensor(weights, (5, 3), "The weights, one for each word and adapter,")


def _fusion_weights(answer: Any, g: Any) -> None:
    h, z, Q, K, V = _fusion_case(g)
    _, given = answer(h, z, Q, K, V)
    scores = torch.stack([(h @ Q.T * (z[i] @ K.T)).sum(-1) for i in range(3)], dim=-1)
    compare(
        given,
        scores.softmax(-1),
        [
            (scores, "Those are the scores; weights are positive and sum to 1."),
            (scores.softmax(0), "The softmax runs over the words; the adapters compete."),
            ((scores / 8**0.5).softmax(-1), "There is no √d in AdapterFusion's scores."),
            (
                torch.full((5, 3), 1 / 3).double(),
                "All adapters get the same weight, whatever h is.",
            ),
            ((-scores).softmax(-1), "The best match gets the smallest weight: mind the sign."),
        ],
        "Queries come from h, keys from the adapters' outputs: x @ M.T, with the right M.",
    )


def _fusion_value(answer: Any, g: Any) -> None:
    h, z, Q, K, V = _fusion_case(g)
    fused, weights = answer(h, z, Q, K, V)
    compare(
        fused,
        torch.einsum("ti,itd,vd->tv", weights, z, V),
        [
            (torch.einsum("ti,itd->td", weights, z), "The values are z Vᵀ; V is missing."),
            (torch.einsum("ti,itd,vd->tv", weights, z, V) + h, "h is not added here once more."),
        ],
        "The weights are right; they belong to the values, one for each adapter.",
    )


def _name(number: int) -> str:
    return f"adapter.index.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Count the bottlenecks", "short", 5, 1,
        "A model has 12 layers of width 768. How many parameters do adapters with a bottleneck of "
        "64 have, biases included: (i) Houlsby's two in each layer, (ii) Pfeiffer's one?",
        "adapters = (..., ...)\n",
        ("One adapter is a matrix down and a matrix up.", "Each of the two has a bias."),
        (Stage("Houlsby", 1, _bottlenecks(0)), Stage("Pfeiffer", 1, _bottlenecks(1))),
    ),
    Exercise(
        _name(2), "What Compacter stores", "short", 10, 2,
        "The way down from 768 to 48 is one dense matrix, or Compacter's "
        "$\\sum_{i=1}^{4} A_i \\otimes (s_i t_i^\\top)$ with $A_i$ of 4 × 4. How many numbers "
        "each? (No biases.)",
        "stored = (..., ...)\n",
        ("A Kronecker product multiplies the heights and the widths.",
         "So $s_i t_i^\\top$ is 192 × 12."),
        (Stage("the dense matrix", 1, _phm(0)), Stage("the sum of products", 1, _phm(1))),
    ),
    Exercise(
        _name(3), "Write a bottleneck", "code", 15, 1,
        "Write the module: $h \\leftarrow h + U \\varphi(D h + a) + b$, with a middle of the "
        "given width and a non-linearity of your choice. At the start the output is $h$, exactly, "
        "and something can be learned.",
        "class Bottleneck(torch.nn.Module):\n"
        "    def __init__(self, width, bottleneck):\n"
        "        super().__init__()\n"
        "        raise NotImplementedError\n\n"
        "    def forward(self, h):\n"
        "        raise NotImplementedError\n",
        ("Two `torch.nn.Linear` have all the parameters.",
         "`torch.nn.init.zeros_` on one of them, weight and bias."),
        (
            Stage("the shape is right", 1, _bottleneck_shape),
            Stage("the parameters are the two maps", 1, _bottleneck_size),
            Stage("it starts at h, and can move", 1, _bottleneck_start),
            Stage("the change is narrow and not linear", 1, _bottleneck_change),
        ),
    ),
    Exercise(
        _name(4), "What AdapterDrop saves", "code", 20, 2,
        "Every layer has adapters, and everything else is frozen. A step takes `forward` for each "
        "layer and `backward` for each layer that the gradient enters. In each step AdapterDrop "
        "leaves out the adapters of the lowest $n$ layers, $n$ drawn from $0, 1, \\dots,$ "
        "`highest` with equal chance. How many times as fast are many steps?",
        "def speedup(layers, highest, forward, backward):\n    raise NotImplementedError\n",
        ("How deep must the gradient go when the lowest n layers have nothing to train?",
         "The forward pass needs every layer."),
        (
            Stage("dropping nothing saves nothing", 1, _speedup_none),
            Stage("the mean over the draws", 3, _speedup),
        ),
    ),
    Exercise(
        _name(5), "A sum of Kronecker products", "code", 20, 3,
        "Build $W = \\sum_i A_i \\otimes (S_i T_i)$ from `A` (n, n, n), `S` (n, p, r) and `T` "
        "(n, r, q): a matrix (n p, n q).",
        "def kronecker_sum(A, S, T):\n    raise NotImplementedError\n",
        ("`torch.kron` takes two matrices.", "Or one `torch.einsum` and a `reshape`."),
        (
            Stage("the shape is right", 1, _kronecker_shape),
            Stage("every entry is right", 3, _kronecker_value),
        ),
    ),
    Exercise(
        _name(6), "Fuse adapters", "code", 20, 3,
        "AdapterFusion lets each word choose: `h` (t, d) is what the adapters read, `z` (n, t, d) "
        "what the n adapters made of it. Scores are $(Q h) \\cdot (K z_i)$, the weights their "
        "softmax over the adapters, the result the weighted sum of $V z_i$. Return "
        "(result, weights), (t, d) and (t, n).",
        "def fuse(h, z, Q, K, V):\n    raise NotImplementedError\n",
        ("Each word has n scores.", "`torch.einsum(\"td,ntd->tn\", …)`"),
        (
            Stage("the shapes are right", 1, _fusion_shape),
            Stage("the weights are right", 2, _fusion_weights),
            Stage("so is the sum", 1, _fusion_value),
        ),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Why can a bottleneck adapter behind a sub-layer not be merged?",
        (
            Option("It has too many parameters", "Size is no obstacle to merging."),
            Option("There is a non-linearity between its matrices",
                   "A frozen matrix cannot hold a function that is not linear.", right=True),
            Option("Its up-projection starts at zero", "The start says nothing about the end."),
        ),
    ),
    Question(
        "All adapters are in the upper half of the layers. In training this saves",
        (
            Option("the backward pass through the lower half",
                   "Below the lowest trained adapter no gradient is needed.", right=True),
            Option("the forward and the backward pass through the lower half",
                   "The upper half reads what the lower half computes."),
            Option("nothing but parameters",
                   "The gradient can stop earlier, and the lower activations can be dropped."),
        ),
    ),
    Question(
        "An adapter *beside* a sub-layer differs from one *behind* it: it",
        (
            Option("reads the input of the sub-layer",
                   "Its change is added to the output, which it has not seen.", right=True),
            Option("reads the output of the sub-layer", "That is the adapter behind it."),
            Option("needs no skip connection, so it cannot start at the base",
                   "Its change can be zero at the start: then the output is the sub-layer's."),
        ),
    ),
    Question(
        "Halving the bottleneck from 64 to 32",
        (
            Option("halves the time and the memory of a step",
                   "The frozen network takes nearly all of the time."),
            Option("about halves the trained parameters",
                   "Both matrices have it as one side; only the bias of the way up stays.",
                   right=True),
            Option("quarters the trained parameters",
                   "The other side of each matrix is the model's width."),
        ),
    ),
    Question(
        "AdapterFusion trains",
        (
            Option("the adapters of all tasks together",
                   "They are trained one by one before, and frozen then."),
            Option("a choice between frozen adapters, made by each word",
                   "Queries, keys and values are new; the adapters stay.", right=True),
            Option("one weight for each adapter and task",
                   "The weights depend on the hidden state, not only on the task."),
        ),
    ),
)  # fmt: skip
