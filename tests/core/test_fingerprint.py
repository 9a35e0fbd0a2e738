"""The base of a checkpoint is known in every precision, and no other base is taken for it."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import batch, perturb, tiny
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import pftlab as pft
from pftlab.core.fingerprint import (
    _first_format,
    _unrounded,
    describe_base,
    difference,
    fingerprint,
)
from pftlab.core.heads import head_parameters
from pftlab.core.saved import TENSORS

TYPES = (torch.float32, torch.float16, torch.bfloat16)


def why(one: Any, other: Any) -> str:
    """Why `other` is not the base `one`."""
    head = head_parameters(one)
    return difference(describe_base(one, head), other, head)


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_a_base_is_the_same_in_every_type(name: str) -> None:
    for one in TYPES:
        for other in TYPES:
            assert why(tiny(name).to(one), tiny(name).to(other)) == "", (one, other)
            # and when a file of 16 bits is the first that there was
            assert why(tiny(name).to(one), tiny(name).to(one).to(other)) == "", (one, other)


def test_what_is_attached_does_not_count() -> None:
    model = tiny("bert")
    plain = fingerprint(model)
    pft.FullFineTuning().attach(model)
    pft.LoRA(rank=2).attach(model)
    perturb(model)
    assert fingerprint(model) == plain
    assert why(tiny("bert"), model) == why(model, tiny("bert")) == ""


def parameters_of(name: str) -> list[str]:
    model = tiny(name)
    return [n for n, _ in model.named_parameters() if n not in head_parameters(model)]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_other_values_of_any_parameter_are_another_base(dtype: torch.dtype) -> None:
    """As after fine-tuning: each number moves by some hundredths of its size."""
    for name in parameters_of("bert"):
        model = tiny("bert")
        parameter = model.get_parameter(name)
        parameter.data *= 1 + 0.05 * torch.rand_like(parameter).sub(0.5).sign()
        assert name in why(tiny("bert"), model.to(dtype)), name


@pytest.mark.parametrize(
    "rows",
    [slice(40), slice(300, 340), slice(1000, 1040), slice(1990, 1991), slice(1999, 2000)],
    ids=["first", "second quarter", "middle", "one new token", "the last new token"],
)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_some_rows_of_a_table_are_enough_in_the_same_type(rows: slice, dtype: torch.dtype) -> None:
    """Of 2,000 words, the last of which are new tokens, with rows of one's own."""
    one = tiny("gpt2").to(dtype)
    one.resize_token_embeddings(2000, mean_resizing=False)
    other = copy.deepcopy(one)
    assert why(one, other) == ""
    other.transformer.wte.weight.data[rows] += 0.02
    assert "transformer.wte.weight" in (told := why(one, other)) or "new tokens" in told
    assert why(tiny("gpt2"), one) == "its parameters have other names or shapes"


def test_a_base_of_the_first_format(tmp_path: Path) -> None:
    pft.save(pft.LoRA(rank=2).attach(tiny("bert")), tmp_path)
    with safe_open(tmp_path / TENSORS, "pt") as file:
        header = json.loads(file.metadata()["pftlab"])
    head = header["head"]
    old = {"format": 1, "methods": header["methods"], "head": head}
    old["base"] = _first_format(tiny("bert"), head)
    save_file(load_file(tmp_path / TENSORS), tmp_path / TENSORS, {"pftlab": json.dumps(old)})
    for dtype in (torch.float32, torch.bfloat16):
        assert pft.attached(pft.load(tiny("bert").to(dtype), tmp_path))
    other = tiny("bert")
    other.bert.encoder.layer[0].output.dense.weight.data += 0.1
    with pytest.raises(pft.BadCheckpoint, match="another base"):
        pft.load(other, tmp_path)


LOADERS = {
    "bert": AutoModelForSequenceClassification,
    "gpt2": AutoModelForCausalLM,
    "llama": AutoModelForCausalLM,
}


def quantised(name: str, folder: Path, **settings: Any) -> Any:
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(llm_int8_skip_modules=["classifier", "lm_head"], **settings)
    return LOADERS[name].from_pretrained(folder, quantization_config=config, device_map="cpu")


@pytest.mark.parametrize(
    "settings",
    [
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
        {"load_in_8bit": True},
    ],
    ids=["nf4", "fp4", "int8"],
)
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_an_adapter_moves_between_a_quantised_base_and_the_base(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    tiny(name).save_pretrained(tmp_path / "base")
    other = tiny(name)
    generator = torch.Generator().manual_seed(5)
    for parameter in other.parameters():
        if parameter.dim() > 1:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    other.save_pretrained(tmp_path / "other")
    model = pft.LoRA(rank=2).attach(quantised(name, tmp_path / "base", **settings))
    perturb(model)
    pft.save(model, tmp_path / "lora")
    for dtype in TYPES:
        full = pft.load(tiny(name).to(dtype), tmp_path / "lora")
        merged = pft.merge(full)
        with torch.no_grad():
            assert merged(**batch(name)).logits.isfinite().all()
    pft.load(quantised(name, tmp_path / "base", **settings), tmp_path / "lora")
    pft.save(pft.LoRA(rank=2).attach(tiny(name)), tmp_path / "full")
    pft.load(quantised(name, tmp_path / "base", **settings), tmp_path / "full")
    for folder in ("lora", "full"):
        for base in (other, quantised(name, tmp_path / "other", **settings)):
            if folder == "full" and base is other:
                continue
            with pytest.raises(pft.BadCheckpoint, match="another base"):
                pft.load(base, tmp_path / folder)
    # with the embeddings and norms of the base, the rounded weights alone tell it
    mixed = tiny(name)
    for n, parameter in mixed.named_parameters():
        if ".weight" in n and parameter.dim() > 1 and "embedding" not in n and "wte" not in n:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    with pytest.raises(pft.BadCheckpoint, match="another base"):
        pft.load(mixed, tmp_path / "lora")


@pytest.mark.parametrize("nested", [False, True], ids=["scales", "scales of scales"])
def test_four_bits_that_the_first_pass_reorders(nested: bool, tmp_path: Path) -> None:
    """Some processors compute with the weights in another order, from the first pass on."""
    functional = pytest.importorskip("bitsandbytes.functional")
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 2}
    plain = LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=1, vocab_size=60))
    plain.save_pretrained(tmp_path / "base")
    settings = {"load_in_4bit": True, "bnb_4bit_use_double_quant": nested}
    model = pft.LoRA(rank=2).attach(quantised("llama", tmp_path / "base", **settings)).eval()
    with torch.no_grad():
        before = model(torch.arange(3, 9)[None]).logits
    packed = model.model.layers[0].mlp.up_proj.weight.quant_state
    if not hasattr(packed, "packing_format_for_cpu"):
        pytest.skip("bitsandbytes does not reorder on this processor")
    if not packed.packing_format_for_cpu:
        for parameter in model.parameters():  # as other processors would
            if state := getattr(parameter, "quant_state", None):
                parameter.data, _ = functional._convert_weight_packed_for_cpu(parameter.data, state)
    up = model.model.layers[0].mlp.up_proj
    value, expected = _unrounded(up.weight, up).float(), plain.model.layers[0].mlp.up_proj.weight
    assert (value - expected).abs().max() < 0.2 * expected.abs().max()
    pft.save(model, tmp_path / "lora")
    with torch.no_grad():
        assert torch.equal(model(torch.arange(3, 9)[None]).logits, before)
    pft.load(quantised("llama", tmp_path / "base", **settings), tmp_path / "lora")
    pft.load(LlamaForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "lora")


def test_four_bits_that_are_kept_as_sixteen(tmp_path: Path) -> None:
    """As sharding wants it: the bytes of four numbers look like one number."""
    tiny("gpt2").save_pretrained(tmp_path / "base")
    settings = {"load_in_4bit": True, "bnb_4bit_quant_storage": torch.bfloat16}
    model = pft.LoRA(rank=2).attach(quantised("gpt2", tmp_path / "base", **settings))
    pft.save(model, tmp_path / "lora")
    pft.load(quantised("gpt2", tmp_path / "base", load_in_4bit=True), tmp_path / "lora")
    pft.load(tiny("gpt2"), tmp_path / "lora")
