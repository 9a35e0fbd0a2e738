"""Exercises of the chapter book/prompt/p_tuning_v2.ipynb. Prompts (p, d) for every layer."""

from typing import Any

import torch

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("trained", "kept"))[which]
        kept = torch.empty(16, 2, 6, 512, device="meta").numel()
        rows = torch.empty(6, 512).numel()
        first, last = torch.nn.Linear(512, 256), torch.nn.Linear(256, kept // 6)
        network = sum(p.numel() for layer in (first, last) for p in layer.parameters())
        if which == 0:
            measure(given, rows + network, [
                (network, "Trained: the rows that the network reads are trained as well."),
                (rows + network - 256 - kept // 6, "Trained: each layer of the network has a "
                 "bias."),
                (rows + network + kept, "Trained: keys and values are computed here, and not "
                 "parameters."),
                (kept, "Trained: that is what the network gives."),
            ], "Trained: the small matrix, and a network of two linear layers.")  # fmt: skip
        else:
            measure(given, kept, [
                (kept // 2, "Kept: each layer has keys and values."),
                (kept // 16, "Kept: every layer has its own."),
                (rows + network, "Kept: the network has done its work after training."),
            ], "Kept: keys and values of each place in each layer.")  # fmt: skip

    return test


def _layers(answer: Any, g: Any) -> None:
    E, W1, b1, W2, b2 = (
        normal(g, 3, 4), normal(g, 5, 4), normal(g, 5), normal(g, 2 * 2 * 6, 5), normal(g, 24),
    )  # fmt: skip
    given = tensor(answer(E, W1, b1, W2, b2, 2), (2, 2, 3, 6), "The prompt")
    out = torch.tanh(E @ W1.T + b1) @ W2.T + b2
    right = out.view(3, 2, 2, 6).permute(1, 2, 0, 3)
    relu = (torch.relu(E @ W1.T + b1) @ W2.T + b2).view(3, 2, 2, 6).permute(1, 2, 0, 3)
    bare = (torch.tanh(E @ W1.T) @ W2.T).view(3, 2, 2, 6).permute(1, 2, 0, 3)
    straight = ((E @ W1.T + b1) @ W2.T + b2).view(3, 2, 2, 6).permute(1, 2, 0, 3)
    compare(given, right, [
        (out.reshape(2, 2, 3, 6), "The order of the numbers: first split the columns, then turn "
         "the axes."),
        (right.flip(1), "Keys come before values."),
        (right.transpose(0, 1), "Layers come before keys and values."),
        (relu, "The network of the paper has a tanh."),
        (straight, "Something that is not linear stands between the two."),
        (bare, "Both linear layers have a bias."),
    ], "Linear, tanh, linear; then (p, layers, 2, d) with its axes turned.")  # fmt: skip


def _mixed(answer: Any, g: Any) -> None:
    K, prompts, owners = normal(g, 4, 5, 3), normal(g, 3, 2, 3), [2, 0, 2, 1]
    given = tensor(answer(K, prompts, list(owners)), (4, 7, 3), "The keys")
    own = prompts[owners]
    compare(given, torch.cat([own, K], 1), [
        (torch.cat([K, own], 1), "The prompt stands in front of the text's keys."),
        (torch.cat([prompts[:1].expand(4, 2, 3), K], 1), "Each row has the prompt of its task."),
        (torch.cat([prompts.mean(0).expand(4, 2, 3), K], 1), "Its own task's, and not a mean."),
        (torch.cat([prompts[sorted(owners)], K], 1), "In the order of the rows, not of the tasks."),
    ], "For each row the prompt that its owner names, then the row's keys.")  # fmt: skip


def _tagging_loss(answer: Any, g: Any) -> None:
    logits = normal(g, 2, 5, 3)
    tags = torch.tensor([[0, 2, 1, 1, 0], [1, 0, 2, 0, 0]])
    first = torch.tensor([[0, 1, 1, 0, 1], [0, 1, 0, 0, 0]]).bool()
    given = answer(logits, tags.clone(), first.clone())
    if isinstance(given, torch.Tensor) and given.dim():
        raise Wrong("One loss for the batch: a single number.")
    given = tensor(given, (), "The loss")
    each = -logits.log_softmax(-1).gather(-1, tags[..., None])[..., 0]
    rows = torch.stack([e[f].mean() for e, f in zip(each, first, strict=True)])
    compare(given, each[first].mean(), [
        (each.mean(), "Only the first piece of a word has a tag that counts."),
        (each[first].sum(), "A mean over the words, and not a sum."),
        (rows.mean(), "Every word counts the same, whatever the length of its text."),
        ((each * first).mean(), "Divide by the number of words, not by the number of places."),
        (-each[first].mean(), "The sign: a loss falls when the right tag becomes likelier."),
    ], "The mean cross-entropy over the places where `first` is True.")  # fmt: skip


_causes = causes((3, 1, 4, 2), (
    "(a) Training is fine, and every loaded copy guesses. What was left on the other disk?",
    "(b) Both tasks, one step size for two kinds of parameters. Which moves too far?",
    "(c) The outputs are those of the base, bit for bit. What never reaches attention?",
    "(d) Few tags change, and more for some texts than for others. What do words know of places?",
), of="run")  # fmt: skip

_printed = sentences((1, 0, 0, 1), (
    "(i) Does the interval of the difference hold zero?",
    "(ii) Which rows have 24 layers?",
    "(iii) An interval that holds zero says neither better nor equal.",
    "(iv) Both numbers of that row belong to one base and task.",
))  # fmt: skip


def _name(number: int) -> str:
    return f"prompt.p_tuning_v2.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Count what is thrown away", "short", 10, 1,
        "A model has 16 layers of width 512. A network of hidden width 256 makes deep prompts of "
        "length 6 from a small matrix of 6 rows of width 512. How many numbers are (i) trained, "
        "and (ii) kept after training?",
        "numbers = (..., ...)\n",
        ("How wide is the last layer of the network?", "Count the biases."),
        (Stage("trained", 2, _count(0)), Stage("kept", 1, _count(1))),
    ),
    Exercise(
        _name(2), "One network, all layers", "code", 20, 2,
        "`E` (p, d) goes through `W1` (m, d), `b1`, tanh, `W2` (layers · 2 · d, m), `b2`. The "
        "columns of the result are sorted by layer, and within a layer keys come first. Return "
        "the prompts of all layers, (layers, 2, p, width).",
        "def prompts(E, W1, b1, W2, b2, layers):\n    raise NotImplementedError\n",
        ("The network gives (p, layers · 2 · width).", "`view`, and then `permute`."),
        (Stage("the prompts", 4, _layers),),
    ),
    Exercise(
        _name(3), "A batch of several tasks", "code", 15, 2,
        "`K` (b, n, d) are one layer's keys, `prompts` (tasks, p, d) its trained keys for each "
        "task, `owners` the list of each row's task. Return the keys that attention reads, "
        "(b, p + n, d).",
        "def keys(K, prompts, owners):\n    raise NotImplementedError\n",
        ("A list can be an index.",),
        (Stage("the keys", 3, _mixed),),
    ),
    Exercise(
        _name(4), "The loss of a tagger", "code", 15, 2,
        "A word may be several tokens; the first of them answers for it. `logits` (b, n, c), "
        "`tags` (b, n) and `first` (b, n), True at the first token of a word. Return the loss, "
        "the mean over all words of the batch.",
        "def loss(logits, tags, first):\n    raise NotImplementedError\n",
        ("`logits[first]` has a row for each word.",),
        (Stage("the loss", 3, _tagging_loss),),
    ),
    Exercise(
        _name(5), "Diagnose", "short", 15, 2,
        "Four runs of P-tuning v2. (a) Good in training; whoever loads the file guesses. (b) "
        "Direct prompts learn at a rate, and with a network the same rate stays at the loss of "
        "guessing. (c) Outputs equal those of the base, and the loss falls by the head alone. "
        "(d) A prompt from other code gives a few other tags than there. Causes: 1 a rate for "
        "keys and values on a network; 2 the text's positions begin elsewhere; 3 the file holds "
        "no head; 4 the mask hides the prompt's places. Give the cause of (a), (b), (c) and (d).",
        "causes = (..., ..., ..., ...)\n",
        ("Use each cause once.",),
        (Stage("each run has its cause", 2, _causes),),
    ),
    Exercise(
        _name(6), "Read", "short", 10, 2,
        "Paired differences from a prompt at the input, five seeds, in points, on one base of 6 "
        "layers. All layers: tagging +11.2 ± 3.1, classification +1.4 ± 2.6. Top layer: tagging "
        "+6.0 ± 4.4. What may one print? (i) On this base, tagging is better with prompts in all "
        "layers than with one at the input. (ii) On models of 24 layers the upper eight are "
        "enough. (iii) For classification, depth makes no difference. (iv) On this base one "
        "prompted layer, the top one, is better for tagging than the input. Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("Look at what each sentence is about, and at zero.",),
        (Stage("what may be printed", 2, _printed),),
    ),
    Exercise(
        _name(7), "Extend: a length for each layer", "open", 45, 3,
        "Attach prompts of different lengths to different layers of one model: several "
        "`PTuningV2` with `layers=` and a name each. Positions can shift once only; what do you "
        "set? Spend the same number of numbers rising and falling with depth, over five paired "
        "seeds. Which sentence may you print?",
        "", ("`shift_positions=False` for all.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "P-tuning v2 is nearest to",
        (
            Option("P-tuning, with a better encoder", "The name says so, and the method does not."),
            Option("prefix tuning", "Keys and values in every layer.", right=True),
            Option("prompt tuning on a larger model", "That stands at the input alone."),
        ),
    ),
    Question(
        "Why can a verbaliser not tag?",
        (
            Option("It gives one answer to a text", "Every word needs one; a head gives it.",
                   right=True),
            Option("Tags are too many for the vocabulary", "Nine tags are few."),
            Option("A frozen model has no state for single words", "It has one for each token."),
        ),
    ),
    Question(
        "In the figure, the dotted line is",
        (
            Option("the base without any training", "It would guess."),
            Option("a prompt at the input", "It has as many numbers as the others.", right=True),
            Option("a prompt in all layers, of twice the length", "All marks have one count."),
        ),
    ),
    Question(
        "A deep prompt and one at the input, both of length 10, differ in",
        (
            Option("depth alone, because the length is the same", "Count both."),
            Option("count alone, because both reach every layer", "One reaches it through others."),
            Option("depth and count at once", "So a fair test holds one of them still.",
                   right=True),
        ),
    ),
    Question(
        "The network that makes the prompt helps",
        (
            Option("always: it makes training stable", "The paper finds that it can hurt."),
            Option("on some tasks, says the paper", "On others it does nothing, or hurts.",
                   right=True),
            Option("whenever the model is small", "The paper divides by task."),
        ),
    ),
    Question(
        "Deep prompts of length 10 on a model of 4 layers have as many numbers as a prompt at the "
        "input of length",
        (
            Option("10", "It has neither layers nor keys and values."),
            Option("40", "Each layer has keys, and values too."),
            Option("80", "Twice the layers.", right=True),
        ),
    ),
)  # fmt: skip
