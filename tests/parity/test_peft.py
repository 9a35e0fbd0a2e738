"""Agreement with Hugging Face PEFT: logits, gradients in training, and checkpoints both ways.

Every method with a form in `pftlab.exchange.peft.FORMS` is tried on every architecture; on the
further ones LoRA and (IA)³ always, and the others with the marker `full`. PEFT's configuration is the
one that we write: a form is all that a new method needs to be tried here.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft_models import ALL, FURTHER, task_type
from safetensors.torch import load_file, save_file
from tiny import batch, method, perturb, tiny

import pftlab as pft
from pftlab.core import config_of
from pftlab.core.ports.steps import announced
from pftlab.exchange.peft import FORMS

TOLERANCE = 1e-5
CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"

pytestmark = [
    pytest.mark.filterwarnings("ignore:fan_in_fan_out"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`"),
    pytest.mark.filterwarnings("ignore:Specified to not (load|save) vera_A"),
]


def our(name: str, model: Any, variant: int = 0) -> Any:
    """The method `name` with hyper-parameters with which it is PEFT's on `model`."""
    form = FORMS[name]
    chosen = replace(method(name), **form.needs, **form.variants[variant])
    if "dropout" in form.fields:
        chosen = replace(chosen, dropout=0.25)
    if name == "ia3" and model.config.model_type in ("mixtral", "qwen3_moe"):
        chosen = replace(chosen, at=("attention.key", "attention.value"))  # experts are no site
    places = chosen.sites(model)
    fused = len({site.path for site in places}) < len(places)
    if fused and not form.fused:  # PEFT adapts it as a whole
        chosen = replace(chosen, at=("attention.query_key_value",))
    return chosen


def expected(name: str, model: str) -> str:
    """Whether PEFT has the method on the model: "same", "differs" or "own", a file of our form.

    "refused": we have it not.
    """
    form, base = FORMS[name], tiny(model)
    try:
        our(name, base).plan(base)
    except pft.PftError:
        return "refused"
    has_head = task_type(model) in ("SEQ_CLS", "TOKEN_CLS")
    if form.lacks(base, our(name, base)) or (form.head is None and has_head):
        return "own"
    where = f"{config_of(base).model_type} {task_type(model)}"
    return "differs" if form.differs.keys() & {"", where} else "same"


CELLS = {(name, model): expected(name, model) for name in FORMS for model in (*ALL, *FURTHER)}
ALWAYS = ("lora", "ia3")
#: the methods that PEFT's files are read as: the first of those with the same form
READERS = list({id(form): name for name, form in reversed(FORMS.items())}.values())


def cells(names: Any = tuple(FORMS), what: str = "same") -> Any:
    """(method, number of its variant, model) for all pairs of which `what` is expected."""
    found = [
        pytest.param(
            name, variant, model,
            id=f"{name}-{variant}-{model}",
            marks=[] if model in ALL or name in ALWAYS else pytest.mark.full,
        )
        for name in names
        for variant in range(len(FORMS[name].variants))
        for model in (*ALL, *FURTHER)
        if CELLS[name, model] == what
    ]  # fmt: skip
    return pytest.mark.parametrize(("name", "variant", "model"), found)


def inputs(model: str) -> dict[str, torch.Tensor]:
    """Without padding, with labels."""
    given = batch(model, size=3)
    if task_type(model) == "SEQ_2_SEQ_LM":
        return given | {"labels": given["decoder_input_ids"].contiguous()}
    labels = {"SEQ_CLS": torch.tensor([0, 1, 1]), "TOKEN_CLS": given["input_ids"] % 3}
    # With a prompt of PEFT the first word is predicted too, from the last vector of the prompt.
    words = given["input_ids"].clone()
    words[:, 0] = -100
    return given | {"labels": labels.get(task_type(model), words)}


def logits(network: Any, model: str) -> torch.Tensor:
    """In evaluation; PEFT's decoders also answer for the prompt's positions, which are cut off."""
    with torch.no_grad():
        found = network.eval()(**batch(model)).logits
    length = batch(model)["input_ids"].shape[1]
    return found[:, -length:] if task_type(model) == "CAUSAL_LM" else found


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= TOLERANCE * max(1.0, b.abs().max().item()))


def loss(network: Any, model: str) -> torch.Tensor:
    """With the term that a method adds to it, which PEFT's models do by themselves."""
    if isinstance(network, peft.PeftModel):
        return network(**inputs(model)).loss
    (attached,) = pft.attached(network).values()
    with announced(network):
        total: torch.Tensor = network(**inputs(model)).loss
    term = attached.extra_loss(network)
    return total if term is None else total + term


def train(network: Any, model: str, steps: int = 3) -> None:
    """Some real steps of AdamW, dropout included."""
    trainable = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=3e-2)
    network.train()
    for _ in range(steps):
        loss(network, model).backward()
        optimiser.step()
        optimiser.zero_grad()
    network.eval()


def saved_by_peft(settings: Any, model: str, folder: Path) -> Any:
    """A model of PEFT's after some training, which is saved in `folder`."""
    theirs = peft.get_peft_model(tiny(model), settings)
    perturb(theirs)  # LoRA's B is zero at the start
    train(theirs, model)
    theirs.save_pretrained(folder)
    return theirs


def theirs_and_ours(name: str, variant: int, model: str, folder: Path) -> tuple[Any, Any]:
    """A trained model of PEFT's with the configuration that we write, and ours of its file."""
    base = tiny(model)
    pft.save(our(name, base, variant).attach(base), folder)
    settings = peft.PeftConfig.from_pretrained(folder)
    settings.inference_mode = False
    theirs = saved_by_peft(settings, model, folder)
    return theirs, pft.load(tiny(model), folder)


def test_every_form_is_compared_or_says_why_not() -> None:
    for name, form in FORMS.items():
        if "" not in form.differs:
            assert any(CELLS[name, model] == "same" for model in ALL), name
    for model in (*ALL, *FURTHER):
        assert CELLS["lora", model] == CELLS["ia3", model] == "same"


@cells(READERS)
def test_a_checkpoint_of_peft_computes_the_same(
    name: str, variant: int, model: str, tmp_path: Path
) -> None:
    theirs, ours = theirs_and_ours(name, variant, model, tmp_path)
    assert close(logits(ours, model), logits(theirs, model))
    assert not close(logits(ours, model), logits(tiny(model), model))
    assert list(pft.attached(ours)) == [name]


@cells([name for name in READERS if not FORMS[name].made_by_network])
def test_gradients_in_training_equal_those_of_peft(
    name: str, variant: int, model: str, tmp_path: Path
) -> None:
    """Both save their gradients in the place of their parameters: the files must be equal."""
    found = []
    for network in theirs_and_ours(name, variant, model, tmp_path):
        network.train()
        if name in ("loha", "lokr"):  # PEFT draws a number in each of their modules
            for module in network.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
                if isinstance(getattr(module, "dropout", None), float):
                    module.dropout = 0.0
        torch.manual_seed(1)  # the same dropout on both sides
        loss(network, model).backward()
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.data = parameter.grad
        folder = tmp_path / type(network).__name__
        is_theirs = isinstance(network, peft.PeftModel)
        network.save_pretrained(folder) if is_theirs else pft.save(network, folder)
        found.append(load_file(folder / TENSORS))
    theirs, ours = found
    assert theirs.keys() == ours.keys()
    for key, gradient in theirs.items():
        rows = 3 if key == "prompt_embeddings" else len(gradient)  # T5's second prompt is not read
        assert gradient[:rows].abs().max() > 0, key
        assert (ours[key][:rows] - gradient[:rows]).abs().max() <= TOLERANCE * max(
            1.0, gradient[:rows].abs().max().item()
        ), key


@cells()
def test_peft_reads_our_checkpoint(name: str, variant: int, model: str, tmp_path: Path) -> None:
    base = tiny(model)
    chosen = our(name, base, variant)
    network = chosen.attach(base)
    perturb(network)
    train(network, model)
    pft.save(network, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny(model), tmp_path)
    assert close(logits(theirs, model), logits(network, model))
    assert not close(logits(theirs, model), logits(tiny(model), model))
    # and what we read back is exactly the method that we saved: slices, positions, names
    again = pft.load(tiny(model), tmp_path)
    assert torch.equal(logits(again, model), logits(network, model))
    assert pft.attached(again) == {name: chosen}


@cells(what="differs")
def test_where_peft_differs_the_file_is_still_in_its_form(
    name: str, variant: int, model: str, tmp_path: Path
) -> None:
    base = tiny(model)
    network = our(name, base, variant).attach(base)
    perturb(network)
    pft.save(network, tmp_path)
    assert "peft_type" in json.loads((tmp_path / CONFIG).read_text())
    assert torch.equal(logits(pft.load(tiny(model), tmp_path), model), logits(network, model))


@cells(what="own")
def test_where_peft_has_it_not_the_file_is_of_our_form(
    name: str, variant: int, model: str, tmp_path: Path
) -> None:
    base = tiny(model)
    network = our(name, base, variant).attach(base)
    perturb(network)
    pft.save(network, tmp_path)
    assert "peft_type" not in json.loads((tmp_path / CONFIG).read_text())
    assert torch.equal(logits(pft.load(tiny(model), tmp_path), model), logits(network, model))


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
    written = json.loads((tmp_path / CONFIG).read_text())
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
    assert "peft_type" not in json.loads((tmp_path / CONFIG).read_text())
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


def test_a_prompt_behind_cls_is_saved_in_our_own_form(tmp_path: Path) -> None:
    model = pft.PromptTuning(length=3).attach(tiny("bert"))
    perturb(model)
    pft.save(model, tmp_path)
    assert "peft_type" not in json.loads((tmp_path / CONFIG).read_text())
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
    assert "peft_type" not in json.loads((tmp_path / CONFIG).read_text())
    assert torch.equal(logits(pft.load(tiny(name), tmp_path), name), logits(model, name))


@pytest.mark.parametrize(
    ("settings", "name", "message"),
    [
        (
            peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="SEQ_2_SEQ_LM"),
            "t5",
            "decoder's self-attention alone",
        ),
        (
            peft.AdaptionPromptConfig(adapter_len=3, adapter_layers=1, task_type="CAUSAL_LM"),
            "gpt2",
            "in a way of its own",
        ),
        (
            peft.LoraConfig(
                task_type="CAUSAL_LM", target_modules=["attn.c_proj"], init_lora_weights="olora"
            ),
            "gpt2",  # PEFT decomposes W as it is stored
            "something else than OLoRA on a Conv1D",
        ),
    ],
)
def test_what_we_cannot_say_of_peft_is_refused(
    settings: Any, name: str, message: str, tmp_path: Path
) -> None:
    peft.get_peft_model(tiny(name), settings).save_pretrained(tmp_path)
    model = tiny(name)
    with pytest.raises(pft.BadCheckpoint, match=message):
        pft.load(model, tmp_path)
    assert not hasattr(model, "pftlab")


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
    theirs = saved_by_peft(peft.IA3Config(task_type="SEQ_CLS"), "bert", tmp_path)
    ours = pft.load(tiny("bert"), tmp_path)
    assert close(logits(ours, "bert"), logits(theirs, "bert"))
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
        {"use_rslora": True, "use_dora": True},
        {"init_lora_weights": "pissa_niter_4"},
        {"trainable_token_indices": [1, 2]},
        {"target_parameters": ["query.weight"], "target_modules": []},
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
    peft.get_peft_model(tiny("llama"), peft.LoraConfig(task_type="CAUSAL_LM")).save_pretrained(
        tmp_path
    )
    tensors = load_file(tmp_path / TENSORS)
    save_file(tensors | {"base_model.model.token_adapter": torch.ones(2)}, tmp_path / TENSORS)
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
    saved_by_peft(peft.LoraConfig(task_type="SEQ_CLS"), "bert", tmp_path)
    path = tmp_path / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"peft_type": "SOMETHING_NEW"}))
    with pytest.raises(pft.BadCheckpoint, match=r"'SOMETHING_NEW'; PFT Lab reads .*LORA"):
        pft.load(tiny("bert"), tmp_path)


def test_file_holds_only_what_was_trained(tmp_path: Path) -> None:
    model = pft.LoRA(rank=3).attach(tiny("bert"))
    pft.save(model, tmp_path)
    stored = sum(t.numel() for t in load_file(tmp_path / TENSORS).values())
    counted = pft.count(model)
    assert stored == counted.trainable + counted.head
