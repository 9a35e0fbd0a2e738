"""What a frozen language model knows of a relation, asked in words and by trained templates.

    python -m pftlab.experiments.probing --out FILE        in some minutes of one core

The relation is noun → plural. A template is a line with [X] for the noun, [MASK] for the answer,
[P] for each trained vector, and literal words (the anchors of P-tuning). The score is the share of
nouns for which the plural is the most probable of all tokens, P@1 in LAMA (Petroni et al., 2019).
Beside it stands a task of another kind, tagging, at rates that the families' search has found.
"""

import argparse
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_base, load_tokenizer
from ..core import BadValue, Method
from ..finetune.full import FullFineTuning
from ..finetune.linear_probe import LinearProbe
from ..prompt.p_tuning import PTuning
from ..prompt.p_tuning_v2 import PTuningV2
from ..tasks import Task, load_task
from ..training import FineTuned, fine_tune, fine_tune_many
from ..training.optimiser import schedule
from .record import Record
from .results import STORED

COMMAND = "python -m pftlab.experiments.probing"
STORED_PROBING = STORED / "probing.json"
SLOT, NOUN, ANSWER = "[P]", "[X]", "[MASK]"

REGULAR = """
agent animal area arm article artist author band bank battle bird boat bone book border boy brother
building candidate car card cell champion cloud companion computer creature critic daughter day
decade device document dog door dream drug ear egg election element engine event eye face fact
farmer feature fellow field figure film finger flower forest friend game garden gate gene girl god
government guest gun hand head hill historian horse hour house idea image island issue job king lake
language law leader letter level line machine method mile mind minute model moment month mountain
name nation network note novel number object officer owner page paper parent patient person picture
piece place plan plant player poem position price prisoner problem product program project question
region river road role room ruler scene scholar school servant ship shoulder sister site slave
soldier son song sound star state station stone store street structure student style subject symbol
system tale team term test text thing thought tool town tree tribe type unit vessel village voice
war wave weapon week window wing word writer yard year
""".split()
OTHERS = """
man:men woman:women child:children foot:feet city:cities country:countries lady:ladies
life:lives army:armies story:stories body:bodies family:families party:parties enemy:enemies
church:churches class:classes century:centuries company:companies theory:theories study:studies
""".split()
TEST, VALIDATION, TRAINING = slice(0, 100), slice(100, 140), slice(140, 200)


def nouns() -> list[tuple[str, str]]:
    """200 nouns with their plurals, each one token of the book's bases, in one random order."""
    pairs = [(noun, f"{noun}s") for noun in REGULAR]
    pairs += [(noun, plural) for noun, _, plural in (pair.partition(":") for pair in OTHERS)]
    random.Random(0).shuffle(pairs)
    return pairs[: TRAINING.stop]


@dataclass(frozen=True)
class Query:
    """A template, filled in with every noun.

    Attributes:
        ids: the words without the trained vectors, (nouns, n).
        place: where in a row the answer is read.
        right: the token that is right, (nouns,).
        position: how many words stand in front of each trained vector.
    """

    ids: Tensor
    place: int
    right: Tensor
    position: tuple[int, ...]


def fill(tokenizer: PreTrainedTokenizerBase, template: str) -> Query:
    """Fill the template in for a masked language model, or a decoder if there is no mask token.

    Raises:
        BadValue: no single noun or answer, or for a decoder no word in front of the answer.
    """
    if template.count(NOUN) != 1 or template.count(ANSWER) != 1:
        raise BadValue(f"{template!r}: a template has one {NOUN} and one {ANSWER}.")
    known: Any = tokenizer
    row: list[int | str] = []
    for part in re.split(r"(\[P\]|\[X\]|\[MASK\])", template):
        if part in (SLOT, NOUN, ANSWER):
            row.append(part)
        elif part.strip():  # a comma belongs to what stands in front of it, if no blank is between
            opening = "" if part.startswith(" ") or not row else "a"
            row += known(opening + part.strip(), add_special_tokens=False)["input_ids"][
                len(opening) :
            ]
    if known.mask_token_id is not None:
        row = [known.cls_token_id, *row, known.sep_token_id]
    else:  # a decoder goes on from the last word
        row = row[: row.index(ANSWER)]
        if not row or row[-1] == SLOT:
            raise BadValue(f"{template!r}: a decoder answers at a word. Put one before {ANSWER}.")
    words = [part for part in row if part != SLOT]
    position = tuple(
        sum(part != SLOT for part in row[:i]) for i, part in enumerate(row) if part == SLOT
    )
    given = [known(f"{noun} {plural}", add_special_tokens=False)["input_ids"]
             for noun, plural in nouns()]  # fmt: skip
    rows = [[noun if part == NOUN else known.mask_token_id if part == ANSWER else part
             for part in words] for noun, _ in given]  # fmt: skip
    place = words.index(ANSWER) if ANSWER in words else len(words) - 1
    return Query(torch.tensor(rows), place, torch.tensor([p for _, p in given]), position)


def answers(model: PreTrainedModel, query: Query, rows: Any) -> Tensor:
    """The scores of all tokens as answers for these rows, (rows, V)."""
    body, head = model.base_model, getattr(model, "cls", None) or model.get_output_embeddings()
    states: Tensor = body(input_ids=query.ids[rows]).last_hidden_state[:, query.place]
    scores: Tensor = head(states)
    return scores


@torch.no_grad()
def share_right(model: PreTrainedModel, query: Query, rows: Any = TEST) -> float:
    """P@1 over these rows: how often the right token has the highest score."""
    hits = answers(model, query, rows).argmax(-1) == query.right[rows]
    return hits.float().mean().item()


def train_template(
    base: str, template: str, encoder: str, lr: float, seed: int = 0, steps: int = 60
) -> PreTrainedModel:
    """Train the vectors of a template, 12 nouns a step; the base stays frozen.

    Args:
        base: a masked language model or a decoder.
        template: with at least one [P].
        encoder: "lstm", "mlp" or "none", as in `PTuning`.
        lr: peak rate of Adam.
        seed: of the vectors, the encoder and the order of the nouns.
        steps: of training.
    """
    query = fill(load_tokenizer(base), template)
    method = PTuning(length=len(query.position), encoder=encoder, position=query.position)
    model: Any = method.attach(load_base(base), seed=seed)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=lr)
    generator = torch.Generator().manual_seed(seed)
    nouns_in_training = torch.arange(TRAINING.start, TRAINING.stop)
    for step in range(1, steps + 1):
        rows = nouns_in_training[torch.randperm(len(nouns_in_training), generator=generator)[:12]]
        loss = nn.functional.cross_entropy(answers(model, query, rows), query.right[rows])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        for group in optimiser.param_groups:
            group["lr"] = lr * schedule(step, steps, 0.06)
        optimiser.step()
    return model


IN_WORDS = (
    "one [X], two [MASK]", "one [X], two [MASK].", "one [X], many [MASK].", "[X] and many [MASK].",
    "from one [X] to many [MASK].", "the plural of [X] is [MASK].",
)  # fmt: skip
FREE, ANCHORED = "[P] [P] [X] [P] [P] [MASK]", "[P] [P] [X] [P] [P] [MASK]."
COMMON = "[P] [P] [X] [P] [P], two [MASK]."  # a decoder reads as far as "two"
BASES = ("tiny-encoder", "tiny-decoder", "mini-encoder", "mini-decoder")
MINI_RATE, MINI_SEEDS = 0.01, range(3)  # dear to train: a rate from the smaller bases, few seeds
RATES = {"none": (0.03, 0.1, 0.3), "mlp": (0.003, 0.01, 0.03), "lstm": (0.003, 0.01, 0.03)}
SEEDS = range(5)


def probed(base: str, template: str, encoder: str, lr: float, seed: int) -> dict[str, float]:
    """P@1 of one run on the nouns that choose the rate, and on those of the test."""
    model = train_template(base, template, encoder, lr, seed).eval()
    query = fill(load_tokenizer(base), template)
    return {"validation": share_right(model, query, VALIDATION), "test": share_right(model, query)}


def probe(
    record: Record, base: str, template: str, encoder: str, rates: Sequence[float], seeds: range
) -> None:
    """Try each rate with the first seed, and train all seeds at the best."""

    def run(lr: float, seed: int) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "base": base, "template": template, "encoder": encoder, "lr": lr, "seed": seed,
        }  # fmt: skip
        return record.row("trained", asked, partial(probed, **asked))

    tried = {lr: run(lr, 0)["validation"] for lr in rates}
    best = max(tried, key=lambda lr: tried[lr])
    for seed in seeds:
        run(best, seed)


def in_words(base: str, template: str) -> dict[str, float]:
    """P@1 of the base as it is, over the nouns of the test."""
    return {"test": share_right(load_base(base).eval(), fill(load_tokenizer(base), template))}


TAGGED: tuple[tuple[Method, float], ...] = (
    (LinearProbe(), 0.05),
    (PTuning(length=10), 0.01),
    (PTuningV2(length=10), 0.1),
    (FullFineTuning(), 0.0005),
)
TRAINING_TAGS: dict[str, Any] = {"steps": 300, "batch_size": 16, "max_length": 32}


def tagging_task() -> Task:
    """The task `tagging`, with few texts to score."""
    return load_task("tagging").subset(20, split="validation").subset(300, split="test")


def tagged(method: Method, lr: float) -> list[dict[str, float]]:
    """The span F1 of each seed, on tiny-encoder with a new head."""
    options: dict[str, Any] = {**TRAINING_TAGS, "evaluate_every": 100, "progress": False}
    task = tagging_task()
    done: Iterable[FineTuned]
    if isinstance(method, FullFineTuning):
        done = (fine_tune(BASES[0], method, task, seed=s, lr=lr, **options) for s in SEEDS)
    else:
        done = fine_tune_many(BASES[0], method, task, [(s, lr) for s in SEEDS], **options)
    return [{"span_f1": each.test["span_f1"]} for each in done]


def main() -> None:
    """Do what is not in the file yet; it is written after every run."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_PROBING, help="(%(default)s)")
    settings = {
        "relation": {"test": 100, "validation": 40, "training": 60, "steps": 60, "batch_size": 12},
        "tagging": {"fingerprint": tagging_task().fingerprint, **TRAINING_TAGS, "test": 300},
    }
    record = Record(parser.parse_args().out, COMMAND, settings)
    for base, template in product(BASES, IN_WORDS):
        asked = {"base": base, "template": template}
        record.row("in_words", asked, partial(in_words, **asked))
    encoders = product((FREE, ANCHORED), ("none", "mlp", "lstm"))
    plan: list[tuple[str, str, str, Sequence[float], range]]
    plan = [(BASES[0], *each, RATES[each[1]], SEEDS) for each in encoders]
    plan += [(base, COMMON, "lstm", RATES["lstm"], SEEDS) for base in BASES[:2]]
    plan += [(base, COMMON, "lstm", (MINI_RATE,), MINI_SEEDS) for base in BASES[2:]]
    for each in tqdm(plan):
        probe(record, *each)
    for method, lr in tqdm(TAGGED):
        rows = [{"method": method.name, "lr": lr, "seed": seed} for seed in SEEDS]
        record.rows("tagged", rows, partial(tagged, method, lr))


if __name__ == "__main__":
    main()
