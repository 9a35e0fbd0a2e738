"""OFT against the Cayley transform written out, and against Hugging Face PEFT."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.arithmetic import forward_flops
from pftlab.experiments.sizes import blank
from pftlab.others.oft import Rotation


def rotation(delta: Rotation) -> torch.Tensor:
    """R as one matrix, entry by entry from the stored triangles."""
    b, blocks = delta.block, []
    for triangle in delta.Q.detach().double():
        q, numbers = torch.zeros(b, b, dtype=torch.float64), iter(triangle)
        for i in range(b):
            for j in range(i + 1, b):
                q[i, j] = next(numbers)
                q[j, i] = -q[i, j]
        one = torch.eye(b, dtype=torch.float64)
        blocks.append((one + q) @ torch.linalg.inv(one - q))
    return torch.block_diag(*blocks)


@pytest.mark.parametrize("name", ["bert", "gpt2", "gpt_neox", "llama"])
def test_the_host_reads_a_turned_input(name: str) -> None:
    model = pft.OFT(block=8, at=("attention.value",)).attach(tiny(name))
    perturb(model)
    _, host, _, delta = next(planted(model))
    site = pft.sites(tiny(name), ("attention.value",))[0]
    turn = rotation(delta)  # type: ignore[arg-type]
    assert torch.allclose(turn @ turn.T, torch.eye(32, dtype=torch.float64), atol=1e-12)
    x = torch.randn(2, 5, 32)
    bias = delta.base_bias
    expected = x.double() @ (site.weight.double() @ turn).T + (0.0 if bias is None else bias)
    delta.active = False
    plain = host(x)
    delta.active = True
    after = host(x)
    changed = (after != plain).flatten(0, 1).any(0)
    assert changed.sum() == site.d_out  # a slice of a fused projection leaves the others alone
    assert torch.allclose(after[..., changed].double(), expected, atol=1e-5)


def test_the_angles_between_neurons_stay() -> None:
    model = pft.OFT(block=16).attach(tiny("bert"))
    perturb(model)
    weight = model.bert.encoder.layer[0].attention.self.query.weight.detach().clone()
    pft.merge(model)
    merged = model.bert.encoder.layer[0].attention.self.query.weight.detach()
    assert not torch.allclose(merged, weight, atol=1e-3)
    assert torch.allclose(merged @ merged.T, weight @ weight.T, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "size", "count"),
    [
        (pft.OFT(block=32), "roberta-base", 285_696),
        (
            pft.OFT(
                block=16,
                at=(
                    "attention.query",
                    "attention.key",
                    "attention.value",
                    "attention.output",
                    "ffn.gate",
                    "ffn.up",
                    "ffn.down",
                ),
            ),
            "llama-7b",
            8_540_160,
        ),
    ],
)
def test_counts_of_the_papers(method: Any, size: str, count: int) -> None:
    assert pft.count(method.attach(blank(size))).trainable == count


def test_count_of_the_papers_example() -> None:
    assert Rotation(128, 16, False).Q.numel() == 960  # 8 blocks of a 128 × 128 matrix


def test_a_block_must_divide_the_inputs() -> None:
    with pytest.raises(pft.BadValue, match="do not divide into blocks of 7"):
        pft.OFT(block=7).attach(tiny("bert"))
    with pytest.raises(pft.BadValue, match="less than 2"):
        pft.OFT(block=1)


@pytest.mark.parametrize("option", [{"coft": True}, {"r": 4, "oft_block_size": 0}])
def test_variants_of_peft_are_refused(option: dict[str, Any], tmp_path: Path) -> None:
    settings = peft.OFTConfig(**{"oft_block_size": 8} | option, task_type="SEQ_CLS")
    peft.get_peft_model(tiny("bert"), settings).save_pretrained(tmp_path)
    with pytest.raises(pft.BadCheckpoint, match=next(iter(option))):
        pft.load(tiny("bert"), tmp_path)


@pytest.mark.parametrize("version", [None, "0.17.1"])
def test_the_series_of_an_older_peft_is_refused(version: str | None, tmp_path: Path) -> None:
    settings = peft.OFTConfig(oft_block_size=8, task_type="SEQ_CLS")
    peft.get_peft_model(tiny("bert"), settings).save_pretrained(tmp_path)
    pft.load(tiny("bert"), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"peft_version": version}))
    with pytest.raises(pft.BadCheckpoint, match=r"peft_version=.*before 0\.18"):
        pft.load(tiny("bert"), tmp_path)


def test_the_series_of_peft_is_near_the_inverse_rotation() -> None:
    exact, series = Rotation(16, 8, False), Rotation(16, 8, True)
    with torch.no_grad():
        exact.Q.normal_(std=0.01)
        series.Q.copy_(exact.Q)
    assert torch.allclose(series.turn().mT, exact.turn(), atol=1e-5)
    assert not torch.allclose(series.turn(), exact.turn(), atol=1e-3)


def test_trains_on_a_batch() -> None:
    model = pft.OFT(block=8).attach(tiny("bert"))
    model(**batch("bert")).logits.sum().backward()
    assert all(d.Q.grad.abs().max() > 0 for *_, d in planted(model))  # type: ignore[union-attr]


def test_costs_the_turn_and_no_second_product_with_the_weight() -> None:
    model = tiny("bert")
    before = forward_flops(model, batch("bert"))
    pft.OFT(block=8, at=("attention.query",)).attach(model)
    tokens, sites = batch("bert")["input_ids"].numel(), 2
    assert forward_flops(model, batch("bert")) - before == 2 * tokens * 32 * 8 * sites
