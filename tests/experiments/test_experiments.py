"""Result lines, summaries, costs, and what the families' pages read."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from own_task import save_own_task
from tiny import save_tiny_base, tiny

import pftlab as pft
from pftlab.experiments import (
    Cell,
    Protocol,
    Result,
    families,
    load_results,
    summarise,
    training_memory,
)
from pftlab.experiments.arithmetic import forward_flops, step_flops
from pftlab.experiments.results import append
from pftlab.experiments.sizes import SIZES, blank
from pftlab.experiments.summary import interval, quantile

RESULT = Result(
    key="k0",
    method="lora",
    hyperparameters={"rank": 2},
    base={"name": "b", "sha256": None},
    task={"name": "t", "fingerprint": "f", "metric": "accuracy", "train": 4},
    training={"lr": 0.1},
    seed=0,
    validation={"accuracy": 0.4},
    test={"accuracy": 0.5},
    parameters={"trainable": 10, "head": 2, "total": 100},
    seconds=1.0,
    examples_per_second=1.0,
    peak_memory_bytes=1,
    device="d",
)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: Any) -> Cell:
    return Cell(
        base=save_tiny_base(tmp_path_factory.mktemp("base")),
        task=save_own_task(tmp_path_factory.mktemp("task")),
        limit=8,
        method=pft.LoRA(rank=2),
        protocol=Protocol(steps=2, batch_size=4, max_length=40, evaluations=2),
    )


def test_memory_is_counted_exactly(cell: Cell) -> None:
    task = cell.load_task()

    def parts(method: Any, batch_size: int = 4) -> tuple[Any, dict[str, int]]:
        model = method.attach(pft.load_base(cell.base, num_labels=2))
        return model, training_memory(model, task, batch_size=batch_size, max_length=40)

    model, lora = parts(pft.LoRA(rank=2))
    trained = 4 * (512 + 66)  # bytes of the factors and of the head
    assert (lora["gradients"], lora["optimiser"]) == (trained, 2 * trained)
    stored = [*model.parameters(), *model.buffers()]
    assert lora["weights"] == sum(t.numel() * t.element_size() for t in stored)
    assert all(p.grad is None for p in model.parameters()) and not model.training
    _, probe = parts(pft.LinearProbe())
    full, everything = parts(pft.FullFineTuning())
    used = [n for n, p in full.named_parameters() if p.requires_grad]
    assert everything["gradients"] == 4 * sum(full.get_parameter(n).numel() for n in used)
    # a probe keeps what its head reads; LoRA almost what full fine-tuning keeps
    assert 20 * probe["activations"] < lora["activations"] < 1.2 * everything["activations"]
    assert 1.8 < parts(pft.LoRA(rank=2), 8)[1]["activations"] / lora["activations"] < 2.2


def test_counting_memory_leaves_no_trace(cell: Cell) -> None:
    model = pft.LoRA(rank=2, dropout=0.5).attach(pft.load_base(cell.base, num_labels=2))
    gradient = torch.ones_like(model.classifier.weight)
    model.classifier.weight.grad = gradient
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    training_memory(model, cell.load_task(), batch_size=2, max_length=20)
    assert torch.equal(torch.rand(2), expected)
    assert model.classifier.weight.grad is gradient


def test_mean_and_interval_over_seeds() -> None:
    # t(0.975, 2) = 4.303; the sample deviation of 1, 2, 3 is 1
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(4.303 / math.sqrt(3))
    assert interval([1.0]) is None
    # published values beyond the table, and the same expansion where the table has the value
    assert quantile(40) == pytest.approx(2.021, abs=5e-4)
    assert quantile(120) == pytest.approx(1.980, abs=5e-4)
    assert quantile(31) < quantile(30)
    runs = [
        replace(RESULT, key=f"k{i}", seed=i, test={"accuracy": s}) for i, s in enumerate((0.5, 0.7))
    ]
    (row,) = summarise([*runs, runs[0]])  # a line that is there twice counts once
    assert (row.seeds, row.mean, row.percent) == (2, pytest.approx(0.6), 10.0)
    assert row.keys == ("k0", "k1") and row.validation == pytest.approx(0.4)
    other_data = replace(runs[1], task=RESULT.task | {"fingerprint": "g"})
    for other in (replace(runs[1], training={"lr": 0.2}), other_data):
        assert len(summarise([runs[0], other])) == 2


def test_bad_results_and_places(tmp_path: Path) -> None:
    with pytest.raises(pft.Unavailable, match="no results"):
        load_results(tmp_path / "none.jsonl")
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(pft.BadValue, match=r"other.jsonl:1"):
        load_results(tmp_path)
    (tmp_path / "other.jsonl").unlink()
    whole = json.dumps(asdict(RESULT))
    wrong = {
        "deep": '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "huge": whole.replace('"seed": 0', f'"seed": {"9" * 5000}'),
        "list": "[1]",
        "type": whole.replace('"seed": 0', '"seed": "0"'),
        "score": whole.replace('{"accuracy": 0.5}', '{"accuracy": "high"}'),
        "metric": whole.replace('{"accuracy": 0.5}', '{"f1": 0.5}'),
        "lr": whole.replace('{"lr": 0.1}', "{}"),
        "base": whole.replace('"name": "b"', '"called": "b"'),
    }
    for text in wrong.values():
        (tmp_path / "wrong.jsonl").write_text(text + "\n")
        with pytest.raises(pft.BadValue, match=r"wrong.jsonl:1 is no result line") as error:
            load_results(tmp_path)
        assert len(str(error.value)) < 600
    (tmp_path / "wrong.jsonl").unlink()
    (tmp_path / "file").touch()
    with pytest.raises(pft.Unavailable):
        append(tmp_path / "file" / "r.jsonl", RESULT)


def test_a_torn_line_is_reported_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    append(file, RESULT)
    file.write_text(file.read_text() + '{"key": "tor')
    with pytest.warns(UserWarning, match="unfinished"):
        assert [r.key for r in load_results(file)] == ["k0"]
    append(file, replace(RESULT, key="k1"))
    with pytest.warns(UserWarning, match=":3"):
        assert [r.key for r in load_results(file)] == ["k0", "k1"]
        assert asdict(load_results(file, method="lora", seed=0)[0]) == asdict(RESULT)


def test_a_file_says_once_what_its_runs_share(tmp_path: Path) -> None:
    file = tmp_path / "protocol" / "grid.jsonl"
    elsewhere = replace(RESULT, key="k1", device="another", versions={"torch": "3"})
    for result in (RESULT, elsewhere, replace(RESULT, key="k2")):
        append(file, result)
    header, *lines = map(json.loads, file.read_text().splitlines())
    assert header["shared"]["device"] == "d" and header["shared"]["base"] == RESULT.base
    assert ["device" in line for line in lines] == [False, True, False]
    assert load_results(tmp_path) == [RESULT, elsewhere, replace(RESULT, key="k2")]
    whole = "".join(json.dumps(asdict(result)) + "\n" for result in load_results(tmp_path))
    file.write_text(whole)  # without a first line of its own, a file is read as well
    assert [result.key for result in load_results(tmp_path)] == ["k0", "k1", "k2"]
    append(file, replace(RESULT, key="k3"))
    assert load_results(file)[-1] == replace(RESULT, key="k3")


def test_writers_that_begin_together_make_one_file(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    results = [replace(RESULT, key=f"k{k}", device=f"d{k % 3}") for k in range(60)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda result: append(file, result), results))
    assert sorted(r.key for r in load_results(file)) == sorted(r.key for r in results)
    assert {r.key: r for r in load_results(file)} == {r.key: r for r in results}
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


# Published totals, of the model alone: papers and model cards round them to these.
@pytest.mark.parametrize(
    ("name", "millions", "tolerance"),
    [
        ("bert-base", 110, 1),
        ("bert-large", 335, 2),
        ("distilbert-base", 67, 1),
        ("electra-base", 109, 2),
        ("gpt2", 124, 1),
        ("gpt2-xl", 1558, 2),
        ("gpt3", 175_000, 500),
        ("opt-125m", 125, 1),
        ("opt-1.3b", 1316, 2),
        ("pythia-1.4b", 1415, 2),
        ("t5-base", 223, 1),
        ("llama-7b", 6738, 1),
        ("llama-65b", 65_286, 1),
        ("llama-3.2-1b", 1236, 1),
        ("smollm2-135m", 134.5, 0.1),
        ("llama-3.1-8b", 8030, 1),
        ("llama-3.1-70b", 70_554, 1),
        ("mistral-7b", 7242, 1),
        ("qwen2-7b", 7616, 1),
    ],
)
def test_sizes_have_the_published_number_of_parameters(
    name: str, millions: float, tolerance: float
) -> None:
    assert pft.count(blank(name)).total / 1e6 == pytest.approx(millions, abs=tolerance)
    assert "http" in SIZES[name].source or "(2019)" in SIZES[name].source


def test_a_blank_model_from_files(tmp_path: Path) -> None:
    folder = save_tiny_base(tmp_path / "base")
    assert pft.count(blank(folder)).total == pft.count(blank(f"{folder}/config.json")).total
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(pft.BadValue, match="cannot be read by transformers"):
        blank(str(tmp_path))
    with pytest.raises(pft.BadValue, match="num_labels=0"):
        blank("gpt2", 0)


def batch_of(model: Any) -> dict[str, torch.Tensor]:
    ids = torch.arange(2 * 6).view(2, 6) + 3
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.tensor([0, 1]),
    }


def test_arithmetic_is_that_of_the_matrices() -> None:
    """Counted by hand: two operations for each entry of each matrix and token, and attention."""
    model = tiny("bert")
    batch, tokens, d, inner = batch_of(model), 2 * 6, 32, 48
    matrices = 2 * (4 * d * d + 2 * d * inner)
    attention = 2 * 2 * 6 * d  # of a token with the 6 of its text: scores and their sum
    head = 2 * 2 * (d * d + d * 2)  # pooler and classifier read one token of each text
    forward = tokens * 2 * matrices + tokens * 2 * attention + head
    assert forward_flops(model, batch) == forward
    pft.FullFineTuning().attach(model)
    assert step_flops(model, batch) == 3 * forward
    assert all(p.grad is None for p in model.parameters())
    pft.detach(model)
    pft.LoRA(rank=2, at=("attention.query",)).attach(model)
    assert forward_flops(model, batch) == forward + tokens * 2 * 2 * 2 * (d + d)
    assert step_flops(model, batch) < 0.8 * 3 * forward


def test_a_page_reads_its_family_the_baselines_and_the_control(
    tmp_path: Path, monkeypatch: Any
) -> None:
    base = families.PROTOCOL["base"]
    for name, where, score in (
        ("lora", base, 0.8), ("houlsby", base, 0.7), ("full", base, 0.9), ("linear_probe", base, 0.6),
        ("full", f"{base} (random weights)", 0.5), ("top_layers", base, 0.7),
    ):  # fmt: skip
        for seed in range(2):
            append(
                tmp_path / "r.jsonl",
                replace(
                    RESULT, key=f"{name} {where} {seed}", method=name, seed=seed,
                    base={"name": where, "sha256": None}, test={"accuracy": score},
                    memory={"weights": 3 << 20},
                ),
            )  # fmt: skip
    rows, control = families.family_rows("low_rank", tmp_path / "r.jsonl")
    assert {r.method: r.mean for r in rows} == {"lora": 0.8, "full": 0.9, "linear_probe": 0.6}
    assert (control.method, control.mean) == ("full", 0.5)
    monkeypatch.setattr(families, "cost", lambda method: families.Cost(1.02, 0.68))
    table = families.cost_table("low_rank", tmp_path / "r.jsonl").splitlines()
    assert len(table) == 2 + 3
    (line,) = [line for line in table if line.startswith("| LoRA |")]
    assert line == "| LoRA | 10 | 1.02 | 0.68 | 3 MiB | 80.0 ± 0.0 |"
    scores = families.score_table(row for row in rows if row.method == "lora").splitlines()
    times = RESULT.training["lr"] / pft.LoRA.learning_rate
    validation = 100 * RESULT.validation["accuracy"]
    (there,) = summarise(load_results(families.LARGER, method="lora"))
    larger = f"{100 * there.mean:.1f} ± {100 * there.interval:.1f}"
    assert scores[0] == "| method | rate | validation | test, tiny-encoder | test, mini-encoder |"
    assert scores[2:] == [f"| LoRA | × {times:.2g} | {validation:.1f} | 80.0 ± 0.0 | {larger} |"]
    known = families.family_table("low_rank").splitlines()
    assert len(known) == 2 + len(families.members("low_rank"))
    assert "| LoRA (2021) | attention.query, attention.value | yes | yes |" in known
    assert (
        "| GaLore (2024) | every linear map of the layers; the rest in full | yes | yes |" in known
    )


def test_runs_before_the_seeding_are_said_to_be_so(tmp_path: Path) -> None:
    new, old, changed = (tmp_path / name for name in ("new", "old", "changed"))
    append(new, replace(RESULT, date="2026-11-26T00:00:00+00:00"))
    append(old, replace(RESULT, date="2026-11-25T13:00:00+00:00"))
    append(changed, replace(RESULT, method="lt_sft", date="2026-11-25T13:00:00+00:00"))
    assert families.older_runs(new) == ""
    assert "without the seed" in families.older_runs(new, old)
    assert "LT-SFT" not in families.older_runs(old)
    assert families.older_runs(changed).endswith(
        "By now these train otherwise than they did here: LT-SFT."
    )


def test_cost_is_relative_to_the_base_and_to_full_fine_tuning() -> None:
    assert families.cost(pft.FullFineTuning()) == families.Cost(1.0, 1.0)
    probe = families.cost(pft.LinearProbe())
    assert probe.forward == 1.0 and 0.3 < probe.step < 0.35  # a forward pass of three
    adapters = families.cost(pft.Houlsby(bottleneck=16))
    assert adapters.forward > 1.02 and 0.6 < adapters.step < 0.8


#: hyper-parameters with which these stored runs were made, and which are others by now
BEFORE: dict[str, dict[str, Any]] = {
    "compacter": {"std": 0.01},
    "compacter_plus_plus": {"std": 0.01},
    "unipelt": {"alpha": 16.0},
}


@pytest.mark.parametrize("family", ["adapter", "prompt", "low_rank", "sparse", "others"])
def test_the_stored_runs_have_every_method_under_one_protocol(family: str) -> None:
    rows, control = families.family_rows(family)
    assert {row.method for row in rows} >= {*families.BASELINES}
    assert {row.method for row in rows} <= {*families.BASELINES, *families.members(family)}
    for row in (*rows, control):
        assert row.seeds == len(families.PROTOCOL["seeds"]) and row.lr_from == "search"
        now = json.loads(json.dumps(asdict(families.small(row.method))))
        assert row.hyperparameters == now | BEFORE.get(row.method, {})
        assert {k: row.training[k] for k in ("steps", "batch_size")} == {
            k: families.PROTOCOL[k] for k in ("steps", "batch_size")
        }
        own = pft.METHODS[row.method].learning_rate
        assert any(row.lr == factor * own for factor in families.PROTOCOL["factors"])


def test_the_stored_runs_on_the_larger_base_are_those_of_the_smaller_one() -> None:
    def ran(path: Path) -> set[tuple[str, str, str, str, int, bool]]:
        return {
            (
                r.method,
                json.dumps(r.hyperparameters, sort_keys=True),
                r.base["name"].partition(" (")[2],
                json.dumps({k: v for k, v in r.training.items() if k != "lr"}, sort_keys=True),
                r.seed,
                searches,
            )
            for searches in (True, False)
            for r in load_results(path, searches=searches)
        }

    assert ran(families.LARGER) == ran(families.RESULTS)
    bases = {r.base["name"].partition(" (")[0] for r in load_results(families.LARGER)}
    assert bases == {"mini-encoder"}


def test_once_more_runs_a_method_under_the_protocol(monkeypatch: Any) -> None:
    short = families.PROTOCOL | {"steps": 2, "seeds": (0, 1)}
    monkeypatch.setattr(families, "PROTOCOL", short)
    runs = families.once_more(pft.LinearProbe(), lr=1e-2, steps=3)
    assert [run.seed for run in runs] == [0, 1] and all(run.test for run in runs)
    for run in runs:
        assert run.training == {
            "steps": 3, "lr": 1e-2, "precision": "fp32",
            **{name: short[name] for name in ("batch_size", "max_length")},
        }  # fmt: skip
        assert (run.base["name"], run.lr_from) == (short["base"], "given")
