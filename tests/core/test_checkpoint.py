"""Checkpoints: what is wrong with a file is said, and the model stays as it was."""

import json
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tiny import MODELS, batch, method, perturb, tiny

import pftlab as pft
from pftlab.core.heads import name_labels
from pftlab.core.saved import CONFIG, TENSORS
from pftlab.testing.models import logits


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
    (tmp_path / CONFIG).write_text('{"peft_type": "LORA"}')
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


def test_a_configuration_that_names_no_method(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text("{}")
    save_file({}, tmp_path / "adapter.safetensors")
    refused(tmp_path, "names no method.*Copy the whole folder again")


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


def header_of(folder: Path) -> dict[str, Any]:
    with safe_open(folder / TENSORS, "pt") as file:
        return json.loads(file.metadata()["pftlab"])


def rewrite(folder: Path, header: Any) -> None:
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(load_file(folder / TENSORS), folder / TENSORS, {"format": "pt", "pftlab": text})


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"},
        {"format": 0},
        {"format": True},
        {"methods": "lora"},
        {"methods": {}},
        {"methods": {"lora": 5}},
        {"methods": {"(a+)+b": {"method": "lora"}}},
        {"head": 5},
        {"head": ["classifier.weight", 5]},
        {"labels": [1, 2]},
        {"base": 5},
        {"base": {"digest": "0"}},
        {"foreign": []},
    ],
    ids=str,
)
def test_a_header_that_save_does_not_write(saved: Path, change: dict[str, Any]) -> None:
    rewrite(saved, header_of(saved) | change)
    refused(saved, rf"header of {TENSORS} .* is damaged: '{next(iter(change))}'")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": ' + "9" * 5000 + "}", "{", "5"])
def test_a_header_that_is_no_object(saved: Path, text: str) -> None:
    rewrite(saved, text)
    refused(saved, "header of .* is (no JSON|a JSON)")


def test_a_message_is_not_as_long_as_a_name_in_a_file(saved: Path) -> None:
    header = header_of(saved)
    header["methods"]["lora"]["method"] = "x" * 100_000
    rewrite(saved, header)
    with pytest.raises(pft.BadCheckpoint) as caught:
        pft.load(tiny("bert"), saved)
    assert len(str(caught.value)) < 3000 and "Known: " in str(caught.value)


@pytest.mark.parametrize(
    ("method", "larger"),
    [
        (pft.Houlsby(bottleneck=2), {"bottleneck": 10**9}),
        (pft.LoRA(rank=2), {"rank": 10**9}),
        (pft.PrefixTuning(length=2, hidden=4), {"length": 10**9}),
        (pft.PrefixTuning(length=2, hidden=4), {"hidden": 10**9}),
        (pft.PTuning(length=2, hidden=4), {"hidden": 10**6}),
        (pft.FourierFT(frequencies=20), {"frequencies": 10**9}),
        (pft.IntrinsicDID(dimension=20), {"dimension": 10**9}),
        (pft.VeRA(rank=4), {"rank": 10**9}),
    ],
    ids=lambda it: str(it)[:40],
)
def test_sizes_in_a_header_cost_no_memory(
    method: Any, larger: dict[str, Any], tmp_path: Path
) -> None:
    """A gigabyte would take seconds to fill, a thousand of them would not be there."""
    pft.save(method.attach(tiny("bert")), tmp_path)
    header = header_of(tmp_path)
    header["methods"][method.name] |= larger
    rewrite(tmp_path, header)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000, limit[1]))
    try:
        refused(tmp_path, r"does not fit this model: (?!.*(alloc|memory))")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


@pytest.mark.parametrize("kept", [CONFIG, None])
def test_a_save_that_was_killed_between_its_two_files(
    saved: Path, tmp_path: Path, kept: str | None
) -> None:
    """New tensors beside an old configuration, or beside none."""
    model = pft.Houlsby(bottleneck=2).attach(tiny("bert"))
    new = pft.save(model, tmp_path / "new")
    (saved / TENSORS).write_bytes((new / TENSORS).read_bytes())
    if not kept:
        (saved / CONFIG).unlink()
    assert list(pft.attached(pft.load(tiny("bert"), saved))) == ["houlsby"]
    old, peft = pft.save(model, tmp_path / "old"), tmp_path / "peft"
    (old / TENSORS).write_bytes((saved_lora(peft) / TENSORS).read_bytes())
    assert list(pft.attached(pft.load(tiny("bert"), old))) == ["lora"]


def saved_lora(folder: Path) -> Path:
    return pft.save(pft.LoRA(rank=2).attach(tiny("bert")), folder)


def test_a_model_without_values_is_refused(saved: Path) -> None:
    model = tiny("bert").to("meta")
    with pytest.raises(pft.Refused, match="no values"):
        pft.load(model, saved)
    assert not pft.attached(model)


def test_a_full_disk_is_said_and_leaves_the_old_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in saved.iterdir()}

    def full(tensors: Any, path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("pftlab.core.checkpoint.save_file", full)
    with pytest.raises(pft.Unavailable, match="No space left"):
        pft.save(pft.load(tiny("bert"), saved), saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before


@pytest.mark.parametrize(
    "method", [pft.LoRA(rank=2), pft.Houlsby(bottleneck=2)], ids=["peft", "ours"]
)
def test_names_of_the_labels_come_with_the_head(method: Any, tmp_path: Path) -> None:
    model = method.attach(tiny("bert"))
    name_labels(model, ("ham", "spam"))
    pft.save(model, tmp_path)
    again = pft.load(tiny("bert"), tmp_path)
    assert again.config.id2label == {0: "ham", 1: "spam"}
    assert again.config.label2id == {"ham": 0, "spam": 1}
    assert pft.detach(again).config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert header_of(saved_lora(tmp_path / "unnamed"))["labels"] == []


@pytest.mark.parametrize("name", pft.METHODS)
def test_transformers_saves_a_model_with_what_is_attached(name: str, tmp_path: Path) -> None:
    """As its Trainer does. What deltas share is in the file once."""
    try:
        model = method(name).attach(tiny("bert"), seed=1)
    except pft.PftError:
        pytest.skip("cannot be attached to this model")
    perturb(model)
    model.save_pretrained(tmp_path)
    again = method(name).attach(tiny("bert"), seed=2)
    again.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)
    assert torch.equal(logits(again, batch("bert")), logits(model, batch("bert")))
