"""Exercises of the chapter book/prompt/prompt_tuning.ipynb. P (p, d), embedded words (b, n, d)."""

from typing import Any

import torch

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, pair, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("paper", "PEFT"))[which]
        prompt = torch.empty(100, 2048, device="meta").numel()
        if which == 0:
            measure(given, prompt, [
                (24 * prompt, "Paper: the prompt stands at the embedding, once for all layers."),
                (2 * prompt, "Paper: the encoder alone gets a prompt."),
                (100 + 2048, "Paper: each of the vectors has the model's width."),
            ], "Paper: vectors times width.")  # fmt: skip
        else:
            measure(given, 2 * prompt, [
                (prompt, "PEFT: it keeps a prompt for each of the two stacks."),
                (48 * prompt, "PEFT: two stacks, not all of their layers."),
            ], "PEFT: the paper's number, for encoder and decoder.")  # fmt: skip

    return test


def _price(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("tokens", "scores"))[which]
        tokens = torch.empty(150, device="meta").numel() / 50
        if which == 0:
            measure(given, tokens, [
                (tokens - 1, "Tokens: the words themselves pass as well."),
                (1, "Tokens: prompt vectors pass through every layer as words do."),
                (1 / tokens, "Tokens: with the prompt over without it."),
            ], "Tokens: how many vectors pass, relative to the words?")  # fmt: skip
        else:
            measure(given, tokens**2, [
                (tokens, "Scores: longer in one direction; prompt vectors also ask."),
                (tokens - 1, "Scores: each of all vectors looks at each."),
                (1, "Scores: prompt vectors take part in attention."),
            ], "Scores: the square of the length.")  # fmt: skip

    return test


def _batch(g: Any) -> tuple[torch.Tensor, ...]:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    return normal(g, 3, 5), normal(g, 2, 4, 5), mask


def _prepended(answer: Any, g: Any) -> None:
    P, X, mask = _batch(g)
    given, _ = pair(answer(P, X, mask), "the vectors and the mask")
    tensor(given, (2, 7, 5), "The vectors")
    both = P.expand(2, 3, 5)
    compare(given, torch.cat([both, X], 1), [
        (torch.cat([X, both], 1), "The prompt stands in front of the words."),
        (torch.cat([both.flip(1), X], 1), "The prompt's vectors keep their order."),
        (torch.cat([both, X * mask[..., None]], 1), "Leave the words alone: the mask hides them."),
    ], "Every text has the same prompt, and then its own words.")  # fmt: skip


def _mask(answer: Any, g: Any) -> None:
    P, X, mask = _batch(g)
    _, given = pair(answer(P, X, mask), "the vectors and the mask")
    if isinstance(given, torch.Tensor) and given.shape == mask.shape:
        raise Wrong("The mask must cover the prompt too.")
    tensor(given, (2, 7), "The mask")
    front = torch.ones(2, 3)
    compare(given.double(), torch.cat([front, mask], 1).double(), [
        (torch.cat([0 * front, mask], 1).double(), "A prompt that is masked out does nothing."),
        (torch.cat([mask, front], 1).double(), "The mask is in another order than the vectors."),
        (torch.ones(2, 7).double(), "Padding stays hidden."),
    ], "Ones for the prompt, and then the mask of the words.")  # fmt: skip


GROUPS = [[1, 4], [2]]


def _start(answer: Any, g: Any) -> None:
    words = normal(g, 6, 5)
    given = answer(words, [list(group) for group in GROUPS], 5)
    if isinstance(given, torch.Tensor) and tuple(given.shape) == (2, 5):
        raise Wrong("There should be as many vectors as asked for: begin anew with the first.")
    tensor(given, (5, 5), "The start")
    one, two = words[[1, 4]].mean(0), words[2]
    rows = lambda *which: torch.stack([(one, two)[i] for i in which])  # noqa: E731
    turn = (0, 1, 0, 1, 0)
    compare(given, rows(*turn), [
        (torch.stack([(words[1] + words[4], two)[i] for i in turn]), "A mean, and not a sum."),
        (torch.stack([words[(1, 2)[i]] for i in turn]), "A name of two tokens is more than its "
         "first."),
        (rows(0, 0, 0, 1, 1), "In turn: first, second, first, second, …"),
        (rows(1, 0, 1, 0, 1), "Begin with the first class."),
        (torch.stack([words[i] for i in (1, 4, 2, 1, 4)]), "Each class has one vector, not one for "
         "each token."),
    ], "For each vector the mean embedding of a class's tokens.")  # fmt: skip


def _chances(answer: Any, g: Any) -> None:
    logits, words = normal(g, 4, 9), [7, 2, 5]
    given = answer(logits, list(words))
    if isinstance(given, torch.Tensor) and given.dim() == 1:
        raise Wrong("Return a probability for each class, not the class alone.")
    tensor(given, (4, 3), "The probabilities")
    chosen = torch.stack([logits[:, i] for i in words], 1)
    right = chosen.exp() / chosen.exp().sum(1, keepdim=True)
    compare(given, right, [
        (chosen, "Those are the logits of the words. Make probabilities of them."),
        (torch.stack([logits.softmax(1)[:, i] for i in words], 1),
         "These do not add up to 1: the rest of the vocabulary has a share."),
        (right.log(), "Those are logarithms."),
        (right[:, [1, 2, 0]], "In the order of the classes, and not of the token ids."),
        (chosen.softmax(0), "Over the classes of one text, and not over the texts."),
    ], "A softmax over the words of the classes alone.")  # fmt: skip


_causes = causes((2, 4, 1, 3), (
    "(a) Nothing moves by more than a trace: how far do steps carry?",
    "(b) The settings are the same, and one seed fails: what does a seed change?",
    "(c) Training was right. What answered there, and was it in the file?",
    "(d) No step was made yet: what can be known to be impossible before training?",
))  # fmt: skip

_printed = sentences((0, 1, 0, 1), (
    "(i) The mean of the head alone is higher by 0.6. How far do the five runs spread?",
    "(ii) Compare each of the five numbers with both ends of the head's interval.",
    "(iii) What would you have said of a run that is far better than the others?",
    "(iv) The differences go from −24 to +6. Can their interval leave out zero?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"prompt.prompt_tuning.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Count twice", "short", 5, 1,
        "An encoder-decoder of width 2048 has 24 layers in each of its two stacks. How many "
        "numbers does a prompt of length 100 train, (i) in the paper, which prompts the encoder, "
        "and (ii) "
        "in PEFT, which keeps a prompt for each stack?",
        "trained = (..., ...)\n",
        ("Where does a prompt enter?", "Vectors times width."),
        (Stage("paper", 1, _count(0)), Stage("PEFT", 1, _count(1))),
    ),
    Exercise(
        _name(2), "What length costs", "short", 5, 1,
        "Texts have 50 words, the prompt 100 vectors. How many times as many (i) vectors pass "
        "through a feed-forward network, and (ii) attention scores are computed in an encoder, as "
        "without the prompt?",
        "times = (..., ...)\n",
        ("A prompt vector is a word to every layer.",),
        (Stage("tokens", 1, _price(0)), Stage("scores", 1, _price(1))),
    ),
    Exercise(
        _name(3), "In front of every text", "code", 10, 1,
        "`P` (p, d) is the prompt, `X` (b, n, d) are embedded words, `mask` (b, n) is 0 at "
        "padding. Return what the model reads, (b, p + n, d), and the mask that goes with it.",
        "def prepend(P, X, mask):\n    raise NotImplementedError\n",
        ("One prompt, many texts.", "The mask has to grow as well."),
        (Stage("the vectors", 2, _prepended), Stage("the mask", 2, _mask)),
    ),
    Exercise(
        _name(4), "Begin with the classes", "code", 15, 2,
        "`words` (V, d) is the table of embeddings; `groups` has a list of token ids for each "
        "class. Return `length` vectors: the mean embedding of the first class's tokens, that of "
        "the "
        "second, and so on, beginning anew when the classes are used up.",
        "def start(words, groups, length):\n    raise NotImplementedError\n",
        ("One vector for each class first.", "Which class is next? The remainder tells."),
        (Stage("the vectors", 3, _start),),
    ),
    Exercise(
        _name(5), "A verbaliser", "code", 15, 2,
        "`logits` (b, V) are a language model's scores for the next token, `words` the token id of "
        "each class. Return the probabilities of the classes, (b, classes), if the answer must be "
        "one of these words.",
        "def chances(logits, words):\n    raise NotImplementedError\n",
        ("All other tokens are ruled out.", "The rows add up to 1."),
        (Stage("the probabilities", 3, _chances),),
    ),
    Exercise(
        _name(6), "Diagnose", "short", 15, 2,
        "Four runs of prompt tuning went wrong. (a) The loss stays where it was, to three digits. "
        "(b) With one seed of five the loss stays that of guessing, and with the others it falls. "
        "(c) The validation accuracy is good, and the saved prompt scores as guessing after "
        "loading. (d) Attaching is refused. Which cause belongs to which run? 1: the prompt was "
        "saved without its head. 2: a rate for weights. 3: the prompt takes all positions. 4: an "
        "unlucky start.",
        "cause = (..., ..., ..., ...)\n",
        ("The table of what goes wrong has all four.",),
        (Stage("the causes", 3, _causes),),
    ),
    Exercise(
        _name(7), "Read", "short", 10, 2,
        "Five paired seeds on a language model, accuracy in %. The head alone: 82.5 ± 0.5. Prompt "
        "tuning: 88.6, 86.7, 58.5, 88.4 and 87.3, on average 81.9 ± 16.2. Which may be printed? "
        "(i) The head alone is better. (ii) Four of the five prompts lie above the head's "
        "interval, and one below. (iii) One run is an outlier; without it, prompt tuning is better "
        "than the head alone. (iv) By their means, these seeds cannot tell the two apart. Give 1 "
        "or 0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("What would you have said of a good seed?",),
        (Stage("the sentences", 2, _printed),),
    ),
    Exercise(
        _name(8), "A mixture of starts", "open", 30, 3,
        "Half of the vectors begin as class words, half as drawn words. `PromptTuning` takes a "
        "group of token ids for each vector, so you need no new class. Is it better than either, "
        "over "
        "five paired seeds, on the task and base of your choice?",
        "", ("`first_vectors` shows how words are drawn; the ids of a class are a group.",),
        (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "What does prompt tuning train?",
        (
            Option("the embeddings of the words in the prompt", "The table is frozen."),
            Option("vectors at the input, which need not be those of words",
                   "They may lie anywhere.", right=True),
            Option("a text that is searched for word by word", "That is a discrete prompt."),
        ),
    ),
    Question(
        "In the paper, \"steps of LM adaptation\" are steps of",
        (
            Option("training the prompt on the language model's loss", "The prompt has a task."),
            Option("further pretraining, before any task", "All weights train, once for all.",
                   right=True),
            Option("tuning the prompt", "These are counted apart."),
        ),
    ),
    Question(
        "In the toy, one vector gets most of the English sentence right, and next to nothing of "
        "the random texts. In what do the two kinds of text differ?",
        (
            Option("in how much of them the frozen model could guess by itself",
                   "Of a sentence, much; of random tokens, nothing.", right=True),
            Option("in length: random texts have more tokens", "All have 12."),
            Option("in the steps of training that they got", "All got 100."),
        ),
    ),
    Question(
        "A prompt of 100 vectors makes a step",
        (
            Option("cheaper, because few numbers are trained, and only they need a gradient",
                   "They are trained through all layers."),
            Option("more expensive, because every layer reads them",
                   "Each text is that much longer.", right=True),
            Option("as expensive as before, since they are added once, at the input",
                   "From there on they are in every layer."),
        ),
    ),
    Question(
        "Four seeds of five end near 88 % and one below 60 %. What may one say?",
        (
            Option("the method reaches about 88 %, for one run is an outlier",
                   "You chose after you looked."),
            Option("nothing: five seeds are too few", "They show that it can fail."),
            Option("one of these five runs failed, and the mean describes neither group",
                   "So the next may.", right=True),
        ),
    ),
)  # fmt: skip
