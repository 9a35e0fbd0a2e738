"""Exercises of the chapter book/foundations/base_models.ipynb."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..compare import close, compare, measure, number, numbers, pair, tensor, whole
from ..model import Exercise, Option, Question, Stage, Wrong

TINY = 1_891_456  # parameters of tiny-encoder, and its width
WIDTH = 128
PLAIN = ("the", "door", "river", "of", "war", "and", "she", "opened", "history")
OTHERS = ("naïve", "café", "東京", "Talleyrand’s", "über")


def _table(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("as it is", "with 30,522"))[which]
        ours, berts = (torch.empty(n, WIDTH, device="meta").numel() for n in (8192, 30_522))
        if which == 0:
            mistakes = [
                (ours / (TINY - ours), "As it is: of the whole model, not of what is left of it."),
                (
                    2 * ours / TINY,
                    "As it is: the width of a tiny model is 128, that of a mini 256.",
                ),
                (8192 / TINY, "As it is: a token has a number for each of the 128 dimensions."),
                (100 * ours / TINY, "As it is: give a share between 0 and 1, not per cent."),
            ]
            measure(given, ours / TINY, mistakes, "As it is: tokens times width.", within=5e-3)
            return
        grown = TINY - ours + berts
        mistakes = [
            (berts / TINY, "With 30,522: the model is larger, too."),
            (berts / (TINY + berts), "With 30,522: the new table comes in place of the old."),
            (berts / (TINY - ours), "With 30,522: the whole holds the new table as well."),
            (ours / grown, "With 30,522: that is the share of the old table in the new model."),
        ]
        other = "With 30,522: take the old table away, add the new one."
        measure(given, berts / grown, mistakes, other, within=5e-3)

    return test


def _two_tokenizers(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("mini-decoder", "the other"))[which]
        name = ("mini-decoder", "The other")[which]
        nats, tokens = ((3.33, 67), (4.0, 50))[which]
        size = 238.1
        per_byte = nats * tokens / size
        mistakes = [
            (nats / math.log(2), f"{name}: bits, but those of a token."),
            (per_byte, f"{name}: these are nats. How many bits is one?"),
            (per_byte * math.log(2), f"{name}: a nat is more than a bit, so there are more bits."),
            (per_byte / math.log(10), f"{name}: a bit belongs to the logarithm to base 2, not 10."),
            (nats / math.log(2) * size / tokens, f"{name}: a token has several bytes, not less."),
        ]
        if which:
            mistakes.append(
                (nats * 67 / size / math.log(2), "The other: it has 50 million tokens.")
            )
        measure(given, per_byte / math.log(2), mistakes,
                f"{name}: all bits of the text, over all its bytes.", within=5e-3)  # fmt: skip

    return test


Document = tuple[float, int, str]


def _document(g: Any, words: tuple[str, ...]) -> Document:
    text = " ".join(words[whole(g, 0, len(words) - 1)] for _ in range(whole(g, 8, 40)))
    loss = 3 + float(torch.rand((), generator=g, dtype=torch.float64))
    return loss, len(text) // 3 + whole(g, 0, 2), text


def _bits(documents: list[Document]) -> float:
    return sum(loss * tokens for loss, tokens, _ in documents) / math.log(2)


def _bytes(documents: list[Document]) -> int:
    return sum(len(text.encode()) for *_, text in documents)


def _plain(answer: Any, g: Any) -> None:
    documents = [_document(g, PLAIN)]
    loss, tokens, text = documents[0]
    bits, size = _bits(documents), len(text)
    measure(
        answer(documents),
        bits / size,
        [
            (loss * tokens / size, "That is in nats. Where does the 2 of a bit come in?"),
            (bits / size * math.log(2) ** 2, "Nats become bits the other way round."),
            (bits / size * math.log(2) / math.log(10), "Base 10; a bit belongs to base 2."),
            (loss / math.log(2), "That is in bits per token. A token is several bytes."),
            (loss / math.log(2) / size, "`loss` is that of one token, and the text has many."),
            (loss / math.log(2) * size / tokens, "Tokens and bytes are exchanged."),
            (bits, "These are the bits of the whole text."),
        ],
        "One text of plain letters: find its bits first, then divide by its bytes.",
    )


def _letters(answer: Any, g: Any) -> None:
    documents = [_document(g, OTHERS)]
    text = documents[0][2]
    bits = _bits(documents)
    measure(
        answer(documents),
        bits / _bytes(documents),
        [(bits / len(text), "You counted characters. How many bytes has “ï” in UTF-8?")],
        "One text with other letters: count the bytes of its UTF-8.",
    )


def _documents(answer: Any, g: Any) -> None:
    documents = [_document(g, PLAIN + OTHERS) for _ in range(3)]
    tokens, size = sum(n for _, n, _ in documents), _bytes(documents)
    each = [_bits([one]) / _bytes([one]) for one in documents]
    mean = sum(loss for loss, *_ in documents) / 3
    measure(
        answer(documents),
        _bits(documents) / size,
        [
            (each[0], "Only the first document counts in yours."),
            (each[-1], "Only the last document counts in yours."),
            (sum(each) / 3, "A mean of the documents' ratios: a short one counts like a long one."),
            (sum(each), "The documents' ratios are not to be added up."),
            (mean * tokens / math.log(2) / size, "Losses weigh as much as their tokens are many."),
        ],
        "Several documents: the bits of all of them, over the bytes of all of them.",
    )


def _hiding_case(g: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    rank = torch.randperm(120, generator=g).view(6, 20)  # every fate occurs at a chosen place
    ids = torch.randint(10, 100, (6, 20), generator=g)
    other = torch.randint(100, 200, (6, 20), generator=g)
    return ids, rank % 2 == 0, (rank + 0.5) / 120, other, 4


def _fated(ids: Tensor, fate: Tensor, other: Tensor, mask: int) -> Tensor:
    return torch.where(fate < 0.8, mask, torch.where(fate < 0.9, other, ids))


def _hiding_shapes(answer: Any, g: Any) -> None:
    given = pair(answer(*_hiding_case(g)), "(inputs, labels)")
    for value, what in zip(given, ("inputs", "labels"), strict=True):
        tensor(value, (6, 20), f"The tensor of {what}")
        if value.is_floating_point() or value.dtype == torch.bool:
            raise Wrong(f"The {what} are ids: whole numbers, and not {value.dtype}.")
    if (given[0] == -100).any():
        raise Wrong("There is -100 in the inputs. It is for labels, and no token has this id.")


def _hiding_rest(answer: Any, g: Any) -> None:
    ids, chosen, fate, other, mask = _hiding_case(g)
    given = answer(ids, chosen, fate, other, mask)[0]
    if close(given[~chosen], ids[~chosen]):
        return
    hidden = _fated(ids, fate, other, mask)
    compare(
        given,
        torch.where(chosen, hidden, ids),
        [
            (hidden, "`fate` counts at the chosen places only; yours changes others as well."),
            (torch.where(chosen, ids, hidden), "Yours changes exactly what was not chosen."),
        ],
        "What was not chosen should come out as it went in.",
    )


def _hiding_chosen(answer: Any, g: Any) -> None:
    ids, chosen, fate, other, mask = _hiding_case(g)
    given = answer(ids, chosen, fate, other, mask)[0][chosen]
    was, fate, other = ids[chosen], fate[chosen], other[chosen]
    compare(
        given,
        _fated(was, fate, other, mask),
        [
            (was, "Nothing is hidden: the inputs are still the ids."),
            (torch.full_like(was, mask), "All of the chosen are masked. Two in ten should not."),
            (torch.where(fate < 0.8, mask, other), "None of the chosen stays: who should?"),
            (torch.where(fate < 0.8, mask, was), "None of the chosen becomes another token."),
            (torch.where(fate < 0.9, mask, was), "None of the chosen is replaced by `other`."),
            (torch.where(fate < 0.9, other, was),
             "Below 0.9 all are `other`: your second rule undid the first."),
            (_fated(other, fate, was, mask), "Who stays and who becomes another are exchanged."),
            (torch.where(fate >= 0.2, mask, torch.where(fate >= 0.1, other, was)),
             "The shares are right, and the wrong end of `fate` is masked."),
        ],
        "Look at the chosen places: three fates, parted at 0.8 and 0.9.",
    )  # fmt: skip


def _hiding_labels(answer: Any, g: Any) -> None:
    ids, chosen, fate, other, mask = _hiding_case(g)
    hidden = torch.where(chosen, _fated(ids, fate, other, mask), ids)
    compare(
        answer(ids, chosen, fate, other, mask)[1],
        torch.where(chosen, ids, -100),
        [
            (ids, "Labels everywhere: Equation 2 sums over the chosen places alone."),
            (torch.where(chosen, hidden, -100),
             "The labels are what stands in the inputs. What should the model find out?"),
            (torch.where(chosen, -100, ids), "The labels are those of the places not chosen."),
            (torch.where(chosen, ids, 0), "A label of 0 is a token. Which number is none?"),
            (torch.where(chosen & (fate < 0.8), ids, -100),
             "Not only the masked are asked for: M holds all of the chosen."),
            (torch.where(chosen & (fate < 0.9), ids, -100),
             "Those that stay are asked for, too: the model cannot know that they did."),
        ],
        "Labels: the original token at each chosen place, and -100 at all others.",
    )  # fmt: skip


Table = dict[float, dict[int, tuple[float, float]]]  # rate: {seed: (validation, test)}


def _search(g: Any, rates: list[float]) -> Table:
    """One kind of weights: each way to choose finds another rate of the four."""
    best, by_mean, by_test, worst = rates
    table: Table = {rate: {} for rate in rates}
    for rate in rates:
        for seed in range(3):
            validation, test = (70 + 3 * torch.rand(2, generator=g).double()).tolist()
            validation += 15 * (seed == 0 and rate == best) + 20 * (seed > 0 and rate == by_mean)
            validation -= 10 * (rate == worst)
            test += 15 * (rate == by_test) - 4 * (seed == 0)  # seed 0 is never the luckiest
            table[rate][seed] = (validation, test)
    return table


def _search_case(g: Any) -> tuple[list[dict[str, Any]], Table, Table]:
    values = (1e-4, 3e-4, 1e-3, 3e-3)
    rates = [values[i] for i in torch.randperm(4, generator=g).tolist()]
    tables = _search(g, rates), _search(g, rates[1:] + rates[:1])
    runs = [
        {"pretrained": kind == 0, "rate": rate, "seed": seed, "validation": v, "test": t}
        for kind, table in enumerate(tables)
        for rate, seeds in table.items()
        for seed, (v, t) in seeds.items()
    ]
    return [runs[i] for i in torch.randperm(len(runs), generator=g).tolist()], *tables


Scores = dict[int, tuple[float, float]]


def _validation(seeds: Scores) -> float:
    return seeds[0][0]


def _mean(seeds: Scores, split: int = 1) -> float:
    return sum(scores[split] for scores in seeds.values()) / len(seeds)


def _fair_rates(answer: Any, g: Any) -> None:
    runs, *tables = _search_case(g)
    given = numbers(answer(runs), ("rate pretrained", "rate random", "points"))[:2]

    def chosen(score: Callable[[Scores], float]) -> list[float]:
        return [max(table, key=lambda rate: score(table[rate])) for table in tables]

    right = chosen(_validation)
    for rates, message in (
        (right, ""),
        (right[::-1], "The two rates are exchanged: that from pretrained weights comes first."),
        (chosen(_mean), "The test split chose these rates. It is for the end, and touched once."),
        (chosen(lambda seeds: _mean(seeds, 0)), "The rates are searched with seed 0 alone."),
        (chosen(lambda seeds: -_validation(seeds)), "These are the worst rates of the search."),
    ):
        if all(abs(a - b) <= 1e-9 for a, b in zip(given, rates, strict=True)):
            if message:
                raise Wrong(message)
            return
    if abs(given[0] - given[1]) <= 1e-9:
        raise Wrong("One rate for both. A control at the rate of another proves nothing.")
    raise Wrong("Take each kind of weights apart, and its runs with seed 0: which validates best?")


def _fair_points(answer: Any, g: Any) -> None:
    runs, *tables = _search_case(g)
    given = number(answer(runs)[2], "The gain")
    rates = [max(table, key=lambda rate: _validation(table[rate])) for table in tables]
    ours, control = (table[rate] for table, rate in zip(tables, rates, strict=True))
    right = _mean(ours) - _mean(control)
    common = [_mean(ours) - _mean(tables[1][rates[0]]), _mean(tables[0][rates[1]]) - _mean(control)]
    means = [sum(map(_mean, table.values())) / 4 for table in tables]
    measure(
        given,
        right,
        [
            (-right, "The sign: what pretraining gives is pretrained minus random."),
            (right / 100, "In points, please: the accuracies are in % already."),
            (3 * right, "That is the sum over the seeds."),
            (ours[0][1] - control[0][1], "Seed 0 alone: the comparison is over all seeds."),
            (_mean(ours, 0) - _mean(control, 0), "These are points of the validation split."),
            (means[0] - means[1], "A mean over all rates, good and bad ones."),
            *((value, "Both were tested at the same rate.") for value in common),
            (max(t for _, t in ours.values()) - max(t for _, t in control.values()),
             "The best seed of each: whoever has luck wins."),
        ],
        "The rates are right. Now the mean test accuracy of each at its own rate.",
    )  # fmt: skip


def _name(number: int) -> str:
    return f"foundations.base_models.{number}"


EXERCISES = (
    Exercise(
        _name(1), "A table and a model", "short", 5, 1,
        "`tiny-encoder` has 1,891,456 parameters, 8,192 tokens and width 128. Which share of the "
        "parameters is its table of token embeddings (i) as it is, (ii) with BERT's 30,522 tokens, "
        "if all else stayed? (Between 0 and 1, to three digits.)",
        "share = (..., ...)\n",
        ("The table has one row for each token.", "In (ii) the whole grows along with its part."),
        (Stage("as it is", 1, _table(0)), Stage("with 30,522 tokens", 1, _table(1))),
    ),
    Exercise(
        _name(2), "Two tokenizers", "short", 10, 1,
        "The corpus has 238.1 MB. Our tokenizer cuts it into 67 million tokens, and the curve of "
        "`mini-decoder` ends at 3.33 nats per token. Suppose that a model with a larger vocabulary "
        "cuts the same text into 50 million tokens, at a loss of 4.00 nats per token. How many "
        "bits per byte does each need? (To three digits.) Which is the better model?",
        "bits_per_byte = (..., ...)\n",
        ("How many nats does the whole text take?", "One bit is $\\ln 2$ nats."),
        (Stage("mini-decoder", 1, _two_tokenizers(0)), Stage("the other", 1, _two_tokenizers(1))),
    ),
    Exercise(
        _name(3), "Bits per byte", "code", 15, 2,
        "`documents` is a list of `(loss, tokens, text)`: the loss of Equation 1 in nats per "
        "token, the number of tokens that were predicted, and the text. Return the bits per byte "
        "of all of them together.",
        "def bits_per_byte(documents):\n    raise NotImplementedError\n",
        ("A sum over a sum.", "`text.encode()` is what lies on the disk."),
        (
            Stage("one text of plain letters", 1, _plain),
            Stage("bytes are not characters", 1, _letters),
            Stage("several documents", 2, _documents),
        ),
    ),
    Exercise(
        _name(4), "Make gaps", "code", 20, 2,
        "Prepare a batch for Equation 2. `ids` (b, n) are tokens; `chosen` (b, n) is true at the "
        "places $M$; `fate` (b, n) is uniform in [0, 1); `other` (b, n) are random tokens; `mask` "
        "is the number of `[MASK]`. A chosen token becomes `mask` where fate < 0.8, `other` where "
        "0.8 ≤ fate < 0.9, and stays from 0.9 on. Return `(inputs, labels)`. A label is the token "
        "to be found, or -100 where none is asked for: cross-entropy leaves -100 out.",
        "def make_gaps(ids, chosen, fate, other, mask):\n    raise NotImplementedError\n",
        ("`torch.where(condition, a, b)` chooses place by place; put one into another.",
         "Is a token that stays a place of $M$?"),
        (
            Stage("two tensors of ids", 1, _hiding_shapes),
            Stage("what was not chosen stays", 1, _hiding_rest),
            Stage("the chosen have three fates", 2, _hiding_chosen),
            Stage("labels where the loss looks", 2, _hiding_labels),
        ),
    ),
    Exercise(
        _name(5), "A fair control", "code", 25, 3,
        "What is pretraining worth? `runs` is a list of dictionaries, one for each run: "
        "`pretrained` (true, or false for random weights), `rate`, `seed`, `validation` and `test` "
        "(accuracies in %). Every rate was tried with every seed. Choose as this chapter does: for "
        "pretrained and for random weights, each by itself, the rate that is best on the "
        "validation split with seed 0. Return `(rate pretrained, rate random, points)`, where "
        "`points` is what pretraining adds to test accuracy, on average over all seeds.",
        "def worth(runs):\n    raise NotImplementedError\n",
        ("Write a function for one kind of weights first: its rate, and its mean test accuracy.",
         "`max(some, key=lambda run: …)` gives the best run of a list."),
        (
            Stage("each has its own rate", 2, _fair_rates),
            Stage("points at these rates", 2, _fair_points),
        ),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Models with different tokenizers are compared in bits per byte, because",
        (
            Option("bits are a more exact measure of so small a loss than nats",
                   "They differ by a constant, ln 2, that orders no two models anew."),
            Option("a text has as many bytes for the one as for the other",
                   "Fewer and longer tokens mean more nats for each, without a worse model.",
                   right=True),
            Option("the models read bytes",
                   "They read tokens. Bytes are what the tokenizer falls back to where no token "
                   "spells a character."),
        ),
    ),
    Question(
        "Why is `⇧` a token of its own?",
        (
            Option("So that a text has fewer tokens, and the models are quicker",
                   "It has one more for each capital: look at the two sentences of the chapter."),
            Option("Because the models cannot tell capitals",
                   "They can, by this very token, and decoding gives the text back."),
            Option("So that “The” and “the” share a token and what was learned about it",
                   "A small vocabulary need not hold both, and lower-cased data look familiar.",
                   right=True),
        ),
    ),
    Question(
        "The control that tells what pretraining is worth has",
        (
            Option("random weights, the same architecture, and a learning rate of its own",
                   "Then the weights are what differs, if both rates were searched alike.",
                   right=True),
            Option("random weights, the same architecture, and the pretrained model's rate",
                   "What suits the one may be bad for the other: that would measure the rate."),
            Option("pretrained weights that were not fine-tuned",
                   "That would tell what fine-tuning is worth."),
        ),
    ),
    Question(
        "On SST-2, full fine-tuning of `mini-encoder` goes from a rate of 0.0001 to one of 0.0005. "
        "It",
        (
            Option("learns the same as at the lower rate, only faster",
                   "After as many steps it is seven points worse on the validation split."),
            Option("falls to chance: nothing is learned",
                   "It still reaches 80.8 %, far above chance."),
            Option("ends near what random weights reach",
                   "80.8 % against 80.4 % on the validation split. What became of what "
                   "pretraining had given, this run does not tell.", right=True),
        ),
    ),
    Question(
        "On SST-2, LoRA at queries and values beats full training from random weights on "
        "`mini-encoder`, and is on par with it on `tiny-encoder`. This fits the view that",
        (
            Option("LoRA at queries and values trains too few parameters on `tiny-encoder`",
                   "With over four times as many, at all linear maps, it gains half a point."),
            Option("a method that changes little depends on what its base brings",
                   "The larger base has more to keep.", right=True),
            Option("pretraining is worth nothing to `tiny-encoder`",
                   "It adds four points to full fine-tuning."),
        ),
    ),
)  # fmt: skip
