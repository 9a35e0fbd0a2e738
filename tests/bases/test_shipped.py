"""The models that ship with the package: whole, refused when damaged, open to transformers alone."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import pftlab as pft
from pftlab.bases import BASES, find
from pftlab.bases.cards import WEIGHTS
from pftlab.bases.history import read_history
from pftlab.bases.model_card import SOURCES, card_text
from pftlab.core.errors import BadCheckpoint

SHIPPED = [name for name, card in BASES.items() if card.hub_id is None]
DECODERS = [name for name in SHIPPED if BASES[name].architecture == "gpt2"]
TEXT = "He opened the door of the old house and looked into the dark room. There was nobody in it."


def test_what_ships() -> None:
    assert {path.name for path in WEIGHTS.iterdir()} == set(SHIPPED)
    size = sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file())
    assert size < 45e6
    for name in SHIPPED:
        assert {path.suffix for path in (WEIGHTS / name).iterdir()} == {
            ".json",
            ".safetensors",
            ".md",
        }


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_is_that_of_the_model(name: str) -> None:
    card, history = BASES[name], read_history(WEIGHTS / name)
    model = pft.load_base(name, task="features")
    assert sum(p.numel() for p in model.parameters()) == card.parameters
    assert model.config.model_type == card.architecture
    assert not model.pftlab_base.fresh
    written = (WEIGHTS / name / "README.md").read_text(encoding="utf-8")
    assert written == card_text(card, history), "run: python -m pftlab.bases.model_card"
    for run in history["runs"]:
        assert set(run["corpus"]) == set(SOURCES)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_damaged_file_is_refused_by_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(WEIGHTS / name, tmp_path / name)
    file = tmp_path / name / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    monkeypatch.setattr(find, "WEIGHTS", tmp_path)
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors.*corrupted"):
        pft.load_base(name)


def test_transformers_needs_no_pftlab() -> None:
    """In a process of its own, elsewhere, in which pftlab cannot be imported."""
    program = f"""
import sys
sys.modules["pftlab"] = None
from transformers import AutoModel, AutoTokenizer
for name in {SHIPPED!r}:
    folder = {str(WEIGHTS)!r} + "/" + name
    batch = AutoTokenizer.from_pretrained(folder)("The film wasn't bad.", return_tensors="pt")
    model = AutoModel.from_pretrained(folder)
    if model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = batch["input_ids"]
    state = model(**batch).last_hidden_state
    assert state.isfinite().all()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SHIPPED)
def test_text_comes_back_from_its_tokens(name: str) -> None:
    tokenizer = pft.load_tokenizer(name)
    for text in (TEXT, "It wasn't NAÏVE.\nA 2nd paragraph: 東京, 3.5 %", "of  two   spaces"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_a_decoder_knows_english(name: str) -> None:
    """Plain English takes it well under 2 bits a byte; the same words in disorder take more."""
    model, tokenizer = pft.load_base(name), pft.load_tokenizer(name)

    def bits_per_byte(text: str) -> float:
        ids = tokenizer(tokenizer.bos_token + text, return_tensors="pt")["input_ids"]
        nats = F.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="sum")
        return nats.item() / math.log(2) / len(text.encode())

    in_order = bits_per_byte(TEXT)
    assert in_order < 1.6
    assert bits_per_byte(" ".join(reversed(TEXT.split()))) > 1.4 * in_order


@torch.no_grad()
def test_the_mini_decoder_does_not_go_round_in_circles() -> None:
    """At temperature 0.8 few continuations repeat themselves; the most probable tokens do."""
    model, tokenizer = pft.load_base("mini-decoder"), pft.load_tokenizer("mini-decoder")
    batch = tokenizer(["She opened the door and"] * 20, return_tensors="pt")

    def round_and_round(temperature: float) -> int:
        torch.manual_seed(0)
        drawn = model.generate(
            **batch, max_new_tokens=60, do_sample=True, temperature=temperature, top_k=0
        )
        runs = [[tuple(row[i : i + 5]) for i in range(len(row) - 4)] for row in drawn.tolist()]
        return sum(len(five) - len(set(five)) > 5 for five in runs)

    assert round_and_round(0.8) <= 3
    assert round_and_round(0.05) >= 15


@pytest.mark.parametrize(
    ("base", "method", "lr", "better_by"),
    [
        ("tiny-encoder", "linear_probe", 3e-2, 0.08),
        ("tiny-encoder", "lora", 3e-3, 0.02),
        ("mini-encoder", "linear_probe", 3e-2, 0.12),
    ],
)
def test_pretraining_helps_with_words_never_trained_on(
    base: str, method: str, lr: float, better_by: float
) -> None:
    """64 examples, test words that they never show: random weights cannot know these."""
    task = pft.load_task("reviews").subset(64)
    task = task.subset(50, split="validation").subset(400, split="test")
    scores = {}
    for weights in ("pretrained", "random"):
        model = pft.load_base(base, num_labels=2)
        if weights == "random":
            model = pft.random_weights(model)
        pft.METHODS[method]().attach(model)
        pft.train(model, task, steps=40, lr=lr, evaluate_every=40, progress=False)
        scores[weights] = pft.evaluate(model, task, "test")["accuracy"]
    assert scores["pretrained"] > scores["random"] + better_by
    assert abs(scores["random"] - 0.5) < 0.1
