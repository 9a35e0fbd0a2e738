"""TRL's trainer trains what is attached, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny import letters_tokenizer, method
from transformers import LlamaConfig, LlamaForCausalLM

import pftlab as pft

trl = pytest.importorskip("trl", reason="TRL is not installed")
ROWS = [{"prompt": "say it: ", "completion": "abc abc"}] * 8


def model_and_tokenizer() -> tuple[Any, Any]:
    tokenizer = letters_tokenizer()
    tokenizer.eos_token = "[SEP]"
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0}
    tokens = {"bos_token_id": 2, "eos_token_id": 3}
    config = LlamaConfig(vocab_size=len(tokenizer), **shape, **tokens)
    return LlamaForCausalLM(config), tokenizer


class Mine(pft.LifecycleTrainer, trl.SFTTrainer):
    """As the README says."""


def trainer(kind: Any, model: Any, tokenizer: Any, folder: Path) -> Any:
    settings = trl.SFTConfig(
        output_dir=str(folder), max_steps=2, save_steps=2, per_device_train_batch_size=2,
        learning_rate=1e-2, max_length=48, use_cpu=True, bf16=False, report_to=[],
        disable_tqdm=True,
    )  # fmt: skip
    rows = Dataset.from_list(ROWS)
    return kind(model=model, args=settings, train_dataset=rows, processing_class=tokenizer)


@pytest.mark.parametrize("kind", [trl.SFTTrainer, Mine])
@pytest.mark.parametrize("name", ["lora", "prefix_tuning", "prompt_tuning"])
def test_it_trains_what_is_attached(kind: Any, name: str, tmp_path: Path) -> None:
    model, tokenizer = model_and_tokenizer()
    method(name).attach(model, seed=0)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    trainer(kind, model, tokenizer, tmp_path).train()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n, p in model.named_parameters() if p.requires_grad}
    checkpoint = tmp_path / "checkpoint-2"
    # a plain trainer saves all of the model; LifecycleTrainer what was trained
    assert (checkpoint / "model.safetensors").exists() == (kind is not Mine)
    if kind is Mine:
        again = pft.load(model_and_tokenizer()[0], checkpoint).eval()
        ids = torch.arange(4, 12)[None]
        with torch.no_grad():
            assert torch.equal(again(ids).logits, model.eval()(ids).logits)


def test_what_acts_in_the_steps_needs_the_lifecycle(tmp_path: Path) -> None:
    model, tokenizer = model_and_tokenizer()
    method("adalora").attach(model, seed=0)
    with pytest.raises(pft.Refused, match="acts in the steps of training"):
        trainer(trl.SFTTrainer, model, tokenizer, tmp_path).train()
    trainer(Mine, model, tokenizer, tmp_path).train()
