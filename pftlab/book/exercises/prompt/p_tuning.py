"""Exercises of the chapter book/prompt/p_tuning.ipynb. P (p, d), embeddings E (V, d)."""

from typing import Any

import torch

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, tensor, whole
from ..model import Exercise, Option, Question, Stage, Wrong


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("trained", "kept"))[which]
        kept = torch.empty(6, 1024, device="meta").numel()
        layer = torch.nn.Linear(1024, 1024, device="meta")
        one = sum(p.numel() for p in layer.parameters())
        if which == 0:
            measure(given, kept + 3 * one, [
                (3 * one, "Trained: the network has an input, and that is trained, too."),
                (kept + 3 * 1024**2, "Trained: a linear map has a bias."),
                (kept + one, "Trained: three linear maps, one behind another."),
                (kept, "Trained: in training the network is there as well."),
            ], "Trained: the vectors that go in, and three linear maps.")  # fmt: skip
        else:
            measure(given, kept, [
                (kept + 3 * one, "Kept: what does the model read in the end?"),
                (2 * kept, "Kept: what comes out, without what went in."),
                (6, "Kept: a vector is as many numbers as the model is wide."),
            ], "Kept: vectors times width.")  # fmt: skip

    return test


def _row(g: Any) -> list[str]:
    """A template of random length, such as [CLS] [P] a [P] [P] b [SEP]."""
    row = ["[CLS]", "[P]"]
    for word in ("noun", ":", "[MASK]"):
        row += [word] + ["[P]"] * whole(g, 0, 2)
    return [*row, "and", "[P]", "[P]", "[SEP]"]


def _places(answer: Any, g: Any) -> None:
    row = _row(g)
    given = answer(list(row))
    if not isinstance(given, list | tuple):
        raise Wrong("Return a list, with a number for each [P].")
    here = [i for i, part in enumerate(row) if part == "[P]"]
    words = [sum(part != "[P]" for part in row[:i]) for i in here]
    if len(given) != len(here):
        raise Wrong(f"There are {len(here)} vectors, and the list has {len(given)} numbers.")
    compare(torch.tensor([float(value) for value in given]), torch.tensor(words).float(), [
        (torch.tensor(here).float(), "Those are places among all pieces. Count words alone."),
        (torch.tensor(words).float() - 1, "The token in front of all, [CLS], is a word as well."),
        (torch.tensor(words).float() + 1, "Words in front of the vector, and not up to the next."),
        (float(len(row) - len(here)) - torch.tensor(words).float(), "Count from the front."),
    ], "For each [P]: how many pieces in front of it are no [P]?")  # fmt: skip


def _read(answer: Any, g: Any) -> None:
    E, P = normal(g, 9, 4), normal(g, 3, 4)
    row = [1, None, 5, None, None, 7]
    given = answer(E, P, list(row))
    tensor(given, (6, 4), "What the model reads")
    slots = iter(P)
    right = torch.stack([next(slots) if id_ is None else E[id_] for id_ in row])
    compare(given, right, [
        (torch.stack([P[0] if id_ is None else E[id_] for id_ in row]), "Every slot has a vector "
         "of its own."),
        (torch.cat([P, E[[1, 5, 7]]]), "The vectors stand in their slots, and not in front."),
        (torch.stack([torch.zeros(4).double() if id_ is None else E[id_] for id_ in row]),
         "A slot is no empty place."),
        (torch.stack([P[min(i, 2)] if id_ is None else E[id_] for i, id_ in enumerate(row)]),
         "The next vector, counted in slots and not in pieces."),
        (torch.stack([P[i] for i in (0, 2, 0, 1, 0, 0)]) * torch.tensor([[0], [1], [0], [1], [1],
         [0]]) + torch.stack([E[id_ or 0] * (id_ is not None) for id_ in row]),
         "The slots are filled from the last vector to the first."),
    ], "Words from the table, slots from P, in their order.")  # fmt: skip


def _encoded(answer: Any, g: Any) -> None:
    P, W1, b1, W2, b2 = (normal(g, *s) for s in ((5, 4), (6, 4), (6,), (4, 6), (4,)))
    given = answer(P, W1, b1, W2, b2)
    tensor(given, (5, 4), "The prompt")
    inner = P @ W1.T + b1
    compare(given, inner.relu() @ W2.T + b2, [
        (inner @ W2.T + b2, "Without the ReLU two linear maps are one."),
        ((inner.relu() @ W2.T + b2).relu(), "No ReLU behind the last map: a vector may be negative "
         "anywhere."),
        ((P @ W1.T).relu() @ W2.T, "The biases are missing."),
        (inner.tanh() @ W2.T + b2, "The paper's non-linearity is the ReLU."),
        (P + inner.relu() @ W2.T + b2, "There is no skip around this network."),
    ], "Linear, ReLU, linear, for each row.")  # fmt: skip


_causes = causes((2, 4, 1, 3), (
    "(a) The loss was right in training. What does the loaded file hold?",
    "(b) Next to nothing happens. What was the step made for?",
    "(c) The words are right and the answer is none. What stands at the place of the answer?",
    "(d) One cause is left: what differs between the two outputs?",
))  # fmt: skip

_printed = sentences((0, 1, 0, 1), (
    "(i) Look at the interval of the difference: does it hold zero?",
    "(ii) Which side of zero is this interval on?",
    "(iii) Were other tasks measured?",
    "(iv) Is that said of these runs alone, and does the first line bear it out?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"prompt.p_tuning.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Trained and kept", "short", 10, 1,
        "Six trained vectors in a model of width 1024. The encoder is an MLP of three linear maps "
        "with biases, each from 1024 to 1024. How many numbers are (i) trained, and (ii) kept when "
        "the encoder is thrown away?",
        "count = (..., ...)\n",
        ("What goes into the encoder is trained with it.", "What comes out has the same shape."),
        (Stage("trained", 2, _count(0)), Stage("kept", 1, _count(1))),
    ),
    Exercise(
        _name(2), "Places", "code", 10, 1,
        "`row` is a list of the pieces that a model reads: `\"[CLS]\"`, `\"[P]\"`, `\"horse\"`, "
        "`\"[P]\"`, `\"[MASK]\"`, `\"[SEP]\"`. Return for each `[P]`, in order, how many words "
        "stand in front of it. `[CLS]` and `[MASK]` count as words.",
        "def places(row):\n    raise NotImplementedError\n",
        ("Go through the row and count.", "Two neighbours have the same number."),
        (Stage("the places", 3, _places),),
    ),
    Exercise(
        _name(3), "What the model reads", "code", 15, 2,
        "`E` (V, d) is the table of embeddings, `P` (p, d) the trained vectors. `row` has a token "
        "id for each word and None for each slot. Return the vectors that the model reads, in "
        "their order.",
        "def embedded(E, P, row):\n    raise NotImplementedError\n",
        ("A word has its row of E.", "The first slot has the first row of P."),
        (Stage("the vectors", 3, _read),),
    ),
    Exercise(
        _name(4), "Write an encoder", "code", 15, 2,
        "Take the two-layer network of the maths section, without its LSTM. `P` (p, d) goes in; "
        "`W1` (m, d) with `b1` (m,) and `W2` (d, m) with `b2` (d,) are its maps. Return the "
        "prompt that the model reads, (p, d).",
        "def encode(P, W1, b1, W2, b2):\n    raise NotImplementedError\n",
        ("Each row is treated alike.", "Rows times the transposed matrix."),
        (Stage("the prompt", 3, _encoded),),
    ),
    Exercise(
        _name(5), "Diagnose", "short", 15, 2,
        "Four runs went wrong. (a) A trained template, saved and loaded, scores as before "
        "training. (b) The loss has not moved after sixty steps. (c) A decoder with "
        "`[P] [X] [P] [MASK]` writes an answer that ignores the last vector. (d) The outputs with "
        "and without the encoder differ a little each time. Each has one of these causes: "
        "1 no word stands behind the last vector; 2 the file has what goes into the encoder, and "
        "not the encoder; 3 dropout in the LSTM is still on; 4 the rate is one for weights. Give "
        "the cause of each run.",
        "reasons = (..., ..., ..., ...)\n",
        ("Start with the one that is of decoders alone.",),
        (Stage("the causes", 4, _causes),),
    ),
    Exercise(
        _name(6), "Read", "short", 10, 2,
        "Suppose five paired seeds of one relation gave, in points, with 95 % intervals: "
        "LSTM less none: +1.6 ± 2.1. Trained template less manual: +64 ± 5. Which sentences may "
        "be printed? (i) The LSTM makes templates better here. (ii) The trained template is "
        "ahead of the manual one here. (iii) P-tuning beats manual templates on most tasks. (iv) "
        "We cannot tell whether the LSTM helps here. Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("What does an interval around zero allow?",),
        (Stage("the sentences", 4, _printed),),
    ),
    Exercise(
        _name(7), "Another relation", "open", 45, 3,
        "Take verb → past tense: collect sixty regular verbs whose two forms are one token each, "
        "write three manual templates, and train one. Train a second on the regular verbs and test "
        "it on irregular ones: has the template found the tense, or a suffix?",
        "", ("Copy `fill` and `train_template` from `pftlab/experiments/probing.py`, and give them "
         "your pairs and where training and test begin in them.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "What is kept of the LSTM when a template has been trained?",
        (
            Option("its weights, in half the precision", "Nothing would read them."),
            Option("nothing but the vectors that it gave", "They no longer change.", right=True),
            Option("the vectors that went in, for the next task", "The model never reads these."),
        ),
    ),
    Question(
        "An anchor is",
        (
            Option("a trained vector whose first value is that of a word", "It is not trained."),
            Option("the first vector, which the others follow", "It need not be the first."),
            Option("a literal word that the template brings along", "Frozen, as all words are.",
                   right=True),
        ),
    ),
    Question(
        "A manual template gets a quarter of the plurals, a trained one nearly all, and no weight "
        "has changed. So",
        (
            Option("the base knew them, and the manual question was bad",
                   "What a model cannot be asked, it still may know.", right=True),
            Option("the four vectors have stored the plurals",
                   "The tested nouns were not in training."),
            Option("the base has learned the plurals in its sixty steps of training",
                   "It is frozen."),
        ),
    ),
    Question(
        "P-tuning and P-tuning v2 differ in",
        (
            Option("where vectors enter: at the input, or in every layer", "v2 is prefix tuning.",
                   right=True),
            Option("the encoder: an LSTM and an MLP in one, an MLP alone in the other",
                   "v2 does without, mostly."),
            Option("the year and the authors' data, and little else", "They are two methods."),
        ),
    ),
    Question(
        "In the first paper, GPT beats BERT of its size on understanding. What was compared?",
        (
            Option("two frozen models, without training", "Templates were trained."),
            Option("two frozen models of one size, each with a new head of its own",
                   "There is no new head."),
            Option("models tuned together with a template, on SuperGLUE",
                   "So more than the prompt moved.", right=True),
        ),
    ),
)  # fmt: skip
