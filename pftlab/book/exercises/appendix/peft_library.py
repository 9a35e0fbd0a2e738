"""Exercises of the chapter book/appendix/peft_library.ipynb. They need no PEFT."""

from typing import Any

import torch

from ..compare import compare, measure, numbers, tensor, whole
from ..model import Exercise, Option, Question, Stage, Wrong


def _counts(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("PEFT", "here"))[which]
        A, B = torch.empty(4, 768, device="meta"), torch.empty(768, 4, device="meta")
        lora = 12 * 2 * (A.numel() + B.numel())
        head = 2 * 768 + 2
        if which == 0:
            measure(given, lora + head, [
                (lora, "PEFT: the head is trained as well, and PEFT counts it."),
                (lora + 2 * head, "PEFT: the head is twice in the total, once in what is trained."),
                (lora + head - 2, "PEFT: the classifier has a bias."),
            ], "PEFT: LoRA's matrices, and the classifier with its bias.")  # fmt: skip
        else:
            measure(given, lora, [
                (lora + head, "Here: the head is named apart."),
                (lora // 2, "Here: two matrices for each map, and two maps a layer."),
                (lora // 12, "Here: that is one layer."),
            ], "Here: A and B, for query and value, in each layer.")  # fmt: skip

    return test


def _prefix(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("trained", "saved"))[which]
        layers = torch.nn.Sequential(torch.nn.Linear(768, 768), torch.nn.Linear(768, 2 * 12 * 768))
        network = sum(p.numel() for p in layers.parameters())
        biases = sum(p.numel() for p in layers.parameters() if p.dim() == 1)
        read, table = 30 * 768, 30 * 2 * 12 * 768
        if which == 0:
            measure(given, read + network, [
                (network, "Trained: the vectors that the network reads are missing."),
                (read + network - biases, "Trained: both maps have a bias."),
                (table, "Trained: that is the prefix without a network."),
                (read + network + table, "Trained: the finished prefix is computed, not trained."),
            ], "Trained: the vectors that are read, and the two maps.")  # fmt: skip
        else:
            measure(given, table, [
                (read + network, "Saved: the network stays behind."),
                (table // 2, "Saved: each layer has keys *and* values."),
                (table // 12, "Saved: that is one layer."),
                (read, "Saved: what the network reads stays behind, too."),
            ], "Saved: keys and values of each layer for 30 tokens.")  # fmt: skip

    return test


PREFIX = "base_model.model.bert."


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(f"The key should be a text, and is {type(value).__name__}.")
    return value


def _key_of_matrix(answer: Any, g: Any) -> None:
    layer = whole(g, 0, 9)
    path = f"{PREFIX}encoder.layer.{layer}.attention.self.query.lora_"
    for matrix in "AB":
        given = _text(answer(f"{path}{matrix}.films.weight", "films"))
        if given == f"{path}{matrix}.weight":
            continue
        if "films" in given:
            raise Wrong("The adapter's name is still there.")
        if ".." in given:
            raise Wrong("Two dots in a row: take a whole part out, with its dot.")
        if not given.startswith(PREFIX):
            raise Wrong("In front nothing changes: base_model.model. stays.")
        raise Wrong("All parts but the adapter's name stay, in their order.")


def _key_of_head(answer: Any, g: Any) -> None:
    given = _text(answer("base_model.model.classifier.modules_to_save.films.bias", "films"))
    if given == "base_model.model.classifier.bias":
        return
    if "modules_to_save" in given:
        raise Wrong("In the key of a head's tensor modules_to_save is left out as well.")
    raise Wrong("The head: base_model.model, the module, bias; nothing else.")


def _key_of_namesake(answer: Any, g: Any) -> None:
    path = f"{PREFIX}encoder.layer.3.attention.self.value.lora_A"
    for adapter in ("value", "layer"):
        if _text(answer(f"{path}.{adapter}.weight", adapter)) != f"{path}.weight":
            raise Wrong(
                "An adapter may be called like a module. Only the part behind lora_A, lora_B or "
                "modules_to_save is its name."
            )


def _labels(answer: Any, g: Any) -> None:
    rows, words, length = whole(g, 2, 4), whole(g, 5, 7), whole(g, 2, 4)
    labels = torch.randint(1, 90, (rows, words), generator=g)
    given = answer(labels.clone(), length)
    if isinstance(given, torch.Tensor) and given.shape == labels.shape:
        raise Wrong("There must be a label for each place of the prompt as well.")
    tensor(given, (rows, length + words), "The result")
    if given.is_floating_point():
        raise Wrong("Labels are whole numbers.")
    front = torch.full((rows, length), -100)
    compare(given.double(), torch.cat([front, labels], 1).double(), [
        (torch.cat([labels, front], 1).double(), "A prompt stands in front, so its labels do."),
        (torch.cat([0 * front, labels], 1).double(), "0 is a token. Which label is passed over?"),
        (torch.cat([front // 100, labels], 1).double(), "PyTorch passes over -100, and not -1."),
        (torch.cat([front, 0 * labels - 100], 1).double(), "The words keep their labels."),
    ], "First the prompt's places, with the label that the loss passes over.")  # fmt: skip


PATHS = [
    f"encoder.layer.{i}.attention.self.{name}" for i in range(2) for name in ("query", "value")
] + ["classifier"]


def _found(answer: Any, targets: list[str], right: list[str], said: str) -> None:
    given = answer(list(PATHS), list(targets))
    if not isinstance(given, list | tuple):
        raise Wrong(f"Return a list; this is {type(given).__name__}.")
    if list(given) != right:
        raise Wrong(said)


def _unmatched(answer: Any, g: Any) -> None:
    _found(answer, ["query", "value"], [], "Every target of these matches, so nothing is left.")
    _found(answer, ["query", "valeu"], ["valeu"], "valeu matches nothing, query does.")


def _unmatched_whole(answer: Any, g: Any) -> None:
    _found(answer, ["classifier"], [], "A path that *is* the target matches.")
    _found(
        answer, ["self.query"], [], "A target may have several parts: what follows a dot matches."
    )


def _unmatched_parts(answer: Any, g: Any) -> None:
    _found(answer, ["uery"], ["uery"], "uery is half a name. A match begins behind a dot.")
    _found(answer, ["attention"], ["attention"], "A path must *end* in the target.")
    _found(answer, ["b", "query", "a"], ["b", "a"], "Keep the order in which they were given.")


def _name(number: int) -> str:
    return f"appendix.peft_library.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Two counts of one model", "short", 5, 1,
        "BERT-base has 12 layers of width 768. LoRA of rank 4 on query and value, `SEQ_CLS`, two "
        "labels; the pooler was in the checkpoint. How many trained parameters does "
        "`print_trainable_parameters` print, and how many does this book count?",
        "trained = (..., ...)\n",
        ("What of the two is trained and is not LoRA?", "The classifier is a linear map."),
        (Stage("PEFT", 1, _counts(0)), Stage("here", 1, _counts(1))),
    ),
    Exercise(
        _name(2), "What is trained and what is saved", "short", 10, 2,
        "`PrefixTuningConfig` with 30 virtual tokens and `prefix_projection=True` on a model of 12 "
        "layers of width 768. The network: 30 vectors of width 768 go through a linear map to 768, "
        "tanh, and a linear map to all keys and values. How many numbers are trained, and how many "
        "are in the file?",
        "numbers = (..., ...)\n",
        ("How wide is the output of the last map?", "The file holds what the network gives."),
        (Stage("trained", 2, _prefix(0)), Stage("saved", 1, _prefix(1))),
    ),
    Exercise(
        _name(3), "From name to key", "code", 15, 2,
        "Return the key in PEFT's file for the tensor called `name` in the wrapped model, of the "
        "adapter called `adapter`. The adapter's name is the part behind `lora_A`, `lora_B` or "
        "`modules_to_save`.",
        "def key_of(name, adapter):\n    raise NotImplementedError\n",
        ("Split at the dots.", "Look at the part in front of the one that you leave out."),
        (
            Stage("a matrix of LoRA", 1, _key_of_matrix),
            Stage("a tensor of the head", 1, _key_of_head),
            Stage("an adapter called like a module", 1, _key_of_namesake),
        ),
    ),
    Exercise(
        _name(4), "Labels behind a prompt", "code", 10, 1,
        "A language model reads `length` prompt vectors in front of the words and answers for all "
        "places. `labels` (b, t) are whole numbers. Return the labels that fit its outputs, "
        "(b, length + t); at the prompt the loss should pass over them.",
        "def with_prompt(labels, length):\n    raise NotImplementedError\n",
        ("`torch.nn.functional.cross_entropy` passes over one number.",),
        (Stage("the labels", 2, _labels),),
    ),
    Exercise(
        _name(5), "What matches nothing", "code", 15, 2,
        "PEFT adapts a module if its path is one of the targets, or ends in a dot and a target. It "
        "says nothing of a target that matches no module as long as another one does. Write the "
        "missing check: the list of those `targets` that match none of the `paths`.",
        "def unmatched(paths, targets):\n    raise NotImplementedError\n",
        ("A target is unmatched if no path fits it.", "`str.endswith` does not see dots."),
        (
            Stage("a misspelt name", 1, _unmatched),
            Stage("whole paths", 1, _unmatched_whole),
            Stage("parts of names", 1, _unmatched_parts),
        ),
    ),
    Exercise(
        _name(6), "Diagnose", "open", 20, 2,
        "Four people use PEFT on a classifier. (a) The accuracy changes with the batch size of the "
        "evaluation. (b) After loading, the accuracy is that of guessing, on another machine only. "
        "(c) Training barely gets better, whatever the rate, and the head never moves. (d) Merged "
        "twice, the model answers wrongly. What do you print to tell them apart, and what do you "
        "change?",
        "", ("Three of them are on this page.", "(d): compare a weight before and after.",), (),
    ),
    Exercise(
        _name(7), "Read", "open", 10, 2,
        "A table says: \"PEFT's prompt tuning reached 61 % on our decoder classifier, and prefix "
        "tuning 78 %; so deep prompts are better.\" One seed, batches of 32 padded texts. Which "
        "sentences may be printed? (a) Deep prompts are better. (b) In this set-up prefix tuning "
        "scored higher. (c) The difference may come from padding. (d) The table shows that it "
        "does.",
        "", ("What differs between the two besides the depth?",), (),
    ),
    Exercise(
        _name(8), "A sixth snippet", "open", 30, 3,
        "Find a snippet for PEFT in a tutorial or an answer, or one of your own. Write down what "
        "its title promises. Then test it as this page does: which parameters train, does the "
        "saved file give the same outputs in another session, do answers depend on neighbours, "
        "is it the base when it is turned off?",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "A language model is wrapped with a prompt and task_type=\"SEQ_CLS\". Its generate()",
        (
            Option("raises an error about shapes", "The forward pass with labels does."),
            Option("writes what the base writes", "The prompt is passed by.", right=True),
            Option("writes the name of the class that is most probable",
                   "Nothing in the model has classes."),
        ),
    ),
    Question(
        "Which names are the keys in adapter_model.safetensors?",
        (
            Option("those in the wrapped model, without the adapter's name",
                   "So one file loads under any name.", right=True),
            Option("those of the base model, with the same shapes",
                   "The file has no tensor of the base."),
            Option("those in the wrapped model",
                   "Then an adapter could be loaded under one name alone."),
        ),
    ),
    Question(
        "A checkpoint has no pooler. PEFT's LoRA with SEQ_CLS",
        (
            Option("trains the pooler with the classifier", "It knows the classifier by name."),
            Option("raises, because a module of the model is missing", "transformers draws one."),
            Option("leaves it as it was drawn, and leaves it out of the file",
                   "The next session draws another.",
                   right=True),
        ),
    ),
    Question(
        "An AdaLoRA whose update_and_allocate was never called has",
        (
            Option("all of the rank that it began with, on each of its matrices",
                   "The schedule is in that call.", right=True),
            Option("its target rank, because total_step was given",
                   "The number of steps alone prunes nothing."),
            Option("no rank at all: every singular value stays at zero",
                   "They train; they are not pruned."),
        ),
    ),
    Question(
        "How does one tell a saved P-tuning from a saved prompt tuning?",
        (
            Option("by the tensors of the network that P-tuning trains", "They are not saved."),
            Option("by peft_type in the configuration", "Key and shape are the same.",
                   right=True),
            Option("by the key of the table of vectors", "It is prompt_embeddings in both."),
        ),
    ),
)  # fmt: skip
