"""How PEFT writes down (IA)³, OFT, FourierFT and LayerNorm tuning."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import BadCheckpoint
from ..core.method import Method
from ..core.ports.parameters import norm_parameters
from ..core.record import record_of
from .form import ROOT, PeftForm, Written

MIDDLE = "ln_tuning_layers"

IA3 = PeftForm(
    "IA3",
    tensors={"l": "ia3_l"},
    fused={"l": "rows"},
    inputs="feedforward_modules",
    columns=("l",),
)


class OFTForm(PeftForm):
    """PEFT's series in place of the Cayley transform was another one before its version 0.18."""

    def read(
        self,
        cls: type[Method],
        model: nn.Module,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Method:
        version = str(config["peft_version"] or "0.0")  # which older ones do not write
        numbers = re.findall(r"\d+", version)[:2]
        if config["use_cayley_neumann"] and [int(n) for n in numbers] < [0, 18]:
            raise BadCheckpoint(
                f"This OFT checkpoint has use_cayley_neumann=True and peft_version="
                f"{config['peft_version']!r}: before 0.18 PEFT computed another series. Load it "
                "with the PEFT that it was trained with."
            )
        return super().read(cls, model, config, tensors)


OFT = OFTForm(
    "OFT",
    tensors={"Q": "oft_R.weight"},
    fields={"block": "oft_block_size", "neumann": "use_cayley_neumann"},
    options={
        "r": (0,),
        "num_cayley_neumann_terms": (5,),
        "module_dropout": (0.0,),
        "coft": (False,),
        "block_share": (False,),
        "bias": ("none",),
    },
    conv1d=False,  # where PEFT fails
    variants=({}, {"neumann": True}),
)
FOURIERFT = PeftForm(
    "FOURIERFT",
    tensors={"c": "fourierft_spectrum"},
    fields={"frequencies": "n_frequency", "alpha": "scaling", "seed": "random_loc_seed"},
    options={
        "n_frequency_pattern": ({},),
        "bias": ("none",),
        "init_weights": (False, True),  # how it started, which a checkpoint has left behind
    },
)


class TrainedNorms(PeftForm):
    """PEFT's LN_TUNING: a copy of every trained layer norm, under the path of the norm."""

    def write(self, model: nn.Module, name: str, method: Method) -> Written | None:
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


LN_TUNING = TrainedNorms("LN_TUNING", trains=True)
