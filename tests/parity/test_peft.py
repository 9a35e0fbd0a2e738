"""Agreement with Hugging Face PEFT: the same tensors give the same logits, in files both ways."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny import batch, perturb, tiny

import pftlab as pft

TOLERANCE = 1e-5
LORA = ["bert", "roberta", "distilbert", "gpt2", "llama", "qwen2", "opt", "gpt_neox", "t5"]
TARGETS: dict[str, Any] = {
    "distilbert": ["q_lin", "v_lin"],
    "gpt2": ["c_attn"],
    "gpt_neox": ["query_key_value"],
}
OURS = {
    "lora": pft.LoRA(rank=3, alpha=5.0),
    "ia3": pft.IA3(),
    "prompt_tuning": pft.PromptTuning(length=3),
}


def logits(model: Any, name: str) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch(name)).logits


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= TOLERANCE * max(1.0, b.abs().max().item()))


def task_type(name: str) -> str:
    if name == "t5":
        return "SEQ_2_SEQ_LM"
    return "CAUSAL_LM" if name in ("gpt2", "llama", "qwen2", "opt", "gpt_neox") else "SEQ_CLS"


def saved_by_peft(name: str, config: Any, folder: Path) -> tuple[Any, torch.Tensor]:
    model = peft.get_peft_model(tiny(name), config)
    perturb(model)
    model.eval()
    model.save_pretrained(folder)
    return model, logits(model, name)


@pytest.mark.parametrize("name", LORA)
def test_lora_of_peft_loads(name: str, tmp_path: Path) -> None:
    config = peft.LoraConfig(
        r=3, lora_alpha=5, task_type=task_type(name), target_modules=TARGETS.get(name)
    )
    _, theirs = saved_by_peft(name, config, tmp_path)
    ours = pft.load(tiny(name), tmp_path)
    assert close(logits(ours, name), theirs)
    assert pft.attached(ours)["lora"].rank == 3


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama", "t5"])
def test_ia3_of_peft_loads(name: str, tmp_path: Path) -> None:
    _, theirs = saved_by_peft(name, peft.IA3Config(task_type=task_type(name)), tmp_path)
    ours = pft.load(tiny(name), tmp_path)
    assert close(logits(ours, name), theirs)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama", "t5"])
def test_prompt_of_peft_loads(name: str, tmp_path: Path) -> None:
    config = peft.PromptTuningConfig(num_virtual_tokens=3, task_type=task_type(name))
    _, theirs = saved_by_peft(name, config, tmp_path)
    ours = logits(pft.load(tiny(name), tmp_path), name)
    if name in ("gpt2", "llama"):  # PEFT returns the prompt's positions as well
        theirs = theirs[:, 3:]
    assert close(ours, theirs)


@pytest.mark.parametrize("name", LORA)
@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_peft_loads_ours(name: str, method: str, tmp_path: Path) -> None:
    model = OURS[method].attach(tiny(name))
    perturb(model)
    pft.save(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny(name), tmp_path).eval()
    assert close(logits(theirs, name), logits(model, name))
    # and what we read back is the method that we saved
    again = pft.load(tiny(name), tmp_path)
    assert torch.equal(logits(again, name), logits(model, name))
    assert pft.attached(again) == pft.attached(model)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_peft_loads_our_prompt(name: str, tmp_path: Path) -> None:
    method = pft.PromptTuning(length=3, position=0 if name == "bert" else None)
    model = method.attach(tiny(name))
    perturb(model)
    pft.save(model, tmp_path)
    theirs = logits(peft.PeftModel.from_pretrained(tiny(name), tmp_path).eval(), name)
    if name in ("gpt2", "llama"):
        theirs = theirs[:, 3:]
    assert close(theirs, logits(model, name))


def test_a_prompt_behind_cls_is_saved_in_our_own_form(tmp_path: Path) -> None:
    model = pft.PromptTuning(length=3).attach(tiny("bert"))
    pft.save(model, tmp_path)
    assert "peft_type" not in json.loads((tmp_path / "adapter_config.json").read_text())


@pytest.mark.parametrize("name", ["bert", "llama", "opt"])
def test_lora_gradients_equal_those_of_peft(name: str) -> None:
    config = peft.LoraConfig(r=3, lora_alpha=5, task_type=task_type(name))
    theirs = peft.get_peft_model(tiny(name), config)
    perturb(theirs)
    ours = pft.LoRA(rank=3, alpha=5.0).attach(tiny(name))
    state = {
        n.replace(".default.weight", "").replace("base_model.model.", ""): p
        for n, p in theirs.named_parameters()
        if "lora_" in n
    }
    mine = {
        n.replace("pft_lora.", "lora_"): p for n, p in ours.named_parameters() if "pft_lora" in n
    }
    assert mine.keys() == state.keys()
    with torch.no_grad():
        for key, parameter in mine.items():
            parameter.copy_(state[key])
        if hasattr(ours, "classifier"):
            theirs_head = theirs.base_model.model.classifier.modules_to_save["default"]
            ours.classifier.load_state_dict(theirs_head.state_dict())
    for model in (theirs, ours):
        model.eval()  # dropout off, gradients on
        model(**batch(name)).logits.pow(2).sum().backward()
    for key, parameter in mine.items():
        scale = state[key].grad.abs().max().clamp(min=1.0)
        assert (parameter.grad - state[key].grad).abs().max() <= TOLERANCE * scale, key


def test_file_holds_only_what_was_trained(tmp_path: Path) -> None:
    model = pft.LoRA(rank=3).attach(tiny("bert"))
    pft.save(model, tmp_path)
    stored = sum(t.numel() for t in load_file(tmp_path / "adapter_model.safetensors").values())
    counted = pft.count(model)
    assert stored == counted.trainable + counted.head


@pytest.mark.parametrize(
    "option", [{"use_dora": True}, {"use_rslora": True}, {"rank_pattern": {"query": 2}}]
)
def test_options_of_peft_that_we_lack_are_refused(option: dict[str, Any], tmp_path: Path) -> None:
    config = peft.LoraConfig(r=3, task_type="SEQ_CLS", **option)
    saved_by_peft("bert", config, tmp_path)
    model = tiny("bert")
    with pytest.raises(pft.BadCheckpoint, match=next(iter(option))):
        pft.load(model, tmp_path)
    assert not hasattr(model, "pftlab")


def test_another_method_of_peft_is_refused_by_name(tmp_path: Path) -> None:
    saved_by_peft("bert", peft.FourierFTConfig(task_type="SEQ_CLS", n_frequency=4), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config["peft_type"] = "SOMETHING_NEW"
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(pft.BadCheckpoint, match="SOMETHING_NEW"):
        pft.load(tiny("bert"), tmp_path)
