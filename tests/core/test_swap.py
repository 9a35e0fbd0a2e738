"""Merging and taking out again, loading beside what is at work, and replacing it."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import perturb, tiny

import pftlab as pft
from pftlab.testing import batch, logits
from pftlab.testing.checks import close, snapshot

METHODS = {
    "lora": pft.LoRA(rank=2),
    "bitfit": pft.BitFit(),
    "random_mask": pft.RandomMask(),
    "prefix": pft.PrefixTuning(length=3, hidden=8),
}
INPUTS = batch("bert")


def trained(method: Any, folder: Path, seed: int) -> Any:
    model = method.attach(tiny("bert"), seed=seed)
    perturb(model, seed)
    pft.save(model, folder)
    return logits(model, INPUTS)


def outputs(model: Any) -> Any:
    return logits(model, INPUTS)


@pytest.mark.parametrize("name", ["lora", "random_mask", "bitfit"])
def test_unmerge_brings_everything_back_bit_for_bit(name: str) -> None:
    model = METHODS[name].attach(tiny("bert"), "it")
    perturb(model)
    before, computed = snapshot(model), outputs(model)
    pft.merge(model, keep=True)
    assert close(outputs(model), computed, 3e-5)
    fresh = pft.merge(METHODS[name].attach(tiny("bert")))
    assert set(fresh.state_dict()) <= set(model.state_dict())
    for act in (pft.merge, pft.detach, lambda m: pft.use(m, None), lambda m: pft.save(m, "no")):
        with pytest.raises(pft.Refused, match=r"pftlab\.unmerge\(model\)"):
            act(model)
    with pytest.raises(pft.Refused), pft.disabled(model):
        pass
    copied = copy.deepcopy(model)
    for each in (model, copied):
        assert snapshot(pft.unmerge(each)) == before
        assert torch.equal(outputs(each), computed)
        assert torch.equal(outputs(pft.detach(each)), outputs(tiny("bert")))
    with pytest.raises(pft.Refused, match="Nothing is"):
        pft.unmerge(model)


def test_merging_loses_nothing_that_is_set_aside() -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"), "a")
    pft.LoRA(rank=2).attach(model, "b")
    perturb(model)
    pft.use(model, "a")
    alone, both = outputs(model), snapshot(model)
    with pytest.raises(pft.Refused, match="'b' would be lost"):
        pft.merge(model)
    assert snapshot(model) == both
    assert close(outputs(pft.merge(model, keep=True)), alone, 3e-5)
    assert torch.equal(outputs(pft.unmerge(model)), alone)
    with pytest.raises(pft.Refused, match="Nothing is in use"):
        pft.merge(pft.use(model, None), keep=True)


@pytest.mark.parametrize("name", METHODS)
def test_what_arrives_aside_changes_nothing(name: str, tmp_path: Path) -> None:
    first, second = (trained(METHODS[name], tmp_path / n, i) for i, n in enumerate("ab"))
    model = pft.load(tiny("bert"), tmp_path / "a", "a", use=False)
    assert pft.in_use(model) == {} and torch.equal(outputs(model), outputs(tiny("bert")))
    pft.use(model, "a")
    pft.load(model, tmp_path / "b", "b", use=False)
    assert pft.in_use(model) == {"a": 1.0} and torch.equal(outputs(model), first)
    assert torch.equal(outputs(pft.use(model, "b")), second)
    assert torch.equal(outputs(pft.detach(model, "a")), second)


@pytest.mark.parametrize("name", METHODS)
def test_a_folder_takes_the_place_of_an_adapter(name: str, tmp_path: Path) -> None:
    first, second = (trained(METHODS[name], tmp_path / n, i) for i, n in enumerate("ab"))
    model = pft.load(tiny("bert"), tmp_path / "a", "it")
    pft.load(model, tmp_path / "b", "it", replace=True)
    assert torch.equal(outputs(model), second) and list(pft.attached(model)) == ["it"]
    pft.load(pft.use(model, None), tmp_path / "a", "it", replace=True)
    assert torch.equal(outputs(model), outputs(tiny("bert"))), "it was not in use"
    assert torch.equal(outputs(pft.use(model, "it")), first)
    assert torch.equal(outputs(pft.detach(model)), outputs(tiny("bert")))


def test_replacing_is_all_or_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"), "it")  # another rank, and the base's own head
    perturb(model)
    computed, before = outputs(model), snapshot(model)
    other = trained(pft.LoRA(rank=3), tmp_path / "b", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(pft.BadCheckpoint):
        pft.load(model, tmp_path / "empty", "it", replace=True)
    assert snapshot(model) == before and torch.equal(outputs(model), computed)
    with pytest.raises(pft.UnknownName, match="attached adapter 'that'"):
        pft.load(model, tmp_path / "b", "that", replace=True)

    from pftlab.core import swap

    fill, calls = swap.fill_state, []

    def fail_once(*given: Any) -> None:
        calls.append(given)
        if len(calls) == 1:
            raise MemoryError
        fill(*given)

    monkeypatch.setattr(swap, "fill_state", fail_once)
    with pytest.raises(MemoryError):
        pft.load(model, tmp_path / "b", "it", replace=True)
    assert list(pft.attached(model)) == ["it"] and torch.equal(outputs(model), computed)
    monkeypatch.undo()
    pft.load(model, tmp_path / "b", "it", replace=True)
    assert torch.equal(outputs(model), other)


def test_all_are_saved_and_loaded_in_one_call(tmp_path: Path) -> None:
    model, alone = tiny("bert"), {}
    for seed, (name, method) in enumerate(METHODS.items()):
        if seed:
            pft.use(model, None)
        method.attach(model, name, seed=seed)
        perturb(model, seed)
        alone[name] = outputs(model)
    pft.use(model, {"lora": 0.5})
    computed = outputs(model)
    pft.save_all(model, tmp_path / "all")
    loaded = pft.load_all(tiny("bert"), tmp_path / "all")
    assert pft.in_use(loaded) == {"lora": 0.5} and torch.equal(outputs(loaded), computed)
    assert pft.attached(loaded) == pft.attached(model)
    for name, expected in alone.items():
        assert torch.equal(outputs(pft.use(loaded, name)), expected)
        assert torch.equal(outputs(pft.load(tiny("bert"), tmp_path / "all" / name)), expected)
    trainable = {n for n, p in pft.use(loaded, "lora").named_parameters() if p.requires_grad}
    assert trainable and all("lora" in n or "classifier" in n for n in trainable), "goes on"

    (tmp_path / "all" / "prefix" / "adapter_model.safetensors").write_bytes(b"damaged")
    plain = tiny("bert")
    before = snapshot(plain)
    with pytest.raises(pft.BadCheckpoint):
        pft.load_all(plain, tmp_path / "all")
    assert snapshot(plain) == before
    (tmp_path / "all" / "adapters.json").write_text(
        json.dumps({"adapters": ["../x"], "in_use": {}})
    )
    with pytest.raises(pft.BadCheckpoint, match="is damaged"):
        pft.load_all(plain, tmp_path / "all")
    with pytest.raises(pft.BadCheckpoint, match=r"has no adapters\.json"):
        pft.load_all(plain, tmp_path)


def test_what_is_trained_together_cannot_be_saved_apart(tmp_path: Path) -> None:
    model = pft.LayerNormTuning().attach(pft.BitFit().attach(tiny("bert")))
    with pytest.raises(pft.Refused, match="trained by 'bitfit' and by 'layer_norm'"):
        pft.save_all(model, tmp_path / "all")
    assert not (tmp_path / "all").exists()
