"""What the figures show in tests; the numbers are made up, and of no meaning."""

import base64
import random
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tiny import tiny

import pftlab as pft
from pftlab.book.widgets.budget_player import RankHistory
from pftlab.book.widgets.prefix_attention import PrefixAttention
from pftlab.experiments.outcomes import pack
from pftlab.experiments.results import Result
from pftlab.registry import METHODS

BASES = {"tiny": 1_000_000, "mini": 4_000_000}  # name → parameters
TASKS = ("reviews", "pairs")
# method → (trainable parameters, score)
METHODS_SHOWN = {
    "linear_probe": (0, 0.63),
    "ia3": (1_400, 0.77),
    "bitfit": (2_600, 0.766),
    "lora": (7_400, 0.83),
    "prompt_tuning": (2_560, 0.71),
    "houlsby": (60_000, 0.8385),
    "full": (999_230, 0.842),
}


def grid(seeds: int = 5) -> list[Result]:
    """Every method on two bases and two tasks."""
    draw = random.Random(0)
    lines = []
    for base in BASES:
        for task in TASKS:
            for method, (trainable, score) in METHODS_SHOWN.items():
                for seed in range(seeds):
                    lines.append(_line(base, task, method, trainable, score, seed, draw))
    return lines


def _line(
    base: str, task: str, method: str, trainable: int, score: float, seed: int, draw: random.Random
) -> Result:
    accuracy = score + draw.gauss(-0.05 * (task == "pairs"), 0.01)
    settings = {"rank": 8, "alpha": 16.0} if method == "lora" else {}
    return Result(
        key=f"{base} {task} {method} {seed}",
        method=method,
        hyperparameters=settings,
        base={"name": base, "sha256": "0" * 64},
        task={"name": task, "fingerprint": task, "metric": "accuracy", "train": 100,
              "validation": 50, "test": 50},
        training={"steps": 200, "batch_size": 16, "lr": METHODS[method].learning_rate},
        seed=seed,
        validation={"accuracy": accuracy},
        test={"accuracy": accuracy, "f1": accuracy - draw.random() / 10,
              "loss": 1.2 - accuracy},
        parameters={"trainable": trainable, "head": 770, "total": BASES[base] + trainable},
        seconds=10 + trainable / 1e5 + draw.random(),
        examples_per_second=100.0,
        peak_memory_bytes=1 << 28,
        device="a processor",
        memory={"weights": 4 << 20, "gradients": 4 * trainable, "optimiser": 8 * trainable,
                "activations": 3 << 20},
        commit="0123456789abcdef",
        date="2026-01-01T00:00:00+00:00",
        command=f"pftlab compare --base {base} --task {task}",
    )  # fmt: skip


def sizes(seeds: int = 5) -> list[Result]:
    """Two methods in several sizes and two in one, on the base "sized", which forgets."""
    draw = random.Random(1)
    lines = []
    for method, name, chosen in (
        ("linear_probe", "", (0,)),
        ("lora", "rank", (1, 4, 16)),
        ("houlsby", "bottleneck", (4, 16, 64)),
        ("full", "", (0,)),
    ):
        for size in chosen:
            shown = METHODS_SHOWN["houlsby" if size else method]  # sizes that hide one another
            trainable = 1_000 * size if size else shown[0]
            for seed in range(seeds):
                score = shown[1] - 0.08 / (1 + size) * bool(size)
                run = _line("tiny", "reviews", method, trainable, score, seed, draw)
                lines.append(
                    replace(
                        run,
                        key=f"sized {method} {size} {seed}",
                        base={"name": "sized", "sha256": "0" * 64},
                        hyperparameters={name: size} if size else {},
                        forgetting={"metric": "loss", "before": 3.0,
                                    "after": 3.1 + trainable / 1e6 + draw.random() / 10},
                    )
                )  # fmt: skip
    return lines


def answered(seeds: int = 8, texts: int = 60) -> list[Result]:
    """Three methods on the base "tiny" with what they answered to each text."""
    draw, lines = random.Random(2), []
    for method, share in (("lora", 0.8), ("bitfit", 0.75), ("ia3", 0.6)):
        for seed in range(seeds):
            right = [[float(draw.random() < share + 0.02 * (seed % 3))] for _ in range(texts)]
            score = sum(row[0] for row in right) / texts
            line = _line("tiny", "reviews", method, METHODS_SHOWN[method][0], score, seed, draw)
            packed = pack(("right",), np.array(right))
            lines.append(replace(line, test={"accuracy": score}, texts=packed))
    return lines


def ranks() -> RankHistory:
    """Three layers of two matrices whose ranks fall from 6 to 2 in seven allocations."""
    draw, places = random.Random(0), [(i, s) for i in range(3) for s in ("ffn.up", "ffn.down")]
    rows = [[6] * len(places)]
    for budget in range(32, 8, -4):
        chosen = [draw.randrange(len(places)) for _ in range(budget)]
        rows.append([min(6, chosen.count(k)) for k in range(len(places))])
    return RankHistory(places, [0, 10, 20, 30, 40, 50, 60], rows, 100)


def forgotten() -> list[dict[str, Any]]:
    """Two methods at three rates, two seeds each; the second forgets and learns more."""
    return [
        {"method": method, "lr": lr, "seed": seed, "accuracy": 0.5 + 0.1 * i + 0.05 * k + 0.01 * seed,
         "before": 3.0, "after": 3.0 + (1 + k) * (0.3 * i + 0.02 * seed)}
        for k, method in enumerate(("lora", "full"))
        for i, lr in enumerate((1e-4, 1e-3, 1e-2))
        for seed in range(2)
    ]  # fmt: skip


def recording() -> dict[str, Any]:
    """Two runs of two matrices of rank 2, and three sentences, in three frames."""
    draw = random.Random(0)

    def numbers(count: int, high: float) -> str:
        return " ".join(f"{high * draw.random():.3f}" for _ in range(count))

    def run(lr: float) -> dict[str, Any]:
        entries = bytes(draw.randrange(256) for _ in range(3 * 2 * 2 * 3 * 2))
        return {
            "lr": lr,
            "losses": [0.7, 0.6, 0.5, 0.4],
            "accuracy": [0.5, 0.6, 0.7],
            "sure": [numbers(3, 1.0) for _ in range(3)],
            "singular": ["0 0 0 0", "2 1 3 0.5", "4 2 5 1"],
            "units": [0.01, 0.02],
            "entries": base64.b64encode(entries).decode(),
        }

    return {
        "base": {"name": "tiny"}, "task": {"name": "reviews", "test": 10}, "command": "record",
        "sites": [[0, "query"], [0, "value"]], "scale": 2.0, "rank": 2, "width": 8, "shown": 3,
        "labels": ["bad", "good"], "steps": [0, 2, 4], "runs": [run(0.1), run(1.0)],
        "sentences": [{"text": f"Text {i}.", "label": i % 2} for i in range(3)],
    }  # fmt: skip


class Letters:
    """A tokenizer whose tokens are letters."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [3 + ord(letter) % 40 for letter in text]}

    def decode(self, ids: list[int]) -> str:
        return " " if ids[0] == 3 + ord("c") % 40 else chr(80 + ids[0])

    def convert_ids_to_tokens(self, number: int) -> str:
        return f"<{number}>"


tokenizer: Any = Letters()


def prefixed_model() -> Any:
    """A tiny BERT with a prefix of four vectors."""
    model = tiny("bert")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pft.PrefixTuning(length=4, hidden=None, std=1.5).attach(model)
    return model


def prefixed() -> PrefixAttention:
    sentences = ["abcdefg", "a longer sentence", "xyz"]
    return PrefixAttention(prefixed_model(), sentences, tokenizer)
