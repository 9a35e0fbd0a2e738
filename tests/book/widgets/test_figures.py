"""What the interactive figures compute in Python, and what they leave in a notebook."""

import base64
import dataclasses
import itertools
import json
import random
import re
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest
import torch
from tiny import GPT2, LLAMA, REPRESENTATIVES, SHAPE, tiny
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

import pftlab as pft
from pftlab.book.widgets import (
    BudgetPlayer,
    ForgettingPlane,
    LowRankExplorer,
    MethodChooser,
    NF4Explorer,
    PairedSeeds,
    ParameterCounter,
    PlacementExplorer,
    PrefixAttention,
    ScaleCurve,
    TradeoffExplorer,
    TrainingScrubber,
    WatchedAdaLoRA,
)
from pftlab.book.widgets.data import load_recording, stored_data, tradeoff_data
from pftlab.book.widgets.figure import unpacked
from pftlab.book.widgets.method_chooser import AMOUNTS, CANDIDATES, KINDS, SAID
from pftlab.book.widgets.nf4_explorer import BLOCKS, LEVELS
from pftlab.book.widgets.parameter_counter import memory
from pftlab.book.widgets.placement_explorer import CHOICES, DESIGNS
from pftlab.book.widgets.prefix_attention import attention
from pftlab.book.widgets.recording import record
from pftlab.cli import main
from pftlab.core import planted
from pftlab.core.trained import trainable_state
from pftlab.experiments import Grid, costs, load_results, summarise, summary
from pftlab.experiments.comparison import Paired
from pftlab.experiments.grid import Job
from pftlab.experiments.memory import step_memory
from pftlab.experiments.results import load_costs
from pftlab.experiments.sizes import blank
from pftlab.facts import FAMILIES
from pftlab.low_rank.adalora import SVDUpdate
from pftlab.registry import METHODS

ROOT = Path(__file__).resolve().parents[3]
FEW = ("bert-base", "llama-3.1-8b")


def weights(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, columns))


MAKE: dict[str, Any] = {
    "MethodChooser": MethodChooser,
    "PairedSeeds": lambda: PairedSeeds(made_up.answered()),
    "ParameterCounter": lambda: ParameterCounter(base="bert-base", models=FEW),
    "TradeoffExplorer": lambda: TradeoffExplorer(made_up.grid()),
    "PlacementExplorer": PlacementExplorer,
    "LowRankExplorer": lambda: LowRankExplorer({"query": weights(40, 36)}),
    "NF4Explorer": lambda: NF4Explorer(weights(64, 64)),
    "BudgetPlayer": lambda: BudgetPlayer(made_up.ranks()),
    "ForgettingPlane": lambda: ForgettingPlane(made_up.forgotten(), 1),
    "PrefixAttention": lambda: made_up.prefixed(),
    "ScaleCurve": lambda: ScaleCurve(made_up.grid()),
    "TrainingScrubber": lambda: TrainingScrubber(made_up.recording(), frame=1),
}


@pytest.mark.parametrize("name", MAKE)
def test_a_notebook_gets_the_same_bytes_twice(name: str) -> None:
    first, second = (MAKE[name]()._repr_mimebundle_()[0] for _ in range(2))
    assert base64.b64decode(first["image/png"]).startswith(b"\x89PNG")
    assert first["image/png"] == second["image/png"]
    assert first["text/plain"] == second["text/plain"] == repr(MAKE[name]())
    assert "application/vnd.jupyter.widget-view+json" in first


@pytest.mark.parametrize("name", MAKE)
def test_the_script_is_one_file_that_loads_nothing(name: str) -> None:
    widget = MAKE[name]()
    assert widget._esm.count("export default") == 1
    for way_out in ("import ", "import(", "fetch(", "XMLHttpRequest", "http://", "https://"):
        assert way_out not in widget._esm.replace("http://www.w3.org/2000/svg", ""), way_out
    assert "url(" not in widget._css and "@import" not in widget._css


@pytest.mark.parametrize("name", MAKE)
def test_the_table_has_rows(name: str) -> None:
    rows = MAKE[name]().table()
    assert rows and all(row.keys() == rows[0].keys() for row in rows)


# MethodChooser


def test_a_budget_rules_out_what_does_not_fit() -> None:
    chooser = MethodChooser("llama-3.1-8b", budget=24)
    assert "full" not in chooser.candidates() and "lora" in chooser.candidates()
    assert "needs about" in chooser.reason("full") and "biases" not in chooser.reason("lora")
    assert "nothing to train" in chooser.reason("bitfit")
    chooser.merged = True
    assert "houlsby" not in chooser.candidates() and "lora" in chooser.candidates()
    chooser.kind = "causal_lm"
    assert "linear_probe" not in chooser.candidates()
    chooser.batch = 8
    assert chooser.candidates() == [], "16 GB of weights, and what 4,096 tokens keep"


def test_the_order_is_memory_and_behind_it_what_our_runs_found_worse() -> None:
    chooser = MethodChooser("bert-base", budget=1280)
    left, worse = chooser.candidates(), [bool(chooser.worse(n)) for n in chooser.candidates()]
    assert worse == sorted(worse) and True in worse and False in worse
    for group in (True, False):
        sizes = [chooser.bytes(n) for n, is_worse in zip(left, worse, strict=True)
                 if is_worse == group]  # fmt: skip
        assert sizes == sorted(sizes)
    chooser.kind = "token_classification"
    assert not any(map(chooser.worse, chooser.candidates())), "no runs of that kind"


def test_memory_is_that_of_the_counter() -> None:
    chooser, counter = MethodChooser("gpt2", batch=8), ParameterCounter(base="gpt2", batch=8)
    sums = [sum(parts.values()) for parts in counter.memory().values()]
    assert [chooser.bytes(n) for n in ("lora", "full")] == pytest.approx(sums)


def test_what_papers_say_is_cited_and_of_methods_that_are_offered() -> None:
    bibliography = (ROOT / "book" / "references.bib").read_text("utf-8")
    for said in SAID:
        assert f"{{{said.reference},".encode() in bibliography.encode() and said.method in METHODS
        assert set(said.kinds) <= set(KINDS) and set(said.amounts) <= set(AMOUNTS)
        assert set(said.kinds) <= set(METHODS[said.method].model_tasks)
    assert {said.method for said in SAID} == set(CANDIDATES)
    for name, value in (("model", "bert"), ("kind", "tags"), ("amount", "lots")):
        with pytest.raises(pft.UnknownName):
            MethodChooser(**{name: value})


# PairedSeeds


def test_all_seeds_give_the_intervals_of_the_comparison() -> None:
    """Paired with texts, over all seeds, is the protocol's interval but for rounded freedom."""
    runs = made_up.answered(8)
    figure = PairedSeeds(runs, "lora", "ia3", count=8)
    by_name = {n: [r for r in runs if r.method == n] for n in ("lora", "bitfit", "ia3")}
    (whole,) = Paired(by_name).against("ia3", ["lora"])
    mean, half = figure.intervals()["with texts"]
    assert mean == pytest.approx(100 * whole.value, abs=1e-2)
    assert half == pytest.approx(100 * (whole.high - whole.low) / 2, rel=0.05)
    apart = [
        100 * (a.score - b.score) for a, b in zip(by_name["lora"], by_name["ia3"], strict=True)
    ]
    assert figure.intervals()["paired"][1] == pytest.approx(summary.interval(apart), rel=1e-3)


def test_pairing_helps_where_seeds_move_both_and_hurts_where_they_do_not() -> None:
    figure = PairedSeeds(made_up.answered(8), count=8)
    figure.scores = {"lora": "1 2 3 4 5 6 7 8", "bitfit": "0 1 2 3 4 5 6 7.5", "ia3": "1"}
    assert figure.intervals()["paired"][1] < figure.intervals()["unpaired"][1] / 3
    figure.scores = figure.scores | {"bitfit": "8 7 6 5 4 3 2 1"}
    assert figure.intervals()["paired"][1] > figure.intervals()["unpaired"][1]


def test_a_draw_has_each_seed_at_most_once_and_all_seeds_their_turn() -> None:
    figure = PairedSeeds(made_up.answered(8), count=3)
    draws = [figure.chosen(draw) for draw in range(1, 60)]
    assert all(len(set(places)) == 3 for places in draws)
    assert {place for places in draws for place in places} == set(range(8))
    assert figure.chosen(1) == figure.chosen(1)


def test_seeds_that_cannot_be_compared_are_refused() -> None:
    runs = made_up.answered(8)
    with pytest.raises(pft.BadValue, match="fewer"):
        PairedSeeds(run for run in runs if run.method == "lora")
    with pytest.raises(pft.BadValue, match="2 seeds"):
        PairedSeeds(made_up.answered(2))
    with pytest.raises(pft.BadValue, match="older than the protocol"):
        PairedSeeds(run for run in made_up.grid() if (run.base["name"], run.task["name"]) ==
                    ("tiny", "reviews"))  # fmt: skip
    with pytest.raises(pft.UnknownName):
        PairedSeeds(runs, "lorra")


# ParameterCounter

TINY: dict[str, Any] = {
    "bert": lambda: BertForSequenceClassification(
        BertConfig(
            **SHAPE | {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4},
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ),
    "gpt2": lambda: GPT2ForSequenceClassification(
        GPT2Config(
            **GPT2 | {"n_embd": 64, "n_inner": 256, "n_layer": 4},
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )
    ),
    "llama": lambda: LlamaForSequenceClassification(
        LlamaConfig(**LLAMA | {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 4})
    ),
}  # fmt: skip


def test_costs_of_a_model_are_those_of_its_layers() -> None:
    """LoRA of rank 8 on query and value of BERT base, by hand."""
    lora = costs.cost("bert-base", pft.LoRA(rank=8))
    assert lora.trainable == lora.added == lora.stored == 12 * 2 * 8 * (768 + 768)
    assert (lora.other, lora.text) == (0, 0)
    assert lora.packable == 12 * (4 * 768**2 + 2 * 768 * 3072)
    frozen = costs.cost("bert-base", pft.LoRA(rank=8, at=("attention.query",))).token
    assert lora.token - frozen == 12 * 8  # the input of query and value is one tensor
    full = costs.cost("bert-base", pft.FullFineTuning())
    assert (full.trainable, full.added, full.packable) == (109_514_298, 0, 0)


@pytest.mark.parametrize("method", ["top_layers", "adapter_drop", "frozen_bottom"])
def test_what_counts_layers_is_counted_on_the_whole_model(method: str) -> None:
    chosen = METHODS[method](**{"count": 3} if method != "adapter_drop" else {})
    with torch.device("meta"):
        expected = pft.count(chosen.attach(blank("gpt2")))
    assert costs.cost("gpt2", chosen).trainable == expected.trainable


@pytest.mark.parametrize(
    "model, method",
    [
        pytest.param(
            model,
            name,
            marks=[] if model == "bert" and name in REPRESENTATIVES else pytest.mark.full,
        )
        for model in TINY
        for name in METHODS
        if not METHODS[name].needs_head
    ],
)
def test_the_estimate_of_activations_is_near_what_a_step_keeps(
    model: str, method: str, tmp_path: Any
) -> None:
    built = TINY[model]()
    built.config.save_pretrained(tmp_path)
    batch = {
        "input_ids": torch.randint(3, 50, (8, 32)),
        "attention_mask": torch.ones(8, 32, dtype=torch.long),
        "labels": torch.zeros(8, dtype=torch.long),
    }
    chosen = METHODS[method](**METHODS[method].facts.tiny)
    try:
        chosen.attach(built)
    except pft.PftError:
        with pytest.raises(pft.PftError):
            costs.cost(str(tmp_path), chosen)
        return
    measured = step_memory(built, batch)["activations"]
    try:
        cost = costs.cost(str(tmp_path), chosen)
    except pft.Refused as reason:  # costs are those of a model that writes, where there is one
        assert "writes it word by word" in str(reason) and model != "bert"
        return
    total = pft.count(built).total
    estimated = memory(cost, total, precision="32", batch=8, length=32)["activations"]
    assert 0.7 < estimated / measured < 1.3, (estimated, measured)


def test_every_method_that_goes_with_a_model_is_stored() -> None:
    stored = load_costs()
    assert [each["name"] for each in stored["methods"]] == list(METHODS)
    for model, rows in stored["costs"].items():
        assert list(rows) == list(METHODS), model
        for method, each in rows.items():
            assert isinstance(each, str) or len(each) == len(costs.settings(METHODS[method]))
    described = {each["name"]: each for each in stored["methods"]}
    assert described == {name: costs.described(name) for name in METHODS}


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(6, 18))]
)
def test_stored_costs_are_what_is_counted(seed: int) -> None:
    """Cells drawn at random."""
    draw = random.Random(seed)
    stored = load_costs()["costs"]
    model, method = draw.choice(sorted(stored)), draw.choice(sorted(METHODS))
    rows = stored[model][method]
    place = draw.randrange(len(costs.settings(METHODS[method])))
    chosen = costs.settings(METHODS[method])[place]
    try:
        expected = costs.cost(model, costs.build(model, METHODS[method], chosen))
    except pft.PftError:
        assert isinstance(rows, str) or rows[place] == []
    else:
        assert tuple(rows[place]) == expected


def test_what_is_chosen_is_what_is_counted() -> None:
    counter = ParameterCounter("bert-base", "lora", FEW, rank=16)
    expected = pft.count(pft.LoRA(rank=16).attach(blank("bert-base")))
    assert counter.count() == expected and counter.cost().trainable == expected.trainable
    every = list(costs.LINEAR)
    counter.settings = {**counter.settings, "lora": {"rank": 4, "at": every}}
    assert "ffn.gate" not in counter.chosen().at and "ffn.up" in counter.chosen().at
    assert counter.cost().trainable == counter.count().trainable  # BERT has no gate


def test_memory_of_full_fine_tuning_in_16_bits_is_16_bytes_a_parameter() -> None:
    counter = ParameterCounter("bert-base", "full", FEW)
    parts = counter.memory()["Full fine-tuning"]
    assert sum(parts.values()) - parts["activations"] == 16 * counter.models["bert-base"]["total"]


def test_four_bits_hold_for_frozen_matrices_alone() -> None:
    counter = ParameterCounter("llama-3.1-8b", "lora", FEW, precision="4")
    lora, full = counter.memory().values()
    linear = 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    assert counter.cost().packable == linear
    rest = counter.count().total - linear
    assert lora["weights"] == pytest.approx(linear * 4.127 / 8 + 2 * rest, rel=1e-4)
    assert full["weights"] == 2 * counter.models["llama-3.1-8b"]["total"]


@pytest.mark.parametrize(
    "given", [{"base": "bert"}, {"method": "lorra"}, {"method": "lora", "length": 3}]
)
def test_unknown_names_are_said(given: dict[str, Any]) -> None:
    with pytest.raises(pft.UnknownName, match="Known"):
        ParameterCounter(**{"base": "bert-base", "models": ("bert-base",)} | given)


def test_what_was_not_counted_is_said() -> None:
    with pytest.raises(pft.BadValue, match="not counted with rank=3"):
        ParameterCounter("bert-base", "lora", rank=3)
    counter = ParameterCounter("llama-7b", "bitfit")
    with pytest.raises(pft.Refused, match="built without them"):
        counter.cost()


def test_data_is_fetched_and_not_carried() -> None:
    counter, explorer = ParameterCounter(), TradeoffExplorer()
    data = stored_data()
    for figure in (counter, explorer):
        assert len(json.dumps(figure.get_state(), default=str)) < 80_000 + len(figure._esm)
        answers: list[Any] = []
        figure.send = answers.append  # type: ignore[method-assign]
        own = [name for name in data if name.startswith("tradeoff")]
        for name in own if figure is explorer else ["costs-gpt2"]:
            figure._handle_custom_msg({"ask": name}, [])
            assert answers.pop() == {"name": name, "data": data[name]}
    own = TradeoffExplorer(made_up.grid())
    assert own.inline.keys() == tradeoff_data(made_up.grid()).keys()


def test_many_points_are_quick() -> None:
    """The work grows as the number of points does, not as its square."""
    few, many = (
        [
            replace(run, key=f"{run.key} {k}", base={**run.base, "name": f"base {k}"})
            for k in range(copies)
            for run in made_up.grid()
        ]
        for copies in (1, 20)
    )
    assert calls(lambda: tradeoff_data(many)) < 30 * calls(lambda: tradeoff_data(few))


def calls(work: Callable[[], Any]) -> int:
    """How many functions are called: a clock that does not depend on the machine."""
    count = 0

    def count_call(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(count_call)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


# TradeoffExplorer


def test_a_model_that_was_only_asked_is_no_method_of_a_comparison() -> None:
    runs = made_up.grid()
    asked = replace(runs[0], key="asked", method="in_context", training={"steps": 0, "lr": 0.0})
    assert tradeoff_data([*runs, asked]) == tradeoff_data(runs)


def test_best_and_front_are_those_of_a_search_over_all() -> None:
    explorer = TradeoffExplorer(made_up.grid(), base="tiny", task="pairs")
    for cost, budget in itertools.product(
        ("trainable", "seconds", "memory"), (None, 0.0, 12.0, 8000.0)
    ):
        explorer.cost, explorer.budget = cost, budget
        points = [(p[cost], p["scores"]["accuracy"][0], p["key"]) for p in explorer.visible()]
        assert len(points) == len(made_up.METHODS_SHOWN)
        within = [p for p in points if budget is None or p[0] <= budget]
        best = explorer.best()
        assert (best["key"] if best else None) == max(
            within, key=lambda p: p[1], default=(0, 0, None)
        )[2]
        front = {
            p[2]
            for p in points
            if not any(q[0] <= p[0] and q[1] >= p[1] and q is not p for q in points)
        }
        assert {p["key"] for p in explorer.front()} == front


def test_of_losses_the_lowest_is_the_best() -> None:
    explorer = TradeoffExplorer(made_up.grid(), base="tiny", task="pairs", metric="loss")
    score = {p["name"]: p["scores"]["loss"][0] for p in explorer.visible()}
    best = explorer.best()
    assert best is not None and score[best["name"]] == min(score.values())
    front = [score[p["name"]] for p in explorer.front()]
    assert len(front) > 2 and front == sorted(front, reverse=True)
    told = explorer.fetched("tradeoff")["scores"]
    assert told["loss"] == {"axis": "loss", "higher": False, "low": 0.0, "high": None,
                            "times": 1.0, "unit": "", "decimals": 3}  # fmt: skip
    assert (told["accuracy"]["high"], told["accuracy"]["unit"]) == (1.0, "%")


def test_of_perplexities_the_lowest_is_ahead() -> None:
    lower = [
        replace(run, task=run.task | {"metric": "perplexity"},
                validation={"perplexity": 30 - 20 * run.score},
                test={"perplexity": 30 - 20 * run.score})
        for run in made_up.grid()
    ]  # fmt: skip
    plain, curve = ScaleCurve(made_up.grid(), task="pairs"), ScaleCurve(lower, task="pairs")
    assert curve.gaps() == {base: pytest.approx(20 * gap) for base, gap in plain.gaps().items()}
    assert min(curve.gaps().values()) > 0, "prompt tuning is behind"
    worse = [
        replace(r, key=r.key + "x", validation={"perplexity": 99.0}, test={"perplexity": 1.0},
                training=r.training | {"lr": 1.0})
        for r in lower if r.method == "lora"
    ]  # fmt: skip
    assert ScaleCurve(lower + worse, task="pairs").table() == curve.table()
    axes = curve.figure().axes[0]
    assert axes.get_ylabel() == "perplexity" and axes.get_ylim()[0] >= 1


def test_colours_are_those_of_the_families_in_every_figure() -> None:
    site = (ROOT / "book" / "_static" / "pft.css").read_text(encoding="utf-8")
    for name, family in FAMILIES.items():
        assert f"--pft-{name}: {family.colour};" in ScaleCurve._css
        assert f"--pft-{name}: {family.colour};" in site
    for name in ("frozen", "frozen-edge", "trained", "trained-edge"):
        found = [re.findall(rf"--pft-{name}: (#\w+);", text) for text in (ScaleCurve._css, site)]
        assert found[0] == found[1] and len(found[0]) == 2, name  # light and dark


def test_scores_are_those_of_the_summary() -> None:
    results = made_up.grid()
    explorer = TradeoffExplorer(results)
    by_key = {result.key: result for result in results}
    rows: dict[tuple[str, str], list[Any]] = {}
    for row in summarise(results):
        rows.setdefault((row.base, row.task), []).append(row)
    assert len(rows) == 4
    for (explorer.base, explorer.task), here in rows.items():
        for row, point in zip(here, explorer.points, strict=True):
            assert point["scores"][row.metric] == [row.mean, row.interval]
            assert len(point["runs"]) == row.seeds == 5
            for key, run in zip(row.keys, explorer.runs(point), strict=True):
                for name in ("seed", "test", "commit", "date", "device", "command"):
                    assert run[name] == getattr(by_key[key], name)
                assert run["seconds"] == pytest.approx(by_key[key].seconds, abs=0.01)


def test_differences_are_paired_by_seed() -> None:
    """The mean and the interval are those of the differences, run against run."""
    results = made_up.sizes()
    explorer = TradeoffExplorer(results, reference="full")
    runs = {(r.method, *r.hyperparameters.values(), r.seed): r.score for r in results}
    points = {point["key"]: point for point in explorer.points}
    assert set(points) >= {"linear_probe", "lora:rank=16", "houlsby:bottleneck=4", "full"}
    apart = [runs["lora", 16, seed] - runs["full", seed] for seed in range(5)]
    mean, half = explorer.difference(points["lora:rank=16"]) or (0, 0)
    assert mean == pytest.approx(statistics.fmean(apart)) and half == summary.interval(apart)
    assert explorer.difference(points["full"]) is None
    piece = explorer.fetched("tradeoff-0")
    validation = {
        rank: statistics.fmean(r.validation["accuracy"] for r in results
                               if r.hyperparameters == {"rank": rank})
        for rank in (1, 4, 16)
    }  # fmt: skip
    best = max(validation, key=lambda rank: validation[rank])
    assert piece["references"]["lora"] == [f"lora:rank={best}", f"LoRA (rank {best})"]


def test_only_seeds_that_both_have_make_a_pair() -> None:
    results = [r for r in made_up.sizes() if r.method != "lora" or r.seed > 2]
    point = next(p for p in TradeoffExplorer(results).points if p["key"] == "lora:rank=4")
    assert point["differences"]["full"]["accuracy"][2] == 2


def test_sizes_of_a_method_are_a_curve() -> None:
    explorer = TradeoffExplorer(made_up.sizes(), cost="trainable")
    found = {name: [p["trainable"] for p in sizes] for name, sizes in explorer.curves().items()}
    assert found == {"lora": [1000, 4000, 16000], "houlsby": [4000, 16000, 64000]}
    explorer.search = "lora, probe"
    assert {p["method"] for p in explorer.visible()} == {"lora", "linear_probe"}
    assert list(explorer.curves()) == ["lora"]


def test_costs_that_cannot_be_compared_are_not_offered() -> None:
    assert TradeoffExplorer(made_up.grid()).costs() == ["trainable", "memory", "seconds"]
    results = made_up.sizes()
    assert "forgotten" in TradeoffExplorer(results).costs()
    two = [replace(results[0], device="another, 2 runs at a time"), *results[1:]]
    assert "seconds" not in TradeoffExplorer(two).costs()
    first = TradeoffExplorer(results).points[0]
    runs = [r.forgetting["after"] - 3 for r in results if r.method == first["method"]]
    assert first["forgotten"] == pytest.approx(statistics.fmean(runs))


def test_what_ran_in_another_way_is_another_comparison() -> None:
    results = made_up.grid()
    longer = [
        replace(r, key=r.key + "l", training=r.training | {"steps": 900})
        for r in results if r.base["name"] == "tiny" and r.method in ("lora", "full")
    ]  # fmt: skip
    control = [
        replace(r, key=r.key + "c", base={"name": "tiny (random weights)", "sha256": None})
        for r in results if r.base["name"] == "tiny" and r.method == "full"
    ]  # fmt: skip
    tried = [
        replace(r, key=r.key + "t", training=r.training | {"lr": 1.0}, lr_from="given",
                validation={"accuracy": 1.0})
        for r in results if r.method == "full"
    ]  # fmt: skip
    explorer = TradeoffExplorer(results + longer + control + tried)
    listed = explorer.fetched("tradeoff")["comparisons"]
    assert [each["methods"] for each in listed] == [7, 7, 7, 7, 2, 2]
    assert {each["protocol"] for each in listed[4:]} == {"900 steps of 16, 100 examples"}
    for number, each in enumerate(listed[:4]):
        piece = explorer.fetched(f"tradeoff-{number}")
        assert len(piece["points"]) == 7, "a rate that somebody tried is no point of its own"
        assert (piece["control"] is not None) == (each["base"] == "tiny")


def test_the_command_of_a_point_repeats_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every method: the command line makes a grid in which each run has the same key."""

    class Stopped(Exception):
        pass

    def stop(grid: Any, *_: Any, **__: Any) -> None:
        raise Stopped(grid)

    monkeypatch.setattr(Grid, "try_methods", stop)
    explorer = TradeoffExplorer(base="tiny-encoder", task="reviews")
    stored = {(r.method, json.dumps(r.training), r.base["name"]): r for r in load_results()}
    repeated = []
    for point in explorer.points:
        fields = {field.name for field in dataclasses.fields(METHODS[point["method"]])}
        if not fields >= point["hyperparameters"].keys():
            continue  # it ran before a hyper-parameter went
        run = stored[point["method"], json.dumps(point["training"]), explorer.base]
        with pytest.raises(Stopped) as stopped:
            main(shlex.split(point["repeat"])[1:])
        grid = stopped.value.args[0]
        (cell,) = grid.cells
        assert Job(cell, run.seed, cell.protocol.lr).key == run.key
        assert run.seed in cell.protocol.seeds
        repeated.append(point)
    assert len(repeated) > 40
    encoder = TradeoffExplorer(base="minilm", task="sst2")
    assert {point["training"]["evaluations"] for point in encoder.points} == {4}
    assert all(" --evaluations 4 " in f"{point['repeat']} " for point in encoder.points)


def test_families_can_be_hidden() -> None:
    explorer = TradeoffExplorer(made_up.grid(), families=["low_rank"])
    assert [p["name"] for p in explorer.visible()] == ["LoRA"]


def test_a_single_seed_has_no_interval() -> None:
    explorer = TradeoffExplorer(made_up.grid(seeds=1))
    assert explorer.points[0]["scores"]["accuracy"][1] is None


@pytest.mark.parametrize(
    "results, chosen", [([], {}), (made_up.grid(1), {"task": "none"})], ids=["none", "no task"]
)
def test_without_results_there_is_no_figure(results: list, chosen: dict) -> None:
    with pytest.raises(pft.BadValue):
        TradeoffExplorer(results, **chosen)


# PlacementExplorer


def test_the_designs_are_those_of_table_1() -> None:
    table = {  # function, insertion, composition; Table 1 of He et al. (2022)
        "Prefix tuning": ("softmax", "parallel", "gated"),
        "Adapter": ("relu", "sequential", "add"),
        "LoRA": ("linear", "parallel", "scaled"),
        "Parallel adapter": ("relu", "parallel", "add"),
        "Multi-head parallel adapter": ("relu", "parallel", "add"),
        "Scaled parallel adapter": ("relu", "parallel", "scaled"),
    }
    for design in DESIGNS:
        family = design.name.split(" be")[0]  # "behind", "beside"
        assert (design.function, design.form, design.composition) == table[family]
    places = [tuple(getattr(design, name) for name in CHOICES) for design in DESIGNS]
    assert len(set(places)) == len(DESIGNS)


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: d.name)
def test_the_code_of_a_design_makes_it(design: Any) -> None:
    explorer = PlacementExplorer(
        site=design.site, function=design.function, form=design.form, composition=design.composition
    )
    assert explorer.design() == design and explorer.nearest() == [design]
    if design.code:
        method = eval(design.code, {"pft": pft})
        model = method.attach(TINY["bert"]())
        assert pft.count(model).trainable > 0
        if design.site in ("ffn", "attention"):
            assert method.at == (design.site,)


def test_what_has_no_name_has_neighbours() -> None:
    explorer = PlacementExplorer(
        site="heads", function="softmax", form="sequential", composition="gated"
    )
    assert explorer.design() is None
    assert [design.name for design in explorer.nearest()] == ["Prefix tuning"]


# LowRankExplorer


@pytest.mark.parametrize("rank", [0, 1, 7, 36])
def test_energy_is_that_of_the_best_reconstruction(rank: int) -> None:
    change = weights(40, 36)
    explorer = LowRankExplorer({"query": torch.tensor(change)}, rank=rank)
    left, values, right = np.linalg.svd(change, full_matrices=False)
    near = (left[:, :rank] * values[:rank]) @ right[:rank]
    error = np.linalg.norm(change - near) / np.linalg.norm(change)
    assert explorer.error() == pytest.approx(error, abs=1e-5)
    assert explorer.parameters() == rank * 76
    matrix = explorer.matrices["query"]
    left, right = (unpacked(matrix[side])[:, :rank] * explorer.unit for side in ("left", "right"))
    corner = left * explorer.values()[:rank] @ right.T
    assert np.allclose(corner, near[:24, :24], atol=0.02)


@pytest.mark.parametrize("change", [np.zeros((3, 3)), np.ones(3), np.full((2, 2), np.nan)])
def test_what_is_no_change_is_refused(change: np.ndarray) -> None:
    with pytest.raises(pft.BadValue):
        LowRankExplorer({"query": change})
    with pytest.raises(pft.BadValue):
        LowRankExplorer({})


# TrainingScrubber


def test_a_recorded_training_is_the_same_training() -> None:
    """Looking at it changes nothing, and what is kept is what was there."""
    task = pft.load_task("reviews", size="tiny").subset(20, split="validation")
    task = task.subset(40, split="test")
    recorded = record(task=task, rates=(1e-2,), steps=2)
    torch.manual_seed(0)
    model = pft.LoRA().attach(pft.load_base("tiny-encoder", num_labels=2, seed=0))
    run = pft.train(model, task, lr=1e-2, steps=2, evaluate_every=2, progress=False)
    (told,) = recorded["runs"]
    assert told["losses"] == [round(loss, 4) for _, loss in run.losses]
    tested = pft.evaluate(model, task, "test")["accuracy"]
    assert told["accuracy"][-1] == pytest.approx(tested, abs=1e-4)
    scrubber = TrainingScrubber(recorded, frame=-1)
    deltas = [delta for *_, delta in planted(model, "lora")]
    assert [len(recorded["sites"]), recorded["steps"]] == [len(deltas), [0, 2]]
    for delta, values in zip(deltas, scrubber.singular()[-1], strict=True):
        whole = torch.linalg.svdvals(delta.scale * delta.B @ delta.A)[: recorded["rank"]]
        assert values == pytest.approx(whole.detach().numpy(), rel=5e-3, abs=1e-6)
    assert (scrubber.singular()[0] == 0).all(), "B is zero at the start"
    entries = np.frombuffer(base64.b64decode(told["entries"]), np.int8)
    half = recorded["shown"] * recorded["rank"]
    last = entries.reshape(2, len(deltas), 2, half)[-1, 0, 0] * told["units"][0]
    first_rows = deltas[0].B[: recorded["shown"]].detach().flatten().numpy()
    assert last == pytest.approx(first_rows, abs=0.51 * told["units"][0])
    sentence = recorded["sentences"][0]
    assert sentence["text"] in task.splits["test"]["text"]


def test_the_stored_recording_says_where_it_comes_from() -> None:
    stored = load_recording()
    assert stored["base"]["sha256"] and stored["task"]["fingerprint"] and stored["commit"]
    assert {len(run["losses"]) for run in stored["runs"]} == {stored["training"]["steps"]}
    assert {len(run["sure"]) for run in stored["runs"]} == {len(stored["steps"])}
    forms = {each["label"] for each in stored["sentences"]}
    assert forms == {0, 1} and len(stored["sentences"]) >= 8


@pytest.mark.parametrize("given", [{"run": 2}, {"site": -1}, {"frame": 3}])
def test_what_was_not_recorded_is_said(given: dict[str, int]) -> None:
    with pytest.raises(pft.BadValue, match="counted from 0"):
        TrainingScrubber(made_up.recording(), **given)


# NF4Explorer


@pytest.mark.parametrize("name, theirs", [("NF4", "nf4"), ("fp4", "fp4")])
def test_levels_and_errors_are_those_of_bitsandbytes(name: str, theirs: str) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    levels = functional.get_4bit_type(theirs, device="cpu")
    assert LEVELS[name] == pytest.approx(sorted({0.0 + float(v) for v in levels}), abs=1e-6)
    given = torch.tensor(weights(64, 64), dtype=torch.float32)
    explorer = NF4Explorer(given, format=name)
    for block in (32, 64):  # larger ones are wrong in its code for processors
        code, state = functional.quantize_4bit(given, blocksize=block, quant_type=theirs)
        back = functional.dequantize_4bit(code, state)
        error = float((back - given).norm() / given.norm())
        assert explorer.error(name, block) == pytest.approx(error, rel=2e-3)


def test_levels_stay_and_blocks_help() -> None:
    explorer = NF4Explorer(weights(64, 64))
    for name, levels in LEVELS.items():
        exact = np.tile(levels, 4096)[:4096]
        assert NF4Explorer(exact, format=name, block=4096).error() < 1e-4
    assert [row["block"] for row in explorer.table()] == list(BLOCKS)
    assert explorer.error("NF4", 16) < explorer.error("NF4", 4096)
    assert explorer.bits() == 4.5


def test_too_few_weights_are_refused() -> None:
    with pytest.raises(pft.BadValue, match="4096"):
        NF4Explorer(np.ones(10))


# BudgetPlayer


def walk(method: pft.AdaLoRA, steps: int = 20) -> Any:
    """A short training of a tiny BERT, without a tokenizer and a task."""
    torch.manual_seed(0)
    model = tiny("bert")
    method.attach(model)
    ids = torch.randint(3, 50, (4, 12), generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    method.before_training(model, lambda: iter([]), steps)
    for step in range(1, steps + 1):
        loss = model(input_ids=ids, labels=torch.tensor([0, 1, 0, 1])).loss
        (loss + method.extra_loss(model)).backward()
        method.after_backward(model, step, steps)
        optimiser.step()
        optimiser.zero_grad()
        method.after_step(model, step, steps)
    return model


SETTINGS: dict[str, Any] = {"rank": 2, "start_rank": 6, "interval": 3, "final": 0.3}


def test_to_watch_changes_nothing() -> None:
    watched, plain = walk(WatchedAdaLoRA(**SETTINGS)), walk(pft.AdaLoRA(**SETTINGS))
    theirs = trainable_state(plain)
    ours = trainable_state(watched)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_history_is_what_was_allocated() -> None:
    method = WatchedAdaLoRA(**SETTINGS, at=("ffn.up", "attention.query"))
    model, history = walk(method), method.history
    # 20 steps: pruned from step 3 (the warm-up is 2 steps) to step 14, where the final phase begins
    assert history.steps == [0, 3, 6, 9, 12, 14] and history.total_steps == 20
    budgets = [4 * 6] + [method.budget(4, step, 2, 14) for step in history.steps[1:]]
    assert [sum(ranks) for ranks in history.ranks] == budgets and budgets[-1] == 4 * 2
    left = {
        (int(path.split(".")[3]), delta.site_name): int(delta.kept.sum())
        for path, _, _, delta in planted(model)
        if isinstance(delta, SVDUpdate)
    }
    assert dict(zip(history.places, history.ranks[-1], strict=True)) == left
    player = BudgetPlayer(history, frame=-1)
    assert player.budget() == 8 and player.now().tolist() == history.ranks[-1]
    assert {(row["layer"], row["site"]): row["rank"] for row in player.table()} == left
    assert {row["start"] for row in player.table()} == {6}


def test_a_budget_that_never_fell_is_refused() -> None:
    with pytest.raises(pft.BadValue, match="no allocations"):
        BudgetPlayer(WatchedAdaLoRA().history)
    with pytest.raises(pft.BadValue, match="frames"):
        BudgetPlayer(made_up.ranks(), frame=99)


# PrefixAttention


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "gpt_neox"])
def test_attention_is_that_of_a_prefix_in_the_cache(name: str) -> None:
    """Transformers' own attention, with the prefix as what was read before."""
    from transformers import DynamicCache

    model, ids = tiny(name), [5, 9, 4, 20, 7]
    pft.PrefixTuning(length=3, hidden=None, std=1.0).attach(model)
    found = attention(model, ids)
    prefixes = [d.prefix() for *_, d in planted(model) if hasattr(d, "prefix")]
    pft.detach(model)
    model.set_attn_implementation("eager")
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(prefixes):
        cache.update(keys[None].detach(), values[None].detach(), layer)
    out = model(torch.tensor([ids]), past_key_values=cache, output_attentions=True)
    for layer, weights in enumerate(out.attentions):
        assert found[layer].shape == (4, 5, 8)
        torch.testing.assert_close(found[layer], weights[0].detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_attention_in_an_encoder(name: str) -> None:
    """The equation itself, on what the linear maps for queries and keys give."""
    model, ids, seen = tiny(name), [5, 9, 4, 20, 7, 2], []
    pft.PTuningV2(length=3).attach(model)
    prefixes = [d.prefix() for *_, d in planted(model) if hasattr(d, "prefix")]
    hooks = [
        module.register_forward_hook(lambda _, __, out: seen.append(out[0].detach()))
        for path, module in model.named_modules()
        if path.endswith(("self.query", "self.key"))
    ]
    found = attention(model, ids)
    for hook in hooks:
        hook.remove()
    for layer, (keys, _) in enumerate(prefixes):
        query, key = (part.unflatten(-1, (4, 8)).movedim(1, 0) for part in seen[2 * layer :][:2])
        both = torch.cat([keys.detach(), key], dim=1)
        weights = torch.softmax(query @ both.mT / 8**0.5, -1)
        torch.testing.assert_close(found[layer], weights, atol=1e-6, rtol=1e-5)


def test_looking_leaves_the_model_as_it_was() -> None:
    model, ids = tiny("bert").train(), torch.tensor([[5, 9, 4]])
    pft.PTuningV2(length=3).attach(model)
    names = [name for name, _ in model.named_modules()]
    model.eval()
    before = model(ids).logits
    model.train()
    attention(model, [5, 9, 4])
    assert model.training and [name for name, _ in model.named_modules()] == names
    assert torch.equal(model.eval()(ids).logits, before)


def test_shares_are_what_goes_to_the_prefix() -> None:
    model, figure = made_up.prefixed_model(), made_up.prefixed()
    ids = made_up.tokenizer(figure.sentences[0]["text"])["input_ids"]
    found = attention(model, ids)
    assert figure.layers == list(found) == [0, 1]
    tokens = figure.sentences[0]["tokens"]
    assert len(tokens) == len(ids) and "<22>" in tokens and "" not in tokens
    expected = torch.stack([weights[:, :, :4].sum(-1) for weights in found.values()])
    assert figure.shares() == pytest.approx(expected.numpy(), abs=6e-4)
    means = torch.stack([weights[:, :, :4].mean(1) for weights in found.values()])
    assert figure.vectors() == pytest.approx(means.numpy(), abs=6e-5)
    assert figure.even() == pytest.approx(4 / (4 + len(ids)), abs=6e-4)
    assert figure.above() == int((figure.shares().mean(-1) > figure.even()).sum())
    assert figure.table()[1]["head 3"] == pytest.approx(float(expected[1, 3].mean()), abs=6e-4)


def test_a_decoder_s_even_share_counts_what_each_word_can_see() -> None:
    model = tiny("gpt2")
    pft.PTuningV2(length=2).attach(model)
    figure = PrefixAttention(model, ["abc"], made_up.tokenizer)
    assert figure.even() == pytest.approx((2 / 3 + 2 / 4 + 2 / 5) / 3, abs=6e-4)


def test_layers_without_a_prefix_have_no_row() -> None:
    model = tiny("bert")
    pft.PTuningV2(length=2, layers=(1,)).attach(model)
    assert PrefixAttention(model, ["abc"], made_up.tokenizer).layers == [1]


def test_a_model_without_a_prefix_is_refused() -> None:
    with pytest.raises(pft.Refused, match="prefix"):
        PrefixAttention(pft.LoRA().attach(tiny("bert")), ["abc"], made_up.tokenizer)
    with pytest.raises(pft.Refused, match="one stack"):
        PrefixAttention(pft.PTuningV2().attach(tiny("t5")), ["abc"], made_up.tokenizer)
    with pytest.raises(pft.BadValue, match="no sentences"):
        PrefixAttention(made_up.prefixed_model(), [], made_up.tokenizer)
    with pytest.raises(pft.BadValue, match="head"):
        PrefixAttention(made_up.prefixed_model(), ["abc"], made_up.tokenizer, head=4)


# ScaleCurve


def test_gaps_are_differences_of_means() -> None:
    results = made_up.grid()
    curve = ScaleCurve(results, task="pairs")
    assert [point["base"] for point in curve.curve(curve.method)] == ["tiny", "mini"]

    def mean(method: str, base: str) -> float:
        runs = [r for r in results if (r.method, r.base["name"]) == (method, base)]
        return statistics.fmean(r.score for r in runs if r.task["name"] == "pairs")

    assert curve.gaps() == {
        base: pytest.approx(mean("full", base) - mean("prompt_tuning", base))
        for base in ("tiny", "mini")
    }
    sizes = [point["size"] for point in curve.curve(curve.reference)]
    assert sizes == list(made_up.BASES.values()), "of the base alone"
    assert {row["interval"] for row in curve.table()} == {
        row.interval for row in summarise(results) if row.task == "pairs"
    }


def test_the_best_rate_by_validation_is_shown() -> None:
    results = made_up.grid()
    worse = [
        replace(r, key=r.key + "x", validation={"accuracy": 0.1}, test={"accuracy": 0.99},
                training=r.training | {"lr": 1.0})
        for r in results if r.method == "lora"
    ]  # fmt: skip
    assert ScaleCurve(results + worse).table() == ScaleCurve(results).table()


def test_other_settings_make_another_line() -> None:
    results = made_up.grid()
    other = [
        replace(r, key=r.key + "x", hyperparameters=r.hyperparameters | {"rank": 4})
        for r in results
        if r.method == "lora"
    ]
    names = [name for _, name, *_ in ScaleCurve(results + other).series]
    assert {"LoRA (rank 4)", "LoRA (rank 8)"} < set(names)


def test_the_task_with_most_bases_comes_first() -> None:
    results = [r for r in made_up.grid() if (r.task["name"], r.base["name"]) != ("pairs", "mini")]
    assert ScaleCurve(results).task == "reviews"
    assert len(ScaleCurve(results, task="pairs").gaps()) == 1
    assert ScaleCurve(results, bases=["tiny"]).gaps().keys() == {"tiny"}


@pytest.mark.parametrize("given", [{"bases": ["none"]}, {"task": "none"}])
def test_without_scores_there_is_no_curve(given: dict[str, Any]) -> None:
    with pytest.raises(pft.BadValue, match="test scores"):
        ScaleCurve(made_up.grid(1), **given)


# ForgettingPlane


def test_the_plane_has_means_and_intervals_of_each_rate() -> None:
    plane = ForgettingPlane(made_up.forgotten(), chosen=2)
    assert [row["method"] for row in plane.table()] == ["LoRA", "Full fine-tuning"]
    assert [row["forgotten"] for row in plane.table()] == pytest.approx([0.61, 1.22])
    assert [row["accuracy"] for row in plane.table()] == pytest.approx([0.705, 0.755])
    half = summary.quantile(1) * statistics.stdev([0.60, 0.62]) / 2**0.5
    assert plane.now()[0]["forgotten"][1] == pytest.approx(half)
    assert [len({p["rate"] for p in plane.points}), len(plane.points)] == [3, 6]


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [(made_up.forgotten()[:-2], 0), (made_up.forgotten(), 3), (made_up.forgotten(), -1), ([], 0)],
)
def test_a_plane_without_a_rate_of_a_method_is_refused(rows: Any, chosen: int) -> None:
    with pytest.raises(pft.BadValue, match="every method at every rate"):
        ForgettingPlane(rows, chosen)
