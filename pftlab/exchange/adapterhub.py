"""Reading the checkpoints of AdapterHub's library, `adapters`: an allow-list of its common kinds.

A folder of AdapterHub holds `adapter_config.json`, with the method under "config", the tensors in
`adapter.safetensors`, and the head in `model_head.safetensors`. The tensors have the paths of its
own copies of the models. What is read: the bottleneck adapters `seq_bn` (Pfeiffer), `double_seq_bn`
(Houlsby) and `par_bn` (parallel), `lora` and `ia3`. AdapterHub saves prefixes as pickles alone.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.delta import planted
from ..core.errors import BadCheckpoint
from ..core.foreign import Held
from ..core.method import Method
from ..core.saved import read_tensors
from ..core.sites import sites
from .form import where

FILE, HEAD = "adapter.safetensors", "model_head.safetensors"
ADVICE = (
    "It is a checkpoint of AdapterHub. Save it again with its library, as safetensors: "
    "model.save_adapter(folder, name, use_safetensors=True). Prefixes it can save as pickles alone."
)
ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "swish": "swish", "gelu": "gelu"}
#: architecture → option → the value with which a file can be read
NEUTRAL: dict[str | None, dict[str, Any]] = {
    None: {
        "adapter_residual_before_ln": False,
        "cross_adapter": False,
        "dropout": 0.0,
        "inv_adapter": None,
        "leave_out": [],
        "ln_after": False,
        "ln_before": False,
        "original_ln_after": True,
        "output_adapter": True,
        "phm_layer": False,
        "residual_before_ln": True,
        "stochastic_depth": 0.0,
        "use_gating": False,
    },
    "lora": {
        "leave_out": [],
        "use_dora": False,
        "use_gating": False,
        "vera_b": None,
        "vera_d": None,
    },
}
#: options that `_bottleneck` and `_lora` read, or that the tensors tell
READ: dict[str | None, set[str]] = {
    None: {
        "is_parallel",
        "mh_adapter",
        "non_linearity",
        "original_ln_before",
        "reduction_factor",
        "scaling",
    },
    "lora": {
        "alpha",
        "attn_matrices",
        "composition_mode",
        "dropout",
        "dtype",
        "intermediate_lora",
        "output_lora",
        "r",
        "selfattn_lora",
    },
}
#: how the training began, and what acts with phm_layer or inv_adapter alone
IDLE = {
    "architecture",
    "factorized_phm_W",
    "factorized_phm_rule",
    "hypercomplex_nonlinearity",
    "init_weights",
    "init_weights_seed",
    "inv_adapter_reduction_factor",
    "learn_phm",
    "phm_bias",
    "phm_c_init",
    "phm_dim",
    "phm_init_range",
    "phm_rank",
    "shared_W_phm",
    "shared_phm_rule",
}
MATRICES = {"q": "attention.query", "k": "attention.key", "v": "attention.value"}
Values = dict[str, Tensor]


def recognises(config: Mapping[str, Any]) -> bool:
    """Whether adapter_config.json has AdapterHub's form."""
    return "peft_type" not in config and {"config", "model_type", "hidden_size"} <= config.keys()


def read(
    model: nn.Module,
    folder: Path,
    config: Mapping[str, Any],
    tensors: dict[str, Tensor],
    methods: Mapping[str, type[Method]],
    known: Method | None,
) -> Held:
    """What a checkpoint of AdapterHub holds, for `model`.

    Args:
        model: the base that it will be attached to.
        folder: of the checkpoint, in which the head has a file of its own.
        config: its adapter_config.json.
        tensors: by their keys in the file.
        methods: the registry, name → class.
        known: the method, if it is known from elsewhere, which for these files it is not.

    Raises:
        BadCheckpoint: the file is damaged, of another model, or of a kind that is not read.
    """
    options = config["config"] if isinstance(config["config"], dict) else {}
    kind = options.get("architecture")
    _check(options, kind)
    make = _lora if kind == "lora" else _bottleneck
    method, fill = make(model, options, _unnamed(tensors, str(config.get("name"))), methods)
    name = re.sub(r"\W", "_", str(config.get("name") or method.name))
    return Held(name, method, _head(model, folder), fill)


def _check(options: Mapping[str, Any], kind: Any) -> None:
    """Refuse what cannot be read, by name."""
    if kind not in NEUTRAL or not options:
        raise BadCheckpoint(
            f"This is a checkpoint of AdapterHub of the kind {kind or 'unknown'!r}. PFT Lab reads "
            "its bottleneck adapters (seq_bn, double_seq_bn, par_bn), lora and ia3. Load it with "
            "AdapterHub's library."
        )
    for option, value in options.items():
        unused = option not in NEUTRAL[kind] and value in (None, False, [], {}, "")
        if unused or option in READ[kind] | IDLE or value == NEUTRAL[kind].get(option, NEUTRAL):
            continue
        raise BadCheckpoint(
            f"This checkpoint of AdapterHub has {option}={value!r:.80}, which PFT Lab does not "
            "read. Load it with AdapterHub's library."
        )


def _unnamed(tensors: Values, name: str) -> Values:
    """The tensors without the name of the adapter, which stands in the middle of their paths."""
    pattern = re.compile(rf"\.(adapters|loras)\.{re.escape(name)}\.")
    if strange := [key for key in tensors if not pattern.search(key)]:
        raise BadCheckpoint(
            f"The file holds {strange[0]!r}, for which PFT Lab has no place. Load it with "
            "AdapterHub's library."
        )
    return {pattern.sub(r".\1.", key): tensor for key, tensor in tensors.items()}


def _bottleneck(
    model: nn.Module,
    config: Mapping[str, Any],
    tensors: Values,
    methods: Mapping[str, type[Method]],
) -> tuple[Method, Callable[[str], None]]:
    """seq_bn, double_seq_bn and par_bn are told apart by where the adapter stands and reads."""
    parallel, both, normed = (
        bool(config.get(option)) for option in ("is_parallel", "mh_adapter", "original_ln_before")
    )
    scale, activation = config.get("scaling", 1.0), config.get("non_linearity")
    kinds = {
        (False, False, True): "pfeiffer",
        (False, True, False): "houlsby",
        (True, False, False): "parallel",
    }
    name = kinds.get((parallel, both, normed))
    fixed = isinstance(scale, int | float) and (parallel or scale == 1)
    if name is None or not fixed or activation not in ACTIVATIONS:
        raise BadCheckpoint(
            f"This adapter of AdapterHub has is_parallel={parallel}, mh_adapter={both}, "
            f"original_ln_before={normed}, scaling={scale!r} and non_linearity={activation!r}, "
            "which together are no method of PFT Lab. Load it with AdapterHub's library."
        )
    options: dict[str, Any] = {"activation": ACTIVATIONS[activation]}
    if name == "houlsby":
        options["layer_norm"] = False
    if name == "parallel":
        options["scale"] = float(scale)
    found: dict[tuple[str, bool], Values] = {}
    for key, tensor in tensors.items():
        path, _, leaf = key.partition(".adapters.")
        own = leaf.replace("adapter_down.0.", "down.").replace("adapter_up.", "up.")
        found.setdefault(_position(path), {})[own] = tensor
    width = next((len(each["down.bias"]) for each in found.values() if "down.bias" in each), 1)
    method = methods[name](bottleneck=width, **options)  # type: ignore[call-arg]
    here = {(_block(site.path), site.name.startswith("attention")) for site in method.sites(model)}
    if here != found.keys():
        raise BadCheckpoint(
            f"The file has adapters at {len(found)} places, and this {type(model).__name__} has "
            f"{len(here)}. It was trained on another model."
        )

    def fill(attached_as: str) -> None:
        for site in method.sites(model):
            position = _block(site.path), site.name.startswith("attention")
            _unpack(model, attached_as, site.path, found[position])

    return method, fill


def _position(path: str) -> tuple[str, bool]:
    """(path of the block, whether it stands behind the attention) of an adapter in AdapterHub."""
    sublayer = re.search(r"\.layer\.(\d+)$", path) if ".block." in path else None  # T5
    return _block(path), sublayer[1] == "0" if sublayer else "attention" in path


def _block(path: str) -> str:
    """The path of the block, such as bert.encoder.layer.0, that `path` lies in."""
    found = re.match(r".*?\.\d+(?=\.|$)", path)
    return found[0] if found else path


def _lora(
    model: nn.Module,
    config: Mapping[str, Any],
    tensors: Values,
    methods: Mapping[str, type[Method]],
) -> tuple[Method, Callable[[str], None]]:
    """Matrices that are added, or with composition_mode "scale" a vector that rescales: (IA)³."""
    scales = config.get("composition_mode", "add") == "scale"
    r, alpha = config.get("r"), config.get("alpha")
    if scales and (r, alpha) != (1, 1):
        raise BadCheckpoint(
            f"This adapter of AdapterHub rescales with r={r!r} and alpha={alpha!r}, and (IA)³ has "
            "1 and 1. Load it with AdapterHub's library."
        )
    found: dict[str, Values] = {}
    for key, tensor in tensors.items():
        path, _, leaf = key.partition(".loras.")
        own = {"lora_A": "A", "lora_B": "l" if scales else "B"}.get(leaf, leaf)
        found.setdefault(path, {})[own] = tensor
    fused = {
        site.path for site in sites(model, tuple(MATRICES.values())) if not site.slice.is_whole
    }
    slices = [MATRICES[letter] for letter in MATRICES if letter in config["attn_matrices"]]
    whole = set(found) - fused
    names, layers = where(model, whole, set()) if whole else ((), None)
    at = (*(slices if fused & found.keys() else ()), *names)
    options = {} if scales else {"rank": r, "alpha": alpha, "dropout": config.get("dropout", 0.0)}
    method = methods["ia3" if scales else "lora"](at=at, layers=layers, **options)  # type: ignore[call-arg]
    if {site.path for site in method.sites(model)} != found.keys():
        raise BadCheckpoint(
            "The checkpoint adapts different modules in different layers, which one method with "
            "one list of sites cannot express. Load it with AdapterHub's library."
        )

    def fill(attached_as: str) -> None:
        for path, values in found.items():
            number = len(slices) if path in fused else 1
            parts = {own: tensor.chunk(number) for own, tensor in values.items()}
            for index in range(number):
                part = {own: tensor[index] for own, tensor in parts.items()}
                name = slices[index] if number > 1 else None
                _unpack(model, attached_as, path, part, name)

    return method, fill


@torch.no_grad()
def _unpack(
    model: nn.Module, attached_as: str, path: str, values: Values, ending: str | None = None
) -> None:
    """Fill the delta that is attached at `path`, of several the one of the site `ending`."""
    for where_, _, child, delta in planted(model, attached_as):
        if where_ == path and (ending is None or child.endswith(ending.rpartition(".")[2])):
            own = delta.pack()
            shaped = {n: t.flatten() if own[n].dim() == 1 else t for n, t in values.items()}
            if own.keys() != shaped.keys() or any(own[n].shape != shaped[n].shape for n in own):
                raise BadCheckpoint(
                    f"{path} has tensors {sorted(shaped)} in the file, of other shapes than here. "
                    "It was trained on another model."
                )
            delta.unpack(shaped)


def _head(model: nn.Module, folder: Path) -> Values:
    """What the file holds of the head, and the base does not have already."""
    if not (folder / HEAD).is_file():
        return {}
    names: dict[int, list[str]] = {}
    for n, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(n)
    head: Values = {}
    for key, tensor in read_tensors(folder / HEAD)[0].items():
        own = next((group for group in names.values() if key in group), None)
        if own is None or model.get_parameter(key).shape != tensor.shape:
            raise BadCheckpoint(
                f"The head of this file has {key} of shape {tuple(tensor.shape)}, and this "
                f"{type(model).__name__} has not. Load the base with the same head and number of "
                f"labels, or take {HEAD} out of the folder to train a new one."
            )
        if tensor.equal(model.get_parameter(key).to(tensor)):
            continue  # a language model's, which was not trained
        if len(own) > 1:
            raise BadCheckpoint(
                f"The base ties {' and '.join(own)}, and the file holds another {key}. Load it "
                "with AdapterHub's library."
            )
        head[key] = tensor
    return head
