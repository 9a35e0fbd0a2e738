"""Every option of every configuration of PEFT that we read: the same logits, or a refusal by name."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from tiny import batch, perturb, tiny

import pftlab as pft
from pftlab.exchange.options import DEFAULTS, IDLE, PAST, TOLD
from pftlab.exchange.peft import FORMS

pytestmark = pytest.mark.filterwarnings("ignore")  # what PEFT says of odd settings

CONFIG = "adapter_config.json"
KINDS = sorted({form.kind for form in FORMS.values()})
#: settings with which a kind is tried, where they are not those of most kinds
SETTINGS: dict[str, dict[str, Any]] = {
    "LORA": {"r": 3, "target_modules": ["query"]},
    "ADALORA": {
        "init_r": 3,
        "target_r": 2,
        "total_step": 100,
        "tinit": 10,
        "tfinal": 10,
        "target_modules": ["query"],
    },
    "LOHA": {"r": 3, "target_modules": ["query"]},
    "LOKR": {"r": 1, "target_modules": ["query"]},
    "IA3": {"target_modules": ["key", "output.dense"], "feedforward_modules": ["output.dense"]},
    "OFT": {"oft_block_size": 8, "target_modules": ["query"]},
    "FOURIERFT": {"n_frequency": 10, "target_modules": ["query"]},
    "LN_TUNING": {"target_modules": ["LayerNorm"]},
    "PROMPT_TUNING": {"num_virtual_tokens": 3},
    "P_TUNING": {"num_virtual_tokens": 3},
    "MULTITASK_PROMPT_TUNING": {"num_virtual_tokens": 3, "num_tasks": 2},
    "PREFIX_TUNING": {"num_virtual_tokens": 3},
    "ADAPTION_PROMPT": {"adapter_len": 3, "adapter_layers": 1},
}
MOST: dict[str, Any] = {"r": 4, "target_modules": ["query"]}
#: option → a value that is not its default and not that of SETTINGS
OTHER: dict[str, Any] = {
    "auto_mapping": {"base_model_class": "Other"},
    "peft_version": "99.0",
    "base_model_name_or_path": "elsewhere",
    "revision": "other",
    "inference_mode": False,
    "target_modules": ["value"],
    "exclude_modules": ["layer.0.attention.self.query"],
    "modules_to_save": ["classifier", "pooler"],
    "layers_to_transform": [1],
    "layers_pattern": ["layer"],
    "r": 2,
    "lora_alpha": 5,
    "lora_dropout": 0.5,
    "fan_in_fan_out": True,
    "bias": "all",
    "use_rslora": True,
    "init_lora_weights": "mica",
    "rank_pattern": {"query": 2},
    "alpha_pattern": {"query": 5},
    "megatron_config": {"tensor_model_parallel_size": 2},
    "megatron_core": "other.core",
    "trainable_token_indices": [1, 2],
    "loftq_config": {"loftq_bits": 4},
    "eva_config": {"rho": 3.0},
    "corda_config": {"corda_method": "ipm"},
    "lora_ga_config": {"direction": "ArB2r"},
    "use_dora": True,
    "velora_config": {"num_groups": 2},
    "alora_invocation_tokens": [5],
    "use_qalora": True,
    "qalora_group_size": 8,
    "monteclora_config": {"num_samples": 3},
    "layer_replication": [[0, 2], [1, 2]],
    "lora_bias": True,
    "target_parameters": ["query.weight"],
    "use_bdlora": {"nblocks": 2},
    "arrow_config": {"top_k": 2},
    "kasa_config": {"beta": 0.1},
    "ensure_weight_tying": True,
    "target_r": 1,
    "init_r": 4,
    "tinit": 20,
    "tfinal": 20,
    "deltaT": 5,
    "beta1": 0.5,
    "beta2": 0.5,
    "orth_reg_weight": 0.1,
    "total_step": 50,
    "projection_prng_key": 7,
    "save_projection": False,
    "vera_dropout": 0.5,
    "randlora_alpha": 5,
    "randlora_dropout": 0.5,
    "sparse": True,
    "very_sparse": True,
    "d_initial": 0.3,
    "init_weights": False,
    "alpha": 5,
    "rank_dropout": 0.5,
    "module_dropout": 0.5,
    "use_effective_conv2d": True,
    "decompose_both": True,
    "decompose_factor": 4,
    "rank_dropout_scale": True,
    "feedforward_modules": [],
    "init_ia3_weights": False,
    "oft_block_size": 4,
    "coft": True,
    "eps": 0.1,
    "block_share": True,
    "use_cayley_neumann": False,
    "num_cayley_neumann_terms": 3,
    "n_frequency": 12,
    "scaling": 20.0,
    "random_loc_seed": 5,
    "n_frequency_pattern": {"query": 12},
    "num_virtual_tokens": 4,
    "token_dim": 64,
    "num_transformer_submodules": 2,
    "num_attention_heads": 8,
    "num_layers": 1,
    "prompt_tuning_init": "SAMPLE_VOCAB",
    "prompt_tuning_init_text": "some words",
    "tokenizer_name_or_path": "some-tokenizer",
    "tokenizer_kwargs": {"use_fast": True},
    "prompt_tuning_init_state_dict_path": "some/path",
    "prompt_tuning_init_task": 1,
    "num_ranks": 2,
    "num_tasks": 3,
    "encoder_reparameterization_type": "LSTM",
    "encoder_hidden_size": 24,
    "encoder_num_layers": 1,
    "encoder_dropout": 0.5,
    "prefix_projection": True,
    "adapter_len": 4,
    "adapter_layers": 2,
}
#: where one value does not do for all kinds
OTHER_OF: dict[tuple[str, str], Any] = {
    ("IA3", "target_modules"): ["value", "output.dense"],
    ("FOURIERFT", "init_weights"): True,
    ("PREFIX_TUNING", "init_weights"): "zero",
    ("LN_TUNING", "target_modules"): ["attention.output.LayerNorm", "x"],
    ("LN_TUNING", "exclude_modules"): ["bert.embeddings.LayerNorm"],
    ("ADAPTION_PROMPT", "target_modules"): "mlp",
    ("ADALORA", "rank_pattern"): {"bert.encoder.layer.0.attention.self.query.lora_E": [True] * 3},
}
#: without these the file contradicts its tensors, which PEFT leaves out or does not look at; or it
#: is older than PEFT's series, of which PEFT warns
NEEDED = {("ADALORA", "target_r"), ("LOKR", "r"), ("OFT", "peft_version")}
#: what PEFT itself does not open with OTHER's values, and the tensors say better
CONTRADICTED = {"layers_pattern", "num_attention_heads", "target_modules", "tokenizer_kwargs"}
UNSET = {"runtime_config"}  # how a running model computes; PEFT writes it into no file


def model_of(kind: str) -> str:
    return "llama" if kind == "ADAPTION_PROMPT" else "bert"


def options(kind: str) -> set[str]:
    return {field.name for field in fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])} - UNSET


def made(kind: str, **settings: Any) -> Any:
    task = "CAUSAL_LM" if model_of(kind) == "llama" else "SEQ_CLS"
    config = PEFT_TYPE_TO_CONFIG_MAPPING[kind](
        task_type=task, **SETTINGS.get(kind, MOST) | settings
    )
    torch.manual_seed(0)
    model = peft.get_peft_model(tiny(model_of(kind)), config)
    perturb(model)
    return model


def logits(kind: str, model: Any) -> torch.Tensor:
    inputs = batch(model_of(kind))
    if kind == "MULTITASK_PROMPT_TUNING" and isinstance(model, peft.PeftModel):
        inputs["task_ids"] = torch.zeros(len(inputs["input_ids"]), dtype=torch.long)
    elif kind == "MULTITASK_PROMPT_TUNING":
        from pftlab.prompt.multitask_prompt_tuning import choose_task

        choose_task(model, 0)
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**inputs).logits
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_those_of_the_installed_peft(kind: str, tmp_path: Path) -> None:
    """A new PEFT, with an option that is not known here, fails this."""
    PEFT_TYPE_TO_CONFIG_MAPPING[kind](**SETTINGS.get(kind, MOST)).save_pretrained(tmp_path)
    written = json.loads((tmp_path / CONFIG).read_text())
    assert written.keys() == DEFAULTS[kind].keys() == options(kind)
    chosen = {*SETTINGS.get(kind, MOST), "peft_type", "peft_version", "inference_mode"}
    for option in written.keys() - chosen:
        assert written[option] == DEFAULTS[kind][option], option


def test_every_option_that_may_have_any_value_is_one_of_peft() -> None:
    known = {option for defaults in DEFAULTS.values() for option in defaults}
    assert known >= TOLD | PAST | IDLE


SWEEP = [(k, o) for k in KINDS for o in sorted(options(k) - {"peft_type", "task_type"})]


@pytest.mark.parametrize(("kind", "option"), SWEEP)
def test_an_option_is_read_or_refused_by_name(kind: str, option: str, tmp_path: Path) -> None:
    """Made with the option where PEFT can, else written into a file without it."""
    value = OTHER_OF.get((kind, option), OTHER.get(option))
    assert option in OTHER, "what is a value of it that is not the default?"
    try:
        made(kind, **{option: value}).save_pretrained(tmp_path)
    except Exception:  # PEFT asks for more: other packages, models or options
        made(kind).save_pretrained(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(config | {option: value}))
    try:
        theirs = peft.PeftModel.from_pretrained(tiny(model_of(kind)), tmp_path)
        wanted, opened = logits(kind, theirs), True
    except Exception:  # nor does PEFT read it: then the option must not matter
        wanted, opened = logits(kind, made(kind)), False
    model = tiny(model_of(kind))
    try:
        pft.load(model, tmp_path)
    except pft.BadCheckpoint as error:
        assert option in str(error) or option in TOLD
        assert not hasattr(model, "pftlab")
    else:
        assert torch.allclose(logits(kind, model), wanted, atol=1e-4)
        assert opened or option in CONTRADICTED


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_an_option_has_the_default_of_peft(kind: str, tmp_path: Path) -> None:
    """One option after the other is left out; what PEFT needs is refused, the rest is the same."""
    made(kind).save_pretrained(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    for option in sorted(options(kind) - {"peft_type", "task_type", "target_modules"}):
        left = {o: v for o, v in config.items() if o != option}
        (tmp_path / CONFIG).write_text(json.dumps(left))
        try:
            wanted = logits(kind, peft.PeftModel.from_pretrained(tiny(model_of(kind)), tmp_path))
        except Exception:  # PEFT cannot do without it
            continue
        if (kind, option) in NEEDED:
            with pytest.raises(pft.BadCheckpoint):
                pft.load(tiny(model_of(kind)), tmp_path)
        else:
            ours = pft.load(tiny(model_of(kind)), tmp_path)
            assert torch.allclose(logits(kind, ours), wanted, atol=1e-4), option


@pytest.mark.parametrize(
    "unknown", [{"new_scaling": 4.0}, {"lora_alpha_per_head": [1, 2]}, {"first_layer": 0}]
)
def test_an_option_of_a_newer_peft_is_refused(unknown: dict[str, Any], tmp_path: Path) -> None:
    made("LORA").save_pretrained(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    unused = {"another": None, "a_flag": False, "a_list": [], "a_table": {}}
    (tmp_path / CONFIG).write_text(json.dumps(config | unused))
    pft.load(tiny("bert"), tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(config | unused | unknown))
    (option,) = unknown
    with pytest.raises(pft.BadCheckpoint, match=f"has {option}=.*does not know"):
        pft.load(tiny("bert"), tmp_path)
