"""Exercises of the chapter book/others/index.ipynb."""

from typing import Any

import torch
from torch import Tensor

from ..compare import close, compare, measure, normal, numbers, pair, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _counts(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("(IA)³", "OFT"))[which]
        d = 768
        if which == 0:
            layer = sum(torch.empty(n, device="meta").numel() for n in (d, d, 4 * d))
            measure(
                given,
                12 * layer,
                [
                    (layer, "(IA)³: that is one layer."),
                    (12 * 3 * d, "(IA)³: the middle of the feed-forward network is 4 d wide."),
                    (12 * 2 * d, "(IA)³: three vectors in each layer."),
                ],
                "(IA)³: keys and values of width d, the middle of width 4 d, 12 layers.",
            )
        else:
            free = len(torch.triu_indices(32, 32, 1)[0])
            matrix = d // 32 * free
            measure(given, 12 * 2 * matrix, [
                (12 * 2 * d // 32 * 32 * 32, "OFT: a skew matrix is given by its upper triangle."),
                (12 * 2 * d // 32 * 32 * 33 // 2, "OFT: the diagonal of a skew matrix is zero."),
                (12 * matrix, "OFT: query *and* value."),
                (12 * 2 * free, "OFT: there are 24 blocks on the diagonal."),
            ], "OFT: 24 blocks of 32 × 31 / 2 numbers for each matrix.")  # fmt: skip

    return test


def _fourier(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("trained", "times"))[which]
        trained = torch.empty(12, 2, 1000, device="meta").numel()
        lora = torch.empty(12, 2, 8, 768 + 768, device="meta").numel()
        if which == 0:
            measure(
                given,
                trained,
                [
                    (1000, "Trained: each matrix has its own coefficients."),
                    (3 * trained, "Trained: the places in the spectrum are drawn, not trained."),
                ],
                "Trained: 24 matrices.",
            )
        else:
            measure(given, lora / trained, [
                (trained / lora, "Times: LoRA has more, so the ratio is above one."),
                (lora / 24_000 / 2, "Times: both A and B."),
            ], "Times: LoRA has 24 · 8 · (768 + 768).", within=1e-3)  # fmt: skip

    return test


def _cayley_shape(answer: Any, g: Any) -> None:
    tensor(answer(normal(g, 5, 5)), (5, 5), "The matrix")


def _cayley_turns(answer: Any, g: Any) -> None:
    M, one = normal(g, 5, 5) / 3, torch.eye(5).double()
    given = answer(M).double()
    if close(given @ given.T, one):
        return
    free = (one + M) @ torch.linalg.inv(one - M)
    if close(given, free):
        raise Wrong("M itself is not skew. Take (M − Mᵀ) / 2 first.")
    Q = (M - M.T) / 2
    if close(given, (one + Q) / (one - Q)) or close(given, (one + Q) @ (1 / (one - Q))):
        raise Wrong("A matrix is not inverted entry by entry.")
    if close(given, one + 2 * Q) or close(given, one + Q):
        raise Wrong("That is the first term of a series: orthogonal only near the start.")
    S = (M + M.T) / 2
    if close(given, (one + S) @ torch.linalg.inv(one - S)):
        raise Wrong("You took the symmetric part; the skew part has a minus.")
    raise Wrong("R Rᵀ should be the identity: the angles between neurons must stay.")


def _cayley_value(answer: Any, g: Any) -> None:
    M, one = normal(g, 5, 5) / 3, torch.eye(5).double()
    given, Q = answer(M).double(), (M - M.T) / 2
    if close(given @ (one - Q), one + Q):
        return
    if close(given @ (one + Q), one - Q):
        raise Wrong("It turns the other way: (I + Q) on the left of the inverse of (I − Q).")
    if close(given @ (one - 2 * Q), one + 2 * Q):
        raise Wrong("It turns too far: Q is *half* of M − Mᵀ.")
    if close(given, torch.matrix_exp(2 * Q)) or close(given, torch.matrix_exp(Q)):
        raise Wrong("The exponential is orthogonal as well, but Cayley's transform is asked.")
    if close(given, one):
        raise Wrong("It never turns, whatever M is.")
    raise Wrong("It is orthogonal, and not Cayley's transform of (M − Mᵀ) / 2.")


def _ia3_case(g: Any, where: str) -> tuple[Tensor, Tensor, Tensor]:
    return normal(g, 4, 6), normal(g, 4), normal(g, 4 if where == "output" else 6).abs() + 0.5


def _ia3_shapes(answer: Any, g: Any) -> None:
    for where in ("output", "input"):
        W, bias = pair(answer(*_ia3_case(g, where), where), "(weight, bias)")
        tensor(W, (4, 6), f"The weight for {where!r}")
        tensor(bias, (4,), f"The bias for {where!r}")


def _ia3_value(answer: Any, g: Any) -> None:
    for where in ("output", "input"):
        W, b, l = _ia3_case(g, where)
        given_W, given_b = answer(W, b, l, where)
        x = normal(g, 7, 6)
        got = x @ given_W.T + given_b
        if where == "output":
            right = l * (x @ W.T + b)
            compare(
                got,
                right,
                [
                    (x @ W.T + b, "'output': nothing was rescaled."),
                    (l * (x @ W.T) + b, "'output': the bias is a part of what l rescales."),
                    (x @ W.T + l * b, "'output': only the bias was rescaled."),
                    ((x @ W.T + b) / l, "'output': multiply by l, do not divide."),
                ],
                "'output': x @ W'.T + b' should be l ⊙ (x @ W.T + b). Rows or columns?",
            )
        else:
            right = (l * x) @ W.T + b
            compare(got, right, [
                (x @ W.T + b, "'input': nothing was rescaled."),
                (x @ (W / l).T + b, "'input': multiply by l, do not divide."),
                (right - b, "'input': the bias got lost."),
            ], "'input': x @ W'.T + b' should be (l ⊙ x) @ W.T + b: the bias stays.")  # fmt: skip


def _reft_case(g: Any) -> tuple[Tensor, ...]:
    R = torch.linalg.qr(normal(g, 6, 2)).Q.T
    return normal(g, 3, 5, 6), R, normal(g, 2, 6), normal(g, 2)


def _reft_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_reft_case(g)), (3, 5, 6), "The edited state")


def _reft_outside(answer: Any, g: Any) -> None:
    h, R, W, b = _reft_case(g)
    change = answer(h, R, W, b) - h
    if close(change, torch.zeros_like(h)):
        raise Wrong("Nothing was edited.")
    if close(answer(h, R, W, b) - answer(0 * h, R, W, b), (h @ W.T - h @ R.T) @ R):
        raise Wrong("What lies outside of the subspace got lost: h is added to.")
    if not close(change - torch.einsum("...d,rd,re->...e", change, R, R), torch.zeros_like(h)):
        raise Wrong("The edit leaves the subspace: the way back is Rᵀ.")


def _reft_inside(answer: Any, g: Any) -> None:
    h, R, W, b = _reft_case(g)
    said = torch.einsum("...d,rd->...r", h, W) + b  # what the subspace should say
    old = torch.einsum("...d,rd->...r", h, R)
    compare(
        torch.einsum("...d,rd->...r", answer(h, R, W, b), R),
        said,
        [
            (old + said, "R h was not taken away: the edit adds, where it should replace."),
            (said - b, "b is missing."),
            (2 * old - said, "The sign of the edit: W h + b comes in, R h goes out."),
            (b.expand_as(said), "W h is missing: every word gets the same."),
            (2 * said - old, "The edit was made twice."),
        ],
        "In the subspace, R h_new should be W h + b.",
    )


def _name(number: int) -> str:
    return f"others.index.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Vectors and angles", "short", 10, 1,
        "A model has 12 layers of width 768 and a feed-forward width of 3072. How many parameters "
        "has (i) (IA)³, on keys, values and the middle of the feed-forward network, (ii) OFT with "
        "blocks of 32 on query and value?",
        "counts = (..., ...)\n",
        ("(IA)³ has one number for each channel.",
         "A skew matrix is given by the entries above its diagonal."),
        (Stage("(IA)³", 1, _counts(0)), Stage("OFT", 1, _counts(1))),
    ),
    Exercise(
        _name(2), "Few frequencies", "short", 5, 1,
        "FourierFT trains 1000 coefficients for each adapted matrix, at places drawn once. How "
        "many does it train on query and value of 12 layers, and how many times as many has LoRA "
        "at rank 8 there (width 768)?",
        "fourier = (..., ...)\n",
        ("How many matrices are adapted?",),
        (Stage("FourierFT", 1, _fourier(0)), Stage("LoRA", 1, _fourier(1))),
    ),
    Exercise(
        _name(3), "Turn, do not stretch", "code", 15, 2,
        "OFT multiplies by an orthogonal matrix. Make one from any square `M`, with Cayley's "
        "transform of its skew part: $R = (I + Q)(I - Q)^{-1}$, $Q = (M - M^\\top) / 2$.",
        "def rotation(M):\n    raise NotImplementedError\n",
        ("`torch.linalg.solve` or `torch.linalg.inv`.", "The two factors commute."),
        (
            Stage("the shape is right", 1, _cayley_shape),
            Stage("it is orthogonal", 1, _cayley_turns),
            Stage("it is Cayley's transform", 2, _cayley_value),
        ),
    ),
    Exercise(
        _name(4), "Merge (IA)³", "code", 15, 2,
        "(IA)³ multiplies a state by `l`, channel by channel: behind a linear map (`where` is "
        "\"output\": keys and values) or in front of it (\"input\": the second feed-forward map). "
        "Return the weight and the bias of a plain map that does the same. `W` (d_out, d_in), `b` "
        "(d_out,).",
        "def merge_ia3(W, b, l, where):\n    raise NotImplementedError\n",
        ("Write $l \\odot (W x + b)$ and $W (l \\odot x) + b$ out for one entry.",
         "Rows belong to outputs, columns to inputs."),
        (
            Stage("the shapes are right", 1, _ia3_shapes),
            Stage("merged and unmerged agree", 3, _ia3_value),
        ),
    ),
    Exercise(
        _name(5), "Edit a subspace", "code", 20, 3,
        "LoReFT edits a hidden state `h` (…, d) in the subspace of the orthonormal rows of `R` "
        "(r, d), so that what $R h$ says becomes $W h + b$, with `W` (r, d) and `b` (r,). "
        "Everything orthogonal to these rows stays. Return the new state.",
        "def loreft(h, R, W, b):\n    raise NotImplementedError\n",
        ("What must be added to R h?", "Rᵀ brings r numbers back to d."),
        (
            Stage("the shape is right", 1, _reft_shape),
            Stage("outside of the subspace nothing changes", 1, _reft_outside),
            Stage("inside it says W h + b", 2, _reft_inside),
        ),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "(IA)³ starts with l = 1, so that",
        (
            Option("the gradient is one", "The gradient depends on the loss and the state."),
            Option("the model starts at the base", "Multiplying by 1 changes nothing.", right=True),
            Option("the vectors have length 1", "A vector of d ones has length √d."),
        ),
    ),
    Question(
        "What does a rotation of a layer's input keep?",
        (
            Option("every output of the layer, for all inputs", "Then nothing could be learned."),
            Option("lengths, and angles between inputs",
                   "And so the angles between the neurons' weights.", right=True),
            Option("the mean of the inputs", "The mean is turned along with them."),
        ),
    ),
    Question(
        "LoReFT trains",
        (
            Option("weights of the network", "No weight changes."),
            Option("an edit of hidden states at some words",
                   "So it cannot be merged into a weight.", right=True),
            Option("vectors in front of the text, for all layers", "Those are prompts."),
        ),
    ),
    Question(
        "MAM adapters combine",
        (
            Option("two LoRAs at different ranks", "There is no LoRA in it."),
            Option("a short prefix, and a large adapter beside the feed-forward network",
                   "Each where the comparison found it best.", right=True),
            Option("adapters of several tasks, with an attention that chooses among them",
                   "That is AdapterFusion."),
        ),
    ),
    Question(
        "UniPELT's gates decide",
        (
            Option("which layers are trained", "All layers have all parts."),
            Option("how much each part contributes, for each text",
                   "A gate is computed from the hidden state.", right=True),
            Option("which method is thrown away after training",
                   "All parts stay; a gate near zero makes one silent."),
        ),
    ),
)  # fmt: skip
