"""How PEFT writes down soft prompts, prefixes and the prompts of LLaMA-Adapter.

What made a prompt or a prefix, such as the LSTM of P-tuning, is not in PEFT's file. Ours holds it
beside the result, where PEFT does not look, so that training can go on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import BadCheckpoint
from ..core.method import Method
from ..core.places import config_of
from ..core.sites import sites
from ..prompt.prefix import prefixes_of
from ..prompt.soft_prompt import SoftPrompt, prompt_of
from .form import PeftForm, Written

COLUMNS, ROWS = "prefix_task_cols", "prefix_task_rows"  # of PEFT's multitask prompts
OURS = "pftlab."  # in front of the tensors of a file that PEFT does not read
ZERO_INIT_MODELS = ("llama", "mistral")  # GPT-2's in PEFT leaves out the output projection


@dataclass(frozen=True)
class PromptForm(PeftForm):
    """PEFT's prompt is one table of vectors; it stands in front of everything, [CLS] included.

    In an encoder-decoder model PEFT keeps a second prompt for the decoder, which it never reads.

    Attributes:
        key: of the table.
        read_as: fields of the method that PEFT's file is read as.
    """

    key: str = "prompt_embeddings"
    read_as: tuple[tuple[str, Any], ...] = ()

    def write(self, model: nn.Module, name: str, method: Method) -> Written | None:
        prompt = prompt_of(model, name)
        if prompt.position != 0:
            return None
        copies = 2 if config_of(model).is_encoder_decoder else 1
        made_by = {OURS + n: t for n, t in prompt.pack().items() if n != "P"}
        if made_by:
            made_by[f"{OURS}P"] = prompt.P.detach()
        table = prompt.vectors().detach().repeat(copies, 1)
        return self.shape(model, prompt), {self.key: table, **made_by}

    def shape(self, model: nn.Module, prompt: SoftPrompt) -> dict[str, Any]:
        """What PEFT's configuration says of the model."""
        config = config_of(model)
        return {
            "token_dim": prompt.P.shape[1],
            "num_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "num_transformer_submodules": 2 if config.is_encoder_decoder else 1,
        }

    def read(
        self,
        cls: type[Method],
        model: nn.Module,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Method:
        _check_submodules(model, config)
        return cls(length=config["num_virtual_tokens"], position=0, **dict(self.read_as))  # type: ignore[call-arg]

    def fill(
        self, model: nn.Module, name: str, method: Method, tensors: Mapping[str, Tensor]
    ) -> set[str]:
        prompt = prompt_of(model, name)
        if self.key not in tensors:
            raise BadCheckpoint(f"The file has no {self.key}. It is not complete.")
        ours = {k.removeprefix(OURS): t for k, t in tensors.items() if k.startswith(OURS)}
        packed = ours or {"P": tensors[self.key][: prompt.length]}
        self.copy(prompt, packed)
        return {self.key, *(OURS + n for n in ours)}

    def copy(self, prompt: SoftPrompt, packed: Mapping[str, Tensor]) -> None:
        """Copy `packed` into the prompt.

        Raises:
            BadCheckpoint: a tensor is missing or has another shape.
        """
        own = prompt.pack()
        if missing := sorted(own.keys() - packed.keys()):
            raise BadCheckpoint(f"The file has no {missing[0]} of the prompt. It is not complete.")
        for n, tensor in own.items():
            if tensor.shape != packed[n].shape:
                raise BadCheckpoint(
                    f"The prompt has shape {tuple(packed[n].shape)} in the file and "
                    f"{tuple(tensor.shape)} here. It was trained on another model."
                )
        prompt.unpack({n: packed[n] for n in own})


@dataclass(frozen=True)
class MultitaskForm(PromptForm):
    """PEFT's form: the table of the prompt, and all tasks' columns u and rows v in one tensor.

    In an encoder-decoder model PEFT's has a second half, which ours has not.
    """

    def lacks(self, model: nn.Module, method: Method) -> str:
        both = config_of(model).is_encoder_decoder
        return "puts vectors in front of the decoder's words too" if both else ""

    def write(self, model: nn.Module, name: str, method: Method) -> Written | None:
        prompt: Any = prompt_of(model, name)
        if prompt.position != 0:
            return None
        tensors = {
            self.key: prompt.P.detach(),
            COLUMNS: torch.stack([u.detach() for u in prompt.u]),
            ROWS: torch.stack([v.detach() for v in prompt.v]),
        }
        return self.shape(model, prompt), tensors

    def read(
        self,
        cls: type[Method],
        model: nn.Module,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Method:
        if ROWS not in tensors:
            raise BadCheckpoint(f"The file has no {ROWS}. It is not complete.")
        _check_submodules(model, config)
        (tasks, rank), n = tensors[ROWS].shape[:2], config["num_virtual_tokens"]
        return cls(  # type: ignore[call-arg]
            length=n, start="normal", position=0, tasks=tasks, rank=rank
        )

    def fill(
        self, model: nn.Module, name: str, method: Method, tensors: Mapping[str, Tensor]
    ) -> set[str]:
        prompt = prompt_of(model, name)
        if missing := {self.key, COLUMNS, ROWS} - tensors.keys():
            raise BadCheckpoint(f"The file has no {min(missing)}. It is not complete.")
        packed = {"P": tensors[self.key]}
        packed |= {f"u.{k}": u for k, u in enumerate(tensors[COLUMNS])}
        packed |= {f"v.{k}": v for k, v in enumerate(tensors[ROWS])}
        self.copy(prompt, packed)
        return {self.key, COLUMNS, ROWS}


@dataclass(frozen=True)
class PrefixForm(PeftForm):
    """PEFT's prefix is one table (n, layers · 2 · heads · width), in front of shifted positions.

    In an encoder-decoder model half of the numbers of PEFT's are in use nowhere.
    """

    key: str = "prompt_embeddings"

    def lacks(self, model: nn.Module, method: Method) -> str:
        if config_of(model).is_encoder_decoder:
            return "gives a prefix to the decoder's self-attention alone"
        if "past_key_values" not in signature(model.base_model.forward).parameters:  # type: ignore[union-attr]
            return f"needs a cache of keys and values, which a {type(model).__name__} has not"
        return ""

    def write(self, model: nn.Module, name: str, method: Method) -> Written | None:
        prefixes = prefixes_of(model, name)
        whole = len(prefixes) == len(sites(model, ("attention.keys_values",)))
        if not whole or not method.shift_positions:  # type: ignore[attr-defined]
            return None
        # (layers, 2, heads, n, width) → (n, layers · 2 · heads · width)
        stacked = torch.stack([torch.stack(p.prefix()) for p in prefixes]).detach()
        table = stacked.permute(3, 0, 1, 2, 4).flatten(1)
        heads, width = stacked.shape[2], stacked.shape[4]
        shape = {
            "token_dim": heads * width,
            "num_layers": len(prefixes),
            "num_attention_heads": heads,
            "num_transformer_submodules": 1,
            "encoder_hidden_size": heads * width,
            "prefix_projection": False,
        }
        shared = getattr(prefixes[0], "shared", None)
        network = {} if shared is None else shared.state_dict()
        return shape, {self.key: table, **{OURS + n: t for n, t in network.items()}}

    def read(
        self,
        cls: type[Method],
        model: nn.Module,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Method:
        _check_submodules(model, config)
        return cls(length=config["num_virtual_tokens"], hidden=None, shift_positions=True)  # type: ignore[call-arg]

    def fill(
        self, model: nn.Module, name: str, method: Method, tensors: Mapping[str, Tensor]
    ) -> set[str]:
        if self.key not in tensors:
            raise BadCheckpoint(f"The file has no {self.key}. It is not complete.")
        prefixes, table = prefixes_of(model, name), tensors[self.key]
        heads, n, width = prefixes[0].prefix()[0].shape
        if table.shape != (n, len(prefixes) * 2 * heads * width):
            raise BadCheckpoint(
                f"The prefix has shape {tuple(table.shape)} in the file and "
                f"{(n, len(prefixes) * 2 * heads * width)} here. It was trained on another model."
            )
        if shared := getattr(prefixes[0], "shared", None):
            network = {k.removeprefix(OURS): t for k, t in tensors.items() if k.startswith(OURS)}
            if missing := sorted(shared.state_dict().keys() - network.keys()):
                raise BadCheckpoint(f"The file has no {OURS}{missing[0]}. It is not complete.")
            shared.load_state_dict(network)
            return {self.key, *(OURS + n for n in network)}
        parts = table.view(n, len(prefixes), 2, heads, width).permute(1, 2, 3, 0, 4)
        for prefix, (keys, values) in zip(prefixes, parts, strict=True):
            prefix.unpack({"keys": keys, "values": values})
        return {self.key}


@dataclass(frozen=True)
class AdaptionPromptForm(PeftForm):
    """PEFT counts the layers with a prompt from the top, and trains no head."""

    def lacks(self, model: nn.Module, method: Method) -> str:
        if config_of(model).model_type not in ZERO_INIT_MODELS:
            return f"computes {method.title} on a {type(model).__name__} in a way of its own"
        return ""

    def write(self, model: nn.Module, name: str, method: Method) -> Written | None:
        chosen = method.sites(model)
        if chosen != sites(model, method.at)[-len(chosen) :] or method.gate != "plain":  # type: ignore[attr-defined]
            return None
        written = super().write(model, name, method)
        assert written, "attention is no fused projection"
        tensors = {k: t[None] if k.endswith("prompt") else t for k, t in written[1].items()}
        return {"target_modules": "self_attn", "adapter_layers": len(chosen)}, tensors

    def read(
        self,
        cls: type[Method],
        model: nn.Module,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Method:
        paths = {path for path, _, _ in self._keys(tensors)}
        found = sites(model, ("attention.keys_values",))
        layers = tuple(s.layer for s in found if s.path in paths and s.layer is not None)
        if not paths or len(layers) != len(paths):
            raise BadCheckpoint(
                f"The checkpoint adapts {len(paths)} attentions, of which this "
                f"{type(model).__name__} has {len(layers)}. It was trained on another model."
            )
        every = len(layers) == len(found)
        return cls(length=config["adapter_len"], gate="plain", layers=None if every else layers)  # type: ignore[call-arg]


def _check_submodules(model: nn.Module, config: Mapping[str, Any]) -> None:
    """Raise BadCheckpoint unless the prompt is one for each stack that `model` has."""
    option, stacks = "num_transformer_submodules", 1 + config_of(model).is_encoder_decoder
    if config[option] not in (None, 1, stacks):
        raise BadCheckpoint(
            f"This {config['peft_type']} checkpoint has {option}={config[option]!r}, and a "
            f"{type(model).__name__} has {stacks}. It was trained on another model."
        )


PROMPTS = {"bert TOKEN_CLS": "PEFT misplaces the labels behind the prompt"} | {
    f"{model} SEQ_CLS": "PEFT's mask does not count the prompt when it looks for the last word"
    for model in ("gpt2", "llama")
}
PROMPT_TUNING = PromptForm(
    "PROMPT_TUNING",
    fields={"length": "num_virtual_tokens"},
    head="base_model.",
    read_as=(("start", "normal"),),
    needs={"position": 0},
    differs=PROMPTS,
)
P_TUNING = PromptForm(
    "P_TUNING",
    fields={"length": "num_virtual_tokens"},
    head="base_model.",
    read_as=(("encoder", "none"),),
    needs={"position": 0},
    differs=PROMPTS,
    made_by_network=True,
    variants=({}, {"encoder": "mlp"}),
)
MULTITASK = MultitaskForm(
    "MULTITASK_PROMPT_TUNING",
    fields={"length": "num_virtual_tokens", "tasks": "num_tasks", "rank": "num_ranks"},
    head="base_model.",
    needs={"position": 0},
    differs={"": "PEFT asks for the number of the task with every batch"},
)
#: ours stays in front of all words; the two agree on texts that fit, with it, into the window
WINDOWED = ("mistral", "mixtral", "gemma2", "gemma3_text")
PREFIX_TUNING = PrefixForm(
    "PREFIX_TUNING",
    fields={"length": "num_virtual_tokens"},
    head="base_model.",
    differs={f"{kind} CAUSAL_LM": "in PEFT a window slides off the prefix" for kind in WINDOWED},
)
ADAPTION_PROMPT = AdaptionPromptForm(
    "ADAPTION_PROMPT",
    tensors={"P": "adaption_prompt", "gate": "adaption_gate"},
    fields={"length": "adapter_len"},
    head=None,
    needs={"gate": "plain"},
)
