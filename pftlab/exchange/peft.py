"""Reading and writing the checkpoints of Hugging Face PEFT.

`FORMS` says for every method that PEFT has how PEFT writes it down. This module is handed to `save`
and `load`; what they ask of it is in pftlab.core.foreign.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..core.errors import BadCheckpoint
from ..core.foreign import Held
from ..core.method import Method
from ..core.record import record_of
from . import low_rank, others, prompts
from .form import PeftForm
from .options import DEFAULTS

FILE = "adapter_model.safetensors"
ADVICE = "Save it again as safetensors."
#: name of a method → how PEFT writes it down; a file of PEFT is read as the first that fits
FORMS: dict[str, PeftForm] = {
    "prompt_tuning": prompts.PROMPT_TUNING,
    "p_tuning": prompts.P_TUNING,
    "multitask_prompt_tuning": prompts.MULTITASK,
    "prefix_tuning": prompts.PREFIX_TUNING,
    "p_tuning_v2": prompts.PREFIX_TUNING,
    "llama_adapter": prompts.ADAPTION_PROMPT,
    "lora": low_rank.LORA,
    "rslora": low_rank.RSLORA,
    "lora_plus": low_rank.LORA,
    "lora_fa": low_rank.LORA,
    "dora": low_rank.DORA,
    "pissa": low_rank.PISSA,
    "olora": low_rank.OLORA,
    "loha": low_rank.LOHA,
    "lokr": low_rank.LOKR,
    "vera": low_rank.VERA,
    "randlora": low_rank.RANDLORA,
    "adalora": low_rank.ADALORA,
    "qlora": low_rank.QLORA,
    "layer_norm": others.LN_TUNING,
    "ia3": others.IA3,
    "oft": others.OFT,
    "fourierft": others.FOURIERFT,
}
TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
}


def task_type(model: nn.Module) -> str:
    """PEFT's word for what `model` is for."""
    name = type(model).__name__
    for ending, word in TASK_TYPES.items():
        if name.endswith(ending):
            return word
    return "FEATURE_EXTRACTION"


def write(
    model: nn.Module, name: str, head: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What is attached to `model` in PEFT's form, as (configuration, tensors); None if it has none.

    PEFT freezes what it does not know, and trains whole modules as the head. A method that trains
    base parameters of its own has no such form, nor has a rank for each module, say.

    Args:
        model: with something attached.
        name: of the attachment.
        head: the head that it was trained with, by the names in the model.
    """
    record = record_of(model)
    method = record.methods[name]
    form = FORMS.get(method.name)
    if form is None or form.lacks(model, method) or (head and form.head is None):
        return None
    if not form.trains and any(name in users for users in record.trained_by.values()):
        return None
    written, modules = form.write(model, name, method), _whole_modules(model, head)
    if written is None or modules is None:
        return None
    extra, tensors = written
    config = {
        "peft_type": form.kind,
        "task_type": task_type(model),
        "base_model_name_or_path": getattr(model.config, "_name_or_path", "") or None,
        "inference_mode": True,
        **{theirs: getattr(method, ours) for ours, theirs in form.fields.items()},
        **{option: values[0] for option, values in form.options.items()},
        **extra,
    }
    tensors |= {f"{form.head}{key}": head[key] for key in sorted(head)}
    if head:
        config["modules_to_save"] = modules
    return config, tensors


def recognises(config: Mapping[str, Any]) -> bool:
    """Whether adapter_config.json has PEFT's form."""
    return "peft_type" in config


def read(
    model: nn.Module,
    folder: Path,
    config: Mapping[str, Any],
    tensors: dict[str, Tensor],
    methods: Mapping[str, type[Method]],
    known: Method | None,
) -> Held:
    """What a checkpoint in PEFT's form holds, for `model`.

    Args:
        model: the base that it will be attached to.
        folder: of the checkpoint.
        config: its adapter_config.json.
        tensors: by their keys in the file.
        methods: the registry, name → class.
        known: the method, if PFT Lab wrote the file; None: the configuration says it.

    Raises:
        BadCheckpoint: PEFT's method is not in the registry, uses an option that it does not
            have, or its modules are not in this model.
    """
    method = known or _method(model, config, tensors, methods)
    form = FORMS[method.name]
    if clause := form.lacks(model, method):
        raise BadCheckpoint(
            f"PEFT {clause}, and PFT Lab has not what it does there. Load it with Hugging Face "
            "PEFT."
        )
    head, used = _head(model, form, config, tensors)

    def fill(name: str) -> None:
        form.fit(model, name, config)
        filled = form.fill(model, name, method, tensors)
        if rest := sorted(tensors.keys() - used - filled):
            raise BadCheckpoint(
                f"The file holds {rest[0]!r}, for which {method.title} has no place. "
                "Load it with Hugging Face PEFT."
            )

    return Held(method.name, method, head, fill)


def _method(
    model: nn.Module,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    methods: Mapping[str, type[Method]],
) -> Method:
    """The method that a checkpoint saved by PEFT holds."""
    kind = config["peft_type"]
    known = {name: form for name, form in FORMS.items() if name in methods}
    fitting = {name: form for name, form in known.items() if form.kind == kind}
    if not fitting:
        kinds = sorted({form.kind for form in known.values()})
        raise BadCheckpoint(
            f"This checkpoint holds PEFT's {kind!r}; PFT Lab reads {', '.join(kinds)}. "
            "Load it with Hugging Face PEFT."
        )
    for name, form in fitting.items():
        if form.foreign_option(config) is None:
            return form.read(methods[name], model, {**DEFAULTS[kind], **config}, tensors)
    name, form = next(iter(fitting.items()))
    option: Any = form.foreign_option(config)  # there is one, else the file had been read
    given = repr({**DEFAULTS[kind], **config}[option])
    if option not in DEFAULTS[kind]:
        raise BadCheckpoint(
            f"This {kind} checkpoint has {option}={given:.80}, an option that PFT Lab does not "
            "know and that may change what the model computes. Load it with Hugging Face PEFT."
        )
    readable = form.options.get(option, (DEFAULTS[kind][option],))
    raise BadCheckpoint(
        f"This {kind} checkpoint has {option}={given:.80}, which {methods[name].__name__} does "
        f"not have; it reads {' or '.join(repr(value) for value in readable)}. "
        "Load it with Hugging Face PEFT."
    )


def _head(
    model: nn.Module, form: PeftForm, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], set[str]]:
    """(name of a parameter of `model` → what the file saves of it whole, the keys of these).

    Raises:
        BadCheckpoint: a shape differs, or PEFT trained a copy of a tensor that the base ties.
    """
    listed = config.get("modules_to_save") or ()
    copied = (listed,) if isinstance(listed, str) else tuple(listed)
    head: dict[str, Tensor] = {}
    used: set[str] = set()
    for names in _names_of_parameters(model):
        saved = {n: tensors[f"{form.head}{n}"] for n in names if f"{form.head}{n}" in tensors}
        for n, tensor in saved.items():
            here = tuple(model.get_parameter(n).shape)
            if tensor.shape != here:
                raise BadCheckpoint(
                    f"The head {n} has shape {tuple(tensor.shape)} in the file and {here} here. "
                    "Load the base with the same num_labels."
                )
            apart = not all(map(tensor.equal, saved.values()))
            if apart or (len(saved) < len(names) and n.rpartition(".")[0].endswith(copied)):
                raise BadCheckpoint(
                    f"The base ties this tensor: {' and '.join(names)} are one, and the file holds "
                    f"a copy of {n} that PEFT trained apart from the base's. Load it with "
                    "Hugging Face PEFT."
                )
            head[names[0]] = tensor
            used.add(f"{form.head}{n}")
    return head, used


def _names_of_parameters(model: nn.Module) -> list[list[str]]:
    """The names of each parameter of the base: several where modules share one."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return list(names.values())


def _whole_modules(model: nn.Module, names: Collection[str]) -> list[str] | None:
    """The outermost modules that consist of `names` alone; None if that is not all of them.

    PEFT copies a module that it trains whole, which would part it from those that share a tensor.
    """
    if any(set(names).intersection(shared) for shared in _names_of_parameters(model) if shared[1:]):
        return None
    found: list[str] = []
    left = set(names)
    for path, module in model.named_modules():
        inner = {f"{path}.{n}" for n, _ in module.named_parameters()}
        if path and inner and inner <= left:
            found.append(path)
            left -= inner
    return None if left else found
