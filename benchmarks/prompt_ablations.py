"""Prompt tuning on a small encoder: length, start, and head against words, over paired seeds.

    python benchmarks/prompt_ablations.py --out book/results/prompt_ablations.json

Each line of the file is rewritten when it is done, so that what an interrupted call has is kept.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pftlab as pft
from pftlab.core.files import atomic_write
from pftlab.experiments.origin import commit, versions
from pftlab.training.many import fine_tune_many

BASE, RATE, STEPS, SEEDS = "tiny-encoder", 0.03, 60, range(5)
WORDS, PATTERN = ("bad", "good"), "{text} It was {answer}."


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
    held = {
        "command": "python benchmarks/prompt_ablations.py --out book/results/prompt_ablations.json",
        "commit": commit(),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "base": BASE,
        "task": {"name": task.name, "fingerprint": task.fingerprint, "test": 300},
        "training": {"steps": STEPS, "batch_size": 16, "lr": RATE, "max_length": 32},
        "seeds": list(SEEDS),
        "accuracy": {},
    }
    for name, method, asked in plan:
        done = fine_tune_many(
            BASE, method, asked, [(seed, RATE) for seed in SEEDS], steps=STEPS, batch_size=16,
            max_length=32, evaluate_every=STEPS, progress=False,
        )  # fmt: skip
        held["accuracy"][name] = [run.test["accuracy"] for run in done]
        with atomic_write(out) as path:
            path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
        print(name, held["accuracy"][name], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
