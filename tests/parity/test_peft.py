"""Agreement with Hugging Face PEFT: logits, gradients in training, and checkpoints both ways."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft_models import ALL, DECODERS, ENCODERS, QUERY_VALUE, TARGETS, shape, task_type
from safetensors.torch import load_file
from tiny import batch, perturb, tiny

import pftlab as pft

TOLERANCE = 1e-5
TENSORS = "adapter_model.safetensors"
#: layer norms where PEFT has no default for the architecture
NORMS = {
    "bert": ["LayerNorm"],
    "roberta": ["LayerNorm"],
    "electra": ["LayerNorm"],
    "distilbert": ["LayerNorm", "sa_layer_norm", "output_layer_norm"],
    "opt": ["self_attn_layer_norm", "final_layer_norm"],
    "gpt_neox": ["input_layernorm", "post_attention_layernorm", "final_layer_norm"],
}
LOW_RANK = ("rslora", "dora", "pissa", "olora", "loha", "lokr", "vera")
FEED_FORWARD = {"distilbert": ["ffn.lin2"], "electra": ["output.dense"], "qwen2": ["down_proj"]}

pytestmark = [
    pytest.mark.filterwarnings("ignore:fan_in_fan_out"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`"),
    pytest.mark.filterwarnings("ignore:Specified to not (load|save) vera_A"),
]


def config(kind: str, name: str) -> Any:
    """PEFT's configuration of the method `kind` for the model `name`, close to its defaults."""
    targets, task = TARGETS.get(name), task_type(name)
    if kind == "lora":
        return peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets, task_type=task)
    if kind == "ia3":
        inputs = FEED_FORWARD.get(name)
        outputs = ["k_proj", "v_proj"] if name == "qwen2" else targets
        both = None if inputs is None else [*(outputs or []), *inputs]
        return peft.IA3Config(target_modules=both, feedforward_modules=inputs, task_type=task)
    if kind in ("oft", "oft_neumann"):
        series = kind == "oft_neumann"
        return peft.OFTConfig(
            oft_block_size=8, use_cayley_neumann=series, target_modules=targets, task_type=task
        )
    if kind == "fourierft":
        return peft.FourierFTConfig(
            n_frequency=20, scaling=20.0, target_modules=targets, task_type=task
        )
    if kind == "layer_norm":
        norms = NORMS.get(name.removesuffix("-tagging"))
        return peft.LNTuningConfig(target_modules=norms, task_type=task)
    if kind in LOW_RANK:
        return low_rank_config(kind, name)
    if kind == "adaption_prompt":
        return peft.AdaptionPromptConfig(adapter_len=3, adapter_layers=1, task_type=task)
    if kind == "prefix_tuning":
        width = {"token_dim": 32} if name == "electra" else {}
        return peft.PrefixTuningConfig(num_virtual_tokens=3, task_type=task, **width)
    return peft.PromptTuningConfig(num_virtual_tokens=3, task_type=task, **shape(name))


def low_rank_config(kind: str, name: str) -> Any:
    """PEFT's configuration of the relatives of LoRA."""
    common: dict[str, Any] = {"target_modules": QUERY_VALUE[name], "task_type": task_type(name)}
    options = {
        "rslora": {"use_rslora": True},
        "dora": {"use_dora": True, "lora_dropout": 0.25},
        "pissa": {"init_lora_weights": "pissa", "lora_dropout": 0.25},
        "olora": {"init_lora_weights": "olora"},
    }
    if kind in options:
        return peft.LoraConfig(r=3, lora_alpha=5, **common, **options[kind])
    if kind == "vera":
        return peft.VeraConfig(r=5, projection_prng_key=3, save_projection=False, **common)
    if kind == "loha":
        return peft.LoHaConfig(r=3, alpha=5, **common)
    return peft.LoKrConfig(r=1, alpha=5, decompose_both=name == "bert", **common)


PROMPTS = ("prompt_tuning", "prefix_tuning", "adaption_prompt")
OTHERS = ("ia3", "oft", "oft_neumann", "fourierft", "layer_norm")


def cells(kinds: tuple[str, ...] = ("lora", *LOW_RANK, *PROMPTS, *OTHERS)) -> Any:
    """Every method × model on which PEFT works."""
    broken = {  # PEFT: the labels of a tagger, and the padding of a decoder's classifier
        ("prompt_tuning", "bert-tagging"),
        ("prompt_tuning", "gpt2-classification"),
        ("prompt_tuning", "llama-classification"),
        # PEFT: a rotation in front of GPT-2's Conv1D
        *((kind, name) for kind in ("oft", "oft_neumann") for name in ALL if "gpt2" in name),
        # and where its method is another one: see the docstrings of the forms
        ("prefix_tuning", "t5"),
        ("prefix_tuning", "distilbert"),
        *(("adaption_prompt", name) for name in ALL if name != "llama"),
    }
    for kind in ("olora", "loha", "lokr"):  # PEFT does not have them for Conv1D, or wrongly
        broken |= {(kind, "gpt2"), (kind, "gpt2-classification")}
    pairs = [(kind, name) for kind in kinds for name in ALL if (kind, name) not in broken]
    return pytest.mark.parametrize(("kind", "name"), pairs)


def inputs(name: str) -> dict[str, torch.Tensor]:
    """Without padding, with labels."""
    given = batch(name, size=3)
    if name == "t5":
        return given | {"labels": given["decoder_input_ids"].contiguous()}
    labels = {"SEQ_CLS": torch.tensor([0, 1, 1]), "TOKEN_CLS": given["input_ids"] % 3}
    # With a prompt of PEFT the first word is predicted too, from the last vector of the prompt.
    words = given["input_ids"].clone()
    words[:, 0] = -100
    return given | {"labels": labels.get(task_type(name), words)}


def logits(model: Any, name: str) -> torch.Tensor:
    """In evaluation; PEFT's decoders also answer for the prompt's positions, which are cut off."""
    with torch.no_grad():
        found = model.eval()(**batch(name)).logits
    length = batch(name)["input_ids"].shape[1]
    return found[:, -length:] if name in DECODERS else found


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= TOLERANCE * max(1.0, b.abs().max().item()))


def train(model: Any, name: str, steps: int = 3) -> None:
    """Some real steps of AdamW, dropout included."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=3e-2)
    model.train()
    for _ in range(steps):
        model(**inputs(name)).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.eval()


def theirs_and_ours(kind: str, name: str, folder: Path) -> tuple[Any, Any]:
    """A model of PEFT's after some training, and ours, which read its checkpoint."""
    theirs = peft.get_peft_model(tiny(name), config(kind, name))
    perturb(theirs)  # LoRA's B is zero at the start
    train(theirs, name)
    theirs.save_pretrained(folder)
    return theirs, pft.load(tiny(name), folder)


@cells()
def test_a_checkpoint_of_peft_computes_the_same(kind: str, name: str, tmp_path: Path) -> None:
    theirs, ours = theirs_and_ours(kind, name, tmp_path)
    assert close(logits(ours, name), logits(theirs, name))
    assert not close(logits(ours, name), logits(tiny(name), name))


@cells()
def test_gradients_in_training_equal_those_of_peft(kind: str, name: str, tmp_path: Path) -> None:
    """Both save their gradients in the place of their parameters: the files must be equal."""
    found = []
    for model in theirs_and_ours(kind, name, tmp_path):
        model.train()
        if kind in ("loha", "lokr"):  # PEFT draws a number in each of their modules
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
                if isinstance(getattr(module, "dropout", None), float):
                    module.dropout = 0.0
        torch.manual_seed(1)  # the same dropout on both sides
        model(**inputs(name)).loss.backward()
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.data = parameter.grad
        folder = tmp_path / type(model).__name__
        model.save_pretrained(folder) if isinstance(model, peft.PeftModel) else pft.save(
            model, folder
        )
        found.append(load_file(folder / TENSORS))
    theirs, ours = found
    assert theirs.keys() == ours.keys()
    for key, gradient in theirs.items():
        rows = 3 if key == "prompt_embeddings" else len(gradient)  # T5's second prompt is not read
        assert gradient[:rows].abs().max() > 0, key
        assert (ours[key][:rows] - gradient[:rows]).abs().max() <= TOLERANCE * max(
            1.0, gradient[:rows].abs().max().item()
        ), key


def our(kind: str, name: str) -> Any:
    if kind == "lora":
        return pft.LoRA(rank=3, alpha=5.0)
    if kind == "ia3":
        return pft.IA3()
    if kind == "layer_norm":
        return pft.LayerNormTuning()
    if kind in ("oft", "oft_neumann", "fourierft"):
        # PEFT has one update for a fused projection, so slices of it are ours alone
        whole = {"gpt_neox": ("attention.query_key_value",), "gpt2": ("ffn.down",)}
        at = whole.get(name.split("-")[0], ("attention.query", "attention.value"))
        if kind == "fourierft":
            return pft.FourierFT(frequencies=20, alpha=20.0, at=at)
        return pft.OFT(block=8, neumann=kind == "oft_neumann", at=at)
    if kind in LOW_RANK:
        # a fused projection has one form in PEFT, and these do not fall into slices
        whole = name.startswith(("gpt2", "gpt_neox")) and kind in ("pissa", "olora", "lokr", "vera")
        at = ("attention.query_key_value",) if whole else ("attention.query", "attention.value")
        options = {"vera": {"rank": 5, "seed": 3}, "lokr": {"rank": 1, "alpha": 5.0}}
        return pft.METHODS[kind](at=at, **options.get(kind, {"rank": 3, "alpha": 5.0}))
    if kind == "prefix_tuning":
        return pft.PrefixTuning(length=3, hidden=8)
    if kind == "adaption_prompt":
        return pft.LLaMAAdapter(length=3, gate="plain", layers=(1,))
    return pft.PromptTuning(length=3, position=0 if name in ENCODERS else None)


@cells()
def test_peft_reads_our_checkpoint(kind: str, name: str, tmp_path: Path) -> None:
    method = our(kind, name)
    model = method.attach(tiny(name))
    perturb(model)
    train(model, name)
    pft.save(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny(name), tmp_path)
    assert close(logits(theirs, name), logits(model, name))
    assert not close(logits(theirs, name), logits(tiny(name), name))
    # and what we read back is exactly the method that we saved: slices, positions, names
    again = pft.load(tiny(name), tmp_path)
    assert torch.equal(logits(again, name), logits(model, name))
    assert pft.attached(again) == {method.name: method}
    assert "peft_type" in json.loads((tmp_path / "adapter_config.json").read_text())


def test_peft_trains_on_what_we_saved(tmp_path: Path) -> None:
    model = pft.LoRA(rank=3).attach(tiny("bert"))
    pft.save(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path, is_trainable=True)
    train(theirs, "bert")
    theirs.save_pretrained(tmp_path / "again")
    assert close(logits(pft.load(tiny("bert"), tmp_path / "again"), "bert"), logits(theirs, "bert"))


def test_slices_of_a_fused_projection_are_one_lora_of_peft(tmp_path: Path) -> None:
    """GPT-2's query and value: rank 2r, each slice scaled as before, the key's rows zero."""
    model = pft.LoRA(rank=3, alpha=5.0).attach(tiny("gpt2"))
    perturb(model)
    pft.save(model, tmp_path)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (written["r"], written["lora_alpha"], written["fan_in_fan_out"]) == (6, 10.0, True)
    tensors = load_file(tmp_path / TENSORS)
    b = tensors["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"]
    host = model.transformer.h[0].attn.c_attn
    assert torch.equal(b[:32, :3], host.pft_lora_query.B)
    assert torch.equal(b[64:, 3:], host.pft_lora_value.B)
    assert not b[32:64].any() and not b[:32, 3:].any() and not b[64:, :3].any()


@pytest.mark.parametrize("kind", ["pissa", "olora", "loha", "lokr", "vera"])
def test_what_peft_has_not_on_gpt2_is_saved_in_our_own_form(kind: str, tmp_path: Path) -> None:
    """Slices of a fused projection, or Conv1D: the file is ours, and holds the same."""
    model = pft.METHODS[kind](rank=2).attach(tiny("gpt2"))
    perturb(model)
    pft.save(model, tmp_path)
    assert "peft_type" not in json.loads((tmp_path / "adapter_config.json").read_text())
    assert torch.equal(logits(pft.load(tiny("gpt2"), tmp_path), "gpt2"), logits(model, "gpt2"))


def test_the_rows_between_slices_keep_their_lengths(tmp_path: Path) -> None:
    """DoRA's file for GPT-2's query and value: the key's lengths are those of its weight."""
    model = pft.DoRA(rank=3).attach(tiny("gpt2"))
    perturb(model)
    pft.save(model, tmp_path)
    path = "transformer.h.0.attn.c_attn"
    m = load_file(tmp_path / TENSORS)[f"base_model.model.{path}.lora_magnitude_vector"]
    host = model.get_submodule(path)
    assert torch.allclose(m[32:64], host.weight[:, 32:64].norm(dim=0), atol=1e-6)
    assert torch.equal(m[64:], host.pft_dora_value.m)


def test_olora_of_peft_on_conv1d_is_refused(tmp_path: Path) -> None:
    """PEFT decomposes W as it is stored, so it computes something else than the paper there."""
    settings = peft.LoraConfig(
        r=3, task_type="CAUSAL_LM", target_modules=["attn.c_proj"], init_lora_weights="olora"
    )
    peft.get_peft_model(tiny("gpt2"), settings).save_pretrained(tmp_path)
    model = tiny("gpt2")
    with pytest.raises(pft.BadCheckpoint, match="something else than OLoRA on the Conv1D"):
        pft.load(model, tmp_path)
    assert not hasattr(model, "pftlab")


def test_a_prompt_behind_cls_is_saved_in_our_own_form(tmp_path: Path) -> None:
    model = pft.PromptTuning(length=3).attach(tiny("bert"))
    perturb(model)
    pft.save(model, tmp_path)
    assert "peft_type" not in json.loads((tmp_path / "adapter_config.json").read_text())
    assert torch.equal(logits(pft.load(tiny("bert"), tmp_path), "bert"), logits(model, "bert"))


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (pft.PrefixTuning(length=3, hidden=8), "t5"),
        (pft.PrefixTuning(length=3, hidden=8), "distilbert"),
        (pft.PrefixTuning(length=3, hidden=8, shift_positions=False), "llama"),
        (pft.PrefixTuning(length=3, hidden=None, layers=(1,)), "llama"),
        (pft.LLaMAAdapter(length=3), "llama"),
        (pft.LLaMAAdapter(length=3, gate="plain"), "gpt2"),
        (pft.LLaMAAdapter(length=3, gate="plain"), "llama-classification"),
        (pft.LLaMAAdapter(length=3, gate="plain", layers=(0,)), "llama"),
    ],
)
def test_what_peft_cannot_say_is_saved_in_our_own_form(
    method: Any, name: str, tmp_path: Path
) -> None:
    model = method.attach(tiny(name))
    perturb(model)
    pft.save(model, tmp_path)
    assert "peft_type" not in json.loads((tmp_path / "adapter_config.json").read_text())
    assert torch.equal(logits(pft.load(tiny(name), tmp_path), name), logits(model, name))


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("prefix_tuning", "t5", "decoder's self-attention alone"),
        ("adaption_prompt", "gpt2", "in a way of its own"),
    ],
)
def test_what_we_cannot_say_of_peft_is_refused(
    kind: str, name: str, message: str, tmp_path: Path
) -> None:
    peft.get_peft_model(tiny(name), config(kind, name)).save_pretrained(tmp_path)
    with pytest.raises(pft.BadCheckpoint, match=message):
        pft.load(tiny(name), tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "at", "layers"),
    [
        ("bert", {}, ("attention.query", "attention.value"), None),
        (
            "llama",
            {"target_modules": "all-linear"},
            (
                "attention.query",
                "attention.key",
                "attention.value",
                "attention.output",
                "ffn.gate",
                "ffn.up",
                "ffn.down",
            ),
            None,
        ),
        (
            "bert",
            {"target_modules": ["query"], "layers_to_transform": [1]},
            ("attention.query",),
            (1,),
        ),
        ("bert", {"target_modules": ["output.dense"]}, ("attention.output", "ffn.down"), None),
        ("gpt2", {}, ("attention.query_key_value",), None),
        (
            "t5",
            {},
            (
                "attention.query",
                "attention.value",
                "cross_attention.query",
                "cross_attention.value",
            ),
            None,
        ),
    ],
)
def test_modules_of_peft_become_sites(
    name: str, options: Any, at: Any, layers: Any, tmp_path: Path
) -> None:
    theirs = peft.get_peft_model(
        tiny(name), peft.LoraConfig(r=3, lora_alpha=5, task_type=task_type(name), **options)
    )
    perturb(theirs)
    theirs.save_pretrained(tmp_path)
    ours = pft.load(tiny(name), tmp_path)
    assert pft.attached(ours)["lora"] == pft.LoRA(rank=3, alpha=5, at=at, layers=layers)
    assert close(logits(ours, name), logits(theirs, name))


def test_ia3_of_peft_on_bert_also_rescales_the_input_of_the_output_projection(
    tmp_path: Path,
) -> None:
    _, ours = theirs_and_ours("ia3", "bert", tmp_path)
    assert pft.attached(ours)["ia3"].at == (
        "attention.key",
        "attention.value",
        "attention.output.input",
        "ffn.down.input",
    )


def test_modules_that_peft_trained_whole_are_read_as_the_head(tmp_path: Path) -> None:
    theirs = peft.get_peft_model(
        tiny("llama"),
        peft.LoraConfig(task_type="CAUSAL_LM", modules_to_save=["embed_tokens", "lm_head"]),
    )
    perturb(theirs)
    theirs.save_pretrained(tmp_path)
    ours = pft.load(tiny("llama"), tmp_path)
    assert close(logits(ours, "llama"), logits(theirs, "llama"))
    assert pft.count(ours).head == 2 * 50 * 32
    assert torch.equal(logits(pft.detach(ours), "llama"), logits(tiny("llama"), "llama"))


@pytest.mark.parametrize(
    "option",
    [
        {"bias": "all"},
        {"lora_bias": True},
        {"rank_pattern": {"query": 2}},
        {"alpha_pattern": {"query": 2}},
        {"use_dora": True, "use_rslora": True},
        {"init_lora_weights": "pissa_niter_4"},
    ],
)
def test_options_of_peft_that_no_method_has_are_refused(
    option: dict[str, Any], tmp_path: Path
) -> None:
    settings = peft.LoraConfig(r=3, task_type="SEQ_CLS", **option)
    peft.get_peft_model(tiny("bert"), settings).save_pretrained(tmp_path)
    model = tiny("bert")
    with pytest.raises(pft.BadCheckpoint, match=f"{next(iter(option))}=.*it reads"):
        pft.load(model, tmp_path)
    assert not hasattr(model, "pftlab")


def test_a_tensor_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    settings = peft.LoraConfig(task_type="CAUSAL_LM", trainable_token_indices=[1, 2])
    peft.get_peft_model(tiny("llama"), settings).save_pretrained(tmp_path)
    model = tiny("llama")
    with pytest.raises(pft.BadCheckpoint, match=r"token_adapter.*has no place"):
        pft.load(model, tmp_path)
    assert not hasattr(model, "pftlab") and not any(".pft_" in k for k in model.state_dict())


def test_different_modules_in_different_layers_are_refused(tmp_path: Path) -> None:
    settings = peft.LoraConfig(
        task_type="SEQ_CLS", target_modules=["layer.0.attention.self.query", "value"]
    )
    peft.get_peft_model(tiny("bert"), settings).save_pretrained(tmp_path)
    with pytest.raises(pft.BadCheckpoint, match="different modules in different layers"):
        pft.load(tiny("bert"), tmp_path)


def test_a_module_without_a_name_in_the_field_is_refused(tmp_path: Path) -> None:
    settings = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["pooler.dense"])
    peft.get_peft_model(tiny("bert"), settings).save_pretrained(tmp_path)
    with pytest.raises(pft.BadCheckpoint, match=r"'bert\.pooler\.dense', which is no site"):
        pft.load(tiny("bert"), tmp_path)


def test_another_method_of_peft_is_refused_by_name(tmp_path: Path) -> None:
    theirs_and_ours("lora", "bert", tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"peft_type": "SOMETHING_NEW"}))
    with pytest.raises(pft.BadCheckpoint, match=r"'SOMETHING_NEW'; PFT Lab reads .*LORA"):
        pft.load(tiny("bert"), tmp_path)


def test_file_holds_only_what_was_trained(tmp_path: Path) -> None:
    model = pft.LoRA(rank=3).attach(tiny("bert"))
    pft.save(model, tmp_path)
    stored = sum(t.numel() for t in load_file(tmp_path / TENSORS).values())
    counted = pft.count(model)
    assert stored == counted.trainable + counted.head
