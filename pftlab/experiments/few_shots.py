"""Few labelled texts: (IA)³ against LoRA and full fine-tuning, and against examples in the context.

    python -m pftlab.experiments.few_shots --out FILE        in a quarter of an hour

Two parts. A language model gets a few texts as examples in its context, or trains (IA)³ on them
with the losses of T-Few. And three methods are trained on a small encoder with few texts and more,
each at a rate that other seeds chose from one grid.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_base, load_tokenizer
from ..core import Method
from ..finetune.full import FullFineTuning
from ..low_rank.lora import LoRA
from ..others.ia3 import IA3
from ..tasks import Task, load_task
from ..tasks.template import Shot
from ..training import fine_tune
from .record import Record
from .results import STORED
from .texts import few_texts

COMMAND = "python -m pftlab.experiments.few_shots"
STORED_FEW_SHOTS = STORED / "few_shots.json"
TASK, SEEDS = "reviews", (10, 11, 12, 13, 14)

LANGUAGE_MODEL, WORDS, PATTERN = "smollm2", ("bad", "good"), "{text} It was {answer}."
SHOTS, TEST = 16, {"texts": 64, "seed": 7}
#: name → how many of the shots stand in the context, and whether with each other's answers
CONTEXTS = {"no examples": (0, False), "4 in context": (4, False), "16 in context": (16, False),
            "16, answers exchanged": (16, True)}  # fmt: skip
#: name → which of `losses` are summed
LOSSES = {"(IA)³, LM": (0,), "(IA)³, LM + UL + LN": (0, 1, 2)}
STEPS, BATCH, RATE = 16, 8, 1e-2

ENCODER, METHODS = "tiny-encoder", (FullFineTuning(), LoRA(rank=8), IA3())
RATES, SEARCH_SEEDS, SEARCH_SHOTS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), (100, 101), 256
SIZES = (16, 64, 256)
TEXTS = {"validation": 100, "test": 300}
TRAINING: dict[str, Any] = {"steps": 40, "batch_size": 16, "max_length": 32, "evaluate_every": 40}


def losses(choices: Sequence[Tensor], right: int) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of T-Few: language model, unlikelihood, length normalisation.

    Liu et al. (2022), Section 3.2, Equations 1 and 2.

    Args:
        choices: for each answer that may be chosen, the log-probabilities of its tokens (T,).
        right: the number of the right one.
    """
    language_model = -choices[right].mean()
    wrong = torch.cat([choice for i, choice in enumerate(choices) if i != right])
    unlikelihood = -torch.log1p(-wrong.exp()).mean()
    normalised = torch.stack([choice.mean() for choice in choices])
    return language_model, unlikelihood, -normalised.log_softmax(0)[right]


class Asked:
    """A language model that is asked for one of the words behind a text.

    Args:
        model: a decoder.
        tokenizer: the model's.
        words: the answers, each a single token behind a blank.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, words: Sequence[str]
    ):
        self.model, self.tokenizer = model, tokenizer
        self.words = [self._ids(f" {word}")[-1] for word in words]

    def __call__(self, fronts: Sequence[str], before: str = "") -> Tensor:
        """The log-probability of each word behind each text (texts, words).

        `before` is read once, and its keys and values serve all texts.
        """
        rows = [self._ids(front) for front in fronts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        cache = None
        if before:
            context = torch.tensor([self._ids(before)])
            cache = self.model(input_ids=context, use_cache=True).past_key_values
            cache.batch_repeat_interleave(len(rows))
            mask = torch.cat([mask.new_ones(len(rows), context.shape[1]), mask], 1)
        out = self.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=bool(before)
        )
        last = torch.tensor([len(row) - 1 for row in rows])
        logits = out.logits[torch.arange(len(rows)), last]
        return logits.float().log_softmax(-1)[:, self.words]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def accuracy(asked: Asked, task: Task, before: str = "") -> float:
    """The share of the test texts behind which the right word is the likeliest."""
    rows = task.rows("test")
    with torch.no_grad():
        chosen = asked(rows["front"][:], before).argmax(1)
    return (chosen == torch.tensor(rows["label"][:])).double().mean().item()


def solved(shots: Sequence[Shot]) -> str:
    """The examples as they stand in front of a text, with a blank line behind each."""
    return "".join(f"{front} {word}.\n\n" for front, word in shots)


def exchanged(shots: Sequence[Shot]) -> tuple[Shot, ...]:
    """The same texts, each with the other answer."""
    return tuple((front, WORDS[1 - WORDS.index(word)]) for front, word in shots)


def in_context(task: Task, name: str, seed: int) -> dict[str, float]:
    """The accuracy with examples in the context, and how many tokens they are."""
    count, wrong = CONTEXTS[name]
    shots = task.shots(count, seed)
    before = solved(exchanged(shots) if wrong else shots)
    tokenizer = load_tokenizer(LANGUAGE_MODEL)
    asked = Asked(load_base(LANGUAGE_MODEL).eval(), tokenizer, WORDS)
    return {"accuracy": accuracy(asked, task, before), "tokens": len(tokenizer(before).input_ids)}


def tuned(task: Task, name: str, seed: int) -> dict[str, float]:
    """The accuracy of (IA)³, trained on the texts of `in_context`, and what the losses came to."""
    model = load_base(LANGUAGE_MODEL).eval()
    asked = Asked(model, load_tokenizer(LANGUAGE_MODEL), WORDS)
    IA3().attach(model, seed=seed)
    trained = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, lr=RATE)
    rows, order = task.subset(SHOTS, seed).rows("train"), torch.Generator().manual_seed(seed)
    rounds = STEPS * BATCH // SHOTS
    turns = torch.cat([torch.randperm(SHOTS, generator=order) for _ in range(rounds)])
    for turn in turns.split(BATCH):
        picked = rows.select(turn.tolist())
        loss = batch_loss(asked(picked["front"][:]), picked["label"][:], LOSSES[name])
        adam.zero_grad()
        loss.backward()
        adam.step()
    return {"accuracy": accuracy(asked, task), "loss": round(loss.item(), 4)}


def batch_loss(words: Tensor, labels: Sequence[int], summed: Sequence[int]) -> Tensor:
    """The mean over texts of the sum of some `losses`; words (texts, words), one token each."""
    terms = [losses(row.split(1), label) for row, label in zip(words, labels, strict=True)]
    return torch.stack([torch.stack([each[i] for i in summed]).sum() for each in terms]).mean()


def trained_encoder(method: Method, shots: int, seed: int, lr: float) -> dict[str, float]:
    """What one run on the small encoder came to; the texts are drawn with the seed too."""
    done = fine_tune(
        ENCODER, method, few_texts(TASK, TEXTS).subset(shots, seed),
        seed=seed, lr=lr, progress=False,
        **TRAINING,
    )  # fmt: skip
    return {"validation": done.run.best["accuracy"], "test": round(done.test["accuracy"], 5)}


def _task_in_words() -> Task:
    task = load_task(TASK).subset(TEST["texts"], TEST["seed"], split="test")
    return task.in_words(WORDS, PATTERN)


def main() -> None:
    """Run what is not in the file yet; it is written after every run."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_FEW_SHOTS, help="(%(default)s)")
    settings = {
        "task": {"name": TASK, "fingerprint": load_task(TASK).fingerprint},
        "language_model": {"base": LANGUAGE_MODEL, "shots": SHOTS, "test": TEST,
                           "words": WORDS, "pattern": PATTERN,
                           "steps": STEPS, "batch_size": BATCH, "lr": RATE},
        "encoder": {"base": ENCODER, "training": TRAINING, "texts": TEXTS},
    }  # fmt: skip
    record, task = Record(parser.parse_args().out, COMMAND, settings), _task_in_words()
    for seed in tqdm(SEEDS):
        for compute, names in ((in_context, CONTEXTS), (tuned, LOSSES)):
            for name in names:
                asked = {"variant": name, "seed": seed}
                record.row("language_model_runs", asked, partial(compute, task, name, seed))
    for method in tqdm(METHODS):
        rate = _searched(record, method)
        for shots in SIZES:
            for seed in SEEDS:
                asked = {"method": method.name, "shots": shots, "seed": seed, "lr": rate}
                compute = partial(trained_encoder, method, shots, seed, rate)
                record.row("encoder_runs", asked, compute)


def _searched(record: Record, method: Method) -> float:
    """The rate with the best mean on the validation texts, by seeds that are not scored."""
    means = {}
    for lr in RATES:
        found = []
        for seed in SEARCH_SEEDS:
            asked = {"method": method.name, "shots": SEARCH_SHOTS, "seed": seed, "lr": lr}
            compute = partial(trained_encoder, method, SEARCH_SHOTS, seed, lr)
            found.append(record.row("searches", asked, compute)["validation"])
        means[lr] = sum(found)
    return max(means, key=means.__getitem__)


if __name__ == "__main__":
    main()
