"""Exercises of the chapter book/others/ia3.ipynb. Vectors l (d,), states (..., d)."""

from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("decoder", "encoder-decoder"))[which]
        keys, middle = torch.empty(2, 1024, device="meta"), torch.empty(14_336, device="meta")
        if which == 0:
            layer = keys.numel() + middle.numel()
            measure(given, 32 * layer, [
                (layer, "Decoder: that is one layer."),
                (32 * (2 * 4096 + 14_336), "Decoder: keys and values have 1,024 channels here, "
                 "because heads share them."),
                (32 * (layer + 14_336), "Decoder: the middle is rescaled once, though two maps "
                 "lead there."),
                (32 * (layer + 2 * 1024), "Decoder: there is no cross-attention in it."),
                (32 * (layer + 4096), "Decoder: queries are not rescaled."),
            ], "Decoder: in each layer 1,024 keys, 1,024 values and the middle.")  # fmt: skip
        else:
            once = torch.empty(2 * 512 + 2048, device="meta").numel()
            twice = torch.empty(4 * 512 + 2048, device="meta").numel()
            measure(given, 12 * (once + twice), [
                (24 * once, "Encoder-decoder: the decoder's layers attend twice."),
                (24 * twice, "Encoder-decoder: the encoder has no cross-attention."),
                (once + twice, "Encoder-decoder: twelve layers on each side."),
                (12 * (once + twice + 2048), "Encoder-decoder: a decoder layer has one "
                 "feed-forward network."),
            ], "Encoder-decoder: Equation 1, with cross-attention on one side.")  # fmt: skip

    return test


def _attention(g: Any) -> tuple[Tensor, ...]:
    return *(normal(g, 5, 4) for _ in range(3)), normal(g, 4), normal(g, 4)


def _attend(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return (Q @ K.T / Q.shape[-1] ** 0.5).softmax(-1) @ V


def _attend_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_attention(g)), (5, 4), "The output")


def _attend_value(answer: Any, g: Any) -> None:
    Q, K, V, l_k, l_v = _attention(g)
    compare(
        answer(Q, K, V, l_k, l_v),
        _attend(Q, l_k * K, l_v * V),
        [
            (_attend(Q, K, V), "That is the base. Where are the vectors?"),
            (_attend(Q, l_k * K, V), "The values are not rescaled."),
            (_attend(Q, K, l_v * V), "The keys are not rescaled."),
            (_attend(Q, l_v * K, l_k * V), "Each vector stands at the other one's place."),
            (_attend(l_k * Q, l_k * K, l_v * V), "Queries have no vector of their own."),
            (_attend(Q, l_k + K, l_v + V), "Multiply, do not add."),
            ((Q @ (l_k * K).T).softmax(-1) @ (l_v * V), "The root of the width is missing."),
        ],
        "Rescale keys and values; then attention as it always is.",
    )


def _layer(g: Any) -> tuple[Tensor, ...]:
    return normal(g, 6, 6), normal(g, 6), normal(g, 6), normal(g, 6, 6), normal(g, 6)


def _folded(answer: Any, drawn: tuple[Tensor, ...]) -> tuple[Any, ...]:
    given = answer(*drawn)
    if not isinstance(given, tuple) or len(given) != 3:
        raise Wrong("Return three tensors: W_k, b_k, W_2.")
    for part, shape, name in zip(given, ((6, 6), (6,), (6, 6)), ("W_k", "b_k", "W_2"), strict=True):
        tensor(part, shape, name)
    return given


def _fold_keys(answer: Any, g: Any) -> None:
    drawn = _layer(g)
    W_k, b_k, _ = _folded(answer, drawn)
    W, b, l_k, _, _ = drawn
    compare(W_k, l_k.unsqueeze(1) * W, [
        (W, "W_k has not changed."),
        (l_k * W, "W_k: a factor of an output belongs to a row, and yours scales columns."),
    ], "W_k: row i of the matrix is multiplied by factor i.")  # fmt: skip
    compare(b_k, l_k * b, [
        (b, "b_k: the bias is part of the key, and is rescaled with it."),
        (l_k + b, "b_k: multiply."),
    ], "b_k: entry i times factor i.")  # fmt: skip


def _fold_middle(answer: Any, g: Any) -> None:
    drawn = _layer(g)
    W_2 = _folded(answer, drawn)[2]
    _, _, l_k, W, l_ff = drawn
    compare(W_2, W * l_ff, [
        (W, "W_2 has not changed."),
        (l_ff.unsqueeze(1) * W, "W_2: a factor of an input belongs to a column, and yours scales "
         "rows."),
        (W * l_k, "W_2: that is the vector of the keys."),
        (W / l_ff, "W_2: multiply by the factor."),
    ], "W_2: column j of the matrix is multiplied by factor j.")  # fmt: skip


def _batch(g: Any) -> tuple[Tensor, Tensor, list[int]]:
    return normal(g, 4, 4, 5), normal(g, 3, 5), [2, 0, 1, 0]


def _mixed_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_batch(g)), (4, 4, 5), "The states")


def _mixed_value(answer: Any, g: Any) -> None:
    h, vectors, tasks = _batch(g)
    own = vectors[tasks]
    compare(
        answer(h, vectors, tasks),
        h * own.unsqueeze(1),
        [
            (h * own, "Four texts of four tokens: here each *token* got a task's vector. It is the "
             "text that belongs to a task."),
            (h * vectors[0], "All texts got the vector of the first task."),
            (h * vectors.mean(0), "A mean of the tasks' vectors serves none of them."),
            (h * vectors[sorted(tasks)].unsqueeze(1), "The texts keep their order."),
            (h + own.unsqueeze(1), "Multiply, do not add."),
        ],
        "Look up the vector of each text's task, and multiply all its tokens by it.",
    )  # fmt: skip


def _pays(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("6 N", "4 N"))[which]
        times = 400 * 8 / 32
        if which == 0:
            measure(given, 3 * times, [
                (times, "(i) How much dearer is a token of training than one that is read?"),
                (3 * 400, "(i) Count how often each text is seen, not the steps."),
                (3 * 400 * 8, "(i) Divide by the number of texts."),
                (6 * times, "(i) Reading costs 2 N a token, and not N."),
            ], "(i) Three times how often each text is seen.")  # fmt: skip
        else:
            measure(given, 2 * times, [
                (3 * times, "(ii) A token of training costs 4 N now."),
                (4 * times, "(ii) Reading costs 2 N a token, and not N."),
            ], "(ii) The same ratio with 4 N above.")  # fmt: skip

    return test


_causes = causes((3, 4, 2, 1), (
    "(a) Before merging all is well. Which of the causes acts at merging?",
    "(b) Not a single factor has moved. Who did not know of them?",
    "(c) How far can Adam move a number in 20 steps?",
    "(d) All factors fall alike, whatever the gradient. What pulls towards zero?",
), of="run")  # fmt: skip

_printed = sentences((1, 0, 0, 1), (
    "(i) Does that interval hold zero?",
    "(ii) An interval that holds zero is no proof of equality.",
    "(iii) Where does the interval of the last row lie?",
    "(iv) Which side of zero is the first row on?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"others.ia3.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Count the factors", "short", 10, 1,
        "How many numbers does (IA)³ train in these models? (i) A decoder of 32 layers, width "
        "4,096, with keys and values of 1,024 channels and a feed-forward middle of 14,336. (ii) "
        "An encoder-decoder of 12 and 12 layers, with 512 channels in each attention and a middle "
        "of 2,048.",
        "counts = (..., ...)\n",
        ("The width of the model itself is not needed.", "Which layers attend twice?"),
        (Stage("decoder", 1, _count(0)), Stage("encoder-decoder", 1, _count(1))),
    ),
    Exercise(
        _name(2), "Attention, rescaled", "code", 15, 2,
        "Write one head of attention with (IA)³: `Q`, `K`, `V` (n, d) as the base computes them, "
        "`l_k` and `l_v` (d,). No mask.",
        "def attend(Q, K, V, l_k, l_v):\n    raise NotImplementedError\n",
        ("Equation 1 says what becomes of `K` and `V`.", "Scores are divided by the root of d."),
        (Stage("the shape is right", 1, _attend_shape), Stage("the output", 2, _attend_value)),
    ),
    Exercise(
        _name(3), "Fold the vectors in", "code", 15, 2,
        "Return the weights that compute without (IA)³ what the frozen ones compute with it: key "
        "map `W_k` (d_kv, d) with bias `b_k` and vector `l_k`, second feed-forward map `W_2` "
        "(d, d_ff) with `l_ff`. The frozen weights must stay as they are.",
        "def fold(W_k, b_k, l_k, W_2, l_ff):\n"
        "    raise NotImplementedError  # return W_k, b_k, W_2\n",
        ("Which side of a matrix is its output?", "`l.unsqueeze(1)` is a column."),
        (Stage("keys and their bias", 2, _fold_keys), Stage("the middle", 2, _fold_middle)),
    ),
    Exercise(
        _name(4), "A batch of several tasks", "code", 15, 2,
        "Rescale the states `h` (texts, n, d) of a batch in which every text belongs to a task: "
        "`vectors` (tasks, d) has the trained vector of each, `tasks` the number of each text's.",
        "def rescale(h, vectors, tasks):\n    raise NotImplementedError\n",
        ("A tensor may be indexed by a list.", "All tokens of a text share its vector."),
        (Stage("the shape is right", 1, _mixed_shape), Stage("the states", 2, _mixed_value)),
    ),
    Exercise(
        _name(5), "When does training pay?", "short", 10, 1,
        "You have 32 texts, and train for 400 steps of 8. One model, no keys and values kept. "
        "After how many questions is training cheaper than 32 examples in the context, (i) by the "
        "paper's 6 N a token of training, (ii) by 4 N?",
        "questions = (..., ...)\n",
        ("How often is each text seen?",),
        (Stage("by 6 N", 1, _pays(0)), Stage("by 4 N", 1, _pays(1))),
    ),
    Exercise(
        _name(6), "Diagnose four runs", "short", 15, 2,
        "Four runs of (IA)³. (a) 84 % while attached, guesses after merging. (b) After training "
        "every factor is exactly 1. (c) After 20 steps all factors lie between 0.998 and 1.002. "
        "(d) After long training all factors lie near 0.6, and falling. Causes: (1) weight decay "
        "on the factors; (2) a rate of 1e-4; (3) $l_v$ was folded into the columns of its matrix; "
        "(4) the optimiser was made before attaching. Give the causes of a, b, c, d.",
        "causes = (..., ..., ..., ...)\n",
        ("Towards which number does weight decay pull?",),
        (Stage("the causes", 4, _causes),),
    ),
    Exercise(
        _name(7), "Read a table", "short", 10, 2,
        "Paired differences in points, one language model, one task, five seeds, 95 % intervals: "
        "(IA)³ less examples in the context −3.0 [−8.0, 2.0]; (IA)³ less no examples +11.0 "
        "[6.0, 16.0]; right less exchanged answers in the context +20.0 [5.0, 35.0]. Which may be "
        "printed? (i) Here (IA)³ was better than no examples. (ii) (IA)³ is as good as the "
        "context. (iii) This model takes no notice of the answers in its context. (iv) Whether "
        "(IA)³ or the context is better here we cannot tell. Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("Does the interval hold zero?",),
        (Stage("the sentences", 4, _printed),),
    ),
    Exercise(
        _name(8), "Answers of several tokens", "open", 40, 3,
        "The proposition of this chapter is about answers of one token. Take answers of different "
        "lengths, and train (IA)³ on `tiny-decoder` with 256 texts by LM alone, with UL, with LN "
        "and with both: five paired seeds. Score by the sum and by the mean over tokens. Which "
        "intervals do not hold zero?",
        "", ("Score each answer by a pass of its own; `losses` takes lists of any length.",), (),
    ),
    Exercise(
        _name(9), "Beyond the edge", "open", 30, 2,
        "Repeat the search of the rate for (IA)³ with 0.1 and 0.3 added to the grid, on the "
        "validation split, by two seeds. If the best rate moves, draw the curve over 16, 64 and "
        "256 texts again with five other seeds. What changes against LoRA?",
        "", ("`fine_tune_many` trains several seeds and rates in one pass.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "A task needs two channels of a frozen map exchanged. Who can do it?",
        (
            Option("LoRA of rank 1", "The change is one column times one row.", right=True),
            Option("(IA)³, if two of its factors become negative",
                   "A factor changes a channel's size and sign, and not its place."),
            Option("neither of them, since the change has full rank",
                   "Only two rows change, by opposite amounts: rank 1."),
        ),
    ),
    Question(
        "Where can the vector in the middle of the feed-forward network be folded in?",
        (
            Option("into the rows of the first map",
                   "The non-linearity is in between, and lets no negative factor through."),
            Option("into the columns of the second map, which reads what it scales",
                   "It scales what that map reads.",
                   right=True),
            Option("nowhere, it must be multiplied at inference",
                   "This is said in a survey; the vector meets a matrix right behind it."),
        ),
    ),
    Question(
        "In the figure of few shots, whose mark is highest at 64 texts?",
        (
            Option("that of LoRA", "Its mark, the diamond, lies in the middle group."),
            Option("that of all weights", "The square stands no higher than the diamond."),
            Option("that of (IA)³", "The plus leads at 16 and 64 texts.", right=True),
        ),
    ),
    Question(
        "Training pays for itself, against the same shots in the context, after a number of "
        "questions that grows with",
        (
            Option("the size of the model", "It is in both costs, and drops out."),
            Option("how often each of the shots is read again while the vectors are trained",
                   "Three times that, by the paper's count.",
                   right=True),
            Option("the number of shots and their length in tokens",
                   "Both are in the training as well, and drop out."),
        ),
    ),
    Question(
        "Answers are single tokens, and the loss of the right one is 0.01. The unlikelihood loss",
        (
            Option("can still be large, since it looks at other tokens",
                   "All tokens share one distribution."),
            Option("is at most 0.01", "What the right token has, a wrong one cannot have.",
                   right=True),
            Option("is undefined without longer answers", "Equation 3 takes any length."),
        ),
    ),
)  # fmt: skip
