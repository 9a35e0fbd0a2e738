"""Prompt tuning on a small encoder: length, start, and head against words, over paired seeds.

    python benchmarks/prompt_ablations.py --out FILE

The file is written when a variant is done, and an interrupted call goes on from there.
"""

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

import pftlab as pft
from pftlab.core import Method
from pftlab.experiments.record import Record
from pftlab.tasks import Task
from pftlab.training.many import fine_tune_many

COMMAND = "python benchmarks/prompt_ablations.py"
BASE, RATE, STEPS, SEEDS = "tiny-encoder", 0.03, 60, range(5)
WORDS, PATTERN = ("bad", "good"), "{text} It was {answer}."


def trained(method: Method, task: Task) -> list[dict[str, float]]:
    """The test accuracy of each seed."""
    done = fine_tune_many(
        BASE, method, task, [(seed, RATE) for seed in SEEDS], steps=STEPS, batch_size=16,
        max_length=32, evaluate_every=STEPS, progress=False,
    )  # fmt: skip
    return [{"accuracy": run.test["accuracy"]} for run in done]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    tokenizer = pft.load_tokenizer(BASE)
    task = pft.load_task("reviews").subset(20, split="validation").subset(300, split="test")
    classes = pft.PromptTuning.from_labels(tokenizer, WORDS, length=20)
    plan = [
        ("vocabulary", pft.PromptTuning(length=20), task),
        ("uniform", pft.PromptTuning(length=20, start="uniform"), task),
        ("normal", pft.PromptTuning(length=20, start="normal"), task),
        ("class words", classes, task),
        ("length 1", pft.PromptTuning(length=1), task),
        ("length 5", pft.PromptTuning(length=5), task),
        ("in words", pft.PromptTuning(length=20), task.in_words(WORDS, PATTERN)),
    ]
    settings = {
        "base": BASE,
        "task": {"name": task.name, "fingerprint": task.fingerprint, "test": 300},
        "training": {"steps": STEPS, "batch_size": 16, "lr": RATE, "max_length": 32},
    }
    record = Record(out, COMMAND, settings)
    for name, method, asked in tqdm(plan):
        rows = [{"variant": name, "seed": seed} for seed in SEEDS]
        record.rows("runs", rows, partial(trained, method, asked))


if __name__ == "__main__":
    main()
