"""Modules that PEFT trains whole, on models that tie their embedding to their output layer."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import batch, perturb, tiny

import pftlab as pft

pytestmark = pytest.mark.filterwarnings("ignore")  # what PEFT says of tied modules
CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
KINDS = {"gpt2": "CAUSAL_LM", "opt": "CAUSAL_LM", "llama": "CAUSAL_LM", "t5": "SEQ_2_SEQ_LM"}
TARGETS = {"gpt2": ["c_attn"], "opt": ["q_proj"], "llama": ["q_proj"], "t5": ["q", "v"]}


def logits(name: str, model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**batch(name)).logits
    return found


def saved(name: str, modules: list[str], tied: bool, folder: Path) -> torch.Tensor:
    """Logits of a model of PEFT's that trained `modules` whole."""
    settings = peft.LoraConfig(
        task_type=KINDS[name],
        target_modules=TARGETS[name],
        modules_to_save=modules,
        ensure_weight_tying=tied,
    )
    theirs = peft.get_peft_model(tiny(name), settings)
    perturb(theirs)
    theirs.save_pretrained(folder)
    return logits(name, theirs)


@pytest.mark.parametrize(
    ("name", "module"),
    [("gpt2", "wte"), ("gpt2", "lm_head"), ("opt", "embed_tokens"), ("t5", "shared")],
)
def test_a_copy_of_a_tied_tensor_is_refused(name: str, module: str, tmp_path: Path) -> None:
    saved(name, [module], False, tmp_path)
    model = tiny(name)
    with pytest.raises(pft.BadCheckpoint, match=r"The base ties this tensor: .* are one"):
        pft.load(model, tmp_path)
    assert not hasattr(model, "pftlab")


def test_two_copies_of_a_tied_tensor_are_refused(tmp_path: Path) -> None:
    saved("gpt2", ["wte", "lm_head"], False, tmp_path)
    with pytest.raises(pft.BadCheckpoint, match="The base ties this tensor"):
        pft.load(tiny("gpt2"), tmp_path)


@pytest.mark.parametrize("name", ["gpt2", "opt"])  # PEFT's T5 fails
def test_what_peft_keeps_tied_computes_the_same(name: str, tmp_path: Path) -> None:
    wanted = saved(name, ["lm_head"], True, tmp_path / "theirs")
    ours = pft.load(tiny(name), tmp_path / "theirs")
    assert torch.allclose(logits(name, ours), wanted, atol=1e-5)
    assert not torch.allclose(logits(name, tiny(name)), wanted, atol=1e-2)
    # PEFT would part the tensor in a file of its form
    pft.save(ours, tmp_path / "ours")
    assert "peft_type" not in json.loads((tmp_path / "ours" / CONFIG).read_text())
    again = pft.load(tiny(name), tmp_path / "ours")
    assert torch.equal(logits(name, again), logits(name, ours))
    assert torch.equal(logits(name, pft.detach(again)), logits(name, tiny(name)))


def test_what_is_not_tied_computes_the_same(tmp_path: Path) -> None:
    wanted = saved("llama", ["lm_head"], False, tmp_path)
    ours = pft.load(tiny("llama"), tmp_path)
    assert torch.allclose(logits("llama", ours), wanted, atol=1e-5)


def test_embeddings_that_peft_saved_beside_it_are_read(tmp_path: Path) -> None:
    """With save_embedding_layers they are in the file and not in `modules_to_save`: no copies."""
    theirs = peft.get_peft_model(
        tiny("gpt2"), peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"])
    )
    perturb(theirs)
    with torch.no_grad():
        theirs.get_input_embeddings().weight.add_(0.1)
    theirs.save_pretrained(tmp_path, save_embedding_layers=True)
    assert any("wte" in key for key in load_file(tmp_path / TENSORS))
    ours = pft.load(tiny("gpt2"), tmp_path)
    assert torch.allclose(logits("gpt2", ours), logits("gpt2", theirs), atol=1e-5)


def test_a_head_of_another_shape_is_refused(tmp_path: Path) -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    pft.save(model, tmp_path)
    tensors = load_file(tmp_path / TENSORS)
    key = "base_model.model.classifier.weight"
    save_file(tensors | {key: torch.zeros(3, 32)}, tmp_path / TENSORS)
    with pytest.raises(pft.BadCheckpoint, match=r"has shape \(3, 32\) in the file"):
        pft.load(tiny("bert"), tmp_path)
