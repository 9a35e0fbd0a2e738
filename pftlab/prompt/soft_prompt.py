"""Vectors among the embedded words: what the shallow prompts of this family share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import BadCheckpoint, BadValue, Method, PeftFormat, planted
from ..core.sequence import Prompt
from ..core.sites import config_of

COLUMNS, ROWS = "prefix_task_cols", "prefix_task_rows"  # of PEFT's multitask prompts
OURS = "pftlab."  # in front of the tensors of a file that PEFT does not read


class SoftPrompt(Prompt):
    """[P; X]: n trainable vectors P beside the embedded words X (Section 2 of Lester et al.).

    P (n, d), embedded words (B, T, d)
    """

    def __init__(self, vectors: Tensor, position: int | tuple[int, ...] | None):
        super().__init__()
        self.length, self.position = len(vectors), position
        self.P = nn.Parameter(vectors)

    def vectors(self) -> Tensor:
        """The prompt (n, d) as the model reads it."""
        return self.P

    def forward(self, embedded: Tensor) -> Tensor:  # type: ignore[override]
        return self.vectors().expand(len(embedded), -1, -1)


def check_position(position: int | tuple[int, ...] | None, length: int) -> None:
    """Raise BadValue unless `position` can be the place of a prompt of `length` vectors."""
    if isinstance(position, tuple) and len(position) != length:
        raise BadValue(
            f"position has {len(position)} places for {length} vectors. Give each vector its place."
        )
    if isinstance(position, int) and position < 0:
        raise BadValue(
            f"position={position}: a number of words is at least 0. To count from the end, give "
            "each vector its place in a tuple."
        )


@dataclass(frozen=True)
class PromptFormat(PeftFormat):
    """PEFT's prompt is one table of vectors; it stands in front of everything, [CLS] included.

    In an encoder-decoder model PEFT keeps a second prompt for the decoder, which it never reads.
    What made the vectors is not in PEFT's file. Ours holds it beside them, where PEFT does not
    look, so that training can go on.

    Attributes:
        key: of the table.
        read_as: fields of the method that PEFT's file is read as.
    """

    key: str = "prompt_embeddings"
    read_as: tuple[tuple[str, Any], ...] = ()

    def write(
        self, model: nn.Module, name: str, method: Method
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
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
class MultitaskFormat(PromptFormat):
    """PEFT's form: the table of the prompt, and all tasks' columns u and rows v in one tensor.

    In an encoder-decoder model PEFT's has a second half, in front of the decoder's words, which
    ours has not.
    """

    def write(
        self, model: nn.Module, name: str, method: Method
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        prompt: Any = prompt_of(model, name)
        if prompt.position != 0 or config_of(model).is_encoder_decoder:
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
        if config_of(model).is_encoder_decoder:
            raise BadCheckpoint(
                "This MULTITASK_PROMPT_TUNING checkpoint puts vectors in front of the decoder's "
                "words too. Load it with Hugging Face PEFT."
            )
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


def prompt_of(model: nn.Module, name: str) -> SoftPrompt:
    """The prompt that is attached as `name`."""
    (prompt,) = (delta for *_, delta in planted(model, name) if isinstance(delta, SoftPrompt))
    return prompt
