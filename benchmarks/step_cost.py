"""What a training step of each method costs in time and memory, against full fine-tuning.

    python benchmarks/step_cost.py
    python benchmarks/step_cost.py --base bert-base-uncased --methods lora,houlsby --length 128

The methods take turns, in another order in every round, so that what slows the machine down slows
all of them down; a ratio compares the steps of one round. On a CPU it is one thread's processor
time, which does not see other programs; on a GPU it is the clock's, after synchronising. Memory is
counted tensor by tensor and is the same on every machine.
"""

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable

import torch
from tqdm import tqdm

import pftlab as pft
from pftlab.core.ports.steps import announced
from pftlab.experiments.clock import timed
from pftlab.experiments.memory import step_memory
from pftlab.experiments.origin import device_name
from pftlab.training import Lifecycle
from pftlab.training.optimiser import Optimiser

METHODS = "linear_probe,bitfit,ia3,prompt_tuning,lora,houlsby,full"
REFERENCE = "full"
WARM_UP = 2


def stepper(name: str, base: str, batch: dict[str, torch.Tensor]) -> tuple[Callable, dict]:
    """(a function that does one step, what is known without a clock) of one method."""
    model = pft.load_base(base, num_labels=2)
    method = pft.METHODS[name]()
    method.attach(model).to(batch["labels"].device).train()
    optimiser = Optimiser(Lifecycle(model, 1).parameter_groups(method.learning_rate))
    counted = pft.count(model)
    facts = {"method": name, "trainable": counted.trainable, **step_memory(model, batch)}

    def step() -> None:
        with announced(model):  # what methods do in a step is left out
            model(**batch).loss.backward()
        optimiser.step()

    return step, facts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="minilm", help="a name, hub id or folder (%(default)s)")
    parser.add_argument("--methods", default=METHODS, help="with commas between (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="texts (%(default)s)")
    parser.add_argument("--length", type=int, default=32, help="of a text in tokens (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="timed steps (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    words = pft.load_base(given.base, num_labels=2).config.vocab_size
    ids = torch.randint(words // 2, words, (given.batch_size, given.length), device=device)
    labels = torch.randint(2, (given.batch_size,), device=device)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}

    names = list(dict.fromkeys([*given.methods.split(","), REFERENCE]))
    made = {name: stepper(name, given.base, batch) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    order = random.Random(0)
    for number in tqdm(range(WARM_UP + given.rounds), unit="round", file=sys.stderr):
        for name in order.sample(names, len(names)):
            milliseconds = timed(made[name][0], device)
            if number >= WARM_UP:
                times[name].append(milliseconds)

    rows = []
    for name in names:
        ratios = [a / b for a, b in zip(times[name], times[REFERENCE], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        rows.append(
            made[name][1]
            | {
                "milliseconds": statistics.median(times[name]),
                "ratio": statistics.median(ratios),
                "ratio_quartiles": [low, high],
            }
        )
    rows.sort(key=lambda row: row["trainable"])
    if given.json:
        print(json.dumps({"base": given.base, "device": device_name(), "rows": rows}, indent=2))
        return
    print(
        f"{given.base}, {given.batch_size} texts of {given.length} tokens, {given.rounds} rounds, "
        f"{device_name()}"
    )
    print("ratio: of a step's time to full fine-tuning's, median and quartiles. Memory in MiB.")
    head = ("method", "trainable", "ms", "ratio", "weights", "grads", "AdamW", "kept")
    print(("{:14}{:>12}{:>8}  {:17}" + "{:>9}" * 4).format(*head))
    for row in rows:
        low, high = row["ratio_quartiles"]
        memory = [row[p] / 2**20 for p in ("weights", "gradients", "optimiser", "activations")]
        print(
            f"{row['method']:14}{row['trainable']:12,}{row['milliseconds']:8.0f}  "
            f"{row['ratio']:.2f} ({low:.2f}–{high:.2f})" + "".join(f"{m:9.1f}" for m in memory)
        )


if __name__ == "__main__":
    main()
