"""Where the loss of instruction tuning should fall: on the answer, on all, or short of its end.

    python -m pftlab.experiments.answering --out FILE        in some minutes

A base that was never taught to answer learns it from made-up questions. Test questions have words
that no training question has, so an answer has to be copied from the question. The learning rate
of each place of the loss is searched with a seed of its own, by other questions than the test's.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..bases import load_base, load_tokenizer
from ..low_rank.lora import LoRA
from ..tasks import Task, load_task
from ..tasks.encoding import IGNORED, Example
from ..training import measure_forgetting
from ..training.generation import Writer, Written
from .record import Record
from .results import STORED

COMMAND = "python -m pftlab.experiments.answering"
STORED_ANSWERS = STORED / "answering.json"
BASE = "mini-decoder"
MAPS = (
    "attention.query", "attention.key", "attention.value", "attention.output", "ffn.up",
    "ffn.down",
)  # fmt: skip
#: What a question may ask for: words of the training questions, and those of the others.
WORDS = {
    "who": (
        "farmer teacher doctor soldier nurse lawyer writer miner",
        "sailor merchant priest student clerk engineer",
    ),
    "colour": ("red blue black brown", "green white yellow purple"),
    "item": (
        "umbrella hat coat bag key lamp pen sword",
        "ring cloak camera shoe basket purse letter cup",
    ),
    "place": (
        "station church school market library park",
        "hotel theatre hospital museum bridge castle",
    ),
}
QUESTIONS = (
    ("Who found it?", "The {who}."),
    ("What colour is it?", "{Colour}."),
    ("What was found?", "A{n} {item}."),
    ("Where was it found?", "At the {place}."),
)
TEMPLATE = (
    "{% for turn in messages %}"
    "{% if turn.role == 'user' %}Question: {{ turn.content }}\n"
    "{% else %}Answer: {{ turn.content }}[END]{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)
LOSSES = ("answer", "everything", "no end")
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
SEARCHED = 100  # the seed of the search
SEEDS = (0, 1, 2, 3, 4)
LONGEST = 10  # tokens of an answer that is written


def questions(n: int, seed: int, new: bool = False) -> list[dict[str, str]]:
    """`n` questions with answers; `new`: of words that training does not show."""
    draw, rows = random.Random(seed), []
    for _ in range(n):
        said = {key: draw.choice(both[new].split()) for key, both in WORDS.items()}
        said["n"] = "n" if said["item"][0] in "aeiou" else ""
        said["Colour"] = said["colour"].title()
        text = "The {who} found a {colour} {item} at the {place}.".format(**said)
        question, answer = draw.choice(QUESTIONS)
        target = answer.format(**said)
        rows.append({"source": f"{text} {question}", "target": target})
    return rows


def task() -> Task:
    """Questions for training, and others with new words to search by and to test with."""
    return load_task(
        {
            "train": questions(600, seed=0),
            "validation": questions(48, seed=1, new=True),
            "test": questions(96, seed=2, new=True),
        }
    )


def chat_tokenizer(base: str = BASE) -> PreTrainedTokenizerBase:
    """The base's tokenizer with a chat template, which it does not bring."""
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def labelled(examples: Sequence[Example], loss: str, end: int) -> list[Example]:
    """The examples with the loss on the answer, on all, or on all but its end."""
    changed = []
    for example in examples:
        labels = example["labels"]
        if loss == "everything":
            labels = example["input_ids"]
        if loss == "no end":
            labels = [IGNORED if label == end else label for label in labels]
        changed.append({**example, "labels": labels})
    return changed


def tune(
    model: PreTrainedModel,
    examples: Sequence[Example],
    collate: Any,
    *,
    lr: float = 3e-3,
    steps: int = 60,
    batch_size: int = 8,
    seed: int = 0,
) -> None:
    """AdamW on what is trainable, at a rate that falls to zero; each example once at most."""
    torch.manual_seed(seed)
    order = torch.randperm(len(examples)).tolist()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    schedulers = torch.optim.lr_scheduler
    falling = schedulers.LambdaLR(optimiser, lambda step: 1 - step / steps)
    model.train()
    for step in range(steps):
        chosen = order[step * batch_size : (step + 1) * batch_size]
        loss = model(**collate([examples[i] for i in chosen])).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        falling.step()
    model.eval()


def fresh(seed: int = 0) -> PreTrainedModel:
    """The base with LoRA on every linear map."""
    model = load_base(BASE)
    LoRA(rank=8, at=MAPS).attach(model, seed=seed)
    return model


def ask(
    model: PreTrainedModel, data: Task, tokenizer: PreTrainedTokenizerBase, split: str = "test"
) -> list[Written]:
    """What the model answers to a split."""
    return Writer(model, data, tokenizer, split, max_length=64, longest=LONGEST, limit=None)()


def share_right(written: Sequence[str], wanted: Sequence[str]) -> float:
    """The share of texts that begin with what was wanted, whatever follows."""
    pairs = zip(written, wanted, strict=True)
    return sum(text.startswith(answer) for text, answer in pairs) / len(wanted)


def run(loss: str, lr: float, seed: int, split: str, data: Task, **options: Any) -> dict[str, Any]:
    """One training, and what the model then answers to a split."""
    tokenizer, model = chat_tokenizer(), fresh(seed)
    end = int(tokenizer.eos_token_id)
    examples = labelled(data.encode(tokenizer, "train"), loss, end)
    tune(model, examples, data.collate(tokenizer), lr=lr, seed=seed, **options)
    written = ask(model, data, tokenizer, split)
    texts = [one.text for one in written]
    forgetting = measure_forgetting(model, tokenizer=tokenizer)
    assert forgetting is not None, "the base was pretrained"
    return {
        "right": share_right(texts, data.rows(split)["target"][:]),
        "ended": sum(one.ended for one in written) / len(written),
        "forgetting": vars(forgetting),
        "written": texts[:8],
    }


def main() -> None:
    """Search, then train what is not in the file yet."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--out", type=Path, default=STORED_ANSWERS, help="(%(default)s)")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    data = task()
    settings = {
        "base": BASE,
        "task": {"fingerprint": data.fingerprint} | {n: len(s) for n, s in data.splits.items()},
        "rates": RATES,
    }
    record = Record(out, COMMAND, settings)

    def result(section: str, loss: str, lr: float, seed: int, split: str) -> dict[str, Any]:
        asked = {"loss": loss, "lr": lr, "seed": seed, "split": split}
        return record.row(section, asked, lambda: run(loss, lr, seed, split, data))

    best = {}
    for loss in tqdm(LOSSES[:2], desc="searches"):
        tried = [result("searches", loss, lr, SEARCHED, "validation") for lr in RATES]
        best[loss] = max(tried, key=lambda one: one["right"])["lr"]
    best["no end"] = best["answer"]  # the same run but for one label
    for seed in tqdm(SEEDS, desc="seeds"):
        for loss in LOSSES:
            result("runs", loss, best[loss], seed, "test")


if __name__ == "__main__":
    main()
