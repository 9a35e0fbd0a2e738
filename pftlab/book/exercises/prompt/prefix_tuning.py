"""Exercises of the chapter book/prompt/prefix_tuning.ipynb."""

from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, pair, tensor
from ..model import Exercise, Option, Question, Stage, Wrong

LAYERS, HEADS, WIDTH, LENGTH = 3, 2, 4, 5


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("kept", "trained"))[which]
        kept = torch.empty(24, 2, 10, 1024, device="meta").numel()
        into = torch.empty(1024, 512, device="meta").numel() + 512
        out = torch.empty(513, 24 * 2 * 1024, device="meta").numel()
        start = torch.empty(10, 1024, device="meta").numel()
        if which == 0:
            measure(given, kept, [
                (kept // 2, "Kept: keys *and* values."),
                (kept // 24, "Kept: every layer has its own."),
                (start, "Kept: that is a prompt at the input."),
                (start + into + out, "Kept: the network is thrown away."),
            ], "Kept: layers, keys and values, positions, width.")  # fmt: skip
        else:
            measure(given, start + into + out, [
                (into + out, "Trained: what the network reads is trained too."),
                (start + into + out - 512 - out // 513, "Trained: both maps have a bias."),
                (kept, "Trained: that is what the network gives, and it trains its own weights."),
                (start + into + out // 2, "Trained: it gives keys *and* values."),
            ], "Trained: the small matrix, and two maps with a bias each.")  # fmt: skip

    return test


def _cache(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("each its own", "one for all"))[which]
        texts = torch.empty(40, 200, device="meta").numel()
        each = torch.empty(40, 20, device="meta").numel()
        if which == 0:
            measure(given, (texts + each) / texts, [
                ((texts + 20) / texts, "Each its own: every text keeps a copy."),
                (each / texts, "Each its own: relative to the cache without it, not what is new."),
                (texts / (texts + each), "Each its own: with the prefix over without it."),
            ], "Each its own: 40 times text and prefix, over 40 times text.")  # fmt: skip
        else:
            measure(given, (texts + 20) / texts, [
                ((texts + each) / texts, "One for all: the prefix is there once."),
                (20 / texts, "One for all: relative to the cache without it, not what is new."),
                (1.0, "One for all: it still takes 20 positions."),
                (220 / 200, "One for all: there are 40 texts, and one prefix."),
            ], "One for all: 40 times text and one prefix, over 40 times text.")  # fmt: skip

    return test


def _matrix(g: Any) -> Tensor:
    return normal(g, LENGTH, LAYERS * 2 * HEADS * WIDTH)


def _layers(answer: Any, g: Any) -> tuple[Tensor, list[Any]]:
    matrix = _matrix(g)
    given = answer(matrix, LAYERS, HEADS)
    if not isinstance(given, (list, tuple)) or len(given) != LAYERS:
        raise Wrong("Return a list with one entry for each layer.")
    if any(not isinstance(each, (list, tuple)) or len(each) != 2 for each in given):
        raise Wrong("Each entry is a pair: keys and values.")
    return matrix, list(given)


def _cache_shape(answer: Any, g: Any) -> None:
    _, given = _layers(answer, g)
    for keys, values in given:
        tensor(keys, (1, HEADS, LENGTH, WIDTH), "The keys of a layer")
        tensor(values, (1, HEADS, LENGTH, WIDTH), "The values of a layer")


def _cache_values(answer: Any, g: Any) -> None:
    matrix, given = _layers(answer, g)

    def read(parts: Tensor) -> Tensor:  # (layers, 2, heads, p, width)
        return parts[:, :, None].reshape(LAYERS, 2, 1, HEADS, LENGTH, WIDTH)

    right = read(matrix.view(LENGTH, LAYERS, 2, HEADS, WIDTH).permute(1, 2, 3, 0, 4))
    first = read(matrix.view(LENGTH, 2, LAYERS, HEADS, WIDTH).permute(2, 1, 3, 0, 4))
    late = read(matrix.view(LENGTH, LAYERS, 2, WIDTH, HEADS).permute(1, 2, 4, 0, 3))
    straight = matrix.reshape(LAYERS, 2, 1, HEADS, LENGTH, WIDTH)
    compare(
        torch.stack([torch.stack(tuple(pair)) for pair in given]),
        right,
        [
            (right.flip(1), "Keys and values are exchanged: keys come first."),
            (right.flip(0), "The layers are in reverse order."),
            (first, "A row goes layer by layer; you took all keys before all values."),
            (late, "Within a layer a row goes head by head; you took the width first."),
            (straight, "The first dimension is the position. A view alone mixes positions: "
             "take the matrix apart first, then move dimensions."),
        ],
        "Take a row apart in the order of the statement, then move the position behind the head.",
    )  # fmt: skip


MEANT = {"item": "hat", "colour": "red", "place": "park"}
CASES: tuple[tuple[dict[str, str], tuple[int, int, int]], ...] = (
    ({"item": "hat", "colour": "red", "place": "park"}, (0, 0, 0)),
    ({"item": "hat", "place": "park"}, (1, 0, 0)),
    ({"item": "bag", "colour": "red", "place": "park"}, (0, 1, 0)),
    ({**MEANT, "day": "Monday", "size": "small"}, (0, 0, 2)),
    ({"item": "bag", "colour": "blue", "day": "Monday"}, (1, 2, 1)),
    ({}, (3, 0, 0)),
)
MESSAGES = (
    "A text that says all slots and nothing else has no errors.",
    "A slot of the record that the text does not have is missing.",
    "A slot with another value is wrong, and it is neither missing nor invented.",
    "Slots that the record does not have are invented; count all of them.",
    "The three kinds can come together in one text.",
    "A text that says nothing leaves out every slot.",
)


def _errors(which: slice) -> Any:
    def test(answer: Any, g: Any) -> None:
        for (said, right), message in list(zip(CASES, MESSAGES, strict=True))[which]:
            given = numbers(answer(dict(said), dict(MEANT)), ("left out", "changed", "invented"))
            if given != right:
                raise Wrong(message)

    return test


def _weights(g: Any) -> Tensor:
    return (2 * normal(g, 2, 4, 7)).softmax(-1)  # 3 of the prefix, then 4 words


def _parts(answer: Any, g: Any) -> tuple[Tensor, Tensor, Tensor]:
    weights = _weights(g)
    share, words = pair(answer(weights, 3), "the share and the weights of the words")
    return weights, tensor(share, (2, 4), "The share"), tensor(words, (2, 4, 4), "The weights")


def _share(answer: Any, g: Any) -> None:
    weights, share, _ = _parts(answer, g)
    right = weights[..., :3].sum(-1)
    compare(share, right, [
        (1 - right, "That is the share of the words."),
        (right / 3, "Add up the weights of the prefix; you averaged them."),
        (weights[..., -3:].sum(-1), "The prefix stands in front."),
    ], "The share is what the prefix gets of each query's attention.")  # fmt: skip


def _words(answer: Any, g: Any) -> None:
    weights, _, words = _parts(answer, g)
    rest = weights[..., 3:]
    compare(words, rest / rest.sum(-1, keepdim=True), [
        (rest, "Those rows do not sum to one: the prefix's share is missing."),
        (rest.softmax(-1), "A second softmax changes ratios. Divide."),
        (rest / rest.sum(-2, keepdim=True), "Each query's weights sum to one, not each key's."),
        (rest * (1 - rest.sum(-1, keepdim=True)), "Divide by what the words get."),
    ], "The words keep their ratios, and each row sums to one.")  # fmt: skip


_causes = causes((3, 1, 4, 2), (
    "(a) Which fault makes all texts look the same to the last layer?",
    "(b) Nothing moves by more than a trace: how far do steps carry?",
    "(c) Right with one program, wrong with another: what do they count differently?",
    "(d) Training was right. What was not in the file, or was drawn again?",
))  # fmt: skip

_printed = sentences((0, 1, 0, 1), (
    "(i) Does the interval of the difference on new words hold zero?",
    "(ii) Look at the sign and at the width of the first row.",
    "(iii) A mean is no cause: was anything but the kind of prefix changed on purpose?",
    "(iv) What may be said of an interval that holds zero?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"prompt.prefix_tuning.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Kept and trained", "short", 10, 1,
        "A decoder has 24 layers of width 1024. The prefix has 10 positions, and a network with "
        "512 numbers in the middle makes it from a matrix of 10 rows of width 1024. Both maps of "
        "the network have a bias. How many numbers are (i) kept when training is over, and (ii) "
        "trained?",
        "count = (..., ...)\n",
        ("What does the network give?", "Its second map has an output for every number kept of "
         "one position."),
        (Stage("kept", 1, _count(0)), Stage("trained", 2, _count(1))),
    ),
    Exercise(
        _name(2), "A cache for forty", "short", 5, 1,
        "A server answers 40 texts of 200 tokens at once, all with one prefix of 20. How many "
        "times as large is the cache of keys and values as without the prefix, if (i) each text "
        "has its own copy of the prefix, and (ii) all of them share one?",
        "times = (..., ...)\n",
        ("Count positions; each takes the same room.",),
        (Stage("each its own", 1, _cache(0)), Stage("one for all", 1, _cache(1))),
    ),
    Exercise(
        _name(3), "From a matrix to a cache", "code", 20, 2,
        "Files hold a prefix as one matrix, a row for each position. A row goes layer by layer: "
        "first the keys of the layer, head by head, then its values. Return a list with the pair "
        "(keys, values) of each layer, both of shape (1, heads, p, width of a head).",
        "def as_cache(matrix, layers, heads):\n    raise NotImplementedError\n",
        ("`view` takes rows apart, `permute` moves dimensions.",
         "Five dimensions: position, layer, key or value, head, width."),
        (Stage("the shapes", 1, _cache_shape), Stage("the numbers", 3, _cache_values)),
    ),
    Exercise(
        _name(4), "Count slot errors", "code", 15, 2,
        "`said` is what a text says, `meant` is the record; both map slots to values. Return how "
        "many slots are missing, wrong and invented, in this order.",
        "def errors(said, meant):\n    raise NotImplementedError\n",
        ("Go through the slots of the record, then through those of the text.",),
        (Stage("one kind", 2, _errors(slice(0, 4))), Stage("together", 1, _errors(slice(4, 6)))),
    ),
    Exercise(
        _name(5), "What the words are left with", "code", 10, 2,
        "`weights` (heads, n, p + n) is the attention of a head with the `p` positions of a "
        "prefix in front. Return two things: the share λ of each query, (heads, n), and the "
        "attention that Equation 1 has for the words without the prefix, (heads, n, n).",
        "def apart(weights, p):\n    raise NotImplementedError\n",
        ("All words have lost the same factor.",),
        (Stage("the share", 1, _share), Stage("the words", 2, _words)),
    ),
    Exercise(
        _name(6), "Diagnose", "short", 15, 2,
        "Four runs went wrong. (a) The loss stays that of guessing, and the last state is the "
        "same for all texts. (b) After 100 steps the loss is that of the beginning, to two "
        "digits. (c) The saved keys and values are the same numbers, and another program writes "
        "other texts with them. (d) In training the texts were good; loaded again, they are "
        "those of an untrained prefix. Which cause belongs to which run? 1: a rate for weights, "
        "with a prefix trained directly. 2: the file holds the network, and neither its output nor "
        "the matrix that it reads. 3: a step so large that attention goes to the prefix alone. 4: "
        "the positions of the text begin at another place.",
        "cause = (..., ..., ..., ...)\n",
        ("Ask of each run what is still right in it.",),
        (Stage("the causes", 3, _causes),),
    ),
    Exercise(
        _name(7), "Read", "short", 10, 2,
        "Ten paired seeds on one base; slot errors in points, network minus direct. Known words: "
        "−6.2 ± 3.1. New words: +1.0 ± 4.4. Which may be printed? (i) With the network there are "
        "more errors on new words. (ii) On this base and known words the network makes fewer "
        "errors. (iii) The network wins on known words because it shares weights between layers. "
        "(iv) On new words these seeds cannot tell the two apart. Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("Intervals tell whether, not why.",),
        (Stage("the sentences", 2, _printed),),
    ),
    Exercise(
        _name(8), "Begin with words", "open", 40, 3,
        "With few examples the authors begin with the keys and values of real words. Do so with "
        "`start_from_text`, with 16 records for training: words of the task, words that have "
        "nothing to do with it, and random numbers, over five paired seeds. Is there a "
        "difference whose interval does not hold zero?",
        "", ("Choose the rate for each start by itself, on the validation split.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "What is left of prefix tuning when training is over?",
        (
            Option("one matrix at the input, read by all layers", "That is a prompt."),
            Option("keys and values for each layer", "A cache that nobody computed from words.",
                   right=True),
            Option("a small network that makes keys from each text", "It never sees a text."),
        ),
    ),
    Question(
        "A trained prefix can be handed to an unchanged model as",
        (
            Option("a few more words in front of the text", "It need not be the cache of words."),
            Option("a change that is added to its weights", "There is nothing to merge."),
            Option("its past keys and values", "Positions must agree, and nothing else.",
                   right=True),
        ),
    ),
    Question(
        "A head spends the share λ on the prefix. How do its weights on two words compare with "
        "those before?",
        (
            Option("both are multiplied by 1 − λ", "So their ratio stays.", right=True),
            Option("the word that fits the prefix gains on the other",
                   "In this head, with this query, the ratio is that of before."),
            Option("both lose λ", "Then a small weight could become negative."),
        ),
    ),
    Question(
        "Why does a network of width 64 ask for a smaller rate than direct training?",
        (
            Option("because it has more numbers, which have to be kept small",
                   "Their count is not what moves an entry."),
            Option("each entry is a sum of many that all move", "They move it together.",
                   right=True),
            Option("because its gradients vanish in the tanh", "That would ask for a larger one."),
        ),
    ),
    Question(
        "In the table of slot errors, new words differ from known ones in that",
        (
            Option("the model has never read such words in its life",
                   "They are common words of its pretraining."),
            Option("they are longer", "They have about as many tokens."),
            Option("no record of the training split had them", "So they must be copied.",
                   right=True),
        ),
    ),
)  # fmt: skip
