"""What the interactive figures compute in Python, and what they leave in a notebook."""

import base64
import itertools
from typing import Any

import made_up
import numpy as np
import pytest
import torch
from tiny import GPT2, LLAMA, SHAPE
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

import pftlab as pft
from pftlab.experiments import summarise
from pftlab.experiments.memory import step_memory
from pftlab.experiments.sizes import blank
from pftlab.registry import METHODS
from pftlab.widgets import (
    LowRankExplorer,
    NF4Explorer,
    ParameterCounter,
    PlacementExplorer,
    TradeoffExplorer,
)
from pftlab.widgets.figure import unpacked
from pftlab.widgets.nf4_explorer import BLOCKS, LEVELS
from pftlab.widgets.placement_explorer import CHOICES, DESIGNS
from pftlab.widgets.shapes import kept, shapes

FEW = ("bert-base", "llama-3.1-8b")


def weights(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, columns))


MAKE: dict[str, Any] = {
    "ParameterCounter": lambda: ParameterCounter(base="bert-base", models=FEW),
    "TradeoffExplorer": lambda: TradeoffExplorer(made_up.grid()),
    "PlacementExplorer": PlacementExplorer,
    "LowRankExplorer": lambda: LowRankExplorer({"query": weights(40, 36)}),
    "NF4Explorer": lambda: NF4Explorer(weights(64, 64)),
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


def test_a_shape_has_what_the_model_has() -> None:
    shape = shapes("llama-3.1-8b")
    assert (shape["layers"], shape["width"], shape["keys"], shape["inner"]) == (
        32,
        4096,
        1024,
        14336,
    )
    assert shape["middle"] == 3 and shape["biases"] == 0 and shape["norms"] == 65 * 4096
    assert shape["linear"] == 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    assert shapes("bert-base")["total"] == 109_514_298


def test_an_encoder_decoder_model_is_refused() -> None:
    with pytest.raises(pft.Refused, match="two stacks"):
        shapes("t5-small")


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("method", ["full", "lora", "houlsby", "ia3", "layer_norm"])
def test_the_estimate_of_activations_is_near_what_a_step_keeps(
    model: str, method: str, tmp_path: Any
) -> None:
    built = TINY[model]()
    built.config.save_pretrained(tmp_path)
    shape = shapes(str(tmp_path))
    batch = {
        "input_ids": torch.randint(3, 50, (8, 32)),
        "attention_mask": torch.ones(8, 32, dtype=torch.long),
        "labels": torch.zeros(8, dtype=torch.long),
    }
    chosen = METHODS[method]()
    settings = {"rank": 8, "at": list(getattr(chosen, "at", None) or ())}
    settings["bottleneck"] = getattr(chosen, "bottleneck", 0)
    measured = step_memory(chosen.attach(built), batch)["activations"]
    estimated = 4 * 8 * 32 * shape["layers"] * kept(shape, method, settings)
    assert 0.7 < estimated / measured < 1.3, (estimated, measured)


def test_what_is_chosen_is_what_is_counted() -> None:
    counter = ParameterCounter("bert-base", "lora", FEW, rank=16)
    expected = pft.count(pft.LoRA(rank=16).attach(blank("bert-base")))
    assert counter.count() == expected
    counter.settings = {**counter.settings, "lora": {"rank": 4, "at": ["ffn.gate", "ffn.up"]}}
    assert counter.chosen() == pft.LoRA(rank=4, at=("ffn.up",))  # BERT has no gate


def test_memory_of_full_fine_tuning_in_16_bits_is_16_bytes_a_parameter() -> None:
    counter = ParameterCounter("bert-base", "full", FEW)
    parts = counter.memory()["Full fine-tuning"]
    total = counter.models["bert-base"]["total"]
    assert sum(parts.values()) - parts["activations"] == 16 * total


def test_four_bits_hold_for_frozen_matrices_alone() -> None:
    counter = ParameterCounter("llama-3.1-8b", "lora", FEW, precision="4")
    lora, full = counter.memory().values()
    shape = counter.models["llama-3.1-8b"]
    rest = counter.count().total - shape["linear"]
    assert lora["weights"] == pytest.approx(shape["linear"] * 4.127 / 8 + 2 * rest, rel=1e-4)
    assert full["weights"] == 2 * shape["total"]


@pytest.mark.parametrize(
    "given", [{"base": "bert"}, {"method": "lorra"}, {"method": "lora", "length": 3}]
)
def test_unknown_names_are_said(given: dict[str, Any]) -> None:
    with pytest.raises(pft.UnknownName, match="Known"):
        ParameterCounter(**{"base": "bert-base", "models": ("bert-base",)} | given)


# TradeoffExplorer


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


def test_scores_are_those_of_the_summary() -> None:
    results = made_up.grid()
    explorer = TradeoffExplorer(results)
    for row, point in zip(summarise(results), explorer.points, strict=True):
        assert point["scores"][row.metric] == [row.mean, row.interval]
        assert len(point["runs"]) == row.seeds == 5
    first = explorer.points[0]["runs"][0]
    assert explorer.commands[first["command"]].startswith("pftlab compare")


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
    left, right = (unpacked(matrix[side])[:, :rank] * 1e-4 for side in ("left", "right"))
    corner = left * explorer.values()[:rank] @ right.T
    assert np.allclose(corner, near[:24, :24], atol=2e-3)


@pytest.mark.parametrize("change", [np.zeros((3, 3)), np.ones(3), np.full((2, 2), np.nan)])
def test_what_is_no_change_is_refused(change: np.ndarray) -> None:
    with pytest.raises(pft.BadValue):
        LowRankExplorer({"query": change})
    with pytest.raises(pft.BadValue):
        LowRankExplorer({})


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
