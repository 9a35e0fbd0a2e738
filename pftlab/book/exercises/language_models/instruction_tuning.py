"""Exercises of the chapter book/language_models/instruction_tuning.ipynb."""

from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, tensor, whole
from ..model import Exercise, Option, Question, Stage, Wrong

LENGTHS = (1000, 400, 200, 100, 40, 30, 20, 10)


def _padded(answer: Any, g: Any) -> None:
    padded, _ = numbers(answer, ("padded", "packed"))
    measure(padded, len(LENGTHS) * max(LENGTHS), [
        (sum(LENGTHS), "padded: those are the tokens; each row is as long as the longest."),
        (max(LENGTHS), "padded: that is one row."),
    ], "padded: eight rows, each as long as the longest example.")  # fmt: skip


def _packed(answer: Any, g: Any) -> None:
    _, packed = numbers(answer, ("padded", "packed"))
    measure(packed, 2 * 1000, [
        (sum(LENGTHS), "packed: the last row is filled up, too."),
        (1000, "packed: 1,800 tokens do not fit into one row."),
        (3000, "packed: all examples but the longest fit into one row."),
    ], "packed: fill rows of 1,000, the longest example first, and count whole rows.")  # fmt: skip


def _case(g: Any) -> tuple[list[int], list[int], int, int]:
    prompt = [whole(g, 10, 90) for _ in range(5)]
    answer = [prompt[2], whole(g, 10, 90), prompt[4]]
    return prompt, answer, 5, 12


def _as_list(value: Any) -> list[int]:
    if isinstance(value, Tensor):
        value = value.tolist()
    if not isinstance(value, list):
        raise Wrong(f"Return a list of numbers, not a {type(value).__name__}.")
    return value


def _labels_length(answer: Any, g: Any) -> None:
    prompt, reply, end, length = _case(g)
    given = _as_list(answer(prompt, reply, end, length))
    if len(given) != length:
        raise Wrong(f"{length} labels were wanted, padding included, and there are {len(given)}.")


def _labels_values(answer: Any, g: Any) -> None:
    prompt, reply, end, length = _case(g)
    given = _as_list(answer(prompt, reply, end, length))
    start, stop = len(prompt), len(prompt) + len(reply)
    if any(label != -100 for label in given[:start]):
        raise Wrong("A token of the prompt has a loss.")
    if given[start:stop] == [*reply[1:], end]:
        raise Wrong("Do not shift: the label stands at the token itself, the model shifts.")
    if given[start:stop] != reply:
        raise Wrong("A token of the answer lacks its label, or has another one.")
    if given[stop] != end:
        raise Wrong("The end has no loss, so the model would never learn to stop.")
    if any(label != -100 for label in given[stop + 1 :]):
        raise Wrong("Padding has a loss. Padding may be the end token: go by places, not values.")


def _mask(lengths: list[int]) -> Tensor:
    block = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.arange(len(block))
    return (block[:, None] == block[None]) & (place[:, None] >= place[None])


def _mask_one(answer: Any, g: Any) -> None:
    given = tensor(answer([4]), (4, 4), "The mask").bool()
    right = _mask([4])
    if torch.equal(given, right):
        return
    if torch.equal(given, right.T):
        raise Wrong("Transposed: row i says what token i sees.")
    if not given.diagonal().any():
        raise Wrong("A token sees itself, too.")
    raise Wrong("One example alone: a token sees itself and what stands before it.")


def _mask_more(answer: Any, g: Any) -> None:
    lengths = [2, 3, 1]
    given = tensor(answer(lengths), (6, 6), "The mask").bool()
    if torch.equal(given, torch.ones(6, 6).tril().bool()):
        raise Wrong("Causal over the whole row: the second example sees the first.")
    if not torch.equal(given, _mask(lengths)):
        raise Wrong("Tokens of two examples never see each other; within one it is causal.")


def _logits(g: Any) -> tuple[Tensor, Tensor, Tensor]:
    logits = normal(g, 7, 11)
    tokens = torch.tensor([whole(g, 0, 10) for _ in range(7)])
    labels = torch.where(torch.arange(7) < 4, -100, tokens)
    return logits, labels, logits.log_softmax(-1)


def _loss(answer: Any, g: Any) -> None:
    logits, labels, log = _logits(g)
    places = range(4, 7)
    right = -torch.stack([log[i - 1, labels[i]] for i in places]).mean()
    same = -torch.stack([log[i, labels[i]] for i in places]).mean()
    given = answer(logits, labels)
    given = given if isinstance(given, Tensor) else torch.tensor(float(given)).double()
    compare(given.double().reshape(()), right, [
        (same, "The state *before* a token predicts it: shift by one."),
        (right * 3, "The mean over the answer, not the sum."),
        (right * 3 / 7, "Divide by the labels that count, not by all tokens."),
        (right * 3 / 6, "Divide by the labels that count, not by all predictions."),
        (-right, "The sign: a loss is minus the log-probability."),
    ], "Equation 1: minus the mean log-probability of the labels that are not −100.")  # fmt: skip


_causes = causes((2, 3, 4, 1), (
    "(a) The beginning is right. What was never taught?",
    "(b) The weights are the same in both places. What else does a model read?",
    "(c) The form is right and the word is an old one.",
    "(d) What does an example see in a row with others, and not alone?",
))  # fmt: skip

_printed = sentences((1, 0, 0), (
    "(i) Does the paired interval of the first base hold zero?",
    "(ii) An interval around zero holds gains and losses of four points.",
    "(iii) Both runs had the end among the labels. Was its effect tested?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"language_models.instruction_tuning.{number}"


EXERCISES = (
    Exercise(
        _name(1), "What packing saves", "short", 5, 1,
        "Eight examples have 1,000, 400, 200, 100, 40, 30, 20 and 10 tokens. How many tokens does "
        "a batch have when they are padded to the longest, and how many when they are packed into "
        "rows of 1,000, all rows filled up?",
        "tokens = (..., ...)\n",
        ("Padded: eight rows.", "How many rows do the seven shorter ones need?"),
        (Stage("padded", 1, _padded), Stage("packed", 1, _packed)),
    ),
    Exercise(
        _name(2), "Labels", "code", 10, 1,
        "Return the labels of one example as a list: `prompt` and `answer` are lists of tokens, "
        "`end` is the token that ends an answer, and the row is padded to `length`, perhaps with "
        "the same token.",
        "def labels(prompt, answer, end, length):\n    raise NotImplementedError\n",
        ("−100 where no loss falls.", "Prompt, answer, end, padding: four parts."),
        (Stage("the length", 1, _labels_length), Stage("the values", 2, _labels_values)),
    ),
    Exercise(
        _name(3), "The mask of a packed row", "code", 10, 2,
        "Examples of the given `lengths` (a list) stand in one row. Return a tensor of true and "
        "false, (n, n): whether token i may attend to token j.",
        "def mask(lengths):\n    raise NotImplementedError\n",
        ("Give each token the number of its example.", "`torch.repeat_interleave`, `torch.tril`"),
        (Stage("one example", 1, _mask_one), Stage("several", 2, _mask_more)),
    ),
    Exercise(
        _name(4), "Equation 1", "code", 10, 2,
        "Return the loss for `logits` (n, V) and `labels` (n,), where −100 means no loss.",
        "def loss(logits, labels):\n    raise NotImplementedError\n",
        ("Which state predicts the first token of the answer?", "logits[:-1] and labels[1:]"),
        (Stage("the loss", 3, _loss),),
    ),
    Exercise(
        _name(5), "Diagnose four runs", "short", 10, 2,
        "(a) The text begins with the right answer and goes on until it is cut. (b) Evaluation is "
        "good, and in the program that uses the same weights the answers are poor. (c) The form "
        "is right, and the word in it is one of training's. (d) The loss of an example changes "
        "with the examples that stand in front of it. Causes: 1 examples in a row see each other; "
        "2 the end had no loss; 3 another template in use; 4 few different answers were trained. "
        "Give the cause of (a), (b), (c) and (d).",
        "causes = (..., ..., ..., ...)\n",
        ("Which cause is about the end?", "Use each cause once."),
        (Stage("each run has its cause", 2, _causes),),
    ),
    Exercise(
        _name(6), "Read the intervals", "short", 10, 2,
        "Share of right answers, loss on the answer minus loss on everything, paired by seed, "
        "with 95 % intervals: on one base +12 ± 5 points, on another 0 ± 4. All answers ended. "
        "May one print: (i) on the first base the loss on the answer did better; (ii) on the "
        "second base it makes no difference; (iii) where the loss falls decides whether a model "
        "stops? Give 1 or 0 for each.",
        "printed = (..., ..., ...)\n",
        ("Which interval holds zero?", "What differed between the runs, and what did not?"),
        (Stage("what may be printed", 2, _printed),),
    ),
    Exercise(
        _name(7), "Extend: more colours", "open", 40, 3,
        "The page supposes that four colours are too few to make copying the better way. Test it: "
        "write the questions with twenty colours in training, none of them one of the test's, "
        "keep everything else, and compare with five paired seeds. Then turn it round: train with "
        "four places. Is it the number of values that decides?",
        "", ("Change WORDS, and nothing else.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Where does the loss of instruction tuning fall, as this chapter does it?",
        (
            Option("on the answer, up to and including its end", "The end is part of it.",
                   right=True),
            Option("on every token of question and answer, as in pretraining",
                   "That is the second way of the table, and it did worse."),
            Option("on the answer without the special token that ends it",
                   "Then the model never learns to stop."),
        ),
    ),
    Question(
        "The training loss falls as it should. Which fault may still be there?",
        (
            Option("A rate that is so high that training becomes unstable after a few steps",
                   "Then the loss would rise."),
            Option("A model that never stops", "Its missing label is in no loss.", right=True),
            Option("An adapter that was left out when the optimiser was made",
                   "Then nothing would be trained, and the loss would not fall."),
        ),
    ),
    Question(
        "In the figure of the two rows, the lower left part of the joined row is dark. It says:",
        (
            Option("the first example sees the second one, which comes later in the row",
                   "A decoder never looks ahead; rows are states, columns are what is changed."),
            Option("the second example sees the first", "Its states move when the first changes.",
                   right=True),
            Option("the two examples have some tokens in common at these places",
                   "Each token was changed to one and the same other token."),
        ),
    ),
    Question(
        "The padding token is the end token. When is that harmless?",
        (
            Option("If labels go by place", "Then the end of an answer keeps its label.",
                   right=True),
            Option("If all examples of a batch have the same length, so nothing is padded",
                   "The rule by value takes the end's label even so: the cell shows it."),
            Option("If the attention mask is zero at the padding, as it usually is",
                   "The mask says what is seen, not what has a loss."),
        ),
    ),
    Question(
        "Why were colours of the test answered with colours of the training data?",
        (
            Option("Because the tokenizer does not know the words for the new colours",
                   "It has tokens for them, and they stand in the question."),
            Option("Because the loss was on the answer alone and not on the question",
                   "Places were learned with the same loss, and copied."),
            Option("We do not know", "Few values are a guess, and an exercise tests it.",
                   right=True),
        ),
    ),
)  # fmt: skip
