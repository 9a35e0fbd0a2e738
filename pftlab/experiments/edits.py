"""LoReFT's knobs, its equation with parts taken out, and a steering vector.

    python -m pftlab.experiments.edits --out FILE        in a quarter of an hour

The edits train on a small encoder, each setting at a rate that other seeds chose from one grid. The
steering vector trains nothing: it is a difference of two means, added to the states of a language
model behind one block.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..bases import load_base, load_tokenizer
from ..core import Delta, Site
from ..core.limits import one_of
from ..others.loreft import Edit, Intervention, LoReFT
from ..tasks import Task, load_task
from ..training import fine_tune_many
from .few_shots import PATTERN, WORDS
from .record import Record
from .results import STORED
from .texts import few_texts

COMMAND = "python -m pftlab.experiments.edits"
STORED_EDITS = STORED / "edits.json"
TASK, SEEDS = "reviews", (10, 11, 12, 13, 14)

ENCODER, RATES, SEARCH_SEEDS = "tiny-encoder", (3e-3, 1e-2, 3e-2), (100, 101)
TEXTS = {"validation": 200, "test": 400}
TRAINING: dict[str, Any] = {"steps": 60, "batch_size": 16, "max_length": 32, "evaluate_every": 60}
#: the first words that are edited (32: all of them), and the ranks
POSITIONS, RANKS = (1, 3, 32), (1, 4, 16)

LANGUAGE_MODEL, BLOCK, DRAWN, READ = "smollm2", 15, 32, {"texts": 48, "seed": 7}
STRENGTHS, CONTROLS = (-4, -2, -1, 0, 1, 2, 4), (-2, 2)

#: form → (R orthonormal, reads h through W, subtracts what was there): Appendix E and Eqs. 2 and 3
FORMS = {"loreft": (True, True, True), "no difference": (True, True, False),
         "free rows": (False, True, True), "direft": (False, True, False),
         "no W": (True, False, True), "R and b alone": (True, False, False)}  # fmt: skip


class Constant(nn.Module):
    """b, whatever h is; b (r,)."""

    def __init__(self, rank: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(rank))

    def forward(self, h: Tensor) -> Tensor:
        return self.bias.expand(*h.shape[:-1], -1)


class Form(Intervention):
    """An intervention with parts of Eq. 2 taken out, as `FORMS` names them."""

    def __init__(self, width: int, rank: int, form: str):
        super().__init__(width, rank)
        self.orthonormal, reads, self.subtracts = FORMS[form]
        if not reads:
            self.source = Constant(rank)  # type: ignore[assignment]

    def forward(self, h: Tensor) -> Tensor:
        r = self.rotation() if self.orthonormal else self.free
        said = self.source(h)
        return ((said - h @ r.T) if self.subtracts else said) @ r


@dataclass(frozen=True)
class FormOfLoReFT(LoReFT):
    """LoReFT, with another form of the edit."""

    form: Annotated[str, one_of(*FORMS)] = "loreft"

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        planned = super().plan(model)
        for site, delta in planned:
            if isinstance(delta, Edit):
                delta.interventions = nn.ModuleList(
                    Form(site.d_out, self.rank, self.form) for _ in delta.interventions
                )
        return planned


def settings_of_edits() -> dict[str, FormOfLoReFT]:
    """Name → what is trained: positions × ranks, then the other forms at one of these."""
    grid = {f"first {first}, rank {rank}": FormOfLoReFT(first=first, rank=rank)
            for first, rank in product(POSITIONS, RANKS)}  # fmt: skip
    others = {form: FormOfLoReFT(first=3, rank=4, form=form) for form in FORMS if form != "loreft"}
    return grid | others


def train(
    method: FormOfLoReFT, runs: Sequence[tuple[int, float]], *, test: bool
) -> list[dict[str, float]]:
    """What each (seed, rate) came to."""
    task = few_texts(TASK, TEXTS)
    done = fine_tune_many(ENCODER, method, task, runs, test=test, progress=False, **TRAINING)
    return [
        {"validation": each.run.best["accuracy"]}
        | ({"test": round(each.test["accuracy"], 5)} if test else {})
        for each in done
    ]


def searched(record: Record, name: str, method: FormOfLoReFT) -> float:
    """The rate with the best mean on the validation texts, by seeds that are not scored."""
    runs = list(product(SEARCH_SEEDS, RATES))
    asked = [{"edit": name, "seed": seed, "lr": lr} for seed, lr in runs]
    rows = record.rows("searches", asked, partial(train, method, runs, test=False))
    means = {lr: sum(row["validation"] for row in rows if row["lr"] == lr) for lr in RATES}
    return max(means, key=means.__getitem__)


class Steered:
    """A language model whose states behind one block are moved, all of them alike.

    Args:
        model: a decoder.
        blocks: its blocks.
        number: of the block.
    """

    def __init__(self, model: PreTrainedModel, blocks: nn.ModuleList, number: int):
        self.model, self.block, self.number = model.eval(), blocks[number], number
        self.tokenizer = load_tokenizer(model)
        self.words = [self._ids(f" {word}")[-1] for word in WORDS]

    def last_states(self, texts: Sequence[str]) -> Tensor:
        """Behind the block at the last token of each text (texts, d)."""
        ids, mask = self._batch(texts)
        out = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        states: Tensor = out.hidden_states[self.number + 1]
        return states[torch.arange(len(ids)), mask.sum(1) - 1]

    def answers(self, texts: Sequence[str], vector: Tensor) -> tuple[Tensor, float]:
        """How much likelier "good" is than "bad" behind each text, and the loss of the texts.

        Returns:
            log-odds (texts,), and the mean cross-entropy of the texts' own tokens.
        """
        hook = self.block.register_forward_hook(lambda _, __, out: moved(out, vector))
        ids, mask = self._batch(texts)
        try:
            logits = self.model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
        finally:
            hook.remove()
        words = logits[torch.arange(len(ids)), mask.sum(1) - 1][:, self.words]
        own = logits[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)[mask[:, 1:].bool()]
        return words[:, 1] - words[:, 0], -own.mean().item()

    def _batch(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [self._ids(text) for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ids, mask

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def moved(out: Any, vector: Tensor) -> Any:
    """What a block gives back, with the vector added to its states."""
    return (out[0] + vector, *out[1:]) if isinstance(out, tuple) else out + vector


def asked_texts(task: Task, split: str) -> tuple[list[str], Tensor]:
    """The texts, up to the answer, and their labels."""
    rows = task.in_words(WORDS, PATTERN).rows(split)
    return rows["front"][:], torch.tensor(rows["label"][:])


def steered(model: Steered, seed: int, kind: str, strengths: Sequence[int]) -> list[dict[str, Any]]:
    """What each strength does; the vector is drawn with the seed.

    Args:
        model: the language model.
        seed: of the texts, and of the control.
        kind: "difference of means", or "random": a direction of the same length.
        strengths: times the vector.
    """
    texts, labels = asked_texts(load_task(TASK).subset(2 * DRAWN, seed), "train")
    states = model.last_states(texts)
    vector = states[labels == 1].mean(0) - states[labels == 0].mean(0)
    length = vector.norm()
    if kind == "random":
        vector = torch.randn(len(vector), generator=torch.Generator().manual_seed(seed))
        vector *= length / vector.norm()
    read = load_task(TASK).subset(READ["texts"], READ["seed"], split="test")
    questions, right = asked_texts(read, "test")
    made = []
    for strength in strengths:
        odds, loss = model.answers(questions, strength * vector)
        made.append({
            "accuracy": ((odds > 0) == (right == 1)).double().mean().item(),
            "log_odds_good": round(odds[right == 1].mean().item(), 4),
            "log_odds_bad": round(odds[right == 0].mean().item(), 4),
            "loss": round(loss, 4), "length": round(length.item(), 4),
            "state": round(states.norm(dim=1).median().item(), 4),
        })  # fmt: skip
    return made


def main() -> None:
    """Run what is not in the file yet; it is written after every setting."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_EDITS, help="(%(default)s)")
    settings = {
        "task": {"name": TASK, "fingerprint": load_task(TASK).fingerprint},
        "encoder": {"base": ENCODER, "training": TRAINING, "texts": TEXTS, "rates": RATES},
        "language_model": {"base": LANGUAGE_MODEL, "block": BLOCK, "drawn": 2 * DRAWN,
                           "read": READ, "words": WORDS, "pattern": PATTERN},
    }  # fmt: skip
    record = Record(parser.parse_args().out, COMMAND, settings)
    for name, method in tqdm(settings_of_edits().items()):
        rate = searched(record, name, method)
        runs = [(seed, rate) for seed in SEEDS]
        asked = [{"edit": name, "seed": seed, "lr": lr} for seed, lr in runs]
        record.rows("runs", asked, partial(train, method, runs, test=True))
    base = load_base(LANGUAGE_MODEL)
    model = Steered(base, base.model.layers, BLOCK)
    with torch.no_grad():
        for seed in tqdm(SEEDS):
            for kind, strengths in (("difference of means", STRENGTHS), ("random", CONTROLS)):
                asked = [{"vector": kind, "seed": seed, "strength": c} for c in strengths]
                record.rows("steering", asked, partial(steered, model, seed, kind, strengths))


if __name__ == "__main__":
    main()
