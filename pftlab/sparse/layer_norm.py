"""LayerNorm tuning: train the gains and biases of the normalisation layers.

Qi, Ruan, Zuo and Li (2022), Parameter-Efficient Tuning on Layer Normalization for Pre-trained
Language Models, https://arxiv.org/abs/2211.08682
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import BadCheckpoint, Method, PeftFormat, UnknownName
from ..core.peft_format import ROOT
from ..core.record import record_of
from ..core.sites import norm_parameters
from ..facts import FACTS

MIDDLE = "ln_tuning_layers"


class TrainedNorms(PeftFormat):
    """PEFT's LN_TUNING: a copy of every trained layer norm, under the path of the norm."""

    def write(
        self, model: nn.Module, name: str, method: Method
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        trained = [n for n, users in record_of(model).trained_by.items() if name in users]
        keys = {n: _key(n) for n in trained}
        modules = sorted({n.rpartition(".")[0] for n in trained})
        tensors = {key: model.get_parameter(n).detach() for n, key in keys.items()}
        return {"target_modules": modules}, tensors

    def read(
        self,
        cls: type[Method],
        model: nn.Module,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Method:
        stored = {key for key in tensors if f".{MIDDLE}." in key}
        every = {_key(n): n for n in norm_parameters(model)}
        names = sorted({every[key].split(".")[-2] for key in stored if key in every})
        method = cls() if stored == set(every) else cls(norms=tuple(names))  # type: ignore[call-arg]
        here = {_key(n) for n in method.trains(model)} if names else set()
        if not stored or (different := sorted(stored ^ here)):
            raise BadCheckpoint(
                f"The file trains layer norms that no list of names describes in this "
                f"{type(model).__name__}: {different[0] if stored else 'none'!r} is in the file or "
                "in the model, not in both. Load it with Hugging Face PEFT."
            )
        return method

    @torch.no_grad()
    def fill(
        self, model: nn.Module, name: str, method: Method, tensors: Mapping[str, Tensor]
    ) -> set[str]:
        keys = {n: _key(n) for n in method.trains(model)}
        for n, key in keys.items():
            parameter = model.get_parameter(n)
            if key not in tensors or tensors[key].shape != parameter.shape:
                raise BadCheckpoint(
                    f"The file has no {key} of shape {tuple(parameter.shape)}. It is not complete, "
                    "or was trained on another model."
                )
            parameter.copy_(tensors[key])
        return set(keys.values())


def _key(parameter: str) -> str:
    """The key in PEFT's file of the norm's parameter with this name in the model."""
    path, _, leaf = parameter.rpartition(".")
    return f"{ROOT}{path}.{MIDDLE}.{leaf}"


@dataclass(frozen=True)
class LayerNormTuning(Method):
    """Train every layer norm of the base, about 0.03 % of its parameters, and nothing else.

    Houlsby et al. (2019) report it as too weak a method on CoLA and MNLI.

    Args:
        norms: names of the modules to train, such as ("ln_1",); None: every layer norm.
    """

    facts = FACTS["layer_norm"]
    peft = TrainedNorms("LN_TUNING", trains=True)

    norms: tuple[str, ...] | None = None

    def trains(self, model: nn.Module) -> Iterable[str]:
        every = norm_parameters(model)
        if self.norms is None:
            return every
        known = {name.split(".")[-2] for name in every}
        for norm in self.norms:
            if norm not in known:
                raise UnknownName(f"layer norm in a {type(model).__name__}", norm, sorted(known))
        return [name for name in every if name.split(".")[-2] in self.norms]
