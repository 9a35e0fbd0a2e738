"""An exported folder needs no pftlab, and computes what the adapted model computes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import method, perturb, save_tiny_base, tiny
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

import pftlab as pft

TEXTS = ["a fine film", "dull, and long, and dull again"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


def trained(base: str, attach: Any, labels: tuple[str, ...] = ("no", "yes")) -> Any:
    return moved(attach.attach(pft.load_base(base, labels=labels), seed=0))


def moved(model: Any) -> Any:
    """The model as if it had been trained."""
    perturb(model)
    return model


def scores(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.softmax(-1)


@pytest.mark.parametrize("attach", [pft.LoRA(rank=2), pft.BitFit(), pft.FullFineTuning()])
def test_a_pipeline_opens_it_and_answers_alike(base: str, attach: Any, tmp_path: Path) -> None:
    model = trained(base, attach)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    wanted = scores(model, pft.load_tokenizer(model))
    folder = pft.export(model, tmp_path / "out")
    answers = pipeline("text-classification", model=str(folder), top_k=None)(TEXTS)
    for row, answer in zip(wanted, answers, strict=True):
        found = {entry["label"]: entry["score"] for entry in answer}
        assert found == pytest.approx({"no": float(row[0]), "yes": float(row[1])}, abs=1e-6)
    after = model.state_dict()
    assert all(torch.equal(after[n], t) for n, t in before.items()) and pft.attached(model)
    assert not [path for path in tmp_path.iterdir() if path.name != "out"]
    assert base not in "".join(
        path.read_text("utf-8") for path in folder.glob("*.[jm][sd]*")
    )  # no path of this machine


def test_a_language_model_goes_on_writing(tmp_path: Path) -> None:
    model = moved(pft.LoRA(rank=2).attach(pft.load_base("tiny-decoder"), seed=0))
    tokenizer = pft.load_tokenizer(model)
    folder = pft.export(model, tmp_path / "out")
    inputs = tokenizer("The king", return_tensors="pt")
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("The king") == tokenizer("The king")
    assert (folder / "generation_config.json").is_file()
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
    assert torch.equal(again.generate(**inputs, **options), model.generate(**inputs, **options))
    written = pipeline("text-generation", model=str(folder))("The king", max_new_tokens=3)
    assert written[0]["generated_text"].startswith("The king")


def test_the_card_tells_how_it_was_made(tmp_path: Path) -> None:
    task = pft.load_task("reviews", size="tiny")
    done = pft.fine_tune(
        "tiny-encoder", pft.LoRA(rank=2), task, steps=1, progress=False, forgetting=True
    )
    lost = done.forgetting
    assert lost is not None
    folder = pft.export(
        done.model, tmp_path / "out", task=task, run=done.run, test=done.test, forgetting=lost
    )
    card = (folder / "README.md").read_text("utf-8")
    from huggingface_hub import ModelCard

    data = ModelCard(card).data
    assert (data.license, data.pipeline_tag) == ("apache-2.0", "text-classification")
    assert {result.metric_type for result in data.eval_results} >= {"accuracy"}
    assert "Hu" in card and '"rank": 2' in card and task.fingerprint in card
    assert f"| test | accuracy | {done.test['accuracy']:.4f} |" in card
    assert f"| masked_lm_loss | {lost.before:.4f} | {lost.after:.4f} |" in card
    assert "in nats; more after than before was forgotten" in card
    assert f"| licence | {task.licence} |" in card and pft.BASES["tiny-encoder"].sha256 in card
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}


def test_the_card_of_a_base_nobody_knows(base: str, tmp_path: Path) -> None:
    copied = Path(save_tiny_base(tmp_path / "base"))
    (copied / "README.md").write_text("---\nlicense: mit\n---\n")
    for source, licence in ((base, "other"), (str(copied), "mit")):
        folder = pft.export(trained(source, pft.LoRA(rank=2)), tmp_path / licence)
        assert f"license: {licence}\n" in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["prompt_tuning", "prefix_tuning", "houlsby", "loreft"])
def test_what_does_not_merge_is_refused(base: str, name: str, tmp_path: Path) -> None:
    model = trained(base, method(name))
    with pytest.raises(pft.Refused, match=r"cannot be exported.* pftlab\.save.* pftlab serve"):
        pft.export(model, tmp_path / "out")
    assert not list(tmp_path.iterdir()) and pft.attached(model)


def test_what_else_is_refused(base: str, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(pft.Refused, match="Nothing is attached"):
        pft.export(pft.load_base(base, num_labels=2), tmp_path / "out")
    model = trained(base, pft.LoRA(rank=2))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(pft.Refused, match="is no empty folder"):
        pft.export(model, tmp_path / "full")
    with pytest.raises(pft.BadValue, match="tokenizer"):
        pft.export(pft.LoRA(rank=2).attach(tiny("bert")), tmp_path / "out")
    monkeypatch.setattr("pftlab.deployment.extras.find_spec", lambda name: None)
    with pytest.raises(pft.Unavailable, match=r'pip install "pftlab\[onnx\]"'):
        pft.export(model, tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_nothing(base: str, tmp_path: Path, monkeypatch: Any) -> None:
    model = trained(base, pft.LoRA(rank=2))
    monkeypatch.setattr(
        type(pft.load_tokenizer(base)), "save_pretrained", lambda *_: (_ for _ in ()).throw(OSError)
    )
    with pytest.raises(pft.Unavailable, match="cannot be written"):
        pft.export(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_two_heads_are_no_model(base: str, tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        made = pft.LoRA(rank=2).attach(pft.load_base(base, labels=("no", "yes")), seed=number)
        pft.save(moved(made), tmp_path / name)
    model = pft.load_base(base, labels=("no", "yes"))
    for name in ("one", "two"):
        pft.load(model, tmp_path / name, name=name)
    with pytest.raises(pft.Refused, match="heads of their own"):
        pft.export(model, tmp_path / "out")
    pft.use(model, None)
    with pytest.raises(pft.Refused, match=r"in use. Choose .*one of 'one', 'two'"):
        pft.export(model, tmp_path / "out")
    pft.use(model, "one")
    folder = pft.export(model, tmp_path / "out")
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = pft.load_tokenizer(base)
    assert torch.allclose(scores(plain, tokenizer), scores(model, tokenizer), atol=1e-6)
    assert pft.in_use(model) == {"one": 1.0}


ONNX = ["bert", *(pytest.param(name, marks=pytest.mark.full) for name in ("gpt2", "llama", "t5"))]


@pytest.mark.parametrize("name", ONNX)
def test_onnxruntime_computes_alike(base: str, name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = moved(pft.LoRA(rank=2).attach(tiny(name), seed=0))
    tokenizer = pft.load_tokenizer(base)
    folder = pft.export(model, tmp_path / "out", tokenizer=tokenizer, onnx=True)
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    batch = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    wanted = {one.name for one in session.get_inputs()}
    if "decoder_input_ids" in wanted:
        batch["decoder_input_ids"] = batch["input_ids"][:, :3]
    batch = {
        key: tensor % model.config.vocab_size for key, tensor in batch.items() if key in wanted
    }
    found = torch.from_numpy(session.run(None, {k: t.numpy() for k, t in batch.items()})[0])
    with torch.no_grad():
        logits = model(**batch).logits
        with pft.disabled(model):
            plain = model(**batch).logits
    if logits.dim() == 3 and name != "t5":  # padding may compute anything
        seen = batch["attention_mask"].bool()
        found, logits, plain = found[seen], logits[seen], plain[seen]
    assert torch.allclose(found, logits, atol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-3)


def test_the_command_writes_what_train_saved(tmp_path: Path, capsys: Any) -> None:
    from pftlab.cli import main

    out = str(tmp_path / "out")
    words = ["--base", "tiny-encoder", "--task", "reviews", "--size", "tiny", "--quiet"]
    train = ["train", *words, "--method", "lora", "--steps", "1", "--max-length", "32"]
    train.append("--forgetting")
    assert main([*train, "--out", out]) == 0
    export = ["export", out, "--base", "tiny-encoder", "--out"]
    assert main([*export, str(tmp_path / "plain")]) == 0
    card = (tmp_path / "plain" / "README.md").read_text("utf-8")
    assert "adapted by LoRA to reviews" in card and "| test | accuracy |" in card
    assert "## What was forgotten" in card
    answer = pipeline("text-classification", model=str(tmp_path / "plain"))("a fine film")
    assert answer[0]["label"] in ("negative", "positive")
    capsys.readouterr()
    assert main([*export, str(tmp_path / "plain")]) == 2
    assert "no empty folder" in capsys.readouterr().err
    (tmp_path / "out" / "run.json").write_text("{}")
    assert main([*export, str(tmp_path / "other")]) == 2
    assert "run.json" in capsys.readouterr().err and not (tmp_path / "other").exists()


VLLM_READS = {"r": int, "lora_alpha": (int, float), "target_modules": list}


def test_the_files_of_lora_are_what_vllm_reads(tmp_path: Path) -> None:
    """Its PEFTHelper wants three fields, no head, no bias and no DoRA, and keys of A and B alone."""
    from safetensors import safe_open

    model = tiny("llama")
    pft.save(moved(pft.LoRA(rank=8).attach(model, seed=0)), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert all(isinstance(config[key], kinds) for key, kinds in VLLM_READS.items())
    assert config["peft_type"] == "LORA" and config["bias"] == "none"
    assert not config.get("modules_to_save") and not config.get("use_dora")
    modules = dict(model.named_modules())
    found: dict[str, set[str]] = {}
    with safe_open(tmp_path / "adapter_model.safetensors", framework="pt") as file:
        for key in file.keys():  # noqa: SIM118
            path, _, part = key.removesuffix(".weight").rpartition(".")
            assert key == f"base_model.model.{path.removeprefix('base_model.model.')}.{part}.weight"
            path = path.removeprefix("base_model.model.")
            assert path in modules and path in config["target_modules"]
            found.setdefault(path, set()).add(part)
            a_or_b = file.get_tensor(key).shape
            assert a_or_b[0 if part == "lora_A" else 1] == config["r"]
    assert found and all(parts == {"lora_A", "lora_B"} for parts in found.values())
