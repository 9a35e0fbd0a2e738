"""Checkpoints: what is wrong with a file is said, and the model stays as it was."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import MODELS, batch, perturb, tiny

import pftlab as pft
from pftlab.core.checkpoint import CONFIG, TENSORS, fingerprint


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A LoRA of a tiny BERT, moved away from its start."""
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    perturb(model)
    return pft.save(model, tmp_path / "lora")


def refused(folder: Path, message: str, model: Any = None) -> None:
    """Loading fails with `message` and leaves no trace."""
    model = tiny("bert") if model is None else model
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(pft.BadCheckpoint, match=message):
        pft.load(model, folder)
    assert not hasattr(model, "pftlab")
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_two_files_and_no_more(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == [CONFIG, TENSORS]
    model = pft.load(tiny("bert"), saved)
    assert pft.attached(model) == {"lora": pft.LoRA(rank=2)}


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", rf"has no {CONFIG}")
    (tmp_path / CONFIG).write_text("{}")
    refused(tmp_path, rf"has no {TENSORS}\. Save it again as safetensors")


def test_a_pickled_checkpoint_is_never_opened(saved: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    (saved / "adapter_model.bin").write_bytes(pickle.dumps(Trap()))
    (saved / TENSORS).unlink()
    refused(saved, "adapter_model.bin is a pickle, which can run any code")
    (saved / TENSORS).write_bytes(pickle.dumps(Trap()))
    refused(saved, "truncated or no safetensors file")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_a_truncated_file(saved: Path, kept: int) -> None:
    data = (saved / TENSORS).read_bytes()
    (saved / TENSORS).write_bytes(data[:kept])
    refused(saved, rf"{TENSORS} in .* is truncated")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '"lora"'])
def test_a_configuration_that_is_none(saved: Path, text: str) -> None:
    (saved / CONFIG).write_text(text)
    refused(saved, rf"{CONFIG} in .* (is no JSON|is a JSON)")


def test_a_configuration_of_something_else(saved: Path) -> None:
    (saved / CONFIG).write_text('{"model_type": "bert"}')
    save_file(load_file(saved / TENSORS), saved / TENSORS)  # without our header
    refused(saved, "names no method")


def test_another_base_of_the_same_shape(saved: Path) -> None:
    torch.manual_seed(7)
    other = MODELS["bert"]().eval()
    refused(saved, r"trained on another base.*check_base=False", other)
    pft.load(other, saved, check_base=False)
    assert list(pft.attached(other)) == ["lora"]


@pytest.mark.parametrize("name", ["gpt2", "roberta", "distilbert", "bert-tagging"])
def test_another_model(saved: Path, name: str) -> None:
    refused(saved, r"trained on another base|does not fit this model|The head", tiny(name))
    model = tiny(name)
    with pytest.raises(pft.BadCheckpoint):
        pft.load(model, saved, check_base=False)
    assert not hasattr(model, "pftlab")


def test_a_tensor_of_another_shape(saved: Path) -> None:
    tensors = load_file(saved / TENSORS)
    with safe_open(saved / TENSORS, "pt") as file:
        header = file.metadata()
    key = next(k for k in tensors if "lora_A" in k)
    save_file(tensors | {key: torch.zeros(5, 5)}, saved / TENSORS, header)
    refused(saved, r"has shape \(5, 5\) in the file and \(2, 32\) here")
    del tensors[key]
    save_file(tensors, saved / TENSORS, header)
    refused(saved, "not complete")


def test_a_method_that_is_not_known(tmp_path: Path) -> None:
    pft.save(pft.Houlsby(bottleneck=2).attach(tiny("bert")), tmp_path)
    with safe_open(tmp_path / TENSORS, "pt") as file:
        header = json.loads(file.metadata()["pftlab"])
    header["methods"]["houlsby"]["method"] = "of_tomorrow"
    save_file(load_file(tmp_path / TENSORS), tmp_path / TENSORS, {"pftlab": json.dumps(header)})
    refused(tmp_path, "of_tomorrow")


def test_a_file_from_a_newer_version(saved: Path) -> None:
    with safe_open(saved / TENSORS, "pt") as file:
        header = json.loads(file.metadata()["pftlab"]) | {"format": 99}
    save_file(load_file(saved / TENSORS), saved / TENSORS, {"pftlab": json.dumps(header)})
    refused(saved, "newer PFT Lab")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    (tmp_path / "file").write_text("here already")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(pft.Unavailable, match="cannot be written"):
            pft.save(model, place)
    assert (tmp_path / "file").read_text() == "here already"


def test_a_folder_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses to write; root may write everywhere, so the refusal is staged."""
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    folder = pft.save(model, tmp_path / "out")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    perturb(model)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(pft.Unavailable, match="cannot be written"):
        pft.save(model, folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_an_interrupted_save_keeps_the_old_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    model = pft.load(tiny("bert"), saved)
    perturb(model, seed=5)

    def interrupted(tensors: Any, path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("pftlab.core.checkpoint.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pft.save(model, saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before


def test_two_methods_in_one_file(tmp_path: Path) -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    pft.Houlsby(bottleneck=2).attach(model, "adapters")
    perturb(model)
    pft.save(model, tmp_path)
    again = pft.load(tiny("bert"), tmp_path)
    assert list(pft.attached(again)) == ["lora", "adapters"]
    with torch.no_grad():
        assert torch.equal(again(**batch("bert")).logits, model(**batch("bert")).logits)


def test_loading_under_another_name_beside_a_method(saved: Path) -> None:
    model = pft.BitFit().attach(tiny("bert"))
    pft.load(model, saved, name="second")
    assert list(pft.attached(model)) == ["bitfit", "second"]


def test_the_fingerprint_is_that_of_the_base() -> None:
    model = tiny("bert")
    plain = fingerprint(model)
    assert fingerprint(model.to(torch.bfloat16).to(torch.float32)) == plain
    pft.FullFineTuning().attach(model)
    perturb(model)
    assert fingerprint(model) == plain
    torch.manual_seed(7)
    assert fingerprint(MODELS["bert"]()) != plain
