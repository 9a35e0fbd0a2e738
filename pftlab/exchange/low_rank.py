"""How PEFT writes down LoRA and its relatives."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.delta import planted
from ..core.errors import BadCheckpoint
from ..core.method import Method
from ..core.places import WHOLE
from ..low_rank.dora import lengths
from .form import PeftForm, Written

STEPS = 1000  # PEFT writes AdaLoRA's phases as steps of a run; our shares become steps of this one

LORA = PeftForm(
    "LORA",
    tensors={"A": "lora_A.weight", "B": "lora_B.weight"},
    fields={"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout"},
    options={
        "bias": ("none",),
        "use_dora": (False,),
        "use_rslora": (False,),
        "lora_bias": (False,),
        "rank_pattern": ({},),
        "alpha_pattern": ({},),
        # the others take a part of the base's weights into A and B
        "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
        "use_qalora": (False,),
        "alora_invocation_tokens": (None,),
        "layer_replication": (None,),
        "monteclora_config": (None,),
        "kasa_config": (None,),
    },
    fused={"A": "stack", "B": "blocks"},
    per_slice=("rank", "alpha"),
)
RSLORA = replace(
    LORA,
    options={**LORA.options, "use_rslora": (True,)},
    per_slice=("rank",),
    per_slice_root=("alpha",),  # (√k alpha) / √(k rank) is each slice's scale
)
DORA = replace(
    LORA,
    tensors={**LORA.tensors, "m": "lora_magnitude_vector"},
    options={**LORA.options, "use_dora": (True,)},
    fused={**LORA.fused, "m": "rows"},
    neutral={"m": lambda host: lengths(WHOLE.weight(host).detach())},
)
# PEFT decomposes a fused projection as a whole, so that slices have no such form.
PISSA = replace(LORA, options={**LORA.options, "init_lora_weights": ("pissa",)}, fused={})
# PEFT forgets that GPT-2's Conv1D stores W transposed.
OLORA = replace(PISSA, options={**LORA.options, "init_lora_weights": ("olora",)}, conv1d=False)
QLORA = replace(LORA, differs={"": "the base computes with weights in four bits"})

LOHA = PeftForm(
    "LOHA",
    tensors={"B1": "hada_w1_a", "A1": "hada_w1_b", "B2": "hada_w2_a", "A2": "hada_w2_b"},
    fields={"rank": "r", "alpha": "alpha"},
    options={
        "rank_dropout": (0.0,),
        "module_dropout": (0.0,),
        "rank_pattern": ({},),
        "alpha_pattern": ({},),
    },
    # the product of two matrices of blocks is the matrix of the blocks' products
    fused={"B1": "blocks", "A1": "stack", "B2": "blocks", "A2": "stack"},
    per_slice=("rank", "alpha"),
    conv1d=False,
)
# A Kronecker product has no zero rows between its slices, so that slices have no such form.
LOKR = replace(
    LOHA,
    kind="LOKR",
    tensors={
        "C": "lokr_w1",
        "C1": "lokr_w1_a",
        "C0": "lokr_w1_b",
        "D": "lokr_w2",
        "D1": "lokr_w2_a",
        "D0": "lokr_w2_b",
    },
    fields={**LOHA.fields, "factor": "decompose_factor", "decompose_both": "decompose_both"},
    fused={},
    per_slice=(),
    variants=({}, {"rank": 1, "decompose_both": True}),
)


@dataclass(frozen=True)
class DrawnForm(PeftForm):
    """A method whose random matrices the seed gives; PEFT's file may hold them all the same.

    Attributes:
        drawn: name of what the deltas share → how PEFT's keys of it end.
    """

    drawn: Mapping[str, str] = field(default_factory=dict)

    def fill(
        self, model: nn.Module, name: str, method: Method, tensors: Mapping[str, Tensor]
    ) -> set[str]:
        used = super().fill(model, name, method, tensors)
        *_, delta = next(planted(model, name))
        for own, ending in self.drawn.items():
            ours = getattr(delta.shared, own)
            for key in (key for key in tensors if key.endswith(f".{ending}")):
                theirs = tensors[key].to(ours)
                same = theirs.numel() == ours.numel()
                if not (same and torch.allclose(theirs.view_as(ours), ours, 1e-2, 1e-3)):
                    raise BadCheckpoint(
                        f"The file's {key} is not what the seed {getattr(method, 'seed', 0)} "
                        "gives. Load it with Hugging Face PEFT."
                    )
                used.add(key)
        return used


# PEFT has one d for a fused projection, so that slices have no such form.
VERA = DrawnForm(
    "VERA",
    tensors={"b": "vera_lambda_b", "d": "vera_lambda_d"},
    fields={
        "rank": "r",
        "initial": "d_initial",
        "dropout": "vera_dropout",
        "seed": "projection_prng_key",
    },
    options={"bias": ("none",), "save_projection": (False, True)},
    drawn={"A": "vera_A", "B": "vera_B"},
)

RANDLORA = DrawnForm(
    "RANDLORA",
    tensors={"Lambda": "randlora_lambda", "Gamma": "randlora_gamma"},
    fields={
        "rank": "r",
        "alpha": "randlora_alpha",
        "dropout": "randlora_dropout",
        "seed": "projection_prng_key",
    },
    options={
        "bias": ("none",),
        "save_projection": (False, True),
        "sparse": (False,),
        "very_sparse": (False,),
        "init_weights": (True, False),
    },
    drawn={"A": "randlora_A", "B": "randlora_B"},
)


@dataclass(frozen=True)
class AdaLoRAForm(PeftForm):
    """PEFT keeps the triplets that are left, and says in `rank_pattern` which these are."""

    reads: tuple[str, ...] = ("total_step", "rank_pattern", "r")  # PEFT looks at init_r, not at r

    def write(self, model: nn.Module, name: str, method: Method) -> Written | None:
        written = super().write(model, name, method)
        if written is None:
            return None
        config, tensors = written
        adalora: Any = method
        config |= {"total_step": STEPS, "tinit": round(adalora.warmup * STEPS)}
        config["tfinal"] = round(adalora.final * STEPS)
        deltas: dict[str, Any] = {path: delta for path, _, _, delta in planted(model, name)}
        if all(delta.kept is not None for delta in deltas.values()):
            config["rank_pattern"] = {
                f"{path}.lora_E": delta.kept.tolist() for path, delta in deltas.items()
            }
        return config, tensors

    def read(
        self,
        cls: type[Method],
        model: nn.Module,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> Method:
        if not config["total_step"]:
            raise BadCheckpoint(
                f"This ADALORA checkpoint has total_step={config['total_step']!r}: the phases are "
                "shares of the number of steps. Write it into adapter_config.json."
            )
        shares = {n: config[n] / config["total_step"] for n in ("tinit", "tfinal")}
        return super().read(cls, model, {**config, **shares}, tensors)

    def fit(self, model: nn.Module, name: str, config: Mapping[str, Any]) -> None:
        pattern = config.get("rank_pattern") or {}
        for path, _, _, delta in planted(model, name):
            if f"{path}.lora_E" in pattern:
                delta.fit({"kept": torch.tensor(pattern[f"{path}.lora_E"], dtype=torch.bool)})


ADALORA = AdaLoRAForm(
    "ADALORA",
    tensors={"Q": "lora_A", "P": "lora_B", "Lambda": "lora_E"},
    fields={
        "rank": "target_r",
        "start_rank": "init_r",
        "alpha": "lora_alpha",
        "dropout": "lora_dropout",
        "warmup": "tinit",
        "final": "tfinal",
        "interval": "deltaT",
        "beta1": "beta1",
        "beta2": "beta2",
        "orthogonality": "orth_reg_weight",
    },
    options={
        "bias": ("none",),
        "init_lora_weights": (True, False),
        "layer_replication": (None,),
    },
    columns=("Lambda",),
)
