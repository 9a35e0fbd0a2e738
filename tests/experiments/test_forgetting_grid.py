"""The grid of the chapter on forgetting."""

import json

from pftlab.experiments import forgetting
from pftlab.low_rank.lora import LoRA


def test_the_stored_file_has_every_run() -> None:
    stored = json.loads(forgetting.STORED_FORGETTING.read_text(encoding="utf-8"))
    runs = {(row["method"], row["lr"], row["seed"]) for row in stored["rows"]}
    assert len(runs) == len(stored["rows"])
    assert runs == {
        (method.name, lr, seed)
        for method in forgetting.METHODS
        for lr in forgetting.RATES
        for seed in forgetting.SEEDS
    }
    assert stored["training"] == forgetting.TRAINING
    assert len({row["before"] for row in stored["rows"]}) == 1, "one base, one loss before"


def test_a_run_has_its_rate() -> None:
    training = forgetting.TRAINING | {"steps": 2, "evaluate_every": 2}
    runs = [(0, 1e-5), (1, 1e-5), (0, 3e-2), (1, 3e-2)]
    rows = forgetting.trained(LoRA(rank=2), runs, training)
    moved = [abs(row["after"] - row["before"]) for row in rows]
    assert max(moved[:2]) < min(moved[2:]), "a high rate moves the loss more"
