"""Which options in PEFT's adapter_config.json a file may have: an allow-list.

An option can be

* read: as a hyper-parameter of the method (`PeftForm.fields`, `reads`), or as one of the values
  that a form demands (`PeftForm.options`);
* told by the tensors: which modules and layers are adapted, and their shapes (`TOLD`);
* past: how the training began, which trained tensors have left behind (`PAST`);
* idle: it acts together with another option alone, which is in use nowhere here (`IDLE`);
* unused: PEFT's default, or null, false or empty.

Any other may change what the model computes, so that the file is refused by its name. A file
without an option is read with PEFT's default, as PEFT does. The defaults are those of 0.21.2;
tests/exchange/test_options.py compares them with the PEFT that is installed.
"""

from collections.abc import Collection, Mapping
from typing import Any

#: what stands in every file: of which method, of which base, by which PEFT
EVERY: dict[str, Any] = {
    "peft_type": None,
    "task_type": None,
    "auto_mapping": None,
    "peft_version": None,
    "base_model_name_or_path": None,
    "revision": None,
    "inference_mode": False,
}
MODULES: dict[str, Any] = {
    "target_modules": None,
    "exclude_modules": None,
    "modules_to_save": None,
}
LAYERS: dict[str, Any] = {"layers_to_transform": None, "layers_pattern": None}
PROMPT: dict[str, Any] = {
    "num_virtual_tokens": None,
    "token_dim": None,
    "num_transformer_submodules": None,
    "num_attention_heads": None,
    "num_layers": None,
    "modules_to_save": None,
}
TEXT: dict[str, Any] = {
    "prompt_tuning_init": "RANDOM",
    "prompt_tuning_init_text": None,
    "tokenizer_name_or_path": None,
    "tokenizer_kwargs": None,
}
LORA: dict[str, Any] = {
    "r": 8,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "fan_in_fan_out": False,
    "bias": "none",
    "use_rslora": False,
    "init_lora_weights": True,
    "rank_pattern": {},
    "alpha_pattern": {},
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "trainable_token_indices": None,
    "loftq_config": {},
    "eva_config": None,
    "corda_config": None,
    "lora_ga_config": None,
    "use_dora": False,
    "velora_config": None,
    "alora_invocation_tokens": None,
    "use_qalora": False,
    "qalora_group_size": 16,
    "monteclora_config": None,
    "layer_replication": None,
    "lora_bias": False,
    "target_parameters": None,
    "use_bdlora": None,
    "arrow_config": None,
    "kasa_config": None,
    "ensure_weight_tying": False,
    **MODULES,
    **LAYERS,
}
PRODUCT: dict[str, Any] = {
    "r": 8,
    "alpha": 8,
    "rank_dropout": 0.0,
    "module_dropout": 0.0,
    "rank_pattern": {},
    "alpha_pattern": {},
    "use_effective_conv2d": False,
    "init_weights": True,
    **MODULES,
    **LAYERS,
}

#: peft_type → option → PEFT's default
DEFAULTS: dict[str, dict[str, Any]] = {
    "LORA": EVERY | LORA,
    "ADALORA": EVERY
    | LORA
    | {
        "rank_pattern": None,
        "target_r": 8,
        "init_r": 12,
        "tinit": 0,
        "tfinal": 0,
        "deltaT": 1,
        "beta1": 0.85,
        "beta2": 0.85,
        "orth_reg_weight": 0.5,
        "total_step": None,
    },
    "VERA": EVERY
    | {
        "r": 256,
        "projection_prng_key": 0,
        "save_projection": True,
        "vera_dropout": 0.0,
        "d_initial": 0.1,
        "fan_in_fan_out": False,
        "bias": "none",
        "init_weights": True,
        "target_modules": None,
        "modules_to_save": None,
        **LAYERS,
    },
    "RANDLORA": EVERY
    | {
        "r": 32,
        "projection_prng_key": 0,
        "save_projection": True,
        "sparse": False,
        "very_sparse": False,
        "randlora_dropout": 0.0,
        "fan_in_fan_out": False,
        "randlora_alpha": 640,
        "bias": "none",
        "init_weights": True,
        "target_modules": None,
        "modules_to_save": None,
        **LAYERS,
    },
    "LOHA": EVERY | PRODUCT,
    "LOKR": EVERY
    | PRODUCT
    | {"decompose_both": False, "decompose_factor": -1, "rank_dropout_scale": False},
    "IA3": EVERY
    | MODULES
    | {"feedforward_modules": None, "fan_in_fan_out": False, "init_ia3_weights": True},
    "OFT": EVERY
    | {
        "r": 0,
        "oft_block_size": 32,
        "module_dropout": 0.0,
        "fan_in_fan_out": False,
        "bias": "none",
        "init_weights": True,
        "coft": False,
        "eps": 6e-05,
        "block_share": False,
        "use_cayley_neumann": True,
        "num_cayley_neumann_terms": 5,
        **MODULES,
        **LAYERS,
    },
    "FOURIERFT": EVERY
    | {
        "n_frequency": 1000,
        "scaling": 150.0,
        "random_loc_seed": 777,
        "fan_in_fan_out": False,
        "bias": "none",
        "n_frequency_pattern": {},
        "init_weights": False,
        **MODULES,
        **LAYERS,
    },
    "LN_TUNING": EVERY | MODULES,
    "PROMPT_TUNING": EVERY | PROMPT | TEXT,
    "P_TUNING": EVERY
    | PROMPT
    | {
        "encoder_reparameterization_type": "MLP",
        "encoder_hidden_size": None,
        "encoder_num_layers": 2,
        "encoder_dropout": 0.0,
    },
    "MULTITASK_PROMPT_TUNING": EVERY
    | PROMPT
    | TEXT
    | {
        "prompt_tuning_init_state_dict_path": None,
        "prompt_tuning_init_task": 0,
        "num_ranks": 1,
        "num_tasks": 1,
    },
    "PREFIX_TUNING": EVERY
    | PROMPT
    | {"init_weights": None, "encoder_hidden_size": None, "prefix_projection": False},
    "ADAPTION_PROMPT": EVERY
    | {"target_modules": None, "adapter_len": None, "adapter_layers": None},
}
TOLD = {
    *EVERY,
    *MODULES,
    *LAYERS,
    *PROMPT,
    "fan_in_fan_out",  # the class of the module tells it
    "ensure_weight_tying",  # acts on modules that are saved whole, which are looked at there
    "feedforward_modules",
    "adapter_layers",
    "save_projection",
    "num_ranks",
    "num_tasks",
}
PAST = {
    *TEXT,
    "init_weights",
    "init_ia3_weights",
    "prompt_tuning_init_state_dict_path",
    "prompt_tuning_init_task",
    # the file holds what the network of the prompt or of the prefix made
    "prefix_projection",
    "encoder_reparameterization_type",
    "encoder_hidden_size",
    "encoder_num_layers",
    "encoder_dropout",
}
IDLE = {
    "megatron_core",  # with megatron_config
    "loftq_config",  # with the value of init_lora_weights of the same name, as the next three
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "qalora_group_size",  # with use_qalora
    "eps",  # with coft
    "rank_dropout_scale",  # with rank_dropout
    "use_effective_conv2d",  # on convolutions
}


def foreign_option(
    kind: str,
    config: Mapping[str, Any],
    read: Collection[str],
    options: Mapping[str, tuple[Any, ...]],
) -> str | None:
    """The first option with which a file cannot be read; None if it can.

    Args:
        kind: PEFT's `peft_type`.
        config: PEFT's adapter_config.json.
        read: options that the form reads, whatever they are.
        options: option → the values with which a file can be read.
    """
    defaults = DEFAULTS[kind]
    anything = ({*TOLD, *PAST, *IDLE} & defaults.keys()) - options.keys() | set(read)
    for option, given in {**defaults, **config}.items():
        if option not in anything:
            allowed = options.get(option, (defaults.get(option),))
            if not any(_same(given, value) for value in allowed):
                return option
    return None


def _same(given: Any, allowed: Any) -> bool:
    if _is_unused(given) and _is_unused(allowed):
        return True
    return isinstance(given, bool) == isinstance(allowed, bool) and bool(given == allowed)


def _is_unused(value: Any) -> bool:
    """Whether this is one of PEFT's ways to say that an option is not used."""
    return value is None or value is False or value in ("none", "", {}, [])
